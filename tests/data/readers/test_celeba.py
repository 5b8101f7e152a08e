"""CelebA's reader: both distributions, any part of the images, identities, and what is no row."""

import numpy as np
import pandas as pd
import pytest
from raw_files import write_celeba, write_image

from facekit.data.audit import audit_splits, hash_images
from facekit.data.manifests import read_manifest
from facekit.data.readers.celeba import ATTRIBUTES, UNKNOWN, read_attributes, read_tables
from facekit.data.tables import read_dataset
from facekit.data.verify import verify_dataset
from facekit.errors import DataError


@pytest.fixture
def celeba(tmp_path):
    return write_celeba(tmp_path / "celeba")


def replace_in(path, old, new):
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def list_excluded(excluded):
    return list(excluded.itertuples(index=False, name=None))


def test_attributes_are_those_of_the_manifest():
    assert list(ATTRIBUTES) == list(read_manifest("celeba").tables["attributes"].columns)[1:]
    assert (len(ATTRIBUTES), ATTRIBUTES[0], ATTRIBUTES[20], ATTRIBUTES[39]) == (40, "5_o_Clock_Shadow", "Male", "Young")


@pytest.mark.parametrize("form", ["txt", "csv", "csv.zip"])
def test_every_distribution_gives_the_same(form, tmp_path):
    table = read_dataset("celeba", write_celeba(tmp_path / form, form)).table
    assert table["path"].tolist() == [f"img_align_celeba/00000{number}.jpg" for number in (1, 2, 3)]
    assert table["split"].tolist() == ["train", "validation", "test"]
    assert table["group"].tolist() == table["identity"].tolist() == [1, 2, 3]
    assert set(table[list(ATTRIBUTES)].dtypes) == {np.dtype(np.int8)}
    assert table[list(ATTRIBUTES)].to_numpy().tolist() == [[0] * 20 + [1] * 20] * 3


def test_images_in_a_folder_within_the_folder(celeba):
    folder = celeba / "img_align_celeba"
    folder.rename(celeba / "inner")
    folder.mkdir()
    (celeba / "inner").rename(folder / "img_align_celeba")
    assert read_dataset("celeba", celeba).table["path"][0] == "img_align_celeba/img_align_celeba/000001.jpg"


def test_any_part_of_the_images_with_some_of_each_split_is_a_dataset(celeba):
    write_image(celeba / "img_align_celeba" / "000004.jpg", seed=4)
    (celeba / "img_align_celeba" / "000001.jpg").unlink()
    dataset = read_dataset("celeba", celeba)
    assert dataset.table["path"].tolist() == [f"img_align_celeba/00000{number}.jpg" for number in (2, 3, 4)]
    assert dataset.excluded.empty
    for number in (2, 3):
        (celeba / "img_align_celeba" / f"00000{number}.jpg").unlink()
    message = r"official split validation and test \(train 1\); expected some of train, validation, test, or ten groups"
    with pytest.raises(DataError, match=message):
        read_dataset("celeba", celeba)
    assert "no image of the official split validation" in verify_dataset("celeba", celeba).problems[0]["reason"]


def test_the_first_images_which_are_all_in_train_are_split_by_people(tmp_path, capsys):
    numbers = range(1, 41)
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    for number in numbers:
        write_image(folder / f"{number:06}.jpg", seed=number)
    lines = [f"{number:06}.jpg," + ",".join(["1", "-1"] * 20) for number in numbers]
    (tmp_path / "list_attr_celeba.csv").write_text("\n".join(["image_id," + ",".join(ATTRIBUTES), *lines]) + "\n")
    lines = [f"{number:06}.jpg,0" for number in numbers]
    (tmp_path / "list_eval_partition.csv").write_text("\n".join(["image_id,partition", *lines]) + "\n")
    (tmp_path / "identity_CelebA.txt").write_text("".join(f"{number:06}.jpg {number % 20 + 1}\n" for number in numbers))
    dataset = read_dataset("celeba", tmp_path)
    assert dataset.table["split"].value_counts().to_dict() == {"train": 32, "validation": 4, "test": 4}
    assert (dataset.table.groupby("group")["split"].nunique() == 1).all()
    assert dataset.note.startswith("no image of the official split validation and test (train 40): split here")
    assert dataset.note in capsys.readouterr().out
    found = verify_dataset("celeba", tmp_path)
    assert not found.problems
    assert dataset.note in found.notes
    pd.testing.assert_frame_equal(read_dataset("celeba", tmp_path).table, dataset.table)


def test_a_folder_where_no_image_matches_is_refused(celeba):
    for path in (celeba / "img_align_celeba").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no image that list_attr_celeba\.csv names; expected such as img_align_celeba/0"):
        read_dataset("celeba", celeba)
    write_image(celeba / "img_align_celeba" / "1.jpg", seed=1)
    with pytest.raises(DataError, match=r"expected such as img_align_celeba/000001\.jpg; put all images, or a part"):
        read_dataset("celeba", celeba)


def test_attributes_are_read_without_images(celeba):
    table = read_dataset("celeba", celeba).table
    rows, excluded = read_attributes(celeba)
    assert rows["split"].tolist() == ["train", "validation", "test", "train"]
    assert excluded.empty
    pd.testing.assert_frame_equal(rows.iloc[:3], table)
    for path in (celeba / "img_align_celeba").iterdir():
        path.unlink()
    pd.testing.assert_frame_equal(read_attributes(celeba)[0], rows)


def test_without_identities_each_row_is_a_group(tmp_path):
    table = read_dataset("celeba", write_celeba(tmp_path / "celeba", identities=False)).table
    assert table["identity"].tolist() == [UNKNOWN] * 3
    assert table["group"].is_unique


def test_a_row_without_identity_is_a_group_of_its_own(celeba):
    (celeba / "identity_CelebA.txt").write_text("000001.jpg 2\n000004.jpg 2\n")
    rows, excluded = read_attributes(celeba)
    assert rows["identity"].tolist() == [2, UNKNOWN, UNKNOWN, 2]
    assert rows["group"].tolist() == [2, 4, 5, 2]
    assert excluded.empty


def test_a_person_in_two_official_splits_is_counted(celeba):
    replace_in(celeba / "identity_CelebA.txt", "000003.jpg 3", "000003.jpg 1")
    table = read_dataset("celeba", celeba).table
    assert table["split"].tolist() == ["train", "validation", "test"]  # the partition stays as published
    found = audit_splits(table, hash_images(celeba, table["path"]), target="Male")
    assert found["cross_split_groups"] == 1
    assert found["named"]["cross_split_groups"] == [1]


@pytest.mark.parametrize("value", ["0", "2", "yes", "1.0", ""])
def test_an_attribute_is_1_or_minus_1(celeba, value):
    path = celeba / "list_attr_celeba.csv"
    replace_in(path, "000002.jpg,-1,", f"000002.jpg,{value},")
    table, excluded = read_tables(celeba)
    assert table["identity"].tolist() == [1, 3]
    aside = [("list_attr_celeba.csv", 3, value, "5_o_Clock_Shadow is none of 1, -1")]
    assert list_excluded(excluded) == aside == list_excluded(read_attributes(celeba)[1])


def test_tables_of_0_and_1_are_refused(celeba):
    path = celeba / "list_attr_celeba.csv"
    path.write_text(path.read_text().replace("-1", "0"))
    message = r"4 of 4 rows cannot be used, the first in list_attr_celeba\.csv row 2: 0: 5_o_Clock_Shadow is none of 1, -1"
    with pytest.raises(DataError, match=message):
        read_attributes(celeba)
    with pytest.raises(DataError, match="3 of 3 rows cannot be used"):
        read_dataset("celeba", celeba)


def test_wrong_partitions_and_identities_are_excluded_with_their_own_file(celeba):
    write_image(celeba / "img_align_celeba" / "000004.jpg", seed=4)
    replace_in(celeba / "list_eval_partition.csv", "000002.jpg,1", "000002.jpg,3")
    replace_in(celeba / "identity_CelebA.txt", "000004.jpg 4", "000004.jpg 1e999")
    table, excluded = read_tables(celeba)
    assert list_excluded(excluded) == [
        ("list_eval_partition.csv", 3, "3", "partition is none of 0, 1, 2"),
        ("identity_CelebA.txt", 4, "1e999", "identity is not of the form [1-9][0-9]{0,4}"),
    ]
    assert table["path"].tolist() == ["img_align_celeba/000001.jpg", "img_align_celeba/000003.jpg"]


def test_a_row_without_partition_or_with_two_is_excluded(celeba):
    replace_in(celeba / "list_eval_partition.csv", "000002.jpg,1\n", "")
    with open(celeba / "list_eval_partition.csv", "a") as file:
        file.write("000001.jpg,2\n000003.jpg,2\n")
    with open(celeba / "identity_CelebA.txt", "a") as file:
        file.write("000003.jpg 7\n")
    assert list_excluded(read_tables(celeba)[1]) == [
        ("list_eval_partition.csv", 2, "000001.jpg", "has several values of partition"),
        ("list_attr_celeba.csv", 3, "000002.jpg", "has no row in list_eval_partition.csv"),
        ("identity_CelebA.txt", 3, "000003.jpg", "has several values of identity"),
    ]


def test_a_repeated_row_is_used_once_and_a_contradicting_one_never(celeba):
    same = "000001.jpg," + ",".join(["-1"] * 20 + ["1"] * 20)
    other = "000002.jpg," + ",".join(["-1"] * 21 + ["1"] * 19)
    with open(celeba / "list_attr_celeba.csv", "a") as file:
        file.write(f"{same}\n{other}\n000003.jpg,1\n")
    several = "image_id has several values of Male"
    assert list_excluded(read_tables(celeba)[1]) == [
        ("list_attr_celeba.csv", 3, "000002.jpg", several),
        ("list_attr_celeba.csv", 6, "000001.jpg", "image_id is already in list_attr_celeba.csv row 2"),
        ("list_attr_celeba.csv", 7, "000002.jpg", several),
        ("list_attr_celeba.csv", 8, "000003.jpg 1", "2 values instead of 41"),
    ]


def test_a_missing_table_is_named(celeba):
    (celeba / "list_eval_partition.csv").unlink()
    with pytest.raises(DataError, match=r"holds no list_eval_partition\.txt or list_eval_partition\.csv or "):
        read_dataset("celeba", celeba)


def test_celeba_real_images(shared):
    dataset = read_dataset("celeba", shared / "data" / "celeba")
    assert dataset.table["split"].value_counts().to_dict() == {"train": 24_152, "validation": 2_945, "test": 2_903}
    assert dataset.excluded.empty
    assert dataset.table["identity"].min() >= 1
    assert dataset.table.groupby("group")["split"].nunique().max() == 1


def test_celeba_tables_are_complete(shared):
    rows, excluded = read_attributes(shared / "data" / "celeba")
    assert rows["split"].value_counts().to_dict() == {"train": 162_770, "test": 19_962, "validation": 19_867}
    assert excluded.empty
    assert rows["identity"].nunique() == 10_177
    assert int((rows.groupby("identity")["split"].nunique() > 1).sum()) == 0
    assert rows[["5_o_Clock_Shadow", "Male", "Young"]].sum().tolist() == [22_516, 84_434, 156_734]
