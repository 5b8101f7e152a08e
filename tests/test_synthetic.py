"""Synthetic samples: published layouts, labels that follow visible traits, the same bytes again."""

import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from facekit.errors import DataError, ParameterError
from facekit.synthetic import POPULARITY_EFFECTS, POPULARITY_NOISE, draw_faces, layouts, people, write_sample
from facekit.synthetic.faces import draw_face
from facekit.synthetic.populations import POPULARITY_BASE, describe_face, rate_popularity
from facekit.synthetic.studio import TRAITS, show_trait, write_contact_sheet
from facekit.synthetic.traits import Face

CELEBA_COLUMNS = "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair"


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    """A folder with a small sample of each dataset."""
    folder = tmp_path_factory.mktemp("samples")
    for name, count in (("facehack", 96), ("selfie", 60), ("celeba", 60), ("indian_actors", 120)):
        write_sample(name, folder / name, count=count, seed=3)
    return folder


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def read_size(path: Path) -> tuple[int, int]:
    return cv2.imread(str(path)).shape[:2]


@pytest.mark.parametrize("name", ["facehack", "selfie", "celeba", "indian_actors"])
def test_same_seed_same_bytes_with_any_number_of_workers(name, tmp_path, monkeypatch):
    first = read_bytes(write_sample(name, tmp_path / "first", count=40, seed=5))
    monkeypatch.setattr(layouts.os, "cpu_count", lambda: 1)
    assert read_bytes(write_sample(name, tmp_path / "second", count=40, seed=5)) == first
    other = read_bytes(write_sample(name, tmp_path / "other", count=40, seed=6))
    pictures, others = ({data for path, data in files.items() if path.endswith(".jpg")} for files in (first, other))
    assert pictures and not pictures & others


def test_a_sample_that_another_process_finished_first_is_left_to_its_readers(tmp_path, monkeypatch):
    draw = layouts._WRITERS["celeba"]
    root = tmp_path / "celeba"

    def draw_slowly(hidden, count, seed):
        draw(hidden, count, seed)
        monkeypatch.setitem(layouts._WRITERS, "celeba", draw)
        write_sample("celeba", root, count=40)
        files.append(root.stat().st_ino)

    files = []
    monkeypatch.setitem(layouts._WRITERS, "celeba", draw_slowly)
    assert write_sample("celeba", root, count=40).stat().st_ino == files[0]
    assert [path.name for path in tmp_path.iterdir()] == ["celeba"]


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
    assert all(height == width and 150 <= height <= 180 for height, width in sizes) and len(sizes) > 5


def test_facehack_has_one_group_of_four_equal_pictures_in_train(samples):
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
    assert {read_size(path) for path in (root / "images").iterdir()} == {(306, 306)}
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
    assert partition.partition.tolist() == [0] * 48 + [1] * 6 + [2] * 6
    raw = (root / "identity_CelebA.txt").read_bytes()
    assert raw.count(b"\r\n") == 60
    identity = pd.read_csv(root / "identity_CelebA.txt", sep=" ", header=None)
    assert identity[0].tolist() == table.image_id.tolist()
    assert identity[1].value_counts().max() > 1
    assert identity[1].groupby(partition.partition).unique().explode().is_unique
    assert {read_size(path) for path in (root / "img_align_celeba").iterdir()} == {(218, 178)}
    # A celebrity's sex column does not change from picture to picture.
    assert (table.Male.groupby(identity[1]).nunique() == 1).all()


def test_celeba_also_comes_as_the_original_text_tables(tmp_path):
    root = write_sample("celeba", tmp_path / "celeba", count=40, celeba_text=True)
    lines = (root / "list_attr_celeba.txt").read_text().splitlines()
    assert lines[0] == "40"
    assert lines[1].startswith("5_o_Clock_Shadow Arched_Eyebrows ") and lines[1].endswith("Young ")
    assert re.fullmatch(r"000001\.jpg( -1|  1){40}", lines[2])
    assert pd.read_csv(root / "list_attr_celeba.txt", sep=r"\s+", skiprows=1).shape == (40, 40)
    assert (root / "list_eval_partition.txt").read_text().startswith("000001.jpg 0\n")
    assert not list(root.glob("*.csv"))


def test_actors_have_their_published_layout(samples):
    root = samples / "indian_actors"
    train, test = pd.read_csv(root / "train.csv"), pd.read_csv(root / "test.csv")
    assert list(train.columns) == ["ID", "Class"] and list(test.columns) == ["ID"]
    assert (len(train), len(test)) == (90, 30)
    assert {*train.ID, *test.ID} == {f"{number}.jpg" for number in range(120)}
    assert {path.name for path in (root / "Train").iterdir()} == set(train.ID)
    assert {path.name for path in (root / "Test").iterdir()} == set(test.ID)
    shares = train.Class.value_counts(normalize=True)
    assert shares.index.tolist() == ["MIDDLE", "YOUNG", "OLD"]
    assert shares["MIDDLE"] == pytest.approx(0.543, abs=0.07)
    sizes = np.array([read_size(path) for path in root.glob("T*/*.jpg")])
    assert (sizes[:, 0] > sizes[:, 1]).all() and sizes.min() >= 24 and sizes[:, 1].max() <= 150


def test_actors_repeat_pictures_across_folders_and_once_under_two_classes(samples):
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
    assert {key: marker[key] for key in ("kind", "dataset", "seed", "count")} == {
        "kind": "synthetic",
        "dataset": "facehack",
        "seed": 2,
        "count": 40,
    }
    stamp = (root / "train.csv").stat().st_mtime_ns
    write_sample("facehack", root, count=40, seed=2)
    assert (root / "train.csv").stat().st_mtime_ns == stamp
    write_sample("facehack", root, count=41, seed=2)
    assert len(list((root / "happy_images").iterdir())) == 41
    assert [path.name for path in tmp_path.iterdir()] == ["facehack"]


def test_real_photographs_are_never_overwritten(tmp_path):
    (tmp_path / "train.csv").write_text("a photograph's row\n")
    with pytest.raises(DataError, match="is not a folder of synthetic pictures"):
        write_sample("facehack", tmp_path, count=40)
    (tmp_path / "facekit.json").write_text('{"kind": "photographs"}')
    with pytest.raises(DataError):
        write_sample("facehack", tmp_path, count=40)
    assert (tmp_path / "train.csv").read_text() == "a photograph's row\n"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(layouts, "draw_face", fail)
    with pytest.raises(OSError, match="disk full"):
        write_sample("selfie", tmp_path / "selfie", count=40)
    assert list(tmp_path.iterdir()) == []


def test_wrong_requests_are_told_in_one_line(tmp_path):
    with pytest.raises(ParameterError, match="'selfies'; expected one of selfie, celeba, indian_actors, facehack"):
        write_sample("selfies", tmp_path / "x")
    with pytest.raises(ParameterError, match="count=3"):
        write_sample("selfie", tmp_path / "x", count=3)


@pytest.mark.parametrize("name", TRAITS)
def test_a_trait_shows_and_shows_where_it_should(name):
    plain = Face(
        years=45.0,
        skin="brown",
        hair_colour="dyed",
        hair_form="wavy",
        female=False,
        hair_length="short",
        noise=0,
        blur=0,
    )
    if name in ("middle_age", "long_hair", "youth"):
        plain = replace(plain, years=25.0 if name != "youth" else 45.0)
    if name == "brown":
        plain = replace(plain, skin="white")
    if name == "wavy_hair":
        plain = replace(plain, hair_form="straight")
    shown = show_trait(name, plain)
    assert not describe_face(plain)[name] and describe_face(shown)[name]
    before, after = (draw_face(face, 96, 96).astype(int) for face in (plain, shown))
    changed = np.abs(before - after).max(axis=2) > 12
    assert changed.sum() >= 12
    # Rows of the picture, as shares of its height: the eyes stand at 0.47, the chin at 0.79.
    rows = {
        "smiling": (0.30, 0.80),
        "mocking_smile": (0.30, 0.80),
        "mouth_open": (0.55, 0.80),
        "tongue_out": (0.55, 0.80),
        "wearing_lipstick": (0.60, 0.75),
        "bushy_eyebrows": (0.34, 0.47),
        "eyes_closed": (0.40, 0.52),
        "wearing_sunglasses": (0.38, 0.56),
        "wearing_glasses": (0.38, 0.56),
        "mustache": (0.55, 0.72),
        "big_nose": (0.40, 0.68),
        "wearing_hat": (0.0, 0.50),
        "wearing_necktie": (0.72, 1.0),
    }
    if name in rows:
        first, last = (np.flatnonzero(changed.any(axis=1))[[0, -1]]) / 96
        assert rows[name][0] <= first and last <= rows[name][1]


def test_a_genuine_smile_lifts_both_corners_and_a_mocking_one_lifts_one():
    def find_corners(**changes) -> np.ndarray:
        """Highest row of red at the left and at the right end of the mouth, and its lowest row anywhere."""
        face = replace(Face(lipstick=True, noise=0, light_side=0.01), **changes)
        picture = draw_face(face, 200, 200).astype(int)[120:156, 75:126]
        red = (picture[..., 0] > 110) & (picture[..., 1] < 70)
        rows, columns = np.nonzero(red)
        left, right = columns.min() + 4, columns.max() - 4
        return np.array([rows[columns < left].min(), rows[columns > right].min(), rows.max()])

    left, right, lowest = find_corners() - find_corners(smile=1.0)
    assert left >= 4 and right >= 4 and lowest <= -3
    left, right, lowest = find_corners() - find_corners(smirk=1.0)
    assert right >= 8 and -2 <= left <= 0 and abs(lowest) <= 1


def test_popularity_gives_back_the_stated_effects():
    random = np.random.default_rng(11)
    faces = [people.draw_selfie(random) for _ in range(3000)]
    traits = pd.DataFrame([describe_face(face) for face in faces])
    popularity = np.array([rate_popularity(random, row) for row in traits.to_dict("records")])
    columns = traits[list(POPULARITY_EFFECTS)].to_numpy(float)
    design = np.column_stack([np.ones(len(columns)), columns])
    found, *_ = np.linalg.lstsq(design, popularity)
    assert found[0] == pytest.approx(POPULARITY_BASE, abs=0.06)
    assert found[1:] == pytest.approx(list(POPULARITY_EFFECTS.values()), abs=0.10)
    noise = popularity - design @ found
    assert noise.std() == pytest.approx(POPULARITY_NOISE, abs=0.02)
    assert 0.35 < noise.var() / popularity.var() < 0.45


def test_selfie_columns_say_what_is_drawn():
    random = np.random.default_rng(1)
    row = dict(zip(people.SELFIE_COLUMNS, people.label_selfie(random, Face(female=False, years=70, smile=0.9)), strict=True))
    assert len(row) == 36
    assert {name for name, value in row.items() if value == 1} == {
        "senior",
        "white",
        "smiling",
        "brown_hair",
        "straight_hair",
    }


def test_sex_coded_traits_go_with_the_column():
    random = np.random.default_rng(2)
    traits = pd.DataFrame([describe_face(people.draw_selfie(random)) for _ in range(1500)])
    by_sex = traits.groupby("is_female")[["long_hair", "wearing_lipstick", "beard", "mustache"]].mean()
    assert by_sex.loc[False, ["wearing_lipstick"]].item() == 0 and by_sex.loc[True, ["beard", "mustache"]].max() == 0
    assert by_sex.loc[True, "long_hair"] > 0.7 > 0.1 > by_sex.loc[False, "long_hair"]
    ages = traits[["baby", "child", "teenager", "youth", "middle_age", "senior"]]
    assert (ages.sum(axis=1) == 1).all() and (ages.mean() > 0.02).all()


def test_training_faces_come_with_their_traits_and_in_parts():
    pictures, traits = draw_faces(6, 48, seed=4)
    assert pictures.shape == (6, 48, 48, 3) and pictures.dtype == np.uint8
    assert traits.shape == (6, len(TRAITS)) and set(np.unique(traits)) == {0, 1}
    part, rest = draw_faces(2, 48, seed=4, start=4)
    assert np.array_equal(part, pictures[4:]) and rest.to_numpy().tolist() == traits.iloc[4:].to_numpy().tolist()
    assert not np.array_equal(draw_faces(2, 48, seed=5)[0], pictures[:2])


def test_the_contact_sheet_shows_every_trait(tmp_path):
    sheet = cv2.imread(str(write_contact_sheet(tmp_path / "sheet.png", side=48, columns=10)))
    assert len(TRAITS) == 68
    assert sheet.shape == (7 * (48 + 34), 10 * (48 + 6), 3)
