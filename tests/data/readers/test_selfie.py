"""UCF Selfie's reader: popularity as it is, what not sure becomes, ages, and the split that a planted folder brings."""

import numpy as np
import pytest
from raw_files import SELFIES, write_image, write_selfies

from facekit.data.manifests import read_manifest
from facekit.data.readers import selfie
from facekit.data.tables import read_dataset
from facekit.errors import ParameterError

NAMES = [name for name, *_ in SELFIES]


@pytest.fixture
def root(tmp_path):
    return write_selfies(tmp_path / "selfie")


def read_excluded(root):
    return list(read_dataset("selfie", root).excluded.itertuples(index=False, name=None))


def change_line(root, number, old, new):
    """Replace the first `old` in one line, counted from 1, of the table."""
    lines = (root / "selfie_dataset.txt").read_text().splitlines()
    lines[number - 1] = lines[number - 1].replace(old, new, 1)
    (root / "selfie_dataset.txt").write_text("\n".join(lines) + "\n")


def test_attributes_are_the_manifests_columns():
    assert ["name", "popularity", *selfie.ATTRIBUTES] == list(read_manifest("selfie").tables["selfies"].columns)
    assert len(selfie.ATTRIBUTES) == 36
    assert set(selfie.AGES) < set(selfie.ATTRIBUTES)


def test_popularity_is_kept_and_labels_are_zero_and_one(root):
    table = read_dataset("selfie", root).table
    assert table["popularity"].tolist() == [4.5, 3.25, 5.125, 2.0, 4.75, 6.875]
    assert table["path"].tolist() == [f"images/{name}.jpg" for name in NAMES]
    assert table["is_female"].tolist() == [1, 0, 1, 0, 0, 1]
    assert table["smiling"].tolist() == [1, 0, 0, 1, 0, 1]
    assert table["dim_lighting"].tolist() == [0, 0, 0, 0, 1, 0]
    assert set(np.unique(table[list(selfie.ATTRIBUTES)])) == {0, 1}
    assert table["group"].is_unique


def test_not_sure_counts_as_no_or_is_missing(root):
    table = read_dataset("selfie", root, uncertain="missing").table
    unsure = {(row, name) for row, name in np.argwhere(table[list(selfie.ATTRIBUTES)].isna().to_numpy()).tolist()}
    wanted = {(1, "is_female"), (2, "smiling"), (4, "teenager")}
    assert unsure == {(row, selfie.ATTRIBUTES.index(name)) for row, name in wanted}
    assert table["is_female"].fillna(9).tolist() == [1, 9, 1, 0, 0, 1]
    with pytest.raises(ParameterError, match="uncertain = 'maybe'; expected no or missing"):
        read_dataset("selfie", root, uncertain="maybe")


@pytest.mark.parametrize("uncertain", ["no", "missing"])
def test_no_age_and_two_ages_are_no_class(root, uncertain):
    ages = read_dataset("selfie", root, uncertain=uncertain).table["age"]
    assert ages.tolist() == ["youth", "", "", "baby", "youth", "middle_age"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("nan", "popularity is not a finite number"),
        ("high", "popularity is not a finite number"),
        ("inf", "popularity is not a finite number"),
        ("-inf", "popularity is not a finite number"),
    ],
)
def test_popularity_that_is_no_number_is_refused(root, value, reason):
    change_line(root, 3, "5.125", value)
    assert read_excluded(root) == [("selfie_dataset.txt", 3, value, reason)]
    assert read_dataset("selfie", root).table["popularity"].tolist() == [4.5, 3.25, 2.0, 4.75, 6.875]


def test_faults_are_excluded_with_their_reasons(root):
    change_line(root, 1, " -1 ", " 2 ")
    (root / "images" / f"{NAMES[3]}.jpg").unlink()
    with open(root / "selfie_dataset.txt", "a") as file:
        file.write("a name with blanks 4.2 1\n")
    assert read_excluded(root) == [
        ("selfie_dataset.txt", 1, "2", "partial_faces is none of 1, -1, 0"),
        ("selfie_dataset.txt", 4, NAMES[3], "its image is missing in images"),
        ("selfie_dataset.txt", 7, "a name with blanks 4.2 1", "6 values instead of 38"),
    ]


def test_a_name_twice_is_used_once_or_not_at_all(root):
    lines = (root / "selfie_dataset.txt").read_text().splitlines()
    with open(root / "selfie_dataset.txt", "a") as file:
        file.write(lines[0] + "\n" + lines[1].replace("3.250", "3.251") + "\n")
    reason = "name has several values of popularity"
    assert read_excluded(root) == [
        ("selfie_dataset.txt", 2, NAMES[1], reason),
        ("selfie_dataset.txt", 7, NAMES[0], "name is already in selfie_dataset.txt row 1"),
        ("selfie_dataset.txt", 8, NAMES[1], reason),
    ]


def test_images_beside_the_table_are_found(root):
    for number, name in enumerate(NAMES):
        (root / "images" / f"{name}.jpg").unlink()
        write_image(root / f"{name}.jpg", seed=number)
    (root / "images").rmdir()
    assert read_dataset("selfie", root).table["path"].tolist() == [f"{name}.jpg" for name in NAMES]


def write_rows(root, changes=None):
    """Write rows.csv, one line a selfie; `changes` replace whole lines, counted from 0 without the header."""
    lines = [f"{name},{number:06d}.jpg,{number % 3},{7 + number // 3}" for number, name in enumerate(NAMES)]
    for number, line in (changes or {}).items():
        lines[number] = line
    text = "name,celeba_file,partition,identity\n" + "".join(line + "\n" for line in lines if line)
    (root / "rows.csv").write_text(text)


def test_rows_csv_gives_split_and_group(root):
    write_rows(root)
    table = read_dataset("selfie", root).table
    assert table["split"].tolist() == ["train", "validation", "test"] * 2
    assert table["group"].tolist() == [7, 7, 7, 8, 8, 8]
    change_line(root, 1, "4.5", "nan")  # a selfie less than rows.csv has
    assert read_dataset("selfie", root).table["split"].tolist() == ["validation", "test", "train", "validation", "test"]


@pytest.mark.parametrize(
    ("line", "excluded"),
    [
        ("", ("selfie_dataset.txt", 3, NAMES[2], "has no row in rows.csv")),
        (f"{NAMES[2]},000002.jpg,3,7", ("rows.csv", 4, "3", "partition is none of 0, 1, 2")),
        (f"{NAMES[2]},000002.jpg,2,Ann", ("rows.csv", 4, "Ann", "identity is not of the form [0-9]{1,9}")),
        (f"{NAMES[2]},000002.jpg,2,-1", ("rows.csv", 4, "-1", "identity is not of the form [0-9]{1,9}")),
        (f"{NAMES[2]},000002.jpg,2,7\n{NAMES[2]},000002.jpg,1,7", ("rows.csv", 4, NAMES[2], "has several values of partition")),
        (f"{NAMES[2]},000002.jpg,2,7\n{NAMES[2]},000002.jpg,2,8", ("rows.csv", 4, NAMES[2], "has several values of identity")),
        (f"{NAMES[2]},000002.jpg,2,7\n{NAMES[2]},2,7", ("rows.csv", 5, f"{NAMES[2]} 2 7", "3 values instead of 4")),
    ],
)
def test_what_does_not_fit_in_rows_csv_is_excluded(root, line, excluded):
    write_rows(root, {2: line})
    assert read_excluded(root) == [excluded]
    kept = [number for number in range(6) if number != 2 or "values instead" in excluded[3]]
    assert read_dataset("selfie", root).table["path"].tolist() == [f"images/{NAMES[number]}.jpg" for number in kept]
