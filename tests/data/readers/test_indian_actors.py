"""The Indian actors' reader: labelled and unlabelled rows, copies with the table in Train/, and what is no row."""

import pytest
from raw_files import write_image, write_indian_actors

from facekit.data.readers.indian_actors import read_unlabelled
from facekit.data.tables import read_dataset
from facekit.errors import DataError


@pytest.fixture
def actors(tmp_path):
    return write_indian_actors(tmp_path / "actors")


def list_excluded(excluded):
    return list(excluded.itertuples(index=False, name=None))


def append(path, text):
    with open(path, "a") as file:
        file.write(text)


def test_labelled_rows_in_the_order_of_the_file(actors):
    table = read_dataset("indian_actors", actors).table
    assert table.iloc[0].to_dict() == {"path": "Train/377.jpg", "split": "", "group": 0, "label": "MIDDLE"}
    assert table["label"].tolist() == ["MIDDLE", "YOUNG", "MIDDLE", "YOUNG", "MIDDLE", "OLD"]
    assert table["group"].tolist() == [0, 1, 2, 3, 4, 5]


def test_unlabelled_rows_in_the_order_of_the_file(actors):
    table, excluded = read_unlabelled(actors)
    assert list(table.columns) == ["path", "split", "group"]
    assert table["path"].tolist() == ["Test/11939.jpg", "Test/24520.jpg", "Test/5129.jpg"]
    assert set(table["split"]) == {""}
    assert excluded.empty


def test_labelled_and_unlabelled_rows_share_no_group(actors):
    labelled, unlabelled = read_dataset("indian_actors", actors).table, read_unlabelled(actors)[0]
    assert len({*labelled["group"], *unlabelled["group"]}) == 9


def test_labelled_rows_are_read_without_the_test_files(actors):
    (actors / "test.csv").unlink()
    assert len(read_dataset("indian_actors", actors).table) == 6
    with pytest.raises(
        DataError, match=r"holds no test\.csv or Test/test\.csv that is a file; expected the layout of indian_actors"
    ):
        read_unlabelled(actors)


@pytest.mark.parametrize("nested", [False, True])
def test_tables_in_the_image_folders(actors, nested):
    if nested:
        for folder in ("Train", "Test"):
            (actors / folder).rename(actors / "inner")
            (actors / folder).mkdir()
            (actors / "inner").rename(actors / folder / folder)
    (actors / "train.csv").rename(actors / "Train" / "train.csv")
    (actors / "test.csv").rename(actors / "Test" / "test.csv")
    paths = read_dataset("indian_actors", actors).table["path"]
    assert paths[0] == ("Train/Train/377.jpg" if nested else "Train/377.jpg")
    assert len(paths) == 6
    assert read_unlabelled(actors)[0]["path"][0] == ("Test/Test/11939.jpg" if nested else "Test/11939.jpg")


def test_what_cannot_be_used_is_excluded(actors):
    (actors / "Train" / "16496.jpg").unlink()
    append(actors / "train.csv", "1.jpg,young\n377.jpg,MIDDLE\n2.jpg,OLD,1\n")
    dataset = read_dataset("indian_actors", actors)
    assert list_excluded(dataset.excluded) == [
        ("train.csv", 5, "16496.jpg", "its image is missing in Train"),
        ("train.csv", 8, "young", "Class is none of YOUNG, MIDDLE, OLD"),
        ("train.csv", 9, "377.jpg", "ID is already in train.csv row 2"),
        ("train.csv", 10, "2.jpg OLD 1", "3 values instead of 2"),
    ]
    assert dataset.table["path"].tolist() == [f"Train/{number}.jpg" for number in (377, 17814, 21283, 4487, 6283)]
    assert dataset.table["group"].tolist() == [0, 1, 2, 3, 4]


def test_an_id_with_two_classes_is_not_used(actors):
    append(actors / "train.csv", "377.jpg,OLD\n")
    reason = "ID has several values of Class"
    excluded = list_excluded(read_dataset("indian_actors", actors).excluded)
    assert excluded == [("train.csv", 2, "377.jpg", reason), ("train.csv", 8, "377.jpg", reason)]


def test_equal_images_with_two_classes_are_left_to_the_audit(actors):
    for number in (377, 6283):
        write_image(actors / "Train" / f"{number}.jpg", seed=1)
    dataset = read_dataset("indian_actors", actors)
    assert len(dataset.table) == 6
    assert dataset.excluded.empty


def test_unlabelled_rows_without_images(actors):
    (actors / "Test" / "24520.jpg").unlink()
    table, excluded = read_unlabelled(actors)
    assert table["path"].tolist() == ["Test/11939.jpg", "Test/5129.jpg"]
    assert list_excluded(excluded) == [("test.csv", 3, "24520.jpg", "its image is missing in Test")]
    (actors / "Test" / "5129.jpg").unlink()
    with pytest.raises(DataError, match=r"2 of 3 rows cannot be used, the first in test\.csv row 3: 24520\.jpg: its image"):
        read_unlabelled(actors)


def test_indian_actors_real_images(shared):
    root = shared / "data" / "indian_actors"
    dataset = read_dataset("indian_actors", root)
    assert dataset.table["label"].value_counts().to_dict() == {"MIDDLE": 9_212, "YOUNG": 5_727, "OLD": 2_061}
    assert dataset.excluded.empty
    unlabelled, excluded = read_unlabelled(root)
    assert len(unlabelled) == 9_542
    assert excluded.empty
    assert unlabelled["path"].iloc[[0, -1]].tolist() == ["Test/11939.jpg", "Test/" + read_last_id(root / "test.csv")]


def read_last_id(path):
    return path.read_text().split()[-1]
