"""Each notebook from top to bottom with one step of training, warnings of our own being errors."""

import json

import pytest

from facekit.parameters import list_tasks
from facekit.runner import run_notebook

ONE_STEP = {
    "smile": {"rows": 160, "epochs": 1, "epochs_stage2": 1, "claim_epochs": 1, "input_size": 48, "claim_size": 32},
}


def read_metrics(folder):
    record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    record.pop("run")
    return record


def test_every_notebook_has_a_one_step_run():
    assert sorted(ONE_STEP) == list_tasks()


@pytest.mark.parametrize("task", ONE_STEP)
def test_two_runs_leave_the_same_but_for_run(task, tmp_path, monkeypatch):
    records = []
    for name in ("first", "second"):
        monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / name))  # so that nothing is read that the first run kept
        folder = run_notebook(task, "sample", ONE_STEP[task], reports=tmp_path / "reports", strict=True)
        records.append(read_metrics(folder))
        predictions = (folder / "predictions.csv").read_bytes()
        records[-1]["predictions"] = predictions
    assert records[0] == records[1]
    assert {path.name for path in folder.iterdir()} >= {f"{task}.ipynb", f"{task}.html", "history.csv", "figures", "model"}


def test_smile_on_real_photographs_shows_no_face_and_no_label(shared, tmp_path):
    settings = ONE_STEP["smile"] | {"data": str(shared / "data" / "facehack"), "weights": "none", "networks": 1}
    settings |= {"alpha": 0.25, "clusters": 5, "resnet18_pictures": 0, "photographs": str(shared / "data" / "selfies")}
    folder = run_notebook("smile", "laptop", settings, reports=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    assert 30 <= sum(record["data"]["counts"]["test"].values()) <= 50
    assert not {path.stem for path in (folder / "figures").iterdir()} & {"4-examples", "4-augmentation", "9-errors", "10-own"}
    assert (folder / "predictions.csv").read_text().splitlines()[0].startswith("path,y_pred,y_prob_NOT smile")
