"""`facekit predict`: which photos are answered, which are named, and what is written."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved_runs import build_network, save_every_kind, save_run

from facekit import cli
from facekit.errors import ImageError, ParameterError
from facekit.predict import predict_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Three images of unlike shapes, one with a comment in its EXIF block, and what is no image or cannot be read."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name, shape in {"a.jpg": (40, 60, 3), "b & <i>.jpg": (700, 350, 3), "c.png": (33, 32, 3)}.items():
        exif = Image.Exif()
        exif[0x010E] = "at home"
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / name, exif=exif)
    (folder / "notes.txt").write_text("no image, and not taken for one")
    (folder / "Thumbs.db").write_text("junk")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_every_kind(tmp_path_factory.mktemp("reports") / "laptop" / "faces")


def test_a_photo_that_cannot_be_reached_is_named_and_the_others_answered(photos, run, capsys):
    given = [str(photos / "a.jpg"), "a" * 300, "a" * 5000, "~nobody-here/b.jpg", "a\0b.jpg", f"{photos}\0"]
    assert predict_photos(given, str(run)) == 1
    shown = capsys.readouterr()
    assert "1 photos" in shown.out
    assert [line.startswith("facekit: skipped ") for line in shown.err.splitlines()] == [True] * 5


PROBABILITIES = "0.250000,0.900000,0.400000,0.600000,0.100000,0.200000,0.700000,0.100000"
HEADER = (
    "path,y_pred_popularity,y_pred_is_female,y_pred_worn,y_pred_smile,y_prob_is_female,"
    "y_prob_Hat,y_prob_Eyeglasses,y_prob_Pale_Skin,y_prob_5_o_Clock_Shadow,y_prob_none,y_prob_positive,y_prob_negative\n"
)


def test_what_cannot_be_read_is_named_and_the_others_are_answered(run, photos, tmp_path, capsys):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "none").mkdir()
    strange = shutil.copy(photos / "a.jpg", tmp_path / "caf\udce9.jpg")  # Latin-1, as old disks hold it
    given = [tmp_path, photos / "a.jpg", tmp_path / "missing.jpg", tmp_path / "pipe.jpg", tmp_path / "none"]
    assert predict_photos(list(map(str, given)), str(run), csv=tmp_path / "found.csv") == 1
    shown = capsys.readouterr()
    lines = shown.err.splitlines()
    for name in ("empty.jpg", "photo.heic", "missing.jpg", "pipe.jpg", "none"):
        assert sum(line.startswith(f"facekit: skipped {tmp_path / name}") for line in lines) == 1
    assert len(lines) == 5
    assert "laptop/faces: 2 photos" in shown.out
    assert "The labels are those of selfie" in shown.out
    name = str(strange).replace("\udce9", "\\xe9")
    rows = [f'{path},4.250000,,"Hat, Eyeglasses",positive,{PROBABILITIES}\n' for path in (name, photos / "a.jpg")]
    assert (tmp_path / "found.csv").read_text() == HEADER + "".join(rows)


def test_without_one_photo_nothing_is_written(run, tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match="no photo could be read; expected at least one"):
        predict_photos([str(tmp_path / "empty.jpg")], str(run), html=tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_the_page_holds_everything_and_nothing_private(run, photos, tmp_path, capsys):
    assert predict_photos([str(photos)], str(run), html=tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert "<h2>b &amp; &lt;i&gt;.jpg</h2>" in page
    assert page.count("data:image/jpeg;base64,") == 3 * 5
    assert 'alt="Grad-CAM of a.jpg for Hat"' in page
    assert "worn: <strong>Hat 90%, Eyeglasses 40%" in page
    assert not re.search(r"https?:|<script|at home|" + re.escape(str(photos)), page)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_many_labels_are_counted_and_folded(tmp_path, photos):
    network = build_network({"labels": (8, "sigmoid")}, {"labels": [3.0, -3, 2, -3, -3, -3, -3, -3]})
    run = save_run(tmp_path / "run", {"model": (network, {"classes": list("abcdefgh")})}, kind="synthetic")
    assert predict_photos([str(photos / "a.jpg")], str(run), html=tmp_path / "page.html") == 0
    page = (tmp_path / "page.html").read_text()
    assert "labels: <strong>2 of 8 labels" in page
    assert "<details><summary>6 labels below their threshold" in page
    assert "its predictions for photos mean nothing" in page


def test_a_search_shows_what_matches_best_first(tmp_path, photos, capsys):
    network = build_network({"smile": (3, "softmax")}, seed=3)
    run = save_run(tmp_path / "laptop" / "smile", {"model": (network, {"classes": ["NOT smile", "b", "c"]})})
    assert predict_photos([str(photos)], str(run), csv=tmp_path / "all.csv", where="c > 0 or b") == 0
    rows = [line.split(",") for line in (tmp_path / "all.csv").read_text().splitlines()]
    assert rows[0][:3] == ["path", "score", "y_pred"]
    scores = [float(row[1]) for row in rows[1:]]
    assert scores == sorted(scores, reverse=True)
    assert "3 of 3 photos match c > 0 or b" in " ".join(capsys.readouterr().out.split())
    assert predict_photos([str(photos)], str(run), html=tmp_path / "none.html", where="c > 1") == 0
    assert "0 of 3 photos match" in (tmp_path / "none.html").read_text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("csv", "photo.jpg"),
        ("html", "page.csv"),
        ("csv", "nowhere/a.csv"),
        ("html", "nowhere/a.html"),
        ("csv", "folder.csv"),
        ("html", "folder.html"),
        ("csv", ""),
        ("csv", "locked/a.csv"),
        ("html", "locked/a.html"),
    ],
)
def test_places_that_cannot_be_written_are_refused_first(run, photos, tmp_path, monkeypatch, name, value):
    for folder in ("folder.csv", "folder.html", "locked"):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).is_dir() and Path(path).name != "locked")  # root may all
    with pytest.raises(ParameterError, match="expected a file .* in a writable folder"):
        predict_photos([str(photos)], "not loaded", **{name: tmp_path / value})
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_bad_query_is_one_line(run, photos, capfd):
    assert cli.main(["predict", str(photos), "--run", str(run), "--where", "Glasses"]) == 1
    assert capfd.readouterr().err == "facekit: query 'Glasses': no label 'Glasses'; expected perhaps Eyeglasses\n"
