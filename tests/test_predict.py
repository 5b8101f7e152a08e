"""Photographs through a run's networks: what is answered, what is refused, and what is written."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from facekit import cli, parameters
from facekit.backbones import preprocess_pictures
from facekit.errors import ParameterError, PictureError, WeightsError
from facekit.folders import project_root
from facekit.images import read_picture
from facekit.models import Head, ModelSpec, build_model, load_model, save_model
from facekit.predict import Answers, list_files, predict_files, run_prediction, search, stream_pictures
from facekit.predict.networks import Predictor, Recipe, find_run, load_predictor
from facekit.predict.outputs import describe_answers, describe_labels, replace_file, tabulate_answers, write_page

SMILE = Head("smile", "multi-class", ("none", "positive", "negative"))
WORN = Head("worn", "multi-label", ("Hat", "Eyeglasses", "Pale_Skin"))
HEADS = (Head("popularity", "regression"), Head("is_female", "binary"), WORN, SMILE)


def save_network(folder, heads, biases=None, seed=0, provenance=None, **settings):
    """Save a small network; with biases it says the same to every picture: the number, sigmoid or softmax of them."""
    keras.utils.set_random_seed(seed)
    spec = ModelSpec("AgeCNN", (32, 32), tuple(heads), **settings)
    model = build_model(spec)
    for name, bias in (biases or {}).items():
        kernel = model.get_layer(name).kernel
        model.get_layer(name).set_weights([np.zeros(kernel.shape), np.array(bias)])
    save_model(model, spec, folder, provenance=provenance or {})
    return folder


def change_spec(folder, **changes):
    path = folder / "spec.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))


def invert_sigmoid(*shares):
    return [float(np.log(share / (1 - share))) for share in shares]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """Three pictures of unlike shapes, the second with a place in its EXIF block, and a file that is none."""
    folder = tmp_path_factory.mktemp("photographs")
    random = np.random.default_rng(0)
    for name, shape in {"a.jpg": (40, 60, 3), "b & <i>.jpg": (700, 350, 3), "c.png": (33, 32, 3)}.items():
        exif = Image.Exif()
        exif[0x010E] = "at home"
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / name, exif=exif)
    (folder / "notes.txt").write_text("no picture, and not taken for one")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network has every kind of head and always says the same."""
    folder = tmp_path_factory.mktemp("reports") / "laptop" / "faces"
    biases = {"popularity": [4.25], "is_female": invert_sigmoid(0.25), "worn": invert_sigmoid(0.9, 0.4, 0.6)}
    biases["smile"] = np.log([0.2, 0.7, 0.1]).tolist()
    recipe = {"dataset": "selfie", "thresholds": {"worn": [0.5, 0.3, 0.7]}, "seed": 7}
    save_network(folder / "model", HEADS, biases, provenance=recipe)
    return folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with one network, to be copied."""
    return save_network(tmp_path_factory.mktemp("saved") / "model", [SMILE])


# --- what is answered ---


def test_answers_are_those_of_the_stored_network_and_preprocessing(tmp_path, photographs):
    save_network(tmp_path / "model", [SMILE], preprocessing="MobileNet")
    answers, problems = predict_files(load_predictor(tmp_path), [photographs / "a.jpg", photographs / "c.png"])
    model, spec = load_model(tmp_path / "model")
    pictures = np.stack([read_picture(photographs / name, (32, 32)) for name in ("a.jpg", "c.png")])
    expected = model.predict_on_batch(pictures.astype(np.float32) / 127.5 - 1)["smile"]
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(answers.values["smile"], expected, atol=1e-5)
    assert (answers.paths, problems) == ([photographs / "a.jpg", photographs / "c.png"], [])


def test_mirrored_copies_and_named_networks_are_averaged(tmp_path, photographs):
    for name, seed in (("", 0), ("second-1", 1), ("other-1", 2)):
        recipe = {"flips": True, "averaged": ["second-1"]} if not name else {}
        save_network(tmp_path / "model" / name, [SMILE], seed=seed, provenance=recipe)
    answers, _ = predict_files(load_predictor(tmp_path), [photographs / "a.jpg"])
    picture = preprocess_pictures("AgeCNN", read_picture(photographs / "a.jpg", (32, 32))[None])
    said = []
    for name in ("", "second-1"):
        model, _ = load_model(tmp_path / "model" / name)
        said += [model.predict_on_batch(picture)["smile"], model.predict_on_batch(picture[:, :, ::-1])["smile"]]
    assert np.ptp(said, axis=0).min() > 0.001
    np.testing.assert_allclose(answers.values["smile"], np.mean(said, axis=0), atol=1e-5)


def test_cascade_asks_stage_2_where_stage_1_is_sure_enough(tmp_path, photographs):
    first, then = Head("stage1", "multi-class", ("none", "smile")), Head("stage2", "multi-class", ("positive", "negative"))
    cascade = {"first": ["stage1-0"], "then": ["stage2-0"], "threshold": 0.7}
    save_network(tmp_path / "model", [SMILE], {"smile": [0.0, 0.0, 0.0]}, provenance={"cascade": cascade})
    save_network(tmp_path / "model" / "stage1-0", [first], {"stage1": np.log([0.4, 0.6]).tolist()})
    save_network(tmp_path / "model" / "stage2-0", [then], {"stage2": np.log([0.2, 0.8]).tolist()})
    predictor = load_predictor(tmp_path)
    answers, _ = predict_files(predictor, [photographs / "a.jpg"])
    assert [head.name for head in predictor.heads] == ["cascade", "smile"]
    head = predictor.heads[0]
    assert head.classes == ("none", "positive", "negative")
    np.testing.assert_allclose(answers.values["cascade"], [[0.4, 0.12, 0.48]], atol=1e-5)
    assert describe_answers(predictor, head, answers.values["cascade"]) == ["none 40%"]
    lower = replace(predictor, thresholds={"cascade": np.array([0.5])})
    assert describe_answers(lower, head, answers.values["cascade"]) == ["negative 48%"]
    table = tabulate_answers(predictor, answers)
    assert list(table) == [
        "path",
        "y_pred_cascade",
        "y_pred_smile",
        "y_prob_cascade_none",
        "y_prob_cascade_positive",
        "y_prob_cascade_negative",
        "y_prob_smile_none",
        "y_prob_smile_positive",
        "y_prob_smile_negative",
    ]
    assert table["y_pred_cascade"].item() == "none"


def test_cascade_is_explained_by_the_stage_that_decided():
    def make_stage(name, classes, height):
        heads = (Head(name, "multi-class", classes),)
        return SimpleNamespace(heads=heads, explain=lambda pictures, head, index: [np.full((height, 2), k) for k in index])

    stages = (make_stage("stage1", ("none", "smile"), 4), make_stage("stage2", ("positive", "negative"), 6))
    predictor = Predictor(Path("."), Recipe(), SimpleNamespace(heads=(SMILE,)), stages, {})
    pictures = {(2, 2): np.zeros((3, 2, 2, 3), np.uint8)}
    maps = predictor.explain(pictures, predictor.heads[0], np.array([2, 0, 1]))
    assert [(heat.shape, heat[0, 0]) for heat in maps] == [((6, 2), 1), ((4, 2), 0), ((6, 2), 0)]


def test_every_kind_of_head_in_words(run, photographs):
    predictor = load_predictor(run)
    answers, _ = predict_files(predictor, [photographs / "a.jpg"])
    said = {head.name: describe_answers(predictor, head, answers.values[head.name]) for head in predictor.heads}
    assert said == {
        "popularity": ["4.25"],
        "is_female": ["no 75%"],
        "worn": ["Hat 90%, Eyeglasses 40%"],
        "smile": ["positive 70%"],
    }
    none = describe_answers(predictor, WORN, np.array([[0.1, 0.2, 0.6]]))
    assert none == ["none of its labels"]
    named = Head("is_female", "binary", ("male", "female"))
    assert describe_answers(predictor, named, np.array([[0.8], [0.2]])) == ["female 80%", "male 80%"]


def test_many_labels_are_cut_short():
    head = Head("labels", "multi-label", tuple("abcdefgh"))
    predictor = Predictor(Path("."), Recipe(), SimpleNamespace(heads=(head,)), (), {"labels": np.full(8, 0.5)})
    values = np.array([[0.6, 0.9, 0.7, 0.55, 0.8, 0.51, 0.52, 0.1]])
    assert describe_answers(predictor, head, values) == ["b 90%, e 80%, c 70%, a 60%, d 55%, 2 more"]


def test_output_that_is_explained():
    heads = (*HEADS, Head("hat", "multi-label", ("Hat",)))
    thresholds = {"is_female": np.array([0.5]), "worn": np.array([0.5, 0.3, 0.7]), "hat": np.array([0.8])}
    predictor = Predictor(Path("."), Recipe(), SimpleNamespace(heads=heads), (), thresholds)

    def choose(name, rows):
        head = next(head for head in heads if head.name == name)
        return predictor.choose_outputs(head, np.array(rows)).tolist()

    assert choose("popularity", [[4.0], [-1.0]]) == [0, 0]
    assert choose("is_female", [[0.5], [0.4]]) == [1, 0]
    assert choose("smile", [[0.2, 0.5, 0.3]]) == [1]
    # The third is the most probable label, but what was said is the second; of the last row nothing was.
    assert choose("worn", [[0.4, 0.35, 0.6], [0.1, 0.2, 0.6]]) == [1, 2]
    assert choose("hat", [[0.7], [0.9]]) == [0, 1]


# --- which pictures ---


def test_folders_and_files_in_the_order_given(photographs, tmp_path):
    paths, problems = list_files([photographs, tmp_path / "alone.jpg", tmp_path])
    assert [path.name for path in paths] == ["a.jpg", "b & <i>.jpg", "c.png", "alone.jpg"]
    assert len(problems) == 1
    assert problems[0].startswith(f"{tmp_path}: no picture")


def test_bad_pictures_are_named_and_skipped(run, photographs, tmp_path, capsys):
    (tmp_path / "empty.jpg").touch()
    strange = shutil.copy(photographs / "a.jpg", tmp_path / "caf\udce9.jpg")  # Latin-1, as old disks hold it
    given = [str(tmp_path / "empty.jpg"), str(photographs / "a.jpg"), str(tmp_path / "missing.jpg"), str(strange)]
    assert run_prediction(given, str(run), csv=tmp_path / "said.csv") == 1
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        f"facekit: skipped {tmp_path}/empty.jpg is empty (0 bytes); expected a picture; fetch the file again",
        f"facekit: skipped {tmp_path}/missing.jpg: there is no such file; expected a picture",
    ]
    assert "laptop/faces: 2 pictures" in shown.out
    assert "The labels are those of the dataset selfie" in shown.out
    assert (tmp_path / "said.csv").read_text() == (
        "path,y_pred_popularity,y_pred_is_female,y_pred_worn,y_pred_smile,y_prob_is_female,"
        "y_prob_Hat,y_prob_Eyeglasses,y_prob_Pale_Skin,y_prob_none,y_prob_positive,y_prob_negative\n"
        f'{photographs}/a.jpg,4.250000,no,"Hat, Eyeglasses",positive,0.250000,'
        "0.900000,0.400000,0.600000,0.200000,0.700000,0.100000\n"
        f'{tmp_path}/caf\N{REPLACEMENT CHARACTER}.jpg,4.250000,no,"Hat, Eyeglasses",positive,0.250000,'
        "0.900000,0.400000,0.600000,0.200000,0.700000,0.100000\n"
    )
    with pytest.raises(PictureError, match="no picture could be read; expected at least one photograph"):
        run_prediction([str(tmp_path / "empty.jpg")], str(run), html=tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()
    assert run_prediction([str(photographs)], str(run)) == 0


def test_pictures_stream_batch_by_batch(monkeypatch):
    read = []

    def read_one(path):
        read.append(path)
        if path == "37":
            raise PictureError("37 is broken")
        return np.full((8, 4, 3), int(path), np.uint8)

    monkeypatch.setattr("facekit.predict.read_picture", read_one)
    sizes = {(2, 2), (3, 5)}
    batches = []
    for numbers, pictures, own, problems in stream_pictures([str(n) for n in range(70)], sizes, 4):
        assert len(read) == min(70, 32 * (len(batches) + 1))
        assert {size: values.shape for size, values in pictures.items()} == {size: (len(own), *size, 3) for size in sizes}
        assert {picture.shape for picture in own} == {(4, 2, 3)}
        assert pictures[3, 5][:, 0, 0, 0].tolist() == numbers
        batches.append((len(numbers), problems))
    assert batches == [(32, []), (31, ["37 is broken"]), (6, [])]


# --- what is written ---


def test_page_holds_all_it_shows(run, photographs, tmp_path):
    predictor = load_predictor(run)
    answers, _ = predict_files(predictor, list_files([photographs])[0])
    write_page(predictor, answers, tmp_path / "page.html", problems=["x<y.jpg is broken"], total=3)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('<li class="card">') == 3
    assert "b &amp; &lt;i&gt;.jpg" in page
    assert "<i>" not in page
    assert "x&lt;y.jpg is broken" in page
    assert describe_labels(predictor) == (
        "The labels are those of the dataset selfie: somebody's judgement of its pictures, no facts about a person."
    )
    assert "somebody&#39;s judgement of its pictures" in page
    assert "default-src 'none'" in page
    assert str(photographs) not in page
    assert not re.search(r'https?:|<script|<link (?!rel="icon" href="data:,">)|@import|url\(', page)
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)" alt="([^"]+)"', page)
    assert page.count("<img") == len(pictures) == 3 * 5
    assert [alt for _, alt in pictures[:5]] == [
        "a.jpg",
        "What in a.jpg spoke for a higher number",
        "What in a.jpg spoke for no",
        "What in a.jpg spoke for Hat",
        "What in a.jpg spoke for positive",
    ]
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data, _ in pictures]
    assert [image.size for image in images[4:11]] == [(60, 40)] + [(128, 256)] * 5 + [(32, 33)]
    assert all(not image.getexif() for image in images)
    bars = re.findall(r'<tr( class="said")?><th scope="row">(\w+)</th><td><span class="bar" style="width: ([\d.]+)%', page)
    assert bars[:8] == [
        ("", "yes", "25.0") if name == "yes" else (' class="said"' if said else "", name, width)
        for said, name, width in [
            (True, "no", "75.0"),
            (False, "yes", "25.0"),
            (True, "Hat", "90.0"),
            (True, "Eyeglasses", "40.0"),
            (False, "Pale_Skin", "60.0"),
            (False, "none", "20.0"),
            (True, "positive", "70.0"),
            (False, "negative", "10.0"),
        ]
    ]


def test_page_of_a_query_explains_what_was_asked(run, photographs, tmp_path):
    predictor = load_predictor(run)
    answers, _ = predict_files(predictor, [photographs / "a.jpg", photographs / "c.png"])
    found = search(predictor, answers, "not is_female and eyeglasses")
    write_page(predictor, found, tmp_path / "page.html", problems=[], total=2)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<strong>2</strong> of them answer <strong>not is_female and Eyeglasses</strong>" in page
    assert "<h2>c.png (score 0.30)</h2>" in page
    assert 'alt="What in c.png spoke for Eyeglasses"' in page


def test_a_picture_that_breaks_meanwhile_leaves_no_page(run, photographs, tmp_path):
    predictor = load_predictor(run)
    answers, _ = predict_files(predictor, [photographs / "a.jpg"])
    gone = Answers([tmp_path / "gone.jpg"], answers.values)
    (tmp_path / "page.html").write_text("earlier")
    with pytest.raises(PictureError, match="gone.jpg: there is no such file"):
        write_page(predictor, gone, tmp_path / "page.html", problems=[], total=1)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "earlier"


def test_files_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ParameterError, match=r"me\.jpg: not a \.csv file; expected a name that ends in \.csv"):
        run_prediction(["a.jpg"], "nowhere", csv=tmp_path / "me.jpg")
    with pytest.raises(ParameterError, match=r"no folder .*deep; make it"):
        run_prediction(["a.jpg"], "nowhere", html=tmp_path / "deep" / "page.html")
    (tmp_path / "taken.csv").mkdir()
    with pytest.raises(ParameterError, match=r"taken\.csv: cannot be written"), replace_file(tmp_path / "taken.csv") as part:
        part.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.csv"]


@pytest.mark.parametrize(("kind", "said"), [("synthetic", "trained on drawn faces"), ("planted", "a formula")])
def test_unreal_training_pictures_are_named(kind, said):
    predictor = Predictor(Path("."), Recipe(kind=kind), SimpleNamespace(heads=()), (), {})
    assert said in describe_labels(predictor)


# --- queries ---


@pytest.fixture
def labelled():
    """Four pictures, and a network that decides at 0.5, 0.3 and 0.7, and on is_female at 0.5."""
    thresholds = {"is_female": np.array([0.5]), "worn": np.array([0.5, 0.3, 0.7])}
    predictor = Predictor(Path("runs/celeba"), Recipe(), SimpleNamespace(heads=HEADS), (), thresholds)
    values = {
        "popularity": np.array([[1.0], [2], [3], [4]]),
        "is_female": np.array([[0.1], [0.4], [0.9], [0.2]]),
        "worn": np.array([[0.9, 0.4, 0.1], [0.6, 0.8, 0.9], [0.9, 0.9, 0.9], [0.9, 0.2, 0.9]]),
        "smile": np.full((4, 3), 1 / 3),
    }
    return predictor, Answers([Path(f"{n}.jpg") for n in range(4)], values)


def test_query_ranks_what_the_decisions_answer(labelled):
    predictor, answers = labelled
    found = search(predictor, answers, "eyeglasses and not is_female")
    assert found.query.text == "Eyeglasses and not is_female"
    assert [path.name for path in found.paths] == ["1.jpg", "0.jpg"]
    np.testing.assert_allclose(found.scores, [0.8 * 0.6, 0.4 * 0.9])
    assert found.values["popularity"].tolist() == [[2], [1]]
    assert tabulate_answers(predictor, found)["score"].tolist() == found.scores.tolist()
    nothing = search(predictor, answers, "pale skin and is_female and not hat")
    assert nothing.paths == []
    assert len(tabulate_answers(predictor, nothing)) == 0


def test_queries_that_cannot_be_answered(labelled):
    predictor, answers = labelled
    with pytest.raises(ParameterError, match="no attribute 'eyeglases'; expected .*Eyeglasses"):
        search(predictor, answers, "eyeglases")
    without = Predictor(Path("runs/smile"), Recipe(), SimpleNamespace(heads=(SMILE,)), (), {})
    with pytest.raises(ParameterError, match="'none': runs/smile knows no labels of yes and no"):
        search(without, answers, "none")


# --- which run ---


def make_run(saved, folder, started, *, holds="model", place="model"):
    shutil.copytree(saved, folder / place)
    change_spec(folder / place, holds=holds)
    (folder / "metrics.json").write_text(json.dumps({"schema": 1, "run": {"started": started}}))


def test_newest_run_with_a_whole_model(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(parameters, "list_tasks", lambda: ["age", "celeba", "smile"])
    make_run(saved, tmp_path / "sample" / "smile", "2026-01-02T00:00:00Z")
    make_run(saved, tmp_path / "laptop" / "smile", "2026-01-03T00:00:00Z")
    make_run(saved, tmp_path / "report" / "smile", "2026-01-04T00:00:00Z", holds="backbone")
    make_run(saved, tmp_path / "full" / "smile", "2026-01-05T00:00:00Z", place="elsewhere")
    make_run(saved, tmp_path / ".laptop-unfinished" / "smile", "2026-01-06T00:00:00Z")
    assert find_run("smile", tmp_path) == tmp_path / "laptop" / "smile"
    # A run whose model/ is a backbone for others keeps the network that predicts below it.
    save_network(tmp_path / "report" / "smile" / "model" / "whole", [WORN])
    assert find_run("smile", tmp_path) == tmp_path / "report" / "smile"
    assert load_predictor(tmp_path / "report" / "smile").heads == (WORN,)
    assert find_run(str(tmp_path / "sample" / "smile"), tmp_path) == tmp_path / "sample" / "smile"


def test_runs_that_cannot_predict_say_what_to_do(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(parameters, "list_tasks", lambda: ["age", "smile"])
    make_run(saved, tmp_path / "laptop" / "smile", "2026-01-03T00:00:00Z", place="elsewhere")
    with pytest.raises(WeightsError, match=r"smile: no run in reports/ holds a model .*; make one: make smile$"):
        find_run("smile", tmp_path)
    with pytest.raises(ParameterError, match="run 'smiles': no such folder; expected a run's folder, or one of age, smile"):
        find_run("smiles", tmp_path)
    with pytest.raises(WeightsError, match="laptop/smile: no model/ in it; .*committed runs leave it out"):
        find_run(str(tmp_path / "laptop" / "smile"), tmp_path)
    make_run(saved, tmp_path / "report" / "smile", "2026-01-04T00:00:00Z", holds="backbone")
    with pytest.raises(WeightsError, match="no whole model"):
        load_predictor(tmp_path / "report" / "smile")


def test_spec_that_does_not_match_is_refused(saved, tmp_path, photographs, capsys):
    shutil.copytree(saved, tmp_path / "model")
    change_spec(tmp_path / "model", preprocessing="unit")
    assert cli.main(["predict", str(photographs), "--run", str(tmp_path), "--csv", str(tmp_path / "said.csv")]) == 1
    assert capsys.readouterr().err == f"facekit: {tmp_path}/model/spec.json: preprocessing unit; expected AgeCNN\n"
    assert not (tmp_path / "said.csv").exists()


@pytest.fixture(scope="module")
def worn(saved, tmp_path_factory):
    """A run with two networks of different heads."""
    folder = tmp_path_factory.mktemp("worn")
    save_network(folder / "model", [WORN])
    shutil.copytree(saved, folder / "model" / "stage1-0")
    return folder


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"thresholds": {"worn": [0.5, 0.5]}}, "thresholds of worn: 2; expected 3, one a class"),
        ({"thresholds": {"smile": 0.5}}, "thresholds of smile; expected a head of yes and no: worn"),
        ({"thresholds": {"worn": 1.5}}, "thresholds.worn"),
        ({"averaged": ["../../elsewhere"]}, "averaged.0: String should match"),
        ({"averaged": ["gone-1"]}, "gone-1/spec.json: no such file"),
        ({"averaged": ["stage1-0"]}, "stage1-0/spec.json: other heads"),
        ({"cascade": {"first": ["stage1-0"], "then": []}}, "cascade.then"),
        ({"cascade": {"first": ["stage1-0"], "then": ["stage1-0"]}}, "cascade of .*; expected two stages"),
        ({"kind": "photos"}, "kind: Input should be"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(worn, recipe, said):
    change_spec(worn / "model", provenance=recipe)
    with pytest.raises(WeightsError, match=said):
        load_predictor(worn)


def test_network_that_wants_more_than_a_photograph_is_refused(tmp_path):
    save_network(tmp_path / "model", [SMILE], auxiliary=7)
    with pytest.raises(WeightsError, match="wants 7 further numbers with each photograph"):
        load_predictor(tmp_path)


# --- the command ---


def test_command_shows_the_table_and_nothing_of_the_libraries(run, photographs, tmp_path):
    (tmp_path / "[red]empty.jpg").touch()
    words = ["predict", str(photographs / "a.jpg"), str(tmp_path / "[red]empty.jpg"), "--run", str(run), "--where", "hat"]
    code = f"import sys; from facekit.cli import main; sys.exit(main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root())
    assert done.returncode == 1
    assert done.stderr == (
        f"facekit: skipped {tmp_path}/[red]empty.jpg is empty (0 bytes); expected a picture; fetch the file again\n"
    )
    assert "laptop/faces: 1 of 1 pictures answer Hat" in done.stdout
    assert "0.90" in done.stdout
    assert "positive 70%" in done.stdout


def test_what_fails_while_tensorflow_is_imported_is_told(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "facekit.predict", None)
    with pytest.raises(ImportError):
        cli.main(["predict", "a.jpg"])
    print("after", file=sys.stderr)
    assert capfd.readouterr().err == "after\n"
