"""Class weights and oversampling count training rows only."""

import pandas as pd
import pytest

from facekit.data.balance import compute_class_weights, oversample
from facekit.errors import DataError

TABLE = pd.DataFrame(
    {
        "path": [f"{row}.jpg" for row in range(12)],
        "split": ["train"] * 8 + ["validation"] * 2 + ["test"] * 2,
        "label": ["a"] * 6 + ["b"] * 2 + ["b"] * 4,
    }
)


def test_weights_are_those_of_the_training_rows():
    assert compute_class_weights(TABLE, "label", ("a", "b")).tolist() == pytest.approx([8 / 12, 2.0])


def test_every_class_reaches_the_minimum_in_train_alone():
    table = oversample(TABLE, "label", ("a", "b"), 7, seed=0)
    train = table[table["split"] == "train"]
    assert train["label"].value_counts().to_dict() == {"a": 7, "b": 7}
    assert (table["split"] != "train").sum() == 4
    assert (table.loc[table["copy"] > 0, "split"] == "train").all()


def test_copies_are_spread_evenly_and_numbered():
    copies = oversample(TABLE, "label", ("b",), 7, seed=0).query("copy > 0")
    assert copies.groupby("path").size().sort_values().tolist() == [2, 3]
    assert not copies.duplicated(["path", "copy"]).any()


def test_a_minimum_of_zero_copies_nothing():
    assert oversample(TABLE, "label", ("a", "b"), 0, seed=0)["copy"].tolist() == [0] * 12


def test_a_class_without_rows_is_named():
    with pytest.raises(DataError, match="no training row of class c"):
        oversample(TABLE, "label", ("a", "c"), 3, seed=0)
    with pytest.raises(DataError, match="no training row of class c"):
        compute_class_weights(TABLE, "label", ("a", "c"))
