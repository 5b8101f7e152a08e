"""Readers: one contract for all of them on raw files in the published format, and FaceHack's own quirks."""

import json

import pandas as pd
import pytest
from raw_files import name_facehack, write_celeba, write_facehack, write_indian_actors, write_selfies

from facekit.datasets import READERS, SPLITS, read_dataset, selfie
from facekit.datasets.celeba import ATTRIBUTES
from facekit.errors import DataError, ParameterError
from facekit.synthetic import write_sample
from facekit.tables import SET_ASIDE_COLUMNS

# What each reader must give: rows by split for its tiny raw files, the target columns, and how many of 60 drawn pictures
# have a label.
CONTRACT = {
    "celeba": {
        "write": write_celeba,
        "splits": {"train": 1, "validation": 1, "test": 1},
        "targets": ["identity", *ATTRIBUTES],
        "drawn": 60,
    },
    "facehack": {"write": write_facehack, "splits": {"train": 9, "test": 4}, "targets": ["label"], "drawn": 60},
    "indian_actors": {"write": write_indian_actors, "splits": {"": 6}, "targets": ["label"], "drawn": 45},
    "selfie": {
        "write": write_selfies,
        "splits": {"": 6},
        "targets": ["popularity", *selfie.ATTRIBUTES, "age"],
        "drawn": 60,
    },
}


def test_every_reader_is_under_the_contract():
    assert set(CONTRACT) == set(READERS)


@pytest.fixture(params=sorted(CONTRACT))
def raw(request, tmp_path):
    """A reader's name and its tiny raw files."""
    return request.param, CONTRACT[request.param]["write"](tmp_path / "raw")


def check_contract(dataset, name):
    table = dataset.table
    assert list(table.columns) == ["path", "split", "group", *CONTRACT[name]["targets"]]
    assert isinstance(table.index, pd.RangeIndex)
    assert not table.isna().any().any()
    assert table["path"].is_unique
    assert not table["path"].str.contains(r"\\|^/|\.\.").any()
    assert all((dataset.root / path).is_file() for path in table["path"])
    assert set(table["split"]) <= set(SPLITS)
    assert table.groupby("group")["split"].nunique().max() == 1  # no group in two splits
    assert tuple(dataset.set_aside.columns) == SET_ASIDE_COLUMNS
    assert dataset.name == name


def test_contract_on_raw_files(raw):
    name, root = raw
    dataset = read_dataset(name, root)
    check_contract(dataset, name)
    assert dataset.table["split"].value_counts().to_dict() == CONTRACT[name]["splits"]
    assert dataset.set_aside.empty
    assert dataset.kind == "photographs"


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_contract_on_the_drawn_sample(name, tmp_path):
    write_sample(name, tmp_path / "sample", count=60, seed=3)
    dataset = read_dataset(name, tmp_path / "sample")
    check_contract(dataset, name)
    assert dataset.kind == "synthetic"
    assert len(dataset.table) == CONTRACT[name]["drawn"]
    assert dataset.set_aside.empty


def test_reading_twice_gives_the_same(raw):
    name, root = raw
    pd.testing.assert_frame_equal(read_dataset(name, root).table, read_dataset(name, root).table)


def test_kind_is_read_from_the_folder(raw):
    name, root = raw
    (root / "facekit.json").write_text(json.dumps({"kind": "planted"}))
    assert read_dataset(name, root).kind == "planted"
    (root / "facekit.json").write_text(json.dumps({"kind": "drawn"}))
    with pytest.raises(DataError, match=r"facekit\.json: kind 'drawn'; expected one of photographs, synthetic, planted"):
        read_dataset(name, root)
    (root / "facekit.json").write_text("[]")
    with pytest.raises(DataError, match=r"facekit\.json: no kind in it"):
        read_dataset(name, root)


def test_wrong_folder_is_one_line(raw, tmp_path):
    name, _ = raw
    with pytest.raises(DataError, match=r"nowhere is no folder; expected the folder of \w+; see `facekit data fetch"):
        read_dataset(name, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no "):
        read_dataset(name, tmp_path / "empty")


def test_unknown_dataset_lists_the_known(tmp_path):
    with pytest.raises(ParameterError, match="no reader for dataset 'faces'; expected one of .*facehack"):
        read_dataset("faces", tmp_path)


@pytest.fixture
def facehack(tmp_path):
    return write_facehack(tmp_path / "facehack")


def read_aside(root):
    aside = read_dataset("facehack", root).set_aside
    return list(aside.itertuples(index=False, name=None))


def test_facehack_has_no_header_and_adds_jpg(facehack):
    table = read_dataset("facehack", facehack).table
    assert table.iloc[0].to_dict() == {
        "path": f"happy_images/{name_facehack(1)}.jpg",
        "split": "train",
        "group": 0,
        "label": "NOT smile",
    }
    assert table["label"].value_counts().to_dict() == {"NOT smile": 6, "positive smile": 4, "negative smile": 3}
    assert list(table["label"].unique()) == ["NOT smile", "positive smile", "negative smile"]


def test_facehack_with_byte_order_mark_crlf_and_blank_lines(facehack):
    text = (facehack / "train.csv").read_text()
    (facehack / "train.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n\r\n").encode())
    dataset = read_dataset("facehack", facehack)
    assert len(dataset.table) == 13
    assert dataset.set_aside.empty


def test_facehack_sets_missing_picture_aside(facehack):
    (facehack / "happy_images" / f"{name_facehack(2)}.jpg").unlink()
    assert read_aside(facehack) == [("train.csv", 2, name_facehack(2), "its picture is missing in happy_images")]


def test_facehack_sets_unknown_label_aside(facehack):
    with open(facehack / "test.csv", "a") as file:
        file.write(f"{name_facehack(1)},smil\n")
    reason = "label is none of NOT smile, positive smile, negative smile"
    assert read_aside(facehack) == [("test.csv", 5, "smil", reason)]


def test_facehack_sets_broken_line_aside(facehack):
    with open(facehack / "train.csv", "a") as file:
        file.write("abc\n")
    assert read_aside(facehack) == [("train.csv", 10, "abc", "1 values instead of 2")]


def test_facehack_path_out_of_the_folder_is_no_picture(facehack):
    with open(facehack / "train.csv", "a") as file:
        file.write(f"../happy_images/{name_facehack(1)},NOT smile\n")
    assert [line[1] for line in read_aside(facehack)] == [10]


def test_facehack_repeated_id_is_used_once(facehack):
    with open(facehack / "train.csv", "a") as file:
        file.write(f"{name_facehack(1)},NOT smile\n")
    assert read_aside(facehack) == [("train.csv", 10, name_facehack(1), "id stands in train.csv row 1 already")]


def test_facehack_id_in_both_files_stays_in_test(facehack):
    with open(facehack / "train.csv", "a") as file:
        file.write(f"{name_facehack(10)},NOT smile\n")  # row 1 of test.csv
    assert read_aside(facehack) == [("train.csv", 10, name_facehack(10), "id stands in test.csv row 1 already")]
    table = read_dataset("facehack", facehack).table
    assert table.loc[table["path"].str.contains(name_facehack(10)), "split"].tolist() == ["test"]


def test_facehack_id_with_two_labels_is_not_used(facehack):
    with open(facehack / "train.csv", "a") as file:
        file.write(f"{name_facehack(1)},negative smile\n")
    reason = f"id {name_facehack(1)} has several values of label: NOT smile, negative smile"
    assert read_aside(facehack) == [
        ("train.csv", 1, name_facehack(1), reason),
        ("train.csv", 10, name_facehack(1), reason),
    ]


def test_facehack_without_most_pictures_is_refused(facehack):
    for number in range(1, 8):
        (facehack / "happy_images" / f"{name_facehack(number)}.jpg").unlink()
    message = r"7 of 13 rows cannot be used, the first in train\.csv row 1: .* its picture is missing in happy_images"
    with pytest.raises(DataError, match=message):
        read_dataset("facehack", facehack)


def test_facehack_table_that_is_no_text(facehack):
    (facehack / "train.csv").write_bytes(b"\xff\xd8\xff\xe0picture")
    with pytest.raises(DataError, match=r"train\.csv: byte 0 is no UTF-8"):
        read_dataset("facehack", facehack)
    (facehack / "train.csv").write_bytes(b"")
    with pytest.raises(DataError, match=r"train\.csv: no row with 2 values; expected id, label"):
        read_dataset("facehack", facehack)


def test_facehack_photographs(shared):
    dataset = read_dataset("facehack", shared / "data" / "facehack")
    counts = dataset.table.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", "NOT smile"): 3356,
        ("train", "positive smile"): 988,
        ("train", "negative smile"): 487,
        ("test", "NOT smile"): 1128,
        ("test", "positive smile"): 340,
        ("test", "negative smile"): 143,
    }
    assert dataset.set_aside.empty
    assert dataset.kind == "photographs"
