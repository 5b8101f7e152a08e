"""Readers: one contract for all of them, on tiny raw files in the published format, on samples and on damaged folders."""

import gzip
import json
import os
import zipfile
from pathlib import Path

import cv2
import pandas as pd
import pytest
from raw_files import write_celeba, write_facehack, write_image, write_indian_actors, write_selfies

from facekit.data.manifests import DatasetManifest, list_manifests, read_manifest
from facekit.data.readers import celeba, selfie
from facekit.data.readers.popularity import read_truth
from facekit.data.tables import read_dataset
from facekit.data.verify import verify_dataset
from facekit.errors import DataError

# What each reader must give: rows by split for its tiny raw files, target columns, the first table and the images' folder.
CONTRACT = {
    "celeba": {
        "write": write_celeba,
        "splits": {"train": 1, "validation": 1, "test": 1},
        "targets": ["identity", *celeba.ATTRIBUTES],
        "places": ("list_attr_celeba.csv", "img_align_celeba"),
    },
    "facehack": {
        "write": write_facehack,
        "splits": {"train": 9, "test": 4},
        "targets": ["label"],
        "places": ("train.csv", "happy_images"),
    },
    "indian_actors": {
        "write": write_indian_actors,
        "splits": {"": 6},
        "targets": ["label"],
        "places": ("train.csv", "Train"),
    },
    "selfie": {
        "write": write_selfies,
        "splits": {"": 6},
        "targets": ["popularity", *selfie.ATTRIBUTES, "age"],
        "places": ("selfie_dataset.txt", "images"),
    },
}


def test_every_dataset_is_under_the_contract():
    assert set(CONTRACT) == {name for name in list_manifests() if isinstance(read_manifest(name), DatasetManifest)}


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
    assert set(table["split"]) <= {"train", "validation", "test", ""}
    assert table.groupby("group")["split"].nunique().max() == 1  # no group in two splits
    assert list(dataset.excluded.columns) == ["file", "row", "value", "reason"]
    assert dataset.name == name


def test_raw_files(raw):
    name, root = raw
    dataset = read_dataset(name, str(root))
    check_contract(dataset, name)
    assert dataset.table["split"].value_counts().to_dict() == CONTRACT[name]["splits"]
    assert dataset.excluded.empty
    assert dataset.kind == "photographs"
    pd.testing.assert_frame_equal(read_dataset(name, root).table, dataset.table)


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_synthetic_sample(name, samples):
    dataset = read_dataset(name, samples / name)
    check_contract(dataset, name)
    assert dataset.kind == "synthetic"
    assert dataset.excluded.empty
    report = verify_dataset(name, samples / name)
    assert (report.problems, report.findings) == ([], [])
    assert report.state == "synthetic data"


def test_kind_is_read_from_the_folder(raw):
    name, root = raw
    (root / "facekit.json").write_text(json.dumps({"kind": "planted"}))
    assert read_dataset(name, root).kind == "planted"
    (root / "facekit.json").write_text('{"kind": "synthetic"}', encoding="utf-8-sig")  # with a byte order mark
    assert read_dataset(name, root).kind == "synthetic"
    for text in ('{"kind": "drawn"}', "[]", '{"kind": null}', '{"kind": [1]}'):
        (root / "facekit.json").write_text(text)
        with pytest.raises(DataError, match=r"facekit\.json: kind .*; expected one of photographs, synthetic, planted; make"):
            read_dataset(name, root)
    for text in ("{", "[" * 10_000, "", '{"kind": "planted", "kind": "synthetic"}'):
        (root / "facekit.json").write_text(text)
        with pytest.raises(DataError, match=r"facekit\.json: .*; expected a JSON file; make the folder again"):
            read_dataset(name, root)


def add_junk(root, table, folder):
    for place in (root, root / folder):
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.jpg", "~$1.jpg", "1.jpg:Zone.Identifier"):
            (place / name).write_bytes(b"junk")
        for name in ("__MACOSX", "@eaDir", "$RECYCLE.BIN"):
            (place / name).mkdir()


def nest(root, table, folder):
    (root / folder).rename(root / "inner")
    (root / folder).mkdir()
    (root / "inner").rename(root / folder / folder)
    (root / folder / "Thumbs.db").write_bytes(b"junk")


def save_as_png(root, table, folder):
    for path in (root / folder).iterdir():
        cv2.imwrite(str(path.with_suffix(".png")), cv2.imread(str(path)))
        path.unlink()


def zip_under_the_same_name(root, table, folder):
    content = (root / table).read_bytes()
    with zipfile.ZipFile(root / table, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(table, content)
        for junk in (f"__MACOSX/._{table}", ".DS_Store", "Thumbs.db"):
            archive.writestr(junk, b"junk")


def gzip_under_the_same_name(root, table, folder):
    (root / table).write_bytes(gzip.compress((root / table).read_bytes()))


def encode_in_utf_16(root, table, folder):
    (root / table).write_text((root / table).read_text().replace(",", "\t"), encoding="utf-16")


def link_table(root, table, folder):
    (root / table).rename(root / "elsewhere")
    (root / table).symlink_to(root / "elsewhere")


def add_odd_name(root, table, folder):
    (Path(os.fsdecode(os.fsencode(root / folder) + b"/caf\xe9.jpg"))).write_bytes(b"x")


# Folders that are read as if nothing had happened.
HARMLESS = [
    add_junk,
    nest,
    save_as_png,
    zip_under_the_same_name,
    gzip_under_the_same_name,
    encode_in_utf_16,
    link_table,
    add_odd_name,
]


@pytest.mark.parametrize("change", HARMLESS)
def test_harmless_changes(raw, change):
    name, root = raw
    before = read_dataset(name, root)
    change(root, *CONTRACT[name]["places"])
    dataset = read_dataset(name, root)
    check_contract(dataset, name)
    assert dataset.excluded.empty
    pd.testing.assert_frame_equal(dataset.table.drop(columns="path"), before.table.drop(columns="path"))
    report = verify_dataset(name, root, report=root.parent / "report.json")
    assert report.problems == []
    strays = [entry["file"] for entry in report.findings if entry["reason"] == "no row names this file"]
    assert len(strays) == (change is add_odd_name)
    assert ("caf\\udce9.jpg" in (root.parent / "report.txt").read_text()) == (change is add_odd_name)


def replace(make):
    def change(root, table, folder):
        (root / table).unlink()
        make(root / table)

    change.__name__ = make.__name__
    return change


def missing(path):
    pass


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def link_to_itself(path):
    path.symlink_to(path)


def empty(path):
    path.touch()


def image(path):
    path.write_bytes(b"\xff\xd8\xff\xe0image")


def cut_zip(path):
    path.write_bytes(b"PK\x03\x04" + bytes(40))


def page(path):
    path.write_text("<html>\nsign in\n</html>\n")


TABLES = [missing, folder, pipe, endless, link_to_itself, empty, image, cut_zip, page]


@pytest.mark.parametrize("make", TABLES)
def test_a_table_that_is_none_is_one_line_for_reader_and_verify(raw, make):
    name, root = raw
    replace(make)(root, *CONTRACT[name]["places"])
    with pytest.raises(DataError) as caught:
        read_dataset(name, root)
    assert CONTRACT[name]["places"][0].rsplit(".", 1)[0] in str(caught.value)
    (problem,) = verify_dataset(name, root).problems
    assert problem["reason"] == str(caught.value)


def link_to_nowhere(path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [folder, pipe, endless, link_to_itself, link_to_nowhere])
def test_a_marker_that_is_no_file_is_one_line_and_nothing_hangs(raw, make):
    name, root = raw
    make(root / "facekit.json")
    with pytest.raises(DataError, match=r"facekit\.json: not a regular file; .*, remove the file") as caught:
        read_dataset(name, root)
    assert verify_dataset(name, root).problems[0]["reason"] == str(caught.value)
    with pytest.raises(DataError, match=r"facekit\.json: not a regular file"):
        read_truth(root)


@pytest.mark.parametrize("make", [missing, folder, pipe, endless, link_to_itself])
def test_an_image_that_is_none_is_excluded_and_nothing_hangs(raw, make):
    name, root = raw
    if name == "celeba":
        write_image(root / "img_align_celeba" / "000004.jpg", seed=4)  # a second training image
    path = read_dataset(name, root).table["path"][0]
    (root / path).unlink()
    make(root / path)
    dataset = read_dataset(name, root)
    assert path not in set(dataset.table["path"])
    reasons = list(dataset.excluded["reason"])
    where = path.split("/")[0]
    expected = f"its image is missing in {where}" if make is missing else f"its image in {where} is not a regular file"
    assert reasons == ([] if name == "celeba" else [expected])  # any part of CelebA is a dataset
    report = verify_dataset(name, root)
    assert report.problems == []
    assert (make is missing) or "is not a regular file" in report.to_text()


def test_reader_and_verify_refuse_a_folder_without_images(raw):
    name, root = raw
    for path in (root / CONTRACT[name]["places"][1]).iterdir():
        path.unlink()
    with pytest.raises(DataError) as caught:
        read_dataset(name, root)
    assert verify_dataset(name, root).problems[0]["reason"] == str(caught.value)


def test_verify_names_broken_images(raw):
    name, root = raw
    paths = list(read_dataset(name, root).table["path"])[:2]
    (root / paths[0]).write_bytes(b"<html>no image</html>")
    (root / paths[1]).write_bytes(b"")
    assert [entry["file"] for entry in verify_dataset(name, root).problems] == sorted(paths)


def test_wrong_folder_is_one_line(raw, tmp_path):
    name, _ = raw
    with pytest.raises(DataError, match=r"nowhere is not a folder; expected the folder of \w+; see `facekit data fetch"):
        read_dataset(name, tmp_path / "nowhere")
    with pytest.raises(DataError, match="none is not a folder; expected the folder of .*; run `make sample`"):
        read_dataset(name, ".facekit/data/sample/none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no "):
        read_dataset(name, tmp_path / "empty")
