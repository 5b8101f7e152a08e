"""Queries: what they match, how they rank, what is refused."""

import numpy as np
import pytest

from facekit.errors import ParameterError
from facekit.evaluation import queries

VALUES = {
    "Eyeglasses": np.array([0.9, 0.6, 0.2, 0.9]),
    "Male": np.array([0.1, 0.8, 0.3, 0.9]),
    "5_o_Clock_Shadow": np.array([0.7, 0.2, 0.7, 0.4]),
    "NOT smile": np.array([0.5, 0.4, 0.1, 0.6]),
    "popularity": np.array([4.5, 3.0, 4.0, 5.0]),
}
DECIDED = {name: p >= 0.5 for name, p in VALUES.items() if name != "popularity"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("Eyeglasses", [0, 1, 3]),
        ("not male", [0, 2]),
        ("Eyeglasses AND NOT Male", [0]),
        ("eyeglasses and not (male and '5 o clock shadow')", [0, 1, 3]),
        ("Male or '5_o_Clock_Shadow'", [0, 1, 2, 3]),
        ('"NOT smile"', [0, 3]),
        ("not 'not_smile' and Male", [1]),
        ("Male > 0.8", [3]),
        ("Male >= 0.8", [1, 3]),
        ("not Eyeglasses < 0.7", [0, 3]),
        ("popularity > 4", [0, 3]),
        ("popularity <= 4 and Male", [1]),
    ],
)
def test_matches(text, matches):
    found, scores = queries.answer(text, VALUES, DECIDED)
    assert np.flatnonzero(found).tolist() == matches
    assert ((scores >= 0) & (scores <= 1)).all()


def test_scores_are_those_of_independent_labels():
    def score(text):
        return queries.answer(text, VALUES, DECIDED)[1][0]

    assert score("Eyeglasses and not Male") == pytest.approx(0.81)
    assert score("Eyeglasses or Male") == pytest.approx(1 - 0.1 * 0.9)
    assert score("Male < 0.5") == pytest.approx(0.9)
    assert score("popularity > 4 and Eyeglasses") == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read; expected names, `and`, `or`"),
        ("Male and", "cannot be read"),
        ("wearing hat", "cannot be read; .*quote names with spaces"),
        ("5_o_Clock_Shadow", "cannot be read; .*a digit first"),
        ("(" * 500 + "Male" + ")" * 500, "cannot be read"),
        ("not " * 5000 + "Male", "cannot be read"),
        ("Male\0", "cannot be read"),
        ("Male > 1" + "0" * 400, "cannot be read"),
        ("Male + Eyeglasses", r"cannot read 'male \+ eyeglasses'|cannot read 'Male \+ Eyeglasses'"),
        ("__import__('os').system('true')", "cannot read"),
        ("Male.real", "cannot read 'Male.real'"),
        ("[Male]", "cannot read"),
        ("True", "cannot read 'True'"),
        ("Male > Eyeglasses", "cannot compare with 'Eyeglasses'"),
        ("Male > True", "cannot compare with 'True'"),
        ("0.2 < Male < 0.8", "cannot read"),
        ("popularity", "popularity is a number, not a label; compare it, as in popularity > 4"),
        ("Eyeglases", "no label 'Eyeglases'; expected perhaps Eyeglasses"),
        ("shadow", "expected perhaps 5_o_Clock_Shadow"),
        ("Zebra", "no label 'Zebra'; expected one of Eyeglasses, Male, 5_o_Clock_Shadow, NOT smile, popularity"),
    ],
)
def test_what_is_no_query_is_refused(text, message):
    with pytest.raises(ParameterError, match=message):
        queries.answer(text, VALUES, DECIDED)
