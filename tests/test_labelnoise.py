"""labelnoise.py: contradictions are counted by group, and the ceiling is what one answer a group can reach."""

import numpy as np
import pandas as pd
import pytest

from facekit.errors import DataError, ParameterError
from facekit.labelnoise import count_label_noise

TABLE = pd.DataFrame(
    {
        "identity": ["ann", "ann", "ann", "bob", "bob", "eve", "dan", "dan"],
        "Male": [0, 0, 1, 1, 1, 0, 0, 1],
        "Bald": [0, 0, 0, np.nan, 1, 1, 0, np.nan],
    }
)


def test_contradictions_by_hand():
    found = count_label_noise(TABLE, ["Male", "Bald"], TABLE["identity"])
    assert found.columns.tolist() == [
        "groups",
        "pictures",
        "contradicting_groups",
        "minority",
        "minority_share",
        "low",
        "high",
        "ceiling",
    ]
    male = found.loc["Male"]
    assert male[["groups", "pictures", "contradicting_groups", "minority"]].tolist() == [3, 7, 2, 2]
    assert male["minority_share"] == pytest.approx(2 / 7)
    assert male["ceiling"] == pytest.approx(5 / 7)
    assert male["low"] < 2 / 7 < male["high"]
    # Of Bald, bob and dan have one known label each: no partner to contradict.
    assert found.loc["Bald", ["groups", "pictures", "minority"]].tolist() == [1, 3, 0]
    assert found.loc["Bald", "ceiling"] == 1.0


def test_the_share_of_flipped_labels_is_found_again():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(600), 20)
    truth = rng.integers(0, 2, 600)[people]
    labels = np.where(rng.random(len(people)) < 0.04, 1 - truth, truth)
    found = count_label_noise(pd.DataFrame({"Male": labels}), ["Male"], people).loc["Male"]
    assert found["low"] < 0.04 < found["high"]
    assert found["high"] - found["low"] < 0.012


def test_numbered_groups_and_counts_are_whole():
    table = pd.DataFrame({"Male": np.array([1, 0, 1, 1], dtype=np.int8)})
    found = count_label_noise(table, ["Male"], np.array([3, 3, 5, 9]))
    assert found.loc["Male", "minority"] == 1
    assert found["groups"].dtype.kind == "i"


def test_one_group_has_no_interval():
    found = count_label_noise(pd.DataFrame({"Male": [1, 0, 1]}), ["Male"], ["ann"] * 3).loc["Male"]
    assert found["minority_share"] == pytest.approx(1 / 3)
    assert np.isnan(found["low"]) and np.isnan(found["high"])


def test_without_partners_nothing_can_be_said():
    found = count_label_noise(TABLE, ["Male"], range(8)).loc["Male"]
    assert found[["groups", "pictures", "minority"]].tolist() == [0, 0, 0]
    assert np.isnan(found["ceiling"])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ParameterError, match="attribute 'Man'; expected a column of the table: identity, Male, Bald"):
        count_label_noise(TABLE, ["Man"], TABLE["identity"])
    with pytest.raises(ParameterError, match="2 groups for 8 rows"):
        count_label_noise(TABLE, ["Male"], [1, 2])
    with pytest.raises(DataError, match="row 0, Male: label -1; expected 0, 1 or missing"):
        count_label_noise(TABLE.assign(Male=TABLE["Male"] - 1), ["Male"], TABLE["identity"])
