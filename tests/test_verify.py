"""Verification: every kind of fault is named with file and row, and a subset is named as a subset."""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_files import name_facehack, write_celeba, write_facehack, write_indian_actors, write_picture

from facekit.data_commands import add_data_parser, draw_sample
from facekit.errors import DataError, ParameterError
from facekit.synthetic import SAMPLE_COUNTS, write_sample
from facekit.tables import has_every_picture
from facekit.verify import verify_dataset


def verify(name, root):
    return verify_dataset(name, root, progress=False)


def list_problems(report):
    return [(entry["file"], entry["row"], entry["value"], entry["problem"]) for entry in report.problems]


@pytest.fixture
def facehack(tmp_path):
    """FaceHack's raw files, called synthetic, since 13 pictures are not the published ones."""
    root = write_facehack(tmp_path / "facehack")
    (root / "facekit.json").write_text('{"kind": "synthetic"}')
    return root


def test_folder_without_fault(facehack):
    report = verify("facehack", facehack)
    assert report.problems == []
    assert report.pictures == {"found": 13, "decoded": 13, "published": 6442}
    assert report.tables[0]["counts"] == {"label": {"NOT smile": 4, "positive smile": 3, "negative smile": 2}}
    assert "pictures are 12 wide and 16 high" in report.notes
    assert not report.whole
    assert report.to_text().startswith(f"facehack in {facehack}: synthetic data, problems: 0")


def test_every_fault_is_listed_with_file_and_row(facehack):
    with open(facehack / "train.csv", "a") as file:
        file.write(f"{name_facehack(1)},NOT smile\n{name_facehack(10)},negative smile\n")  # rows 10 and 11: repeated
        file.write(f"{name_facehack(99)},grin\nnonsense\n")  # row 12: unknown label, no picture; row 13: broken
    pictures = facehack / "happy_images"
    write_picture(pictures / "stray.jpg", seed=50)
    (pictures / f"{name_facehack(2)}.jpg").write_bytes(b"<html>no picture</html>")
    good = (pictures / f"{name_facehack(3)}.jpg").read_bytes()
    (pictures / f"{name_facehack(3)}.jpg").write_bytes(good[: len(good) // 2])
    (pictures / f"{name_facehack(4)}.jpg").write_bytes(b"")
    problems = list_problems(verify("facehack", facehack))
    labels = "NOT smile, positive smile, negative smile"
    id_99 = name_facehack(99)
    assert problems[:6] == [
        ("train.csv", 13, "nonsense", "1 values instead of 2"),
        ("train.csv", 12, "grin", f"label is none of {labels}"),
        ("train.csv", 10, name_facehack(1), "stands in train.csv row 1 already, with the same values"),
        ("test.csv", 1, name_facehack(10), "stands in train.csv row 11 already, with other values"),
        ("train.csv", 12, f"happy_images/{id_99}.jpg", "the row's picture is missing"),
        ("happy_images/stray.jpg", None, "stray.jpg", "no row names this picture"),
    ]
    undecodable = problems[6:]
    assert [entry[0] for entry in undecodable] == [f"happy_images/{name_facehack(number)}.jpg" for number in (2, 3, 4)]
    for entry, words in zip(undecodable, ("b'<html>", "truncated", "empty"), strict=True):
        assert words in entry[3]


def test_report_is_written_as_json_and_text(facehack, tmp_path):
    (facehack / "happy_images" / f"{name_facehack(5)}.jpg").unlink()
    verify_dataset("facehack", facehack, report=tmp_path / "out" / "report.json", progress=False)
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    line = {
        "file": "train.csv",
        "row": 5,
        "value": f"happy_images/{name_facehack(5)}.jpg",
        "problem": "the row's picture is missing",
    }
    assert content["problems"] == [line]
    assert f"train.csv row 5: {line['value']}: {line['problem']}" in (tmp_path / "out" / "report.txt").read_text()


def test_long_lists_are_cut_on_the_terminal_only(facehack):
    for path in (facehack / "happy_images").iterdir():
        path.write_bytes(b"x")
    report = verify("facehack", facehack)
    assert len(report.problems) == 13
    assert "... and 10 more problems in the report" in report.to_text(3)
    assert "more problems" not in report.to_text()


def test_photographs_are_held_against_published_counts_and_hashes(facehack):
    (facehack / "facekit.json").unlink()
    report = verify("facehack", facehack)
    assert "train.csv: a subset, 9 of 4,831 published rows" in report.notes
    assert [entry[0] for entry in list_problems(report)] == ["train.csv", "test.csv"]
    assert "expected 239,263 as published" in report.problems[0]["problem"]


def test_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        DataError, match="holds no table and no picture of facehack; expected train.csv, test.csv, happy_images/; see"
    ):
        verify("facehack", tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        verify("facehack", tmp_path / "nowhere")
    with pytest.raises(ParameterError, match="workers 0; expected 1 or more"):
        verify_dataset("facehack", tmp_path, workers=0)


def plant_celeba(root, form, **options):
    """Raw files of CelebA, called planted, since four rows are not the published ones."""
    write_celeba(root, form, **options)
    (root / "facekit.json").write_text('{"kind": "planted"}')
    return root


@pytest.mark.parametrize("form", ["txt", "csv", "csv.zip"])
def test_celeba_in_every_distribution(tmp_path, form):
    report = verify("celeba", plant_celeba(tmp_path / "celeba", form))
    assert report.problems == []
    assert [table["rows"] for table in report.tables] == [4, 4, 4]
    assert report.tables[1]["counts"] == {"partition": {"0": 2, "1": 1, "2": 1}}
    assert "a subset: 3 pictures; 1 rows have none here" in report.notes


def test_celeba_without_identities_and_with_wrong_rows(tmp_path):
    root = plant_celeba(tmp_path / "celeba", "csv", identities=False)
    path = root / "list_eval_partition.csv"
    path.write_text(path.read_text().replace("000004.jpg,0", "000005.jpg,3"))
    report = verify("celeba", root)
    assert "identity_CelebA.txt is not there; it is optional" in report.notes
    assert list_problems(report) == [
        ("list_eval_partition.csv", 5, "3", "partition is none of 0, 1, 2"),
        ("list_eval_partition.csv", 5, "000005.jpg", "has no row in list_attr_celeba.csv"),
        ("list_attr_celeba.csv", 5, "000004.jpg", "has no row in list_eval_partition.csv"),
    ]


def test_celeba_with_another_header(tmp_path):
    root = plant_celeba(tmp_path / "celeba", "csv")
    path = root / "list_attr_celeba.csv"
    path.write_text(path.read_text().replace("Bald", "Bold"))
    (problem,) = list_problems(verify("celeba", root))
    assert "list_attr_celeba.csv row 1: column 'Bold' in the header; expected image_id" in problem[3]


def test_indian_actors_faults(tmp_path):
    (tmp_path / "facekit.json").write_text('{"kind": "planted"}')
    (tmp_path / "train.csv").write_text("ID,Class\n1.jpg,YOUNG\n2.jpg,OLD\n3.jpg,OLDER\nx.jpg,OLD\n")
    (tmp_path / "test.csv").write_text("ID\n4.jpg\n")
    for folder, number in (("Train", 1), ("Train", 2), ("Test", 3), ("Test", 4)):
        write_picture(tmp_path / folder / f"{number}.jpg", seed=number)
    assert list_problems(verify("indian_actors", tmp_path)) == [
        ("train.csv", 5, "x.jpg", r"ID is not of the form [0-9]+\.jpg"),
        ("train.csv", 4, "OLDER", "Class is none of YOUNG, MIDDLE, OLD"),
        ("train.csv", 4, "Train/3.jpg", "the row's picture is missing"),
        ("train.csv", 5, "Train/x.jpg", "the row's picture is missing"),
        ("Test/3.jpg", None, "3.jpg", "no row names this picture"),
    ]


def test_tables_beside_their_pictures_are_no_pictures(tmp_path):
    root = write_indian_actors(tmp_path / "actors")
    (root / "facekit.json").write_text('{"kind": "planted"}')
    for table in ("Train/train.csv", "Test/test.csv"):
        (root / Path(table).name).rename(root / table)
    report = verify("indian_actors", root)
    assert report.problems == []
    assert report.pictures["decoded"] == 9


def test_rows_divided_otherwise_are_no_fault_but_too_many_are(tmp_path):
    labels = ["YOUNG"] * 2000 + ["MIDDLE"] * 2000 + ["OLD"] * 2397  # one OLD more than published
    (tmp_path / "train.csv").write_text("ID,Class\n" + "".join(f"{n}.jpg,{label}\n" for n, label in enumerate(labels)))
    (tmp_path / "test.csv").write_text("ID\n" + "".join(f"{n}.jpg\n" for n in range(10_000, 17_000)))
    report = verify("indian_actors", tmp_path)
    assert report.notes[:2] == [
        "train.csv: a subset, 6,397 of 19,906 published rows",
        "test.csv: 7,000 rows, published 6,636: rows are divided otherwise; 13,397 in all tables, published 26,542",
    ]
    faults = [line for line in list_problems(report) if line[3] != "the row's picture is missing"]
    assert faults == [("train.csv", None, "Class OLD", "2,397 rows, published 2,396")]
    (tmp_path / "test.csv").write_text("ID\n" + "".join(f"{n}.jpg\n" for n in range(10_000, 40_000)))
    faults = [line for line in list_problems(verify("indian_actors", tmp_path)) if line[1] is None]
    assert faults == [
        ("train.csv", None, "Class OLD", "2,397 rows, published 2,396"),
        ("test.csv", None, "30,000 rows", "published are 6,636"),
    ]


def test_selfies_without_table_are_decoded_and_the_table_is_missed(tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number:032x}_6.jpg"), np.zeros((306, 306, 3), np.uint8))
    report = verify("selfie", tmp_path)
    assert report.pictures["decoded"] == 3
    assert list_problems(report) == [("selfie_dataset.txt", None, "selfies", "the table is missing")]


def test_selfie_popularity_must_be_a_number(tmp_path):
    (tmp_path / "facekit.json").write_text('{"kind": "planted"}')
    name = f"{7:032x}_6"
    values = " ".join(["-1"] * 35)
    (tmp_path / "selfie_dataset.txt").write_text(f"{name} 4.2 1 {values}\n{name[:-1]}7 high 2 {values}\n")
    write_picture(tmp_path / "images" / f"{name}.jpg", seed=7)
    assert list_problems(verify("selfie", tmp_path)) == [
        ("selfie_dataset.txt", 2, "high", "popularity is no number"),
        ("selfie_dataset.txt", 2, "2", "partial_faces is none of 1, -1, 0"),
    ]


@pytest.mark.parametrize("name", ["selfie", "celeba", "indian_actors", "facehack"])
def test_drawn_samples_have_no_fault(name, tmp_path):
    write_sample(name, tmp_path / name, count=40, seed=1)
    report = verify(name, tmp_path / name)
    assert report.problems == []
    assert report.kind == "synthetic"
    assert report.pictures["decoded"] == 40


def test_sample_is_drawn_once_and_again_when_it_is_not_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    monkeypatch.setitem(SAMPLE_COUNTS, "facehack", 40)
    folder = draw_sample("facehack")
    assert folder == tmp_path / "data" / "sample" / "facehack"
    picture = next((folder / "happy_images").iterdir())
    before = picture.stat().st_mtime_ns
    draw_sample("facehack")
    assert picture.stat().st_mtime_ns == before
    picture.unlink()
    assert not has_every_picture("facehack", folder)
    draw_sample("facehack")
    assert picture.is_file()
    assert sorted(path.name for path in folder.parent.iterdir()) == [".facehack.lock", "facehack"]


def run_command(*words):
    parser = argparse.ArgumentParser()
    add_data_parser(parser.add_subparsers())
    options = parser.parse_args(["data", *words])
    return options.function(options)


def test_commands_print_and_return_their_status(facehack, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    assert run_command("verify", "facehack", "--root", str(facehack)) == 0
    (facehack / "happy_images" / f"{name_facehack(1)}.jpg").unlink()
    monkeypatch.setenv("FACEKIT_DATA", str(facehack))
    assert run_command("verify", "facehack") == 1
    assert "train.csv row 1: happy_images/" in capsys.readouterr().out
    assert (tmp_path / "cache" / "verify" / "facehack.json").is_file()
    assert run_command("fetch", "indian_actors") == 1
    assert "1. Open https://datahack.analyticsvidhya.com/contest/" in capsys.readouterr().out
    assert run_command("list") == 0
    assert "celeba: CelebA, Large-scale CelebFaces Attributes" in capsys.readouterr().out
    with pytest.raises(ParameterError, match="unknown dataset 'faces'; expected one of celeba, facehack"):
        run_command("sample", "faces")


def test_facehack_photographs_are_whole(shared):
    report = verify("facehack", shared / "data" / "facehack")
    assert report.problems == []
    assert report.whole
    assert report.pictures == {"found": 6442, "decoded": 6442, "published": 6442}
    assert "all pictures are byte for byte the published ones" in report.notes
