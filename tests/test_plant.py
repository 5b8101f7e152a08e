"""Planted popularity: a whole folder in UCF Selfie's layout or none, and a formula that can be read back and recovered."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score

from facekit import cli, plant
from facekit.datasets import read_dataset
from facekit.datasets.selfie import ATTRIBUTES
from facekit.errors import DataError, ParameterError
from facekit.synthetic import write_sample
from facekit.verify import verify_dataset


@pytest.fixture(scope="module")
def celeba(tmp_path_factory):
    """Drawn faces in CelebA's layout, so that no photograph is needed."""
    return write_sample("celeba", tmp_path_factory.mktemp("source") / "celeba", count=60, seed=4)


@pytest.fixture(scope="module")
def planted(celeba, tmp_path_factory):
    root = tmp_path_factory.mktemp("target") / "planted"
    assert plant.plant_popularity(celeba, root)
    return root


def read_bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_is_a_whole_dataset_that_says_planted(planted):
    report = verify_dataset("selfie", planted, progress=False)
    assert report.problems == []
    assert report.kind == "planted"
    assert report.pictures["decoded"] == 60
    names = [path.name for path in (planted / "images").iterdir()]
    assert all(re.fullmatch(r"[0-9a-f]{32}_[5-7]\.jpg", name) for name in names)
    lines = (planted / "selfie_dataset.txt").read_text().splitlines()
    assert lines == sorted(lines) and all(line.count(" ") == 37 for line in lines)
    assert read_dataset("selfie", planted).kind == "planted"


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
        copy, picture = planted / "images" / f"{name}.jpg", celeba / "img_align_celeba" / file
        assert copy.read_bytes() == picture.read_bytes()
        assert not copy.samefile(picture)


def test_every_column_is_mapped_drawn_or_never():
    parts = [*plant.MAPPED, *plant.DRAWN, *plant.NEVER]
    assert sorted(parts) == sorted(ATTRIBUTES)
    assert (len(plant.MAPPED), len(plant.DRAWN), len(plant.NEVER)) == (14, 18, 4)
    assert set(plant.WEIGHTS) < set(plant.MAPPED)


def test_the_formula_is_read_back_and_told(planted):
    truth = plant.read_truth(planted)
    table = read_dataset("selfie", planted).table
    assert (truth.base, truth.weights["wearing_hat"], truth.interactions) == (4.2, -0.6, (("is_female", "smiling", 0.2),))
    assert truth.compute_ceiling(table) == pytest.approx(0.5, abs=1e-5)
    assert 0.3 < r2_score(table["popularity"], truth.compute_scores(table)) < 0.7  # 60 rows
    marker = json.loads((planted / "facekit.json").read_text())
    assert marker["popularity"] == truth.to_dict()
    assert (marker["seed"], marker["pictures"], marker["source"]["kind"]) == (0, 60, "synthetic")
    told = (planted / "README.md").read_text()
    assert "-0.60 wearing_hat" in told and "+0.20 is_female x smiling" in told and f"{truth.noise:.6f}" in told
    assert "The popularity is made up" in told


def test_scores_and_effects_of_a_formula():
    truth = plant.Truth(1.0, {"smiling": 0.5, "braces": -0.25}, (("smiling", "braces", 2.0),), 0.1, ("white",))
    table = pd.DataFrame(0, index=range(4), columns=list(ATTRIBUTES))
    table["smiling"], table["braces"] = [0, 1, 0, 1], [0, 0, 1, 1]
    assert truth.compute_scores(table).tolist() == [1.0, 1.5, 0.75, 3.25]
    effects = truth.compute_effects(table)
    assert (effects["smiling"], effects["braces"], effects["white"]) == (1.5, 0.75, 0.0)
    assert truth.compute_ceiling(table) == pytest.approx(0.953125 / 0.963125)
    unsure = table.astype(float).mask(table["braces"] == 1)
    assert truth.compute_scores(unsure).tolist() == [1.0, 1.5, 1.0, 1.0]


def test_nobody_knows_real_popularity_and_drawn_faces_have_their_own(tmp_path):
    assert plant.read_truth(tmp_path) is None
    (tmp_path / "facekit.json").write_text('{"kind": "synthetic"}')
    truth = plant.read_truth(tmp_path)
    assert (truth.base, truth.weights["partial_faces"], truth.noise) == (4.2, -0.45, 0.4)
    assert len(truth.weights) == 13


@pytest.mark.parametrize("content", ['{"kind": "planted"}', '{"kind": "planted", "popularity": {"base": 1}}'])
def test_planted_without_formula_is_refused(tmp_path, content):
    (tmp_path / "facekit.json").write_text(content)
    with pytest.raises(DataError, match=r"facekit\.json: no formula of the popularity in it; plant the folder again"):
        plant.read_truth(tmp_path)


def test_a_formula_of_unknown_attributes_is_refused(planted, tmp_path):
    marker = json.loads((planted / "facekit.json").read_text())
    marker["popularity"]["weights"]["beauty"] = 1.0
    (tmp_path / "facekit.json").write_text(json.dumps(marker))
    with pytest.raises(DataError, match="'beauty' is no attribute"):
        plant.read_truth(tmp_path)


def test_same_seed_same_bytes_and_another_seed_other_names(celeba, planted, tmp_path):
    plant.plant_popularity(celeba, tmp_path / "again")
    assert read_bytes(tmp_path / "again") == read_bytes(planted)
    plant.plant_popularity(celeba, tmp_path / "other", seed=1)
    first, other = (pd.read_csv(root / "rows.csv").set_index("celeba_file") for root in (planted, tmp_path / "other"))
    assert not set(first["name"]) & set(other["name"])
    assert first["identity"].sort_index().equals(other["identity"].sort_index())


def test_planting_again_leaves_the_folder_alone(celeba, planted, tmp_path):
    root = shutil.copytree(planted, tmp_path / "planted")
    before = read_bytes(root)
    assert plant.plant_popularity(celeba, root) is False
    with pytest.raises(DataError, match="is there and holds something else; expected no such folder, or one planted from"):
        plant.plant_popularity(celeba, root, seed=1)
    assert read_bytes(root) == before
    next((root / "images").iterdir()).unlink()
    with pytest.raises(DataError, match="is not whole any more; remove it and plant it again"):
        plant.plant_popularity(celeba, root)


def test_what_is_there_is_never_overwritten(celeba, tmp_path):
    (tmp_path / "mine").mkdir()
    assert plant.plant_popularity(celeba, tmp_path / "mine")  # empty
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds something else"):
        plant.plant_popularity(celeba, tmp_path / "notes")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "notes"]


def test_a_failure_leaves_nothing_behind(celeba, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(plant.shutil, "copyfile", fail)
    with pytest.raises(DataError, match="planted could not be written: disk full; nothing of it was left"):
        plant.plant_popularity(celeba, tmp_path / "deep" / "planted")
    assert list((tmp_path / "deep").iterdir()) == []


def test_wrong_requests_are_told_in_one_line(celeba, tmp_path):
    with pytest.raises(ParameterError, match="ceiling 0; expected above 0 and at most 1"):
        plant.plant_popularity(celeba, tmp_path / "x", ceiling=0)
    with pytest.raises(DataError, match=r"holds no list_attr_celeba\.txt or"):
        plant.plant_popularity(tmp_path, tmp_path / "x")
    root = shutil.copytree(celeba, tmp_path / "celeba")
    lines = (root / "identity_CelebA.txt").read_text().splitlines()
    (root / "identity_CelebA.txt").write_text("\n".join(lines[1:]) + "\n")
    with pytest.raises(
        DataError, match="1 of 60 pictures without identity, the first img_align_celeba/000001.jpg; expected one"
    ):
        plant.plant_popularity(root, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_the_command_says_what_it_did(celeba, tmp_path, capsys):
    words = ["data", "plant", "--from", str(celeba), "--to", str(tmp_path / "planted"), "--seed", "3", "--ceiling", "0.8"]
    assert cli.main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'planted'}: planted, its README.md says how\n"
    assert cli.main(words) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'planted'}: is there already, planted just so; left as it is\n"
    assert cli.main([*words[:-1], "0.7"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("facekit: ") and told.count("\n") == 1
    marker = json.loads((tmp_path / "planted" / "facekit.json").read_text())
    assert (marker["seed"], marker["ceiling"]) == (3, 0.8)


def test_celebas_photographs_give_the_formula_back(shared):
    rows = read_dataset("celeba", shared / "data" / "celeba").table
    selfies, truth = plant._draw_selfies(rows, 0.5, 0)
    ticks = (selfies[list(ATTRIBUTES)] == 1).astype(int)
    popularity = selfies["popularity"].astype(float)
    assert r2_score(popularity, truth.compute_scores(ticks)) == pytest.approx(0.5, abs=0.01)
    names = [*plant.WEIGHTS, "both", *plant.DRAWN]
    ticks["both"] = ticks["is_female"] * ticks["smiling"]
    found = LinearRegression().fit(ticks[names], popularity)
    wanted = [0.40, 0.25, -0.10, -0.45, 0.20, -0.60, 0.30, 0.15, 0.25, 0.20]
    assert found.coef_[:10] == pytest.approx(wanted, abs=0.05)
    assert np.abs(found.coef_[10:]).max() < 0.05
    assert ticks[list(plant.DRAWN)].mean().to_numpy() == pytest.approx(list(plant.DRAWN.values()), abs=0.01)
