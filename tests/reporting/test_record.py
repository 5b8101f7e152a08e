"""record.py: equal runs leave equal bytes, no labels and no faces of real photographs leave the machine."""

import base64
import io
import json
import os
import platform
import subprocess
from types import SimpleNamespace

import cv2
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facekit.errors import DataError, ParameterError
from facekit.evaluation.metric import Comparison, Metric
from facekit.paths import project_root
from facekit.reporting import parameters, plots, record
from facekit.reporting.claims import read_record
from facekit.reporting.record import describe_machine, dump_json, open_run

TABLE = pd.DataFrame(
    {
        "path": ["happy_images/1.jpg", "happy_images/2.jpg", "happy_images/3.jpg", "happy_images/4.jpg"],
        "split": ["train", "train", "test", ""],
        "group": [0, 1, 2, 3],
        "label": ["NOT smile", "NOT smile", "positive smile", "NOT smile"],
    }
)
HASHES = pd.DataFrame({"path": TABLE["path"], "digest": ["a" * 64, "b" * 64, "c" * 64, "d" * 64], "phash": range(4)})
EXCLUDED = pd.DataFrame({"file": ["train.csv"], "row": [7], "value": ["smil"], "reason": ["unknown label"]})
PREDICTIONS = pd.DataFrame(
    {
        "path": ["happy_images/3.jpg"],
        "y_true": ["positive smile"],
        "y_pred": ["NOT smile"],
        "y_prob_NOT smile": np.array([0.1], dtype=np.float32),
    }
)
METRIC = Metric("test/cascade/accuracy", 0.83, (0.81, 0.85), 1611, 0.7)
COMPARISON = Comparison("cascade", "single", "accuracy", 0.1, (0.01, 0.2), 9)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_RUN_FOLDER", str(tmp_path))
    monkeypatch.setattr(record, "collect", lambda task, namespace: {"profile": "laptop", "seed": 0} | namespace)
    return tmp_path


def make_run(kind="photographs", **settings):
    run = open_run("smile", settings)
    dataset = SimpleNamespace(name="facehack", kind=kind, excluded=EXCLUDED, note="")
    run.set_data(dataset, TABLE, target="label", hashes=HASHES, audit={"cross_split_duplicates": np.int64(0)})
    run.backbone = {"network": "MobileNet", "parameters": 10}
    return run


def draw_faces():
    return plots.plot_images(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"], "Two faces")


def test_metrics_json_holds_its_keys(folder):
    run = make_run()
    assert run.add([METRIC]) == [METRIC] and run.add(COMPARISON) is COMPARISON
    with run.stage("training"):
        pass
    content = json.loads(run.close().read_text(encoding="utf-8"))
    assert sorted(content) == [
        *("backbone", "comparisons", "data", "metrics", "parameters", "profile", "published"),
        *("question", "run", "schema", "task"),
    ]
    assert (content["schema"], content["task"], content["profile"]) == (1, "smile", "laptop")
    assert content["question"].startswith("Can a cascade of two classifiers")
    assert content["parameters"] == {"profile": "laptop", "seed": 0}
    assert sorted(content["data"]) == ["audit", "counts", "dataset", "digest", "excluded", "kind"]
    assert content["data"]["counts"] == {"train": {"NOT smile": 2}, "test": {"positive smile": 1}}
    assert content["data"]["excluded"] == {
        "rows": 1,
        "reasons": {"unknown label": 1},
        "first": [{"file": "train.csv", "row": 7, "reason": "unknown label"}],
    }
    assert content["data"]["audit"] == {"cross_split_duplicates": 0}
    assert content["backbone"] == {"network": "MobileNet", "parameters": 10}
    assert content["metrics"] == [vars(METRIC) | {"interval": list(METRIC.interval)}]
    assert content["comparisons"] == [vars(COMPARISON) | {"interval": list(COMPARISON.interval)}]
    assert len(content["published"]) == 11
    assert set(content["published"][0]) == {"claim", "value", "reproduced", "verdict", "why"}
    assert set(content["run"]) == {
        *("started", "seconds", "peak_memory_mb", "peak_gpu_memory_mb", "machine", "versions", "device")
    }
    assert list(content["run"]["seconds"]) == ["training", "whole run"]


def test_equal_runs_are_equal_bytes_outside_run(folder):
    texts = []
    for _ in range(2):
        run = make_run()
        run.add(METRIC)
        content = json.loads(run.close().read_bytes())
        del content["run"]
        texts.append(dump_json(content))
    assert texts[0] == texts[1]


def test_a_stage_adds_up_and_one_that_fails_is_timed(folder):
    run = make_run()
    run.seconds["training"] = 3.0
    with pytest.raises(ZeroDivisionError), run.stage("training"):
        raise ZeroDivisionError
    assert 3.0 < run.seconds["training"] < 3.5


def test_metrics_and_comparisons_are_found_again_and_shown(folder):
    run = make_run()
    run.add([METRIC, COMPARISON])
    assert run["test/cascade/accuracy"] is METRIC and run.comparison("cascade", "single") is COMPARISON
    assert run.metrics_table("test/").iloc[0].tolist() == [
        *("test/cascade/accuracy", "0.8300 [0.8100, 0.8500]", 1611, "0.7000", "none")
    ]
    assert run.metrics_table("train/").empty
    assert run.comparisons_table().iloc[0].tolist() == [
        *("cascade", "single", "accuracy", "+0.1000 [+0.0100, +0.2000]", 9, "yes")
    ]
    with pytest.raises(ParameterError, match="test/cascade/accuracy is recorded twice"):
        run.add(METRIC)
    with pytest.raises(ParameterError, match="no metric 'test/cascade/acuracy' is recorded; expected test/cascade/accuracy"):
        run["test/cascade/acuracy"]
    with pytest.raises(ParameterError, match="no comparison of a with b is recorded; expected one of cascade with single"):
        run.comparison("a", "b")
    with pytest.raises(ParameterError):
        run.comparison("cascade", "single", "f1")


def test_labels_of_real_images_are_not_written(folder):
    for kind in ("photographs", "planted"):
        make_run(kind).save_predictions(PREDICTIONS)
        text = (folder / "predictions.csv").read_text()
        assert text == "path,y_pred,y_prob_NOT smile\nhappy_images/3.jpg,NOT smile,0.100000\n"


def test_labels_of_synthetic_images_are_written(folder):
    make_run("synthetic").save_predictions(PREDICTIONS)
    header = (folder / "predictions.csv").read_text().splitlines()[0]
    assert header == "path,y_true,y_pred,y_prob_NOT smile"


def test_other_columns_and_absolute_paths_are_refused(folder):
    run = make_run()
    with pytest.raises(DataError, match="column 'label'; expected path, y_true, y_pred"):
        run.save_predictions(PREDICTIONS.rename(columns={"y_true": "label"}))
    with pytest.raises(DataError, match="path /home/somebody/3.jpg"):
        run.save_predictions(PREDICTIONS.assign(path="/home/somebody/3.jpg"))
    assert not (folder / "predictions.csv").exists()


def test_a_name_that_is_not_utf8_is_written_escaped(folder):
    run = make_run()
    run.save_predictions(PREDICTIONS.assign(path="caf\udce9.jpg"))
    assert "caf\\udce9.jpg" in (folder / "predictions.csv").read_text(encoding="utf-8")
    run.data["audit"] = {"named": ["caf\udce9.jpg"]}
    assert read_record(run.close()).data["audit"] == {"named": ["caf\\udce9.jpg"]}


@pytest.mark.parametrize(
    ("kind", "settings", "real", "shown"),
    [
        ("photographs", {}, None, False),
        ("photographs", {"show_faces": False}, None, False),
        ("planted", {}, None, False),
        ("photographs", {"show_faces": True}, None, True),
        ("photographs", {"show_faces": False}, False, True),  # synthetic selfies, in place of your own photos
        ("synthetic", {"show_faces": False}, None, True),
        ("synthetic", {"show_faces": False}, True, False),  # your own photos
        ("synthetic", {"show_faces": True}, True, True),
    ],
)
def test_whose_faces_are_shown_and_written(folder, kind, settings, real, shown):
    figure = draw_faces()
    result = make_run(kind, **settings).save_figure(figure, "9-errors", real=real)
    assert (folder / "figures" / "9-errors.png").exists() == shown
    if not shown:
        assert "Two faces: faces of real people, not shown" in result.data
        assert figure.axes == []  # the figure itself, as the last line of a cell, shows nothing either


def test_nothing_is_shown_before_the_data_is_known(folder):
    open_run("smile", {}).save_figure(draw_faces(), "9-errors")
    assert not (folder / "figures").exists()


def test_a_figure_without_faces_of_real_people_is_shown(folder):
    make_run().save_figure(plots.plot_confusion(np.eye(2, dtype=int), ["a", "b"], "Who"), "8-confusion", real=True)
    assert (folder / "figures" / "8-confusion.png").exists()


def test_a_figure_is_shown_once_and_as_it_is_written(folder):
    figure, axes = plt.subplots()
    figure.suptitle("Who is\nwho")
    shown = make_run().save_figure(figure, "8-own")
    assert not plt.fignum_exists(figure.number)  # else IPython shows it a second time
    data, metadata = shown._repr_png_()
    written = (folder / "figures" / "8-own.png").read_bytes()
    assert base64.b64decode(data) == written
    assert metadata["alt"] == "Who is who"
    assert b"matplotlib" not in written.lower()  # its version would make equal figures unequal


def test_a_colour_bar_keeps_its_colours_beside_photographs(folder):
    random = np.random.default_rng(0)
    photographs = cv2.resize(random.integers(90, 220, (6, 8, 3), dtype=np.uint8), (512, 380), interpolation=cv2.INTER_CUBIC)
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_INFERNO)
    image = np.vstack([photographs, cv2.resize(colours, (512, 4), interpolation=cv2.INTER_NEAREST)])
    figure = plt.figure(figsize=(5.12, 3.84), dpi=100)
    figure.figimage(image)
    with plt.rc_context({"savefig.dpi": 100}):
        shown = make_run("synthetic").save_figure(figure, "9-map")
    seen = np.asarray(Image.open(io.BytesIO(shown.data)).convert("RGB"))
    assert np.abs(seen.astype(int) - image).max(axis=-1)[-4:].mean() < 12


def test_verdicts_are_recorded_and_told_in_words(folder):
    run = make_run()
    run.add(METRIC)
    shown = run.claims("images of 64x64")
    (row,) = [row for row in run.published if row.claim == "combined-accuracy"]
    assert (row.verdict, row.reproduced) == ("above", "test/cascade/accuracy")
    assert row.why.endswith("; images of 64x64")
    assert list(shown) == ["claim", "published", "ours", "n", "verdict", "why"]
    assert "images of 64x64" in shown.to_html()  # pandas would cut a long reason
    rows = run.published
    assert read_record(run.close()).published == rows  # close does not judge again, without the remark


def test_published_values_are_known_on_photographs_only(folder):
    values = make_run().published_values()
    assert values["test/cascade/accuracy"] == 0.7920546244568591
    assert values["test/stage1/accuracy"] == 0.8454  # of several the first
    assert make_run("synthetic").published_values() == {}


def test_history_is_written_without_times(folder):
    run = make_run()
    rows = pd.DataFrame({"epoch": [1, 2], "loss": [0.5, 0.4], "seconds": [1.0, 2.0]})
    (folder / "history.json").write_text("[]")
    assert list(run.save_history({"a": SimpleNamespace(history=rows, seconds=3.0, folder=folder)})["stage"]) == ["a", "a"]
    last = run.save_history({"b": SimpleNamespace(history=rows.head(1), seconds=1.0, folder=folder)})
    assert last.to_dict("records") == [{"stage": "b", "epoch": 1, "loss": 0.5}]
    assert (folder / "history.csv").read_text() == "stage,epoch,loss\na,1,0.5\na,2,0.4\nb,1,0.5\n"
    assert run.seconds == {"a": 3.0, "b": 1.0}


def test_time_of_a_run_holds_what_its_fits_took_before_it(folder):
    run = make_run()
    (folder / "history.json").write_text("[]")
    os.utime(folder / "history.json", (run.started.timestamp() - 9,) * 2)
    run.save_history({"a": SimpleNamespace(history=pd.DataFrame({"epoch": [1]}), seconds=3000.0, folder=folder)})
    run.close()
    assert 3000 <= run.seconds["whole run"] < 3060


def test_a_model_is_saved_for_keras_alone_with_its_card(folder):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((8, 6, 3), name="images"), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("adam", "mse")
    run = make_run()
    run.save_model(model, "first", classes=["a", "b"], cascade={"then": "second", "threshold": np.float64(0.4)})
    for layer, file in zip(model.layers, ("small.h5", None), strict=True):  # as weights.load_weights marks them
        layer.weights_file = file
    run.save_model(model, "second", classes=["c", "d"])
    card = json.loads((folder / "model" / "card.json").read_text())
    assert (card["task"], card["profile"], card["dataset"], card["kind"]) == ("smile", "laptop", "facehack", "photographs")
    assert list(card["models"]) == ["first", "second"]
    first = card["models"]["first"]
    assert (first["file"], first["network"], first["input_size"], first["classes"]) == (
        *("first.keras", "MobileNet", [8, 6]),
        ["a", "b"],
    )
    assert "start" not in first
    assert card["models"]["second"]["start"] == "MobileNet, flatten from small.h5, dense new"
    assert first["cascade"] == {"then": "second", "threshold": 0.4} and len(first["sha256"]) == 64
    opened = keras.models.load_model(folder / "model" / "first.keras", safe_mode=True)
    assert not opened.compiled
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 6, 3)).astype(np.float32)
    np.testing.assert_allclose(opened.predict(images, verbose=0), model.predict(images, verbose=0), rtol=1e-6)


def test_an_earlier_run_leaves_nothing(folder):
    run = make_run("synthetic")
    run.save_figure(draw_faces(), "9-errors")
    run.save_predictions(PREDICTIONS)
    run.close()
    (folder / "smile.ipynb").write_text("{}")
    make_run()
    assert [path.name for path in folder.iterdir()] == ["smile.ipynb"]


def test_outside_the_runner_the_folder_is_in_the_cache(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("FACEKIT_RUN_FOLDER")
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    assert open_run("smile", {}).folder == tmp_path / "runs" / "laptop" / "smile"


def test_an_unknown_experiment_is_refused(folder):
    with pytest.raises(ParameterError, match="no experiment 'smiles'"):
        open_run("smiles", {})


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    rows = "{metric: test/accuracy, value: 0.8, low: 0.7, high: 0.9}, {metric: test/f1, value: null, low: null, high: null}"
    names = ("sample", "laptop", "report", "full")
    text = "".join(f"{name}: {{parameters: {{}}, expected: [{rows}]}}\n" for name in names)
    (tmp_path / "parameters").mkdir()
    (tmp_path / "parameters" / "smile.yaml").write_text(text)
    (tmp_path / "smile.ipynb").write_text("{}")
    monkeypatch.setattr(parameters, "NOTEBOOKS", tmp_path)


@pytest.mark.parametrize(("value", "answer"), [(0.8, "yes"), (0.95, "no"), (None, "no")])
def test_a_run_tells_whether_it_is_where_it_is_expected(folder, profiles, capsys, value, answer):
    run = make_run()
    run.add(Metric("test/accuracy", value, None, 5))
    run.expected()
    told = [f"test/accuracy within the expected range: {answer}", "test/f1 within the expected range: never measured"]
    assert capsys.readouterr().out.splitlines() == told


def test_a_run_lists_what_its_profile_says_was_tried(folder, profiles, capsys):
    file = parameters.NOTEBOOKS / "parameters" / "smile.yaml"
    file.write_text(file.read_text().replace("laptop: {", "laptop: {tried: [96 pixels 0.8, 128 pixels 0.9], "))
    make_run().expected()
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "Tried, with values on validation images:",
        "96 pixels 0.8",
        "128 pixels 0.9",
    ]


def test_machine_is_described_without_names():
    found = describe_machine()
    assert set(found) == {"peak_memory_mb", "peak_gpu_memory_mb", "machine", "versions", "device"}
    assert set(found["machine"]) == {"system", "cores", "memory_mb"}
    assert found["peak_memory_mb"] > 20 and found["machine"]["cores"] >= 1
    assert found["versions"]["numpy"] == np.__version__ and found["versions"]["python"] == platform.python_version()
    assert platform.node() not in str(found)


def list_foreign_images(folder):
    """Return which images in a run's notebook are not those of its figures/: one that came past save_figure may be a face."""
    known = {path.read_bytes() for path in (folder / "figures").glob("*.png")}
    found = []
    for path in sorted(folder.glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
            for kind, text in [item for output in cell.get("outputs", []) for item in output.get("data", {}).items()]:
                own = kind == "image/png" and base64.b64decode("".join(text)) in known
                if (kind.startswith("image/") and not own) or "<img" in str(text) or "data:image" in str(text):
                    found.append(f"{path.name} cell {number}: {kind}")
    return found


def test_an_image_that_came_past_the_record_is_found(folder):
    shown = make_run().save_figure(plots.plot_confusion(np.eye(2, dtype=int), ["a", "b"], "Who"), "8-confusion")
    new, face = nbformat.v4, base64.b64encode(b"face").decode()
    kinds = [("image/png", shown._repr_png_()[0]), ("image/png", face), ("image/jpeg", face)]
    kinds.append(("text/html", "<img src='data:image/png;base64,AAAA'>"))
    cells = [new.new_code_cell("", outputs=[new.new_output("display_data", data={kind: text})]) for kind, text in kinds]
    nbformat.write(new.new_notebook(cells=cells), folder / "smile.ipynb")
    assert list_foreign_images(folder) == [f"smile.ipynb cell {n}: {kinds[n - 1][0]}" for n in (2, 3, 4)]


def list_committed():
    listed = subprocess.run(
        ["git", "ls-files", "--", "reports"], cwd=project_root(), capture_output=True, text=True, check=False
    )
    return [project_root() / name for name in listed.stdout.splitlines() if name.endswith("/metrics.json")]


@pytest.mark.parametrize("path", list_committed(), ids=str)
def test_committed_runs_show_no_face_and_hold_no_label(path):
    content = read_record(path)
    assert path.parts[-3:-1] == (content.profile, content.task)
    if content.data["kind"] != "synthetic":
        assert content.parameters.get("show_faces", content.parameters.get("show_photographs")) is False
        assert list_foreign_images(path.parent) == []
        for table in path.parent.glob("*.csv"):
            assert not {"y_true", "label"} & set(table.read_text().splitlines()[0].split(","))
