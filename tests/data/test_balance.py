"""Class weights and oversampling count training rows only."""

import pandas as pd
import pytest

from facekit.data.balance import oversample
from facekit.errors import DataError

TABLE = pd.DataFrame(
    {
        "path": [f"{row}.jpg" for row in range(12)],
        "split": ["train"] * 8 + ["validation"] * 2 + ["test"] * 2,
        "label": ["a"] * 6 + ["b"] * 2 + ["b"] * 4,
    }
)


def test_every_class_reaches_the_minimum_in_train_alone():
    table = oversample(TABLE, "label", ("a", "b"), 7, seed=0)
    train = table[table["split"] == "train"]
    assert train["label"].value_counts().to_dict() == {"a": 7, "b": 7}
    assert (table["split"] != "train").sum() == 4
    assert (table["split"][len(TABLE) :] == "train").all()


def test_copies_are_spread_evenly():
    copies = oversample(TABLE, "label", ("b",), 7, seed=0)[len(TABLE) :]
    assert copies.groupby("path").size().sort_values().tolist() == [2, 3]


def test_a_minimum_of_zero_copies_nothing():
    pd.testing.assert_frame_equal(oversample(TABLE, "label", ("a", "b", "c"), 0, seed=0), TABLE)


def test_a_class_without_rows_is_named():
    with pytest.raises(DataError, match="no training row of class c"):
        oversample(TABLE, "label", ("a", "c"), 3, seed=0)
