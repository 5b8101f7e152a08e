"""Notebooks run small: that a run can be repeated, and what photographs change; nbval runs each sample notebook whole."""

import functools
import json

import keras
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from saved_runs import forget_facekit

from facekit.data.images import read_images
from facekit.data.tables import read_dataset
from facekit.evaluation import bootstrap
from facekit.models.saved import Predictor
from facekit.paths import project_root
from facekit.reporting import parameters, runner
from facekit.synthetic.layouts import write_sample

# A network that computes little: one epoch on small images, nothing but its head trained.
SMALL = {"weights": "none", "alpha": 0.25, "frozen_layers": -1, "epochs": 1}
FACES = {"3-examples", "4-augmentation", "9-errors", "9-gradcam", "9-predictions", "9-reconstructions", "10-test", "10-own"}


def read_metrics(folder):
    record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    record.pop("run")
    return record


def list_figures(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


@pytest.fixture
def run_here(tmp_path, monkeypatch, untraced):
    """Run a notebook's cells in this process, where TensorFlow is loaded already, with an empty cache; return the folder.

    Few resamples, small figures and steps that are not traced show the same mistakes sooner: nbval runs the whole of each.
    What is a warning is an error here too.
    """
    monkeypatch.chdir(project_root())
    monkeypatch.setattr(bootstrap, "draw_weights", functools.partial(bootstrap.draw_weights, resamples=100))

    def run(task, profile, settings, name="run"):
        folder = tmp_path / name / profile / task
        folder.mkdir(parents=True)
        monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / name / "cache"))
        monkeypatch.setenv("FACEKIT_RUN_FOLDER", str(folder))
        space = {"__name__": "__main__", "display": lambda shown: None}
        for number, cell in enumerate(nbformat.read(project_root() / f"notebooks/{task}.ipynb", as_version=4).cells):
            if cell.cell_type == "code":
                exec(compile(cell.source, f"{task}, cell {number}", "exec"), space)
            if "parameters" in cell.metadata.get("tags", []):
                space |= parameters.merge(task, profile, settings)
        return folder

    # Options that a run sets for the whole process.
    with pd.option_context("display.max_rows", None, "display.max_colwidth", None), plt.rc_context({"savefig.dpi": 30}):
        yield run
    plt.close("all")


def assert_repeated(run):
    """Assert that two runs with empty caches differ in nothing but `run`, and return the second's folder."""
    folders = [run(name) for name in ("first", "second")]
    found = [[read_metrics(folder), (folder / "predictions.csv").read_bytes()] for folder in folders]
    assert found[0] == found[1]
    return folders[1]


def take_rows(source, folder, **rows):
    """Make a dataset's folder with the first rows of its tables, and return it as text."""
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix == ".csv":
            lines = path.read_bytes().splitlines(keepends=True)
            (folder / path.name).write_bytes(b"".join(lines[: rows[path.stem]]))
        else:
            (folder / path.name).symlink_to(path)
    return str(folder)


@pytest.fixture(scope="module")
def selfies(tmp_path_factory):
    """Synthetic selfies of which nothing says that they are synthetic."""
    root = write_sample("selfie", tmp_path_factory.mktemp("data") / "selfie", count=160, seed=2)
    (root / "facekit.json").unlink()
    return root


def test_a_run_leaves_everything_and_a_second_one_the_same_but_for_run(tmp_path, monkeypatch):
    data = str(write_sample("selfie", tmp_path / "selfie", count=300, seed=1))

    def run(name):
        monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / name))  # so that nothing is read that the first run kept
        return runner.run("selfie-ranking", "sample", {"data": data, "shuffles": 20}, out=tmp_path / name)

    folder = assert_repeated(run)
    left = {"selfie-ranking.ipynb", "selfie-ranking.html", "figures", "metrics.json", "predictions.csv"}
    assert {path.name for path in folder.iterdir()} == left
    notebook = json.dumps(nbformat.read(folder / "selfie-ranking.ipynb", as_version=4))
    assert "reading images" not in notebook and str(project_root()) not in notebook


@pytest.mark.parametrize("task", ["selfie-task1", "selfie-task2", "selfie-auxiliary"])
def test_a_report_on_real_selfies_knows_no_truth_and_shows_no_face(task, selfies, run_here, monkeypatch):
    settings = SMALL | {"data": str(selfies), "backbone": "MobileNet", "own_photos": str(selfies / "images")}
    settings |= {"weights": "sample"}  # whose features differ between images; those of untrained weights hardly do
    settings |= {"rows": 90, "held_out_rows": 30, "input_size": 32, "gpu_memory_mb": 0}
    if task == "selfie-auxiliary":  # on frozen features alone
        settings |= {"folds": 2, "repeats": 1}
        del settings["frozen_layers"]
    settings |= {"minimum_per_class": 20} if task == "selfie-task1" else {}
    settings |= {"other_weights": "sample", "other_size": 32} if task == "selfie-task2" else {}
    if task == "selfie-task2":  # as good as any to see that training convolutions twice gives the same
        folder = assert_repeated(lambda name: run_here(task, "report", settings | {"frozen_layers": 79}, name))
        assert_keras_alone_predicts_what_was_recorded(folder, selfies, monkeypatch)
    else:
        folder = run_here(task, "report", settings)
    record = read_metrics(folder)
    assert (record["data"]["kind"], record["data"]["truth"]) == ("photographs", None)
    assert sum(record["data"]["counts"]["test"].values()) == 30
    assert not [metric for metric in record["metrics"] if "ceiling" in metric["name"] or "oracle" in metric["name"]]
    assert not list_figures(folder) & FACES
    header = (folder / "predictions.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "path" and all(name.startswith(("y_pred", "y_prob_")) for name in header[1:])


def assert_keras_alone_predicts_what_was_recorded(folder, root, monkeypatch):
    predictions, path = pd.read_csv(folder / "predictions.csv"), folder / "model" / "model.keras"
    with monkeypatch.context() as patch:
        forget_facekit(patch)
        model = keras.models.load_model(path, safe_mode=True)
    images = read_images(root, predictions["path"], model.input_shape[1:3])
    recorded = predictions[[name for name in predictions if name.startswith("y_prob_")]].to_numpy()
    assert np.ptp(recorded, axis=0).max() > 1e-3
    assert np.allclose(model.predict_on_batch(images.astype("float32")), recorded, atol=1e-4)


def test_smile_on_real_photos_shows_no_face_and_no_label(shared, tmp_path, run_here):
    data = take_rows(shared / "data" / "facehack", tmp_path / "data", train=150, test=50)
    settings = SMALL | {"data": data, "networks": 1, "epochs_stage2": 1, "claim_epochs": 1, "input_size": 48, "claim_size": 32}
    settings |= {"compare_weights": "", "resnet50_weights": "", "clusters": 5, "own_photos": str(shared / "data" / "selfies")}
    folder = run_here("smile", "laptop", settings)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    assert sum(record["data"]["counts"]["test"].values()) == 50
    assert not list_figures(folder) & FACES
    assert "9-filters" in list_figures(folder)
    assert (folder / "predictions.csv").read_text().splitlines()[0].startswith("path,y_pred,y_prob_NOT smile")
    assert Predictor(folder).outputs == ["cascade"]


def test_age_on_real_photos_shows_no_face_and_writes_the_contest_file(shared, tmp_path, run_here):
    data = take_rows(shared / "data" / "indian_actors", tmp_path / "data", train=201, test=61)
    settings = SMALL | {"data": data, "other_weights": "none", "own_photos": str(shared / "data" / "selfies")}
    settings |= {"cnn_epochs": 1, "autoencoder_epochs": 1, "short_epochs": 1, "input_size": 48, "clusters": 6}
    folder = run_here("age", "laptop", settings)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    found = {metric["name"]: metric["value"] for metric in record["metrics"]}
    assert (found["cnn/parameters"], found["cnn/parameters_fixed"], found["autoencoder/parameters"]) == (682287, 390, 13939)
    verdicts = {row["claim"]: row["verdict"] for row in record["published"]}
    assert (verdicts["model-1-parameters"], verdicts["pictures"]) == ("equal", "report error")
    assert not list_figures(folder) & FACES
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "Class,ID" and len(lines) == 61
    assert (folder / "predictions-test.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_YOUNG,y_prob_MIDDLE,y_prob_OLD"


def test_gender_on_real_tables_repeats_the_report_and_shows_no_face(shared, run_here):
    settings = SMALL | {"data": str(shared / "data" / "celeba"), "compare_weights": "", "rows": 300}
    settings |= {"short_images": 64, "input_height": 48, "input_width": 40}
    settings |= {"own_photos": str(shared / "data" / "selfies")}
    folder = run_here("gender", "laptop", settings)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    found = {metric["name"]: metric for metric in record["metrics"]}
    assert (found["data/male"]["value"], found["data/female"]["value"]) == (84434, 118165)
    assert found["attributes/components"]["value"] == 34
    attributes = found["test/attributes/accuracy"]
    assert (round(attributes["value"] * attributes["n"]), attributes["n"]) == (37771, 40520)
    assert found["test/attributes/official/accuracy"]["value"] == pytest.approx(0.93513, abs=5e-5)
    verdicts = {row["claim"]: row["verdict"] for row in record["published"]}
    wanted = ("equal", "within", "report error")
    assert (verdicts["attribute-components"], verdicts["attribute-accuracy"], verdicts["males"]) == wanted
    assert not list_figures(folder) & FACES
    assert (folder / "predictions.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_female,y_prob_male"


def test_celeba_networks_takes_all_training_images_where_none_are_named(samples, run_here):
    settings = {"data": str(samples / "celeba"), "train_images": 0, "epochs": 1, "mobilenet_weights": "none", "tuned_cells": 1}
    settings |= {"compared_networks": ["MobileNet"], "grid_rates": [0.01], "own_photos": str(samples / "selfie" / "images")}
    record = read_metrics(run_here("celeba-networks", "sample", settings))
    rows = read_dataset("celeba", samples / "celeba").table
    assert sum(record["data"]["counts"]["train"].values()) == (rows["split"] == "train").sum() > 20
