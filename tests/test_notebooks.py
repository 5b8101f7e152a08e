"""Each notebook from top to bottom with one step of training, warnings of our own being errors."""

import json

import pytest

from facekit.datasets.selfie import ATTRIBUTES
from facekit.folders import cache_folder
from facekit.parameters import list_tasks
from facekit.predict.networks import load_predictor
from facekit.runner import run_notebook
from facekit.synthetic import write_sample

ONE_STEP = {
    "age": {"rows": 160, "input_size": 48, "clusters": 6, "study_seeds": 1, "cnn_epochs": 2, "epochs": 1, "short_epochs": 1}
    | {"autoencoder_epochs": 1, "code_epochs": 1},
    "celeba": {"rows": 160, "epochs": "1 1", "head_epochs": 1, "short_pictures": 32, "sizes": "32x32 48x40"}
    | {"learning_rates": "0.003 0.001", "averaged_stages": 2, "trials": "stem", "trial_pictures": 32}
    | {"stored_height": 48, "stored_width": 48, "short_height": 48, "short_width": 48, "short_graphs": False},
    "gender": {"rows": 200, "epochs": 1, "short_epochs": 1, "other_epochs": 1, "habit_epochs": 1, "training_sizes": [50]}
    | {"short_pictures": 64, "habit_pictures": 64, "input_height": 48, "input_width": 40}
    | {"short_height": 32, "short_width": 32},
    "selfie-auxiliary": {"rows": 160, "held_out_rows": 60, "epochs": 1, "folds": 2, "seeds": [0], "input_size": 48},
    "selfie-ranking": {"shuffles": 20},
    "selfie-task1": {"rows": 160, "held_out_rows": 60, "epochs": 1, "minimum_per_class": 20, "input_size": 48},
    "selfie-task2": {"rows": 160, "held_out_rows": 60, "epochs": 1, "resnet50_pictures": 8, "input_size": 48},
    "smile": {"rows": 160, "epochs": 1, "epochs_stage1": 1, "epochs_stage2": 1, "claim_epochs": 1}
    | {"input_size": 48, "claim_size": 32},
}
# Run twice: one with networks, one without. The others train through the same functions, and CI has 25 minutes.
TWICE = ("selfie-ranking", "smile")
UNTRAINED = ("selfie-ranking",)  # no network, so neither history nor model


def read_metrics(folder):
    record = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    record.pop("run")
    return record


def test_every_notebook_has_a_one_step_run():
    assert sorted(ONE_STEP) == list_tasks()


@pytest.mark.parametrize("task", ONE_STEP)
def test_a_run_leaves_everything_and_a_second_one_the_same_but_for_run(task, tmp_path, monkeypatch):
    records, drawn = [], cache_folder("data")
    for name in ("first", "second") if task in TWICE else ("first",):
        monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / name))  # so that nothing is read that the first run kept
        (tmp_path / name).mkdir()  # ... but the drawn pictures, which tests/test_synthetic.py draws twice
        (tmp_path / name / "data").symlink_to(drawn)
        folder = run_notebook(task, "sample", ONE_STEP[task], reports=tmp_path / "reports", strict=True)
        records.append(read_metrics(folder))
        predictions = (folder / "predictions.csv").read_bytes()
        records[-1]["predictions"] = predictions
    assert records[1:] in ([], records[:1])
    left = {f"{task}.ipynb", f"{task}.html", "figures"} | (set() if task in UNTRAINED else {"history.csv", "model"})
    assert {path.name for path in folder.iterdir()} >= left
    if task not in UNTRAINED:
        recipe = load_predictor(folder).recipe  # `facekit predict` answers as the run did
        assert (recipe.dataset != "", recipe.kind) == (True, "synthetic")
        assert recipe.flips == records[0]["parameters"].get("average_flips", False)


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


@pytest.mark.parametrize(
    ("task", "shows"), [("selfie-task1", "8-accuracy"), ("selfie-task2", "4-edges"), ("selfie-auxiliary", "8-variants")]
)
def test_report_on_real_selfies_knows_no_truth_and_shows_no_face(task, shows, tmp_path):
    root = write_sample("selfie", tmp_path / "selfie", count=160, seed=2)
    (root / "facekit.json").unlink()  # now nothing says that they are drawn
    settings = {"data": str(root), "weights": "none", "epochs": 1, "rows": 90, "held_out_rows": 30, "input_size": 32}
    settings |= {"undecided": "missing", "dense_units": [8], "photographs": str(root / "images")}
    settings |= {"folds": 2, "seeds": [0]} if task == "selfie-auxiliary" else {}
    small = {"minimum_per_class": 0, "backbone": "MobileNet", "alpha": 0.25}  # two networks, slow enough when small
    settings |= small if task == "selfie-task1" else {}
    folder = run_notebook(task, "report", settings, reports=tmp_path, strict=True)
    record = read_metrics(folder)
    assert (record["data"]["kind"], record["data"]["truth"]) == ("photographs", None)
    assert record["backbone"]["network"] == settings.get("backbone", "ResNet50")
    assert sum(record["data"]["counts"]["test"].values()) == 30
    assert not [metric for metric in record["metrics"] if "ceiling" in metric["name"] or "oracle" in metric["name"]]
    figures = {path.stem for path in (folder / "figures").iterdir()}
    assert shows in figures and not figures & {
        "4-examples",
        "4-augmentation",
        "9-errors",
        "9-gradcam",
        "9-predictions",
        "10-own",
    }
    header = (folder / "predictions.csv").read_text().splitlines()[0].split(",")
    assert header[0] == "path" and all(name.startswith(("y_pred", "y_prob_")) for name in header[1:])


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


def test_age_on_real_photographs_shows_no_face_and_writes_the_contest_file(shared, tmp_path):
    settings = ONE_STEP["age"] | {"data": str(shared / "data" / "indian_actors"), "weights": "none", "other_weights": "none"}
    settings |= {"alpha": 0.25, "photographs": str(shared / "data" / "selfies")}
    folder = run_notebook("age", "laptop", settings, reports=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    found = {metric["name"]: metric["value"] for metric in record["metrics"]}
    assert (found["cnn/parameters"], found["cnn/parameters_fixed"], found["autoencoder/parameters"]) == (682287, 390, 13939)
    verdicts = {row["claim"]: row["verdict"] for row in record["published"]}
    assert (verdicts["model-1-parameters"], verdicts["pictures"]) == ("within", "below")
    faces = {"4-examples", "4-augmentation", "9-errors", "9-gradcam", "9-reconstructions", "10-test", "10-own"}
    assert not {path.stem for path in (folder / "figures").iterdir()} & faces
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "Class,ID" and len(lines) == 91
    assert (folder / "predictions-test.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_YOUNG,y_prob_MIDDLE,y_prob_OLD"


def test_gender_on_real_tables_repeats_the_report_and_shows_no_face(shared, tmp_path):
    settings = ONE_STEP["gender"] | {"data": str(shared / "data" / "celeba"), "weights": "none", "side_weights": "none"}
    settings |= {"alpha": 0.25, "networks": 1, "photographs": str(shared / "data" / "selfies")}
    folder = run_notebook("gender", "laptop", settings, reports=tmp_path, strict=True)
    record = read_metrics(folder)
    assert record["data"]["kind"] == "photographs"
    found = {metric["name"]: metric for metric in record["metrics"]}
    assert (found["data/male"]["value"], found["data/female"]["value"]) == (84434, 118165)
    assert found["attributes/components"]["value"] == 34
    attributes = found["test/attributes/accuracy"]
    assert (round(attributes["value"] * attributes["n"]), attributes["n"]) == (37771, 40520)
    assert found["test/attributes/official/accuracy"]["value"] == pytest.approx(0.93513, abs=5e-5)
    verdicts = {row["claim"]: row["verdict"] for row in record["published"]}
    assert (verdicts["attribute-components"], verdicts["attribute-accuracy"], verdicts["males"]) == (
        "within",
        "within",
        "below",
    )
    faces = {"4-augmentation", "8-shrunk", "9-errors", "9-gradcam", "10-own"}
    assert not {path.stem for path in (folder / "figures").iterdir()} & faces
    assert (folder / "predictions.csv").read_text().splitlines()[0] == "path,y_pred,y_prob_female,y_prob_male"
