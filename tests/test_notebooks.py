"""Each notebook from top to bottom with one step of training, warnings of our own being errors."""

import json
import subprocess
import sys

import keras
import nbformat
import numpy as np
import pandas as pd
import pytest

from facekit.data.images import read_images
from facekit.models.saved import Predictor
from facekit.paths import cache_folder, project_root
from facekit.reporting import parameters, runner
from facekit.synthetic.layouts import write_sample

# The smallest run of each notebook that takes every path; the sample reports are run in full by nbval.
ONE_STEP = {
    "age": {
        "rows": 200,
        "cnn_epochs": 2,
        "autoencoder_epochs": 1,
        "epochs": 1,
        "short_epochs": 1,
        "input_size": 48,
        "clusters": 6,
    },
    "celeba": {"rows": 240, "epochs": 1, "input_size": [48, 48], "networks": 2},
    "celeba-networks": {
        "train_images": 64,
        "epochs": 1,
        "compared_networks": ["MobileNet"],
        "grid_rates": [0.003],
        "input_size": [48, 48],
    },
    "gender": {"rows": 300, "epochs": 1, "mismatch_epochs": 1, "mismatch_images": 64, "input_height": 48, "input_width": 40},
    "gender-size": {
        "rows": 300,
        "epochs": 1,
        "short_images": 64,
        "input_height": 32,
        "input_width": 32,
        "training_sizes": [50],
    },
    "selfie-auxiliary": {"rows": 160, "held_out_rows": 60, "epochs": 1, "folds": 2, "repeats": 1, "input_size": 48},
    "selfie-ranking": {"shuffles": 20},
    "selfie-task1": {"rows": 160, "held_out_rows": 60, "epochs": 1, "minimum_per_class": 20, "input_size": 48},
    "selfie-task2": {"rows": 160, "held_out_rows": 60, "epochs": 1, "input_size": 48},
    "smile": {
        "rows": 200,
        "epochs": 1,
        "epochs_stage2": 1,
        "claim_epochs": 1,
        "input_size": 48,
        "claim_size": 32,
        "networks": 2,
    },
}
# Run twice: one with networks, one without. The others train through the same functions, and CI has 25 minutes.
TWICE = ("selfie-ranking", "smile")
UNTRAINED = ("selfie-ranking",)  # no network, so neither history nor model


def read_metrics(folder):
    record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    record.pop("run")
    return record


def list_figures(folder):
    return {path.stem for path in (folder / "figures").iterdir()}


def test_every_notebook_has_a_one_step_run():
    assert sorted(ONE_STEP) == parameters.list_tasks()


@pytest.mark.parametrize("task", ONE_STEP)
def test_a_run_leaves_everything_and_a_second_one_the_same_but_for_run(task, tmp_path, monkeypatch):
    records, drawn = [], cache_folder("data")
    for name in ("first", "second") if task in TWICE else ("first",):
        monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / name))  # so that nothing is read that the first run kept
        (tmp_path / name).mkdir()  # ... but the synthetic images, which tests/synthetic draws twice
        (tmp_path / name / "data").symlink_to(drawn)
        folder = runner.run(task, "sample", ONE_STEP[task], out=tmp_path / "reports", strict=True)
        records.append(read_metrics(folder) | {"predictions": (folder / "predictions.csv").read_bytes()})
    assert records[1:] in ([], records[:1])
    left = {f"{task}.ipynb", f"{task}.html", "figures"} | (set() if task in UNTRAINED else {"history.csv", "model"})
    assert {path.name for path in folder.iterdir()} >= left
    if task not in UNTRAINED:
        assert Predictor(folder).outputs  # `facekit predict` finds what it needs


def test_a_saved_model_predicts_in_keras_alone_what_the_run_recorded(tmp_path):
    folder = runner.run("selfie-task2", "sample", ONE_STEP["selfie-task2"], out=tmp_path / "reports")
    predictions = pd.read_csv(folder / "predictions.csv")
    size = keras.models.load_model(folder / "model" / "model.keras", safe_mode=True).input_shape[1:3]
    images = read_images(cache_folder("data", "sample", "selfie"), predictions["path"], size, cache=False)
    np.save(tmp_path / "images.npy", images)
    code = """
import sys
sys.modules["facekit"] = None  # as where it is not installed
import keras, numpy as np
model = keras.models.load_model(sys.argv[1], safe_mode=True)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]).astype("float32"), verbose=0))
"""
    paths = [folder / "model" / "model.keras", tmp_path / "images.npy", tmp_path / "predicted.npy"]
    subprocess.run([sys.executable, "-c", code, *map(str, paths)], check=True, cwd=tmp_path, capture_output=True)
    recorded = predictions[[name for name in predictions if name.startswith("y_prob_")]].to_numpy()
    assert np.allclose(np.load(paths[2]), recorded, atol=1e-4)


def test_smile_on_real_photos_shows_no_face_and_no_label(shared, tmp_path):
    settings = ONE_STEP["smile"] | {"data": str(shared / "data" / "facehack"), "weights": "none", "networks": 1}
    settings |= {"alpha": 0.25, "compare_weights": "", "clusters": 5, "own_photos": str(shared / "data" / "selfies")}
    folder = runner.run("smile", "laptop", settings, out=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    assert 30 <= sum(record["data"]["counts"]["test"].values()) <= 60
    assert not list_figures(folder) & {"3-examples", "4-augmentation", "9-errors", "9-gradcam", "10-own"}
    assert "9-filters" in list_figures(folder)
    assert (folder / "predictions.csv").read_text().splitlines()[0].startswith("path,y_pred,y_prob_NOT smile")


@pytest.mark.parametrize("task", ["selfie-task1", "selfie-task2", "selfie-auxiliary"])
def test_a_report_on_real_selfies_knows_no_truth_and_shows_no_face(task, tmp_path):
    root = write_sample("selfie", tmp_path / "selfie", count=160, seed=2)
    (root / "facekit.json").unlink()  # now nothing says that they are synthetic
    settings = ONE_STEP[task] | {"data": str(root), "weights": "none", "backbone": "MobileNet", "alpha": 0.25}
    settings |= {"rows": 90, "held_out_rows": 30, "input_size": 32, "own_photos": str(root / "images"), "gpu_memory_mb": 0}
    folder = runner.run(task, "report", settings, out=tmp_path, strict=True)
    record = read_metrics(folder)
    assert (record["data"]["kind"], record["data"]["truth"]) == ("photographs", None)
    assert sum(record["data"]["counts"]["test"].values()) == 30
    assert not [metric for metric in record["metrics"] if "ceiling" in metric["name"] or "oracle" in metric["name"]]
    assert not list_figures(folder) & {"3-examples", "4-augmentation", "9-errors", "9-gradcam", "9-predictions", "10-own"}
    header = (folder / "predictions.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "path" and all(name.startswith(("y_pred", "y_prob_")) for name in header[1:])


def test_age_on_real_photos_shows_no_face_and_writes_the_contest_file(shared, tmp_path):
    settings = ONE_STEP["age"] | {"data": str(shared / "data" / "indian_actors"), "weights": "none", "other_weights": "none"}
    settings |= {"alpha": 0.25, "networks": 1, "own_photos": str(shared / "data" / "selfies")}
    folder = runner.run("age", "laptop", settings, out=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    found = {metric["name"]: metric["value"] for metric in record["metrics"]}
    assert (found["cnn/parameters"], found["cnn/parameters_fixed"], found["autoencoder/parameters"]) == (682287, 390, 13939)
    verdicts = {row["claim"]: row["verdict"] for row in record["published"]}
    assert (verdicts["model-1-parameters"], verdicts["pictures"]) == ("equal", "report error")
    faces = {"3-examples", "4-augmentation", "9-errors", "9-gradcam", "9-reconstructions", "10-test", "10-own"}
    assert not list_figures(folder) & faces
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "Class,ID" and len(lines) == 9543
    assert (folder / "predictions-test.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_YOUNG,y_prob_MIDDLE,y_prob_OLD"


def test_gender_on_real_tables_repeats_the_report_and_shows_no_face(shared, tmp_path):
    settings = ONE_STEP["gender"] | {"data": str(shared / "data" / "celeba"), "weights": "none"}
    settings |= {"side_weights": "none", "networks": 1, "alpha": 0.25, "own_photos": str(shared / "data" / "selfies")}
    folder = runner.run("gender", "laptop", settings, out=tmp_path, strict=True)
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
    assert not list_figures(folder) & {"3-examples", "4-augmentation", "9-errors", "9-gradcam", "10-own"}
    assert (folder / "predictions.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_female,y_prob_male"


def test_executed_notebooks_show_no_progress(tmp_path):
    folder = runner.run("selfie-ranking", "sample", ONE_STEP["selfie-ranking"], out=tmp_path)
    notebook = nbformat.read(folder / "selfie-ranking.ipynb", as_version=4)
    assert "reading images" not in json.dumps(notebook) and str(project_root()) not in json.dumps(notebook)
