"""FaceHack's reader: no header, ids without .jpg, and ids that are repeated."""

import pytest
from raw_files import name_facehack, write_facehack

from facekit.data.tables import read_dataset
from facekit.errors import DataError


@pytest.fixture
def facehack(tmp_path):
    return write_facehack(tmp_path / "facehack")


def read_excluded(root, **lines):
    """Append lines to the files and return the rows excluded then."""
    for name, text in lines.items():
        with open(root / f"{name}.csv", "a") as file:
            file.write(text + "\n")
    return list(read_dataset("facehack", root).excluded.itertuples(index=False, name=None))


def test_no_header_and_jpg_added(facehack):
    table = read_dataset("facehack", facehack).table
    assert table.iloc[0].to_dict() == {
        "path": f"happy_images/{name_facehack(1)}.jpg",
        "split": "train",
        "group": 0,
        "label": "NOT smile",
    }
    assert table["label"].value_counts().to_dict() == {"NOT smile": 6, "positive smile": 4, "negative smile": 3}


def test_unknown_label_broken_line_and_a_path_out_of_the_folder_are_excluded(facehack):
    reason = "label is none of NOT smile, positive smile, negative smile"
    outside = f"../happy_images/{name_facehack(1)}"
    assert read_excluded(facehack, test=f"{name_facehack(1)},smil", train=f"abc\n{outside},NOT smile") == [
        ("train.csv", 10, "abc", "1 values instead of 2"),
        ("train.csv", 11, outside, "its image is missing in happy_images"),
        ("test.csv", 5, "smil", reason),
    ]


def test_repeated_id_is_used_once(facehack):
    excluded = read_excluded(facehack, train=f"{name_facehack(1)},NOT smile")
    assert excluded == [("train.csv", 10, name_facehack(1), "id is already in train.csv row 1")]


def test_id_in_both_files_stays_in_test(facehack):
    excluded = read_excluded(facehack, train=f"{name_facehack(10)},NOT smile")  # row 1 of test.csv
    assert excluded == [("train.csv", 10, name_facehack(10), "id is already in test.csv row 1")]
    table = read_dataset("facehack", facehack).table
    assert table.loc[table["path"].str.contains(name_facehack(10)), "split"].tolist() == ["test"]


def test_id_with_two_labels_is_not_used(facehack):
    assert read_excluded(facehack, train=f"{name_facehack(1)},negative smile") == [
        ("train.csv", 1, name_facehack(1), "id has several values of label"),
        ("train.csv", 10, name_facehack(1), "id has several values of label"),
    ]


def test_without_most_images_it_is_refused(facehack):
    for number in range(1, 8):
        (facehack / "happy_images" / f"{name_facehack(number)}.jpg").unlink()
    message = r"7 of 13 rows cannot be used, the first in train\.csv row 1: .* its image is missing in happy_images; `facekit"
    with pytest.raises(DataError, match=message):
        read_dataset("facehack", facehack)


def test_real_images(shared):
    dataset = read_dataset("facehack", shared / "data" / "facehack")
    assert dataset.table.groupby(["split", "label"]).size().to_dict() == {
        ("train", "NOT smile"): 3356,
        ("train", "positive smile"): 988,
        ("train", "negative smile"): 487,
        ("test", "NOT smile"): 1128,
        ("test", "positive smile"): 340,
        ("test", "negative smile"): 143,
    }
    assert dataset.excluded.empty
