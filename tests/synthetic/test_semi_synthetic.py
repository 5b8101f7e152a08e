"""Semi-synthetic popularity: a whole folder in UCF Selfie's layout or none, whose formula can be recovered."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from facekit.data.readers.popularity import Truth, read_truth
from facekit.data.readers.selfie import ATTRIBUTES
from facekit.data.tables import read_dataset
from facekit.errors import DataError, ParameterError
from facekit.synthetic import semi_synthetic
from facekit.synthetic.semi_synthetic import plant_popularity


@pytest.fixture(scope="module")
def celeba(samples):
    """Synthetic faces in CelebA's layout, so that no photograph is needed."""
    return samples / "celeba"


@pytest.fixture(scope="module")
def planted(celeba, tmp_path_factory):
    root = tmp_path_factory.mktemp("target") / "planted"
    assert plant_popularity(celeba, root)
    return root


def read_bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_a_whole_dataset_that_says_planted(planted):
    dataset = read_dataset("selfie", planted)
    assert (dataset.kind, len(dataset.table), len(dataset.excluded)) == ("planted", 60, 0)
    names = [path.name for path in (planted / "images").iterdir()]
    assert len(names) == 60 and all(re.fullmatch(r"[0-9a-f]{32}_[5-7]\.jpg", name) for name in names)
    lines = (planted / "selfie_dataset.txt").read_text().splitlines()
    assert lines == sorted(lines) and all(line.count(" ") == 37 for line in lines)


def test_split_group_and_mapped_attributes_are_celebas(celeba, planted):
    rows = pd.read_csv(planted / "rows.csv")
    assert list(rows.columns) == ["name", "celeba_file", "partition", "identity"]
    selfies = read_dataset("selfie", planted).table.set_index("path")
    table = read_dataset("celeba", celeba).table.set_index("path")
    old = table.loc["img_align_celeba/" + rows["celeba_file"]].reset_index()
    new = selfies.loc["images/" + rows["name"] + ".jpg"].reset_index()
    assert new["split"].tolist() == old["split"].tolist()
    assert new["group"].tolist() == old["identity"].tolist() == rows["identity"].tolist()
    pairs = {"smiling": "Smiling", "mouth_open": "Mouth_Slightly_Open", "curly_hair": "Wavy_Hair", "youth": "Young"}
    for name, column in pairs.items():
        assert new[name].tolist() == old[column].tolist()
    assert new["is_female"].tolist() == (1 - old["Male"]).tolist()
    assert new["age"].tolist() == np.where(old["Young"] == 1, "youth", "middle_age").tolist()
    assert not new[["baby", "child", "teenager", "senior"]].any().any()
    for name, file in zip(rows["name"], rows["celeba_file"], strict=True):
        copy, image = planted / "images" / f"{name}.jpg", celeba / "img_align_celeba" / file
        assert copy.read_bytes() == image.read_bytes()
        assert not copy.samefile(image)


def test_every_column_is_mapped_drawn_or_never():
    parts = [*semi_synthetic.MAPPED, *semi_synthetic.DRAWN, *semi_synthetic.NEVER]
    assert sorted(parts) == sorted(ATTRIBUTES)
    assert (len(semi_synthetic.MAPPED), len(semi_synthetic.DRAWN), len(semi_synthetic.NEVER)) == (14, 18, 4)
    assert set(semi_synthetic.WEIGHTS) < set(semi_synthetic.MAPPED)


def test_the_formula_is_in_the_folder(planted):
    truth = read_truth(planted)
    table = read_dataset("selfie", planted).table
    assert (truth.base, truth.weights["wearing_hat"], truth.interactions) == (4.2, -0.6, (("is_female", "smiling", 0.2),))
    assert truth.compute_ceiling(table) == pytest.approx(0.5, abs=1e-5)
    assert 0.3 < r2_score(table["popularity"], truth.compute_scores(table)) < 0.7  # 60 rows
    marker = json.loads((planted / "facekit.json").read_text())
    assert marker["popularity"] == TypeAdapter(Truth).dump_python(truth, mode="json")
    assert (marker["seed"], marker["images"], marker["source"]["kind"]) == (0, 60, "synthetic")
    readme = (planted / "README.md").read_text()
    assert "-0.60 wearing_hat" in readme and "+0.20 is_female x smiling" in readme and f"{truth.noise:.6f}" in readme
    assert "The popularity is made up" in readme


def test_same_seed_same_bytes_and_another_seed_other_names(celeba, planted, tmp_path):
    plant_popularity(celeba, tmp_path / "again")
    assert read_bytes(tmp_path / "again") == read_bytes(planted)
    plant_popularity(celeba, tmp_path / "other", seed=1)
    first, other = (pd.read_csv(root / "rows.csv").set_index("celeba_file") for root in (planted, tmp_path / "other"))
    assert not set(first["name"]) & set(other["name"])
    assert first["identity"].sort_index().equals(other["identity"].sort_index())


def test_planting_again_leaves_the_folder_alone(celeba, planted, tmp_path):
    root = shutil.copytree(planted, tmp_path / "planted")
    before = read_bytes(root)
    assert plant_popularity(celeba, root) is False
    with pytest.raises(DataError, match="is there and holds something else; expected no such folder, or one planted from"):
        plant_popularity(celeba, root, seed=1)
    assert read_bytes(root) == before
    next((root / "images").iterdir()).unlink()
    with pytest.raises(DataError, match="is not whole any more; remove it and plant it again"):
        plant_popularity(celeba, root)


def test_what_is_there_is_never_overwritten(celeba, tmp_path):
    (tmp_path / "mine").mkdir()
    assert plant_popularity(celeba, tmp_path / "mine")  # empty
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        plant_popularity(celeba, tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["notes.txt"]


def test_a_failure_leaves_nothing_behind(celeba, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(semi_synthetic.shutil, "copyfile", fail)
    with pytest.raises(DataError, match="planted could not be written: disk full; nothing of it was left"):
        plant_popularity(celeba, tmp_path / "deep" / "planted")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == [".planted.lock"]


def test_wrong_requests_are_named_in_one_line(celeba, tmp_path):
    for ceiling in (0, 2, -0.5, float("nan"), float("inf"), 1e-320):
        with pytest.raises(ParameterError, match=f"ceiling {ceiling}; expected 0.001 to 1"):
            plant_popularity(celeba, tmp_path / "x", ceiling=ceiling)
    with pytest.raises(ParameterError, match="seed -1; expected 0 to 4,294,967,295"):
        plant_popularity(celeba, tmp_path / "x", seed=-1)
    with pytest.raises(DataError, match=r"holds no list_attr_celeba\.txt or"):
        plant_popularity(tmp_path, tmp_path / "x")
    root = shutil.copytree(celeba, tmp_path / "celeba")
    lines = (root / "identity_CelebA.txt").read_text().splitlines()
    (root / "identity_CelebA.txt").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(DataError, match="1 of 60 images without identity, the first img_align_celeba/000001.jpg; expected one"):
        plant_popularity(root, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_celebas_photographs_give_the_formula_back(shared):
    rows = read_dataset("celeba", shared / "data" / "celeba").table
    selfies, truth = semi_synthetic._draw_selfies(rows, 0.5, 0)
    labels = (selfies[list(ATTRIBUTES)] == 1).astype(int)
    popularity = selfies["popularity"].astype(float)
    assert r2_score(popularity, truth.compute_scores(labels)) == pytest.approx(0.5, abs=0.01)
    names = [*semi_synthetic.WEIGHTS, "both", *semi_synthetic.DRAWN]
    labels["both"] = labels["is_female"] * labels["smiling"]
    found = LinearRegression().fit(labels[names], popularity)
    wanted = [0.40, 0.25, -0.10, -0.45, 0.20, -0.60, 0.30, 0.15, 0.25, 0.20]
    assert found.coef_[:10] == pytest.approx(wanted, abs=0.05)
    assert np.abs(found.coef_[10:]).max() < 0.05
    assert labels[list(semi_synthetic.DRAWN)].mean().to_numpy() == pytest.approx(list(semi_synthetic.DRAWN.values()), abs=0.01)
