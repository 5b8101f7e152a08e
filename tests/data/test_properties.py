"""What must hold for any table: each row is used or excluded, groups stay whole, and nothing but a DataError is raised."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from facekit.data.audit import NEAR, find_groups
from facekit.data.balance import oversample
from facekit.data.splits import merge_groups, split_table, split_validation
from facekit.data.tables import divide, exclude_repeated, read_every_row
from facekit.errors import DataError

# The same examples in every run; one folder serves all of them.
settings.register_profile(
    "facekit",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
settings.load_profile("facekit")

CELLS = st.one_of(
    st.text(max_size=6), st.sampled_from(["NOT smile", "positive smile", "negative smile", "a", "b", "", "nan", "1e999", ' "'])
)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=3), min_size=1, max_size=12)
ROWS = st.lists(
    st.tuples(st.sampled_from("abcde"), st.sampled_from(["x", "y"]), st.sampled_from(["train", "test"])),
    min_size=1,
    max_size=20,
)
TABLES = st.lists(
    st.tuples(st.integers(0, 30), st.sampled_from(["x", "y", "z"]), st.sampled_from(["train", "train", "test"])),
    min_size=1,
    max_size=80,
)


@given(train=LINES, test=LINES)
def test_every_line_of_a_table_is_a_row_or_excluded_with_its_number(tmp_path, train, test):
    (tmp_path / "happy_images").mkdir(exist_ok=True)
    for name in "ab":
        (tmp_path / "happy_images" / f"{name}.jpg").touch()
    lines = []
    for name, rows in (("train", train), ("test", test)):
        csv.writer(content := io.StringIO()).writerows(rows)
        (tmp_path / f"{name}.csv").write_text(content.getvalue(), encoding="utf-8", errors="replace", newline="")
        lines += re.split("\r\n|\r|\n", content.getvalue())
    try:
        dataset = read_every_row("facehack", tmp_path)
    except DataError:
        reject()  # which fails where no example is left
    places = dataset.excluded[["file", "row"]]
    assert not places.duplicated().any() and dataset.table["path"].is_unique
    assert set(dataset.table["path"]) <= {"happy_images/a.jpg", "happy_images/b.jpg"}
    assert set(dataset.table["label"]) <= {"NOT smile", "positive smile", "negative smile"}
    told = len(dataset.table) + len(dataset.excluded)
    assert sum(bool(re.search(r"\w", line)) for line in lines) <= told <= sum(bool(line.strip()) for line in lines)


@given(ROWS)
def test_of_repeated_keys_one_row_stays_or_none(rows):
    table = pd.DataFrame(rows, columns=["key", "label", "split"]).assign(file="f", row=range(len(rows)), value="", reason="")
    exclude_repeated(table, "key", ["label"])
    good, excluded = divide(table)
    assert good["key"].is_unique and len(good) + len(excluded) == len(rows)
    for key, same in pd.DataFrame(rows, columns=["key", "label", "split"]).groupby("key"):
        kept = good[good["key"] == key]
        assert len(kept) == (same["label"].nunique() == 1)
        if len(kept) and "test" in set(same["split"]):
            assert kept["split"].item() == "test"


@pytest.mark.parametrize("official", [True, False])
@given(rows=TABLES, fraction=st.sampled_from([0.1, 0.25, 0.5]), seed=st.integers(0, 3))
def test_splits_keep_groups_whole_and_every_class(official, rows, fraction, seed):
    table = pd.DataFrame(rows, columns=["group", "label", "split"])
    table["split"] = table.groupby("group")["split"].transform("first")  # nobody is in two splits
    try:
        if official:
            split = split_validation(table, "label", fraction, seed=seed)
            assert (split.loc[table["split"] == "test", "split"] == "test").all()
        else:
            split = split_table(table, "label", validation=fraction, test=fraction, seed=seed)
    except DataError:
        reject()  # which fails where no example is left
    assert split[["group", "label"]].equals(table[["group", "label"]])
    assert (split.groupby("group")["split"].nunique() == 1).all()
    assert (pd.crosstab(split["label"], split["split"]) > 0).all(axis=None)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=15))
def test_merged_groups_are_what_can_be_reached(pairs):
    first, second = np.array(pairs).T
    merged, reached = merge_groups(first, second), np.equal.outer(first, first) | np.equal.outer(second, second)
    for _ in pairs:
        reached = reached @ reached
    assert np.array_equal(np.equal.outer(merged, merged), reached)


@given(st.lists(st.integers(0, 63) | st.integers(0, 2**64 - 1), min_size=1, max_size=15))
def test_near_images_are_in_one_group(hashes):
    groups = find_groups(pd.DataFrame({"phash": np.array(hashes, np.uint64)}))
    near = np.array([[(a ^ b).bit_count() <= NEAR for b in hashes] for a in hashes])
    for _ in hashes:
        near = near @ near
    assert np.array_equal(np.equal.outer(groups, groups), near)


@given(rows=TABLES, minimum=st.integers(0, 30), seed=st.integers(0, 3))
def test_oversampling_copies_training_rows_alone(rows, minimum, seed):
    table = pd.DataFrame(rows, columns=["group", "label", "split"])
    try:
        more = oversample(table, "label", ("x", "y"), minimum, seed=seed)
    except DataError:
        reject()  # which fails where no example is left
    assert more.iloc[: len(table)].reset_index(drop=True).equals(table) and (more["split"][len(table) :] == "train").all()
    train = table["split"] == "train"
    before, after = table[train]["label"].value_counts(), more[more["split"] == "train"]["label"].value_counts()
    assert all(after.get(name, 0) == max(before.get(name, 0), minimum) for name in ("x", "y"))
    assert after.get("z", 0) == before.get("z", 0)
