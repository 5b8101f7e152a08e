"""Synthetic samples: published layouts with their quirks, the same bytes again, whole or not at all."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from facekit.data.tables import read_dataset
from facekit.errors import DataError, ParameterError
from facekit.synthetic import layouts
from facekit.synthetic.layouts import write_sample

CELEBA_COLUMNS = "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair"


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def read_size(path: Path) -> tuple[int, int]:
    return cv2.imread(str(path)).shape[:2]


@pytest.mark.parametrize("name", ["facehack", "selfie", "celeba", "indian_actors"])
def test_same_seed_same_bytes(name, tmp_path):
    first = read_bytes(write_sample(name, tmp_path / "first", count=40, seed=5))
    assert read_bytes(write_sample(name, tmp_path / "second", count=40, seed=5)) == first
    other = read_bytes(write_sample(name, tmp_path / "other", count=40, seed=6))
    images, others = ({data for path, data in files.items() if path.endswith(".jpg")} for files in (first, other))
    assert images and not images & others


def test_processes_draw_the_same_bytes(tmp_path, monkeypatch):
    alone = read_bytes(write_sample("celeba", tmp_path / "alone", count=40))
    monkeypatch.setattr(layouts, "_FEWEST_FOR_WORKERS", 10)
    assert read_bytes(write_sample("celeba", tmp_path / "together", count=40)) == alone


@pytest.mark.parametrize("name", ["facehack", "selfie", "celeba", "indian_actors"])
def test_the_reader_takes_every_row(name, samples):
    dataset = read_dataset(name, samples / name)
    assert (dataset.kind, len(dataset.excluded)) == ("synthetic", 0)
    assert len(dataset.table) == {"facehack": 96, "selfie": 60, "celeba": 60, "indian_actors": 109}[name]


def test_facehack_has_its_published_layout(samples):
    root = samples / "facehack"
    raw = (root / "train.csv").read_bytes()
    assert raw.count(b"\r\n") == raw.count(b"\n") == 72
    assert b"label" not in raw and b".jpg" not in raw
    train, test = (pd.read_csv(root / name, header=None, names=["id", "label"]) for name in ("train.csv", "test.csv"))
    # 72 and 24 rows in the proportions 3,356 : 988 : 487 and 1,128 : 340 : 143.
    assert train.label.value_counts().to_dict() == {"NOT smile": 50, "positive smile": 15, "negative smile": 7}
    assert test.label.value_counts().to_dict() == {"NOT smile": 17, "positive smile": 5, "negative smile": 2}
    ids = [*train.id, *test.id]
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", name) for name in ids)
    assert sorted(f"{name}.jpg" for name in ids) == sorted(path.name for path in (root / "happy_images").iterdir())
    sizes = {read_size(path) for path in (root / "happy_images").iterdir()}
    assert all(height == width and 96 <= height <= 120 for height, width in sizes) and len(sizes) > 5


def test_facehack_has_one_group_of_four_identical_images_in_train(samples):
    root = samples / "facehack"
    groups: dict[bytes, list[str]] = {}
    for path in (root / "happy_images").iterdir():
        groups.setdefault(path.read_bytes(), []).append(path.stem)
    repeated = [names for names in groups.values() if len(names) > 1]
    assert [len(names) for names in repeated] == [4]
    train = pd.read_csv(root / "train.csv", header=None, index_col=0)[1]
    assert set(train[repeated[0]]) == {"NOT smile"}


def test_selfies_have_their_published_layout(samples):
    root = samples / "selfie"
    lines = (root / "selfie_dataset.txt").read_text().splitlines()
    assert len(lines) == 60 and all(line.count(" ") == 37 for line in lines)
    table = pd.read_csv(root / "selfie_dataset.txt", sep=" ", header=None)
    assert table.shape == (60, 38)
    assert set(np.unique(table.iloc[:, 2:])) <= {-1, 0, 1}
    assert table[1].between(2, 7).all() and table[1].nunique() > 50
    hexadecimal = table[0].str.fullmatch(r"[0-9a-f]{32}_\d")
    numbered = table[0].str.fullmatch(r"\d+_\d+_\d+_a")
    assert (hexadecimal ^ numbered).all() and hexadecimal.any() and numbered.any()
    assert {f"{name}.jpg" for name in table[0]} == {path.name for path in (root / "images").iterdir()}
    assert {read_size(path) for path in (root / "images").iterdir()} == {(128, 128)}
    ages = table.iloc[:, 4:10]
    assert (ages == 1).sum(axis=1).isin([0, 1]).all()


def test_celeba_has_its_published_layout(samples):
    root = samples / "celeba"
    table = pd.read_csv(root / "list_attr_celeba.csv")
    assert table.shape == (60, 41)
    assert list(table.columns[:10]) == ["image_id", *CELEBA_COLUMNS.split()]
    assert table.columns[-1] == "Young" and table.columns[21] == "Male"
    assert table.image_id.tolist()[::59] == ["000001.jpg", "000060.jpg"]
    assert set(np.unique(table.iloc[:, 1:])) == {-1, 1}
    partition = pd.read_csv(root / "list_eval_partition.csv")
    assert partition.partition.tolist() == [0] * 40 + [1] * 10 + [2] * 10
    raw = (root / "identity_CelebA.txt").read_bytes()
    assert raw.count(b"\r\n") == 60
    identity = pd.read_csv(root / "identity_CelebA.txt", sep=" ", header=None)
    assert identity[0].tolist() == table.image_id.tolist()
    assert identity[1].value_counts().max() > 1
    assert identity[1].groupby(partition.partition).unique().explode().is_unique
    assert {read_size(path) for path in (root / "img_align_celeba").iterdir()} == {(109, 89)}
    # A celebrity's sex column does not change from image to image.
    assert (table.Male.groupby(identity[1]).nunique() == 1).all()


def test_actors_have_their_published_layout(samples):
    root = samples / "indian_actors"
    train, test = pd.read_csv(root / "train.csv"), pd.read_csv(root / "test.csv")
    assert list(train.columns) == ["ID", "Class"] and list(test.columns) == ["ID"]
    assert (len(train), len(test)) == (109, 11)
    assert {*train.ID, *test.ID} == {f"{number}.jpg" for number in range(120)}
    assert {path.name for path in (root / "Train").iterdir()} == set(train.ID)
    assert {path.name for path in (root / "Test").iterdir()} == set(test.ID)
    shares = train.Class.value_counts(normalize=True)
    assert shares.index.tolist() == ["MIDDLE", "YOUNG", "OLD"]
    assert shares["MIDDLE"] == pytest.approx(0.543, abs=0.07)
    sizes = np.array([read_size(path) for path in root.glob("T*/*.jpg")])
    assert (sizes[:, 0] > sizes[:, 1]).all() and sizes.min() >= 24 and sizes[:, 1].max() <= 150


def test_actors_repeat_images_across_folders_and_once_under_two_classes(samples):
    root = samples / "indian_actors"
    classes = pd.read_csv(root / "train.csv", index_col="ID").Class
    groups: dict[bytes, list[Path]] = {}
    for path in root.glob("T*/*.jpg"):
        groups.setdefault(path.read_bytes(), []).append(path)
    repeated = [paths for paths in groups.values() if len(paths) > 1]
    within = [{classes[path.name] for path in paths} for paths in repeated if {p.parent.name for p in paths} == {"Train"}]
    assert sorted(map(len, within)) == [1, 2]
    assert len(repeated) == 3


def test_the_folder_says_synthetic_and_is_left_alone_when_it_is_already_there(tmp_path):
    root = write_sample("facehack", tmp_path / "facehack", count=40, seed=2)
    marker = json.loads((root / "facekit.json").read_text())
    assert [marker[key] for key in ("kind", "dataset", "seed", "count")] == ["synthetic", "facehack", 2, 40]
    assert "40 synthetic faces" in (root / "README.md").read_text()
    stamp = (root / "train.csv").stat().st_mtime_ns
    write_sample("facehack", root, count=40, seed=2)
    assert (root / "train.csv").stat().st_mtime_ns == stamp
    write_sample("facehack", root, count=41, seed=2)
    assert len(list((root / "happy_images").iterdir())) == 41


def test_an_incomplete_sample_is_drawn_again_and_an_unfinished_one_swept(tmp_path):
    root = write_sample("selfie", tmp_path / "selfie", count=40)
    missing = next((root / "images").iterdir())
    missing.unlink()
    (tmp_path / ".selfie.partial").mkdir()
    (tmp_path / ".selfie.partial" / "half.jpg").write_bytes(b"half")
    write_sample("selfie", root, count=40)
    assert missing.is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".selfie.lock", "selfie"]


def test_samples_are_below_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    assert write_sample("celeba", count=40) == tmp_path / "data" / "sample" / "celeba"
    assert write_sample("celeba", count=40, seed=1) == tmp_path / "data" / "sample" / "celeba-1"


def test_real_photographs_are_never_overwritten(tmp_path):
    (tmp_path / "train.csv").write_text("a photograph's row\n")
    for marker in (None, '{"kind": "photographs"}', "[" * 100_000, "\0"):
        (tmp_path / "facekit.json").write_text(marker) if marker else None
        with pytest.raises(DataError, match="is not a folder of synthetic faces"):
            write_sample("facehack", tmp_path, count=40)
    assert (tmp_path / "train.csv").read_text() == "a photograph's row\n"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(layouts, "write_face", fail)
    with pytest.raises(DataError, match="selfie could not be written: disk full; nothing of it was left"):
        write_sample("selfie", tmp_path / "selfie", count=40)
    assert [path.name for path in tmp_path.iterdir()] == [".selfie.lock"]


def test_wrong_requests_are_told_in_one_line(tmp_path):
    with pytest.raises(ParameterError, match="'selfies'; expected one of facehack, selfie, celeba, indian_actors"):
        write_sample("selfies", tmp_path / "x")
    with pytest.raises(ParameterError, match="count 3; expected 40 to 1,000,000"):
        write_sample("selfie", tmp_path / "x", count=3)
    for seed in (-1, 2**32):
        with pytest.raises(ParameterError, match=f"seed {seed}; expected 0 to 4,294,967,295"):
            write_sample("selfie", tmp_path / "x", seed=seed)
    assert not list(tmp_path.iterdir())
