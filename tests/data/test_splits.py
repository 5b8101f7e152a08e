"""Splits keep groups whole and classes in proportion."""

import numpy as np
import pandas as pd
import pytest

from facekit.data.splits import merge_groups, split_table, split_validation
from facekit.errors import DataError


def make_table(n=200, group_size=1):
    return pd.DataFrame(
        {
            "path": [f"{row}.jpg" for row in range(n)],
            "split": ["train"] * (n * 3 // 4) + ["test"] * (n - n * 3 // 4),
            "group": np.arange(n) // group_size,
            "label": np.where(np.arange(n) % 5 == 0, "rare", "common"),
        }
    )


def test_validation_comes_from_train_in_proportion():
    table = split_validation(make_table(), "label", 0.2, seed=0)
    assert table["split"].value_counts().to_dict() == {"train": 120, "test": 50, "validation": 30}
    assert (table.loc[table["split"] == "validation", "label"] == "rare").sum() == 6
    assert (table["split"][150:] == "test").all()


def test_a_group_is_never_divided():
    table = split_table(make_table(300, group_size=7), "label", validation=0.2, test=0.25, seed=3)
    assert (table.groupby("group")["split"].nunique() == 1).all()
    assert set(table["split"]) == {"train", "validation", "test"}


def test_same_seed_same_split_other_seed_other_split():
    first, again, other = (split_validation(make_table(), "label", 0.2, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_the_given_table_is_left_alone():
    table = make_table()
    split_validation(table, "label", 0.2, seed=0)
    assert set(table["split"]) == {"train", "test"}


def test_too_few_groups_are_refused_in_one_line():
    with pytest.raises(DataError, match="1 groups in 8 rows; expected at least 5"):
        split_table(make_table(8, group_size=8), "label", validation=0.1, test=0.2, seed=0)


@pytest.mark.parametrize(
    ("train", "test", "listed"),
    [
        (1, 9, r"test 9, train \d, validation \d"),
        (0, 3, "test 3, train 0, validation 0"),
        (30, 0, "test 0, train .*"),
    ],
)
def test_a_class_that_is_missing_in_a_split_is_named_with_its_counts(train, test, listed):
    table = make_table()
    table["label"] = "common"
    table.loc[range(train), "label"] = "rare"
    table.loc[range(150, 150 + test), "label"] = "rare"
    with pytest.raises(DataError, match=rf"class 'rare' of label has too few rows: {listed}; expected at least one in each"):
        split_validation(table, "label", 0.2, seed=0)


def test_classes_that_all_have_fewer_rows_than_parts_are_refused_in_one_line():
    table = make_table(20).assign(split="train", label=[f"{row % 10}" for row in range(20)])
    with pytest.raises(
        DataError, match="2 rows of the largest class of label; expected at least 5, to split off one part of 5"
    ):
        split_validation(table, "label", 0.2, seed=0)


@pytest.mark.parametrize("fraction", [0, -0.1, 0.6])
def test_a_share_out_of_range_is_refused(fraction):
    with pytest.raises(DataError, match="above 0 and at most 0.5"):
        split_validation(make_table(), "label", fraction, seed=0)


def test_groups_are_joined_through_either_column():
    identity = np.array(["ann", "ann", "bob", "cid", "dan"])
    image = np.array([0, 1, 1, 2, 2])
    assert merge_groups(identity, image).tolist() == [0, 0, 0, 1, 1]
