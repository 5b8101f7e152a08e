"""Verification: what is wrong is named with file and row, counts are compared, and a subset is named as a subset."""

import json

import numpy as np
import pytest
from PIL import Image
from raw_files import name_facehack, write_celeba, write_facehack, write_image, write_indian_actors

from facekit.data.verify import verify_dataset
from facekit.errors import ParameterError


def list_entries(entries):
    return [(entry["file"], entry["row"], entry["value"], entry["reason"]) for entry in entries]


@pytest.fixture
def facehack(tmp_path):
    """FaceHack's raw files, called synthetic, since 13 images are not the published ones."""
    root = write_facehack(tmp_path / "facehack")
    (root / "facekit.json").write_text('{"kind": "synthetic"}')
    return root


def test_folder_without_fault(facehack):
    report = verify_dataset("facehack", facehack)
    assert (report.problems, report.findings, report.state) == ([], [], "synthetic data")
    assert report.notes == []
    assert report.to_text().startswith(f"facehack in {facehack}: synthetic data, problems: 0, findings: 0\n")


def test_every_fault_is_listed_with_file_and_row(facehack, tmp_path):
    with open(facehack / "train.csv", "a") as file:
        file.write(f"{name_facehack(1)},NOT smile\n{name_facehack(99)},grin\nnonsense\n")
    images = facehack / "happy_images"
    write_image(images / "stray.jpg", seed=50)
    (images / "notes.txt").touch()
    (images / f"{name_facehack(2)}.jpg").write_bytes(b"<html>no image</html>")
    good = (images / f"{name_facehack(3)}.jpg").read_bytes()
    (images / f"{name_facehack(3)}.jpg").write_bytes(good[: len(good) // 2])
    (images / f"{name_facehack(4)}.jpg").write_bytes(b"")
    report = verify_dataset("facehack", facehack, report=tmp_path / "out" / "report.json")
    labels = "NOT smile, positive smile, negative smile"
    expected = [
        ("train.csv", 10, name_facehack(1), "id is already in train.csv row 1"),
        ("train.csv", 11, "grin", f"label is none of {labels}"),
        ("train.csv", 12, "nonsense", "1 values instead of 2"),
        ("happy_images/notes.txt", None, "notes.txt", "no row names this file"),
        ("happy_images/stray.jpg", None, "stray.jpg", "no row names this file"),
    ]
    assert list_entries(report.findings) == expected
    names = [f"happy_images/{name_facehack(number)}.jpg" for number in (2, 3, 4)]
    assert [entry["file"] for entry in report.problems] == names
    for entry, words in zip(report.problems, ("b'<html>", "truncated", "empty"), strict=True):
        assert words in entry["reason"]
    text = report.to_text(2)
    assert "cannot be used, problems: 3, findings: 5" in text
    assert f"finding: train.csv row 10: {name_facehack(1)}: id is already" in text
    assert "... and 1 more problems in the report" in text
    assert "... and 3 more findings in the report" in text
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list_entries(content["findings"]) == expected
    assert (tmp_path / "out" / "report.txt").read_text() == report.to_text() + "\n"


@pytest.mark.parametrize("name", ["file/report.json", "folder.json", "x" * 300 + ".json", "nul\n" * 70 + ".json"])
def test_a_report_that_cannot_be_written_is_named_before_the_work(facehack, tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "folder.json").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ParameterError, match=r"--report .*; expected a file that can be written") as caught:
        verify_dataset("facehack", facehack, report=tmp_path / name)
    assert str(caught.value).isprintable()
    assert sorted(tmp_path.rglob("*")) == before


def test_an_image_filled_with_one_colour_may_be_damaged(facehack):
    name = f"happy_images/{name_facehack(2)}.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels[32:] = 128
    Image.fromarray(pixels).save(facehack / name)
    report = verify_dataset("facehack", facehack)
    assert report.problems == []
    assert [(entry["file"], entry["reason"]) for entry in report.findings] == [
        (name, "its lowest quarter is of one colour: perhaps damaged")
    ]


def test_a_jpeg_with_a_hole_of_zeros_may_be_damaged(facehack):
    """A decoder takes the hole for pixels."""
    path = facehack / "happy_images" / f"{name_facehack(2)}.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=b"Exif\0\0" + bytes(500))
    assert verify_dataset("facehack", facehack).findings == []
    content = path.read_bytes()
    path.write_bytes(content[:-402] + bytes(300) + content[-102:])
    report = verify_dataset("facehack", facehack)
    assert report.problems == []
    assert [entry["reason"] for entry in report.findings] == [
        "64 or more zero bytes in a row within its pixels: perhaps damaged"
    ]


def test_a_part_of_the_published_images_is_a_subset(facehack):
    (facehack / "facekit.json").unlink()
    report = verify_dataset("facehack", facehack)
    assert report.state == "a subset"
    assert report.problems == []
    assert report.counts == {"train.csv": (9, 4831), "test.csv": (4, 1611), "images": (13, 6442)}
    assert [entry["file"] for entry in report.findings] == ["train.csv", "test.csv"]  # not the published bytes
    assert "train.csv: 9, published 4,831" in report.to_text()


@pytest.mark.parametrize(("form", "count"), [("txt", "4"), ("txt", "202599"), ("csv", ""), ("csv.zip", "")])
def test_a_part_of_celeba_in_every_distribution(tmp_path, form, count):
    root = write_celeba(tmp_path / "celeba", form)
    table = root / f"list_attr_celeba.{form}"
    if count:
        table.write_text(table.read_text().replace("4", count, 1))
    report = verify_dataset("celeba", root)
    assert (report.problems, report.state) == ([], "a subset")
    assert list(report.counts.values()) == [(4, 202599)] * 3 + [(3, 202599)]
    lines = [entry["reason"] for entry in report.findings if entry["row"] == 1]
    assert lines == (["is to be the number of rows, which is 4"] if count == "202599" else [])


def test_celeba_without_identities_and_with_wrong_rows(tmp_path):
    root = write_celeba(tmp_path / "celeba", identities=False)
    path = root / "list_eval_partition.csv"
    path.write_text(path.read_text().replace("000003.jpg,2", "000005.jpg,3"))
    report = verify_dataset("celeba", root)
    assert "identity_CelebA.txt is not there" in report.notes
    assert list_entries(report.findings) == [
        ("list_attr_celeba.csv", 4, "000003.jpg", "has no row in list_eval_partition.csv"),
        ("list_eval_partition.csv", 4, "3", "partition is none of 0, 1, 2"),
    ]


def test_more_rows_than_published_are_found(tmp_path):
    root = write_indian_actors(tmp_path / "actors")
    rows = [f"{n}.jpg,{label}" for n, label in enumerate(["YOUNG"] * 6706 + ["MIDDLE"] * 10804 + ["OLD"] * 2397)]
    (root / "train.csv").write_text("ID,Class\n" + "\n".join(rows) + "\n")  # one OLD more than published
    report = verify_dataset("indian_actors", root)
    assert ("train.csv", None, "Class OLD", "2,397 rows, published 2,396") in list_entries(report.findings)
    (problem,) = report.problems
    assert "rows cannot be used, the first in train.csv row 2: 0.jpg: its image is missing in Train" in problem["reason"]
    assert len(report.findings) > 19_000  # all of them are listed


def test_unlabelled_rows_are_verified(tmp_path):
    root = write_indian_actors(tmp_path / "actors")
    for path in list((root / "Test").iterdir())[:2]:
        path.unlink()
    (problem,) = verify_dataset("indian_actors", root).problems
    assert "2 of 3 rows cannot be used, the first in test.csv" in problem["reason"]
    (root / "test.csv").unlink()
    report = verify_dataset("indian_actors", root)
    assert report.problems == []
    assert "test.csv is not there" in report.notes


def test_weights_must_be_the_published_bytes(tmp_path):
    assert "holds none of the files of weights" in verify_dataset("weights", tmp_path).problems[0]["reason"]
    (tmp_path / "resnet18-f37072fd.pth").write_bytes(b"x")
    report = verify_dataset("weights", tmp_path)
    assert [entry["file"] for entry in report.problems] == ["resnet18-f37072fd.pth"]
    assert "1 bytes; expected 46,830,571 as published" in report.problems[0]["reason"]
    assert len(report.notes) == 5


def test_folder_of_something_else(tmp_path):
    assert "holds no train.csv" in verify_dataset("facehack", tmp_path).problems[0]["reason"]
    assert "nowhere is not a folder" in verify_dataset("facehack", tmp_path / "nowhere").problems[0]["reason"]
    with pytest.raises(ParameterError, match="workers 0; expected 1 or more"):
        verify_dataset("facehack", tmp_path, workers=0)


def test_real_facehack_is_complete(shared):
    report = verify_dataset("facehack", shared / "data" / "facehack")
    assert (report.problems, report.state) == ([], "complete")
    assert report.counts == {"train.csv": (4831, 4831), "test.csv": (1611, 1611), "images": (6442, 6442)}
