"""Each notebook from top to bottom with one step of training, warnings of our own being errors."""

import json

import pytest

from facekit.datasets.selfie import ATTRIBUTES
from facekit.parameters import list_tasks
from facekit.runner import run_notebook
from facekit.synthetic import write_sample

ONE_STEP = {
    "celeba": {"rows": 160, "epochs": 1, "head_epochs": 1, "short_pictures": 32, "input_height": 48, "input_width": 48}
    | {"stored_height": 48, "stored_width": 48, "short_height": 48, "short_width": 48},
    "selfie-ranking": {"shuffles": 20},
    "smile": {"rows": 160, "epochs": 1, "epochs_stage1": 1, "epochs_stage2": 1, "claim_epochs": 1}
    | {"input_size": 48, "claim_size": 32},
}
UNTRAINED = ("selfie-ranking",)  # no network, so neither history nor model


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
    left = {f"{task}.ipynb", f"{task}.html", "figures"} | (set() if task in UNTRAINED else {"history.csv", "model"})
    assert {path.name for path in folder.iterdir()} >= left


def test_smile_on_real_photographs_shows_no_face_and_no_label(shared, tmp_path):
    settings = ONE_STEP["smile"] | {"data": str(shared / "data" / "facehack"), "weights": "none", "networks": 1}
    settings |= {
        "alpha": 0.25,
        "compare_weights": "",
        "clusters": 5,
        "resnet18_pictures": 0,
        "photographs": str(shared / "data" / "selfies"),
    }
    folder = run_notebook("smile", "laptop", settings, reports=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    assert 30 <= sum(record["data"]["counts"]["test"].values()) <= 50
    assert not {path.stem for path in (folder / "figures").iterdir()} & {"4-examples", "4-augmentation", "9-errors", "10-own"}
    assert (folder / "predictions.csv").read_text().splitlines()[0].startswith("path,y_pred,y_prob_NOT smile")


def test_ranking_of_real_selfies_is_set_beside_the_report_and_shows_no_face(tmp_path):
    root = write_sample("selfie", tmp_path / "selfie", count=120, seed=2)
    (root / "facekit.json").unlink()  # now nothing says that they are drawn
    rows = [line.split() for line in (root / "selfie_dataset.txt").read_text().splitlines()]
    never = 2 + ATTRIBUTES.index("braces")  # an attribute that nobody has cannot be tested
    (root / "selfie_dataset.txt").write_text("".join(" ".join([*row[:never], "-1", *row[never + 1 :]]) + "\n" for row in rows))
    settings = {"data": str(root), "rows": 110, "undecided": "missing"}
    folder = run_notebook("selfie-ranking", "report", settings, reports=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    found = {metric["name"]: metric for metric in record["metrics"]}
    assert -1 <= found["chi_square/spearman_published"]["value"] <= 1
    assert found["chi_square/spearman_published"]["n"] < 36 and "chi_square/braces" not in found
    assert 0 <= found["chi_square/top_seven_shared"]["value"] <= 7
    verdicts = {row["claim"]: row["verdict"] for row in record["published"]}
    assert verdicts["chi-square-is-female"] in ("above", "within", "below")
    assert not [name for name in found if name.startswith("truth/")]
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert figures == {"4-popularity", "8-ranking", "8-published", "9-correlations"}
    assert (folder / "predictions.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_Poor,y_prob_Great"
