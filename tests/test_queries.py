"""queries.py: the grammar is small and strict, ranks and hits are right, and precision stands against prevalence."""

import subprocess
import sys

import numpy as np
import pytest

from facekit.errors import ParameterError
from facekit.multilabel import Labels
from facekit.queries import Query, match_query, measure_retrieval, parse_query, rank_query, score_query

NAMES = ("Eyeglasses", "Male", "Wearing_Hat", "5_o_Clock_Shadow", "Sand")


@pytest.mark.parametrize(
    ("text", "columns", "wanted", "written"),
    [
        ("Eyeglasses", (0,), (True,), "Eyeglasses"),
        ("Eyeglasses and not Male", (0, 1), (True, False), "Eyeglasses and not Male"),
        ("not male AND wearing hat", (1, 2), (False, True), "not Male and Wearing_Hat"),
        ("  5_o_clock_shadow   and NOT  Wearing_Hat ", (3, 2), (True, False), "5_o_Clock_Shadow and not Wearing_Hat"),
        ("Sand and not Eyeglasses", (4, 0), (True, False), "Sand and not Eyeglasses"),  # holds the word and
    ],
)
def test_queries_are_read(text, columns, wanted, written):
    assert parse_query(text, NAMES) == Query(written, columns, wanted)


GRAMMAR = "; expected names joined by `and`, each with at most one `not` before it"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "query '': a name is missing" + GRAMMAR),
        ("Male and", "query 'Male and': a name is missing" + GRAMMAR),
        ("and Male", "a name is missing" + GRAMMAR),
        ("not", "query 'not': cannot read 'not'" + GRAMMAR),
        ("Male or Sand", "cannot read 'Male or Sand'" + GRAMMAR),
        ("Male not Sand", "cannot read 'Male not Sand'" + GRAMMAR),
        ("not not Male", "cannot read 'not not Male'" + GRAMMAR),
        ("(Male)", r"cannot read '\(Male\)'" + GRAMMAR),
        ("Male, Sand", "cannot read 'Male, Sand'" + GRAMMAR),
        ("Male and not male", "asks for Male twice; expected each attribute once"),
        ("Eyeglases", "query 'Eyeglases': no attribute 'eyeglases'; expected perhaps Eyeglasses$"),
        ("not hat", "no attribute 'hat'; expected perhaps Wearing_Hat$"),
        ("Zebra", "no attribute 'zebra'; expected one of Eyeglasses, Male, Wearing_Hat, 5_o_Clock_Shadow, Sand$"),
    ],
)
def test_what_is_no_query_is_refused(text, message):
    with pytest.raises(ParameterError, match=message):
        parse_query(text, NAMES)


def test_score_is_the_product_and_ranks_are_stable():
    y_prob = np.array([[0.5, 0.5, 0, 0, 0], [0.9, 0.2, 0, 0, 0], [0.5, 0.5, 1, 1, 1], [1.0, 1.0, 0, 0, 0]])
    query = parse_query("Eyeglasses and not Male", NAMES)
    assert score_query(query, y_prob).tolist() == pytest.approx([0.25, 0.72, 0.25, 0.0])
    assert rank_query(query, y_prob, 3).tolist() == [1, 0, 2]
    assert rank_query(query, y_prob, 10).tolist() == [1, 0, 2, 3]


def test_hits_and_what_cannot_be_known():
    y_true = np.array([[1, 0], [1, 1], [0, 0], [1, 0], [9, 1], [9, 0]])
    weight = np.array([[1, 1], [1, 1], [1, 1], [1, 0], [0, 1], [0, 1]])
    labels = Labels(NAMES[:2], y_true, weight=weight)
    # Row 3: Male is not known. Row 4: Male is known, so it is none, whatever the eyes wear.
    expected = [1, 0, 0, np.nan, 0, np.nan]
    found = match_query(parse_query("Eyeglasses and not Male", NAMES[:2]), labels)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)


def draw_case(n=400, seed=0):
    rng = np.random.default_rng(seed)
    y_true = (rng.random((n, 5)) < 0.3).astype(int)
    return y_true, np.clip(0.25 + 0.5 * y_true + rng.normal(0, 0.25, (n, 5)), 0, 1)


def test_precision_stands_against_the_prevalence():
    y_true, y_prob = draw_case()
    texts = ["Male", "eyeglasses and not male"]
    single, both = measure_retrieval("test/retrieval", texts, Labels(NAMES, y_true), y_prob, k=20)
    assert single.name == "test/retrieval/Male/precision_at_20"
    assert both.name == "test/retrieval/Eyeglasses and not Male/precision_at_20"
    assert (single.n, both.n) == (20, 20)
    best = np.argsort(-y_prob[:, 0] * (1 - y_prob[:, 1]), kind="stable")[:20]
    answers = (y_true[:, 0] == 1) & (y_true[:, 1] == 0)
    assert both.value == pytest.approx(answers[best].mean())
    assert both.baseline == pytest.approx(answers.mean())
    assert both.baseline < both.interval[0] <= both.value <= both.interval[1]
    assert both.higher_is_better


def test_probabilities_that_know_nothing_reach_the_prevalence():
    y_true, _ = draw_case(n=4_000)
    y_prob = np.random.default_rng(9).random(y_true.shape)
    (metric,) = measure_retrieval("t", ["Male"], Labels(NAMES, y_true), y_prob, k=200)
    assert metric.baseline == pytest.approx(0.3, abs=0.03)
    assert metric.interval[0] < metric.baseline < metric.interval[1]


def test_unknown_answers_are_left_out_and_groups_drawn_whole():
    y_true, y_prob = draw_case()
    weight = np.ones_like(y_true)
    weight[:100, 1] = 0
    labels = Labels(NAMES, y_true, weight=weight, groups=np.repeat(range(100), 4))
    (metric,) = measure_retrieval("t", ["Male"], labels, y_prob)
    part = Labels(NAMES, y_true[100:], groups=np.repeat(range(75), 4))
    assert measure_retrieval("t", ["Male"], part, y_prob[100:]) == [metric]
    nothing = Labels(NAMES, y_true, weight=np.zeros_like(y_true))
    assert measure_retrieval("t", ["Male"], nothing, y_prob) == []


def test_fewer_pictures_than_asked_for():
    y_true, y_prob = draw_case(n=8)
    (metric,) = measure_retrieval("t", ["Male"], Labels(NAMES, y_true), y_prob, k=20)
    assert metric.n == 8
    assert metric.value == metric.baseline == pytest.approx(y_true[:, 1].mean())


def test_a_list_of_none_is_refused():
    y_true, y_prob = draw_case(n=8)
    with pytest.raises(ParameterError, match="precision at 0; expected 1 or more"):
        measure_retrieval("t", ["Male"], Labels(NAMES, y_true), y_prob, k=0)


def test_no_tensorflow_is_loaded():
    code = "import sys, facekit.queries; print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
