"""record.py: equal runs leave equal bytes, no labels and no faces of real photographs leave the machine."""

import base64
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest

from facekit import plots
from facekit.errors import DataError, ParameterError
from facekit.folders import project_root
from facekit.metrics import Metric
from facekit.record import (
    _reduce_colours,
    compare_published,
    digest_data,
    dump_json,
    list_foreign_pictures,
    open_run,
    read_record,
)

TABLE = pd.DataFrame(
    {
        "path": ["happy_images/1.jpg", "happy_images/2.jpg", "happy_images/3.jpg", "happy_images/4.jpg"],
        "split": ["train", "train", "test", ""],
        "group": [0, 1, 2, 3],
        "label": ["NOT smile", "NOT smile", "positive smile", "NOT smile"],
    }
)
HASHES = pd.DataFrame({"path": TABLE["path"], "digest": ["a" * 64, "b" * 64, "c" * 64, "d" * 64]})
ASIDE = pd.DataFrame({"file": ["train.csv"], "row": [7], "value": ["smil"], "reason": ["unknown label"]})
PREDICTIONS = pd.DataFrame(
    {
        "path": ["happy_images/3.jpg"],
        "y_true": ["positive smile"],
        "y_pred": ["NOT smile"],
        "y_prob_NOT smile": np.array([0.1], dtype=np.float32),
    }
)
METRIC = Metric("test/cascade/accuracy", 0.83, (0.81, 0.85), 1611, 0.7)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_RUN_FOLDER", str(tmp_path))
    return tmp_path


def make_run(kind="photographs", **parameters):
    run = open_run("smile", "laptop", {"seed": 0, "data": "../data"} | parameters)
    dataset = SimpleNamespace(name="facehack", kind=kind, set_aside=ASIDE)
    audit = {"cross_split_duplicates": np.int64(0), "cross_split_near_duplicates": 17}
    run.set_data(dataset, table=TABLE, target="label", digest=digest_data(TABLE, HASHES), audit=audit)
    spec = SimpleNamespace(backbone="MobileNet", alpha=1.0, input_size=(128, 128))
    weights = {"source": "sample", "sha256": None}
    run.set_backbone(spec, weights=weights, counts={"total": 10, "trainable": 4, "frozen_layers": 3})
    return run


def draw_faces():
    return plots.plot_pictures(np.zeros((2, 8, 8, 3), np.uint8), ["a", "b"], "Two faces")


def test_metrics_json_holds_what_its_page_says(folder):
    run = make_run()
    run.add_metrics([METRIC])
    run.add_comparison({"a": "a", "b": "b", "metric": "accuracy", "difference": 0.1, "interval": [0.0, 0.2], "n": 9})
    with run.stage("training"):
        pass
    record = json.loads(run.close().read_text(encoding="utf-8"))
    assert sorted(record) == [
        *("backbone", "comparisons", "data", "metrics", "parameters", "profile", "published"),
        *("question", "run", "schema", "task"),
    ]
    assert (record["schema"], record["task"], record["profile"]) == (1, "smile", "laptop")
    assert record["question"].startswith("Can a cascade of two classifiers")
    assert record["parameters"] == {"seed": 0, "data": "../data"}
    assert record["data"]["counts"] == {"train": {"NOT smile": 2}, "test": {"positive smile": 1}}
    assert record["data"]["set_aside"] == {
        "rows": 1,
        "reasons": {"unknown label": 1},
        "first": [{"file": "train.csv", "row": 7, "reason": "unknown label"}],
    }
    assert record["data"]["audit"] == {"cross_split_duplicates": 0, "cross_split_near_duplicates": 17}
    assert record["backbone"] == {
        "network": "MobileNet",
        "alpha": 1.0,
        "input_size": [128, 128],
        "weights": {"source": "sample", "sha256": None},
        "layers_frozen": 3,
        "parameters": 10,
        "trainable": 4,
    }
    assert record["metrics"] == [METRIC.to_dict()]
    assert len(record["published"]) == 11 and set(record["published"][0]) == {
        *("claim", "value", "reproduced", "verdict", "why")
    }
    assert set(record["run"]) == {
        *("started", "seconds", "peak_memory_mb", "peak_gpu_memory_mb", "machine", "versions", "device")
    }
    assert list(record["run"]["seconds"]) == ["training"]
    assert record["run"]["peak_memory_mb"] > 20
    assert record["run"]["versions"]["numpy"] == np.__version__


def test_equal_runs_are_equal_bytes_outside_run(folder):
    texts = []
    for _ in range(2):
        run = make_run()
        run.add_metrics([METRIC])
        record = read_record(run.close())
        del record["run"]
        texts.append(dump_json(record))
    assert texts[0] == texts[1]


def test_json_is_sorted_indented_and_plain():
    record = {
        "b": np.float32(0.5),
        "a": [np.int64(3), float("nan"), np.inf, np.bool_(True), None],
        "ä": np.array([[1, 2]]),
        "c": pd.NA,
        1: {"y", "x"},
    }
    assert dump_json(record) == (
        '{\n  "1": [\n    "x",\n    "y"\n  ],\n  "a": [\n    3,\n    null,\n    null,\n    true,\n    null\n  ],\n'
        '  "b": 0.5,\n  "c": null,\n  "ä": [\n    [\n      1,\n      2\n    ]\n  ]\n}\n'
    )
    assert dump_json(0.1 + 0.2) == "0.30000000000000004\n"
    with pytest.raises(ParameterError, match="object"):
        dump_json(object())


def test_stages_add_up(folder):
    run = make_run()
    for seconds in (1.0, 2.0):
        with run.stage("training"):
            run.seconds["training"] = run.seconds.get("training", 0.0) + seconds
    assert 3.0 <= run.seconds["training"] < 3.5


def test_a_stage_that_fails_is_timed_and_raises(folder):
    run = make_run()
    with pytest.raises(ZeroDivisionError), run.stage("training"):
        raise ZeroDivisionError
    assert "training" in run.seconds


def test_labels_of_real_pictures_are_not_written(folder):
    for kind in ("photographs", "planted"):
        make_run(kind).save_predictions(PREDICTIONS)
        text = (folder / "predictions.csv").read_text()
        assert text == "path,y_pred,y_prob_NOT smile\nhappy_images/3.jpg,NOT smile,0.100000\n"


def test_labels_of_drawn_pictures_are_written(folder):
    make_run("synthetic").save_predictions(PREDICTIONS)
    header = (folder / "predictions.csv").read_text().splitlines()[0]
    assert header == "path,y_true,y_pred,y_prob_NOT smile"


def test_other_columns_and_absolute_paths_are_refused(folder):
    run = make_run()
    with pytest.raises(DataError, match="column 'label'; expected path, y_pred"):
        run.save_predictions(PREDICTIONS.rename(columns={"y_true": "label"}))
    with pytest.raises(DataError, match="path /home/somebody/3.jpg"):
        run.save_predictions(PREDICTIONS.assign(path="/home/somebody/3.jpg"))
    assert not (folder / "predictions.csv").exists()


def test_faces_are_neither_written_nor_shown_where_photographs_are_off(folder):
    run = make_run()
    figure = draw_faces()
    shown = run.save_figure(figure, "9-mistakes")
    assert "Two faces: not shown" in shown.data
    assert not (folder / "figures").exists()
    assert figure.axes == []  # the figure itself, as the last line of a cell, shows nothing either


@pytest.mark.parametrize(
    ("kind", "parameters", "shown"),
    [
        ("photographs", {}, False),
        ("photographs", {"show_photographs": False}, False),
        ("planted", {}, False),
        ("photographs", {"show_photographs": True}, True),
        ("synthetic", {"show_photographs": False}, True),
    ],
)
def test_who_may_be_shown(folder, kind, parameters, shown):
    run = make_run(kind, **parameters)
    run.save_figure(draw_faces(), "9-mistakes")
    assert (folder / "figures" / "9-mistakes.png").exists() == shown


def test_nothing_is_shown_before_the_data_is_known(folder):
    open_run("smile", "sample", {}).save_figure(draw_faces(), "9-mistakes")
    assert not (folder / "figures").exists()


def test_own_photographs_beside_drawn_data_are_photographs(folder):
    make_run("synthetic", show_photographs=False).save_figure(draw_faces(), "10-own", photographs=True)
    assert not (folder / "figures").exists()
    make_run("synthetic", show_photographs=True).save_figure(draw_faces(), "10-own", photographs=True)
    assert (folder / "figures" / "10-own.png").exists()


def test_a_figure_is_shown_as_it_is_written(folder):
    run = make_run()
    shown = run.save_figure(plots.plot_confusion(np.eye(2, dtype=int), ["a", "b"], "Who is\nwho"), "8-confusion")
    data, metadata = shown._repr_png_()
    written = (folder / "figures" / "8-confusion.png").read_bytes()
    assert base64.b64decode(data) == written
    assert metadata["alt"] == "Who is who count, and share of the true class"
    assert b"matplotlib" not in written.lower()  # its version would make equal figures unequal


def test_a_reason_is_shown_in_full(folder):
    make_run()
    reason = "the published averaging is not said; the averaging that comes nearest is named beside it"
    assert reason in pd.DataFrame({"why": [reason]}).to_html()


def test_a_colour_bar_keeps_its_colours_beside_photographs():
    random = np.random.default_rng(0)
    photographs = cv2.resize(random.integers(90, 220, (6, 8, 3), dtype=np.uint8), (512, 380), interpolation=cv2.INTER_CUBIC)
    colours = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_INFERNO)
    bar = cv2.resize(colours, (512, 4), interpolation=cv2.INTER_NEAREST)
    picture = np.vstack([photographs, bar])
    png = io.BytesIO(cv2.imencode(".png", picture)[1])
    reduced = _reduce_colours(png).getvalue()
    assert len(reduced) < len(png.getvalue()) / 2
    seen = cv2.imdecode(np.frombuffer(reduced, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(seen.astype(int) - picture).max(axis=-1)[-4:].mean() < 12


def write_notebook(folder, *outputs):
    cell = nbformat.v4.new_code_cell("plot()", outputs=list(outputs))
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "smile.ipynb")


def test_a_picture_that_came_past_the_record_is_found(folder):
    run = make_run()
    shown = run.save_figure(plots.plot_confusion(np.eye(2, dtype=int), ["a", "b"]), "8-confusion")
    own = nbformat.v4.new_output("display_data", data={"image/png": shown._repr_png_()[0]})
    write_notebook(folder, own)
    assert list_foreign_pictures(folder) == []
    foreign = nbformat.v4.new_output("display_data", data={"image/png": base64.b64encode(b"face").decode()})
    photograph = nbformat.v4.new_output("display_data", data={"image/jpeg": base64.b64encode(b"face").decode()})
    page = nbformat.v4.new_output("display_data", data={"text/html": "<img src='data:image/png;base64,AAAA'>"})
    write_notebook(folder, own, foreign, photograph, page)
    assert list_foreign_pictures(folder) == [
        "smile.ipynb cell 1: image/png that is not in figures/",
        "smile.ipynb cell 1: image/jpeg that is not in figures/",
        "smile.ipynb cell 1: a picture within text/html",
    ]


def list_committed():
    listed = subprocess.run(
        ["git", "ls-files", "--", "reports"], cwd=project_root(), capture_output=True, text=True, check=False
    )
    return [project_root() / name for name in listed.stdout.splitlines() if name.endswith("/metrics.json")]


@pytest.mark.parametrize("path", list_committed(), ids=str)
def test_committed_runs_show_no_face_and_hold_no_label(path):
    record = read_record(path)
    assert path.parts[-3:-1] == (record["profile"], record["task"])
    if record["data"]["kind"] != "synthetic":
        assert record["parameters"]["show_photographs"] is False
        assert list_foreign_pictures(path.parent) == []
        for table in path.parent.glob("*.csv"):
            assert not {"y_true", "label"} & set(table.read_text().splitlines()[0].split(","))


def test_verdicts_stand_in_the_record_and_in_words(folder):
    run = make_run()
    run.add_metrics([METRIC])
    rows, shown = compare_published(run, remark="pictures of 64x64")
    assert run.published is rows
    (row,) = [row for row in rows if row["claim"] == "combined-accuracy"]
    assert (row["verdict"], row["reproduced"]) == ("above", "test/cascade/accuracy")
    assert row["why"].endswith("; pictures of 64x64")
    assert list(shown) == ["claim", "published", "ours", "n", "verdict", "why"]
    assert read_record(run.close())["published"] == rows  # close does not judge again, without the remark


def test_drawn_faces_are_not_comparable(folder):
    run = make_run("synthetic")
    run.add_metrics([METRIC])
    assert {row["verdict"] for row in compare_published(run)[0]} == {"not comparable"}


def test_history_is_written(folder):
    make_run().save_history(pd.DataFrame({"stage": ["a"], "epoch": [1], "loss": [0.5]}))
    assert (folder / "history.csv").read_text() == "stage,epoch,loss\na,1,0.5\n"


def test_an_earlier_run_leaves_nothing(folder):
    run = make_run("synthetic")
    run.save_figure(draw_faces(), "9-mistakes")
    run.save_predictions(PREDICTIONS)
    run.close()
    (folder / "smile.ipynb").write_text("{}")
    make_run()
    assert [path.name for path in folder.iterdir()] == ["smile.ipynb"]


def test_outside_the_runner_the_folder_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("FACEKIT_RUN_FOLDER", raising=False)
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    assert open_run("smile", "sample", {}).folder == tmp_path / "runs" / "sample" / "smile"


def test_digest_changes_with_rows_and_with_pictures():
    first = digest_data(TABLE, HASHES)
    assert first == {
        "table": "b08302f699a57ee8e4cac3fde3fe7680b13ec8e561bc46d51e3a4e4c7e38062d",
        "pictures": "6de6acfd34ce44bd6abf55a395471a7f6cc7ca86d8d402c4486bd2a8302fc83a",
    }
    other_label = digest_data(TABLE.assign(label="NOT smile"), HASHES)
    assert other_label["table"] != first["table"] and other_label["pictures"] == first["pictures"]
    other_picture = digest_data(TABLE, HASHES.assign(digest="e" * 64))
    assert other_picture["table"] == first["table"] and other_picture["pictures"] != first["pictures"]
    assert digest_data(TABLE, HASHES.iloc[::-1]) == first
    with pytest.raises(DataError, match="happy_images/1.jpg has no digest"):
        digest_data(TABLE, HASHES.iloc[1:])


def test_what_cannot_be_recorded_is_refused(folder):
    run = make_run()
    run.add_metrics([METRIC])
    with pytest.raises(ParameterError, match="test/cascade/accuracy is there twice"):
        run.add_metrics([METRIC])
    with pytest.raises(ParameterError, match="kind 'films' of facehack"):
        make_run("films")
    with pytest.raises(ParameterError, match="task 'smiles'"):
        open_run("smiles", "sample", {})


def test_later_and_broken_records_are_refused(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text('{"schema": 2}')
    with pytest.raises(DataError, match="schema 2; expected 1 or less"):
        read_record(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="is no record of a run"):
        read_record(path)


def test_recording_loads_no_tensorflow():
    code = "import sys, facekit.record, facekit.readme_table; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root(), check=True)
    assert done.stdout.strip() == "set()"
