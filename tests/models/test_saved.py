"""A run's saved models: how they answer together, what is refused, what is explained."""

import json
import os
import shutil

import numpy as np
import pytest
from saved_runs import build_network, save_every_kind, save_run

from facekit.errors import WeightsError
from facekit.models.saved import Predictor, find_run

SMILE = {"smile": (3, "softmax")}
BOTH = SMILE | {"worn": (3, "sigmoid"), "popularity": (1, None)}
CLASSES = {"classes": ["none", "positive", "negative"]}
NAN = float("nan")


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, shape, np.uint8) for shape in ((40, 60, 3), (33, 32, 3))]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of one network, and in copies what a test damages."""
    return save_run(tmp_path_factory.mktemp("saved") / "run", {"model": (build_network(BOTH), CLASSES)})


def test_every_kind_of_output_in_words(tmp_path, photos):
    answers = Predictor(save_every_kind(tmp_path / "laptop" / "faces")).predict(photos)
    assert [(answer.name, answer.describe(1)) for answer in answers] == [
        ("popularity", "4.25"),
        ("is_female", "not is_female 75%"),
        ("worn", "Hat 90%, Eyeglasses 40%"),
        ("smile", "positive 70%"),
    ]


def test_cascade_asks_the_second_stage_where_the_first_is_sure_enough(tmp_path, photos):
    first = build_network({"stage1": (2, "softmax")}, {"stage1": np.log([0.4, 0.6])})
    then = build_network({"stage2": (2, "softmax")}, {"stage2": np.log([0.2, 0.8])})
    for threshold, predicted in ((0.7, "none 40%"), (0.5, "negative 48%")):
        cascade = {"classes": ["none", "smile"], "cascade": {"then": "stage2", "threshold": threshold}}
        models = {"model": (build_network(SMILE), CLASSES), "stage1": (first, cascade)}
        models["stage2"] = (then, {"classes": ["positive", "negative"]})
        (answer,) = Predictor(save_run(tmp_path / str(threshold), models)).predict(photos, explain=True)
        np.testing.assert_allclose(answer.values[0], [0.4, 0.12, 0.48], atol=1e-6)
        assert answer.describe(0) == predicted
        assert answer.explained[0] == predicted.split()[0]
        assert len(answer.maps) == 2


def test_a_map_shows_where_the_network_looked(tmp_path, photos):
    (answer,) = Predictor(save_run(tmp_path, {"model": (build_network(SMILE, seed=4), CLASSES)})).predict(photos, explain=True)
    assert [heat.shape for heat in answer.maps] == [(32, 32), (32, 32)]
    assert answer.explained == [answer.classes[k] for k in answer.values.argmax(axis=1)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda card: card.clear(), r"card.json: KeyError 'models'; expected a run's card and models"),
        (lambda card: card["models"].clear(), "card.json: KeyError 'model'"),
        (lambda card: card.update(kind=[]), "card.json: TypeError"),
        (lambda card: card.update(models=[]), "card.json: AttributeError"),
        (lambda card: card["models"].update(model=1), "card.json: TypeError"),
        (lambda card: card["models"]["model"].update(file="model.h5"), "card.json: KeyError 'model'"),
        (lambda card: card["models"]["model"].update(classes=["a"]), r"classes \['a'\] for 3 outputs of smile"),
        (lambda card: card["models"]["model"].update(classes=[1, None, {}]), "for 3 outputs of smile"),
        (lambda card: card["models"]["model"].update(classes="abc"), "classes abc for 3 outputs of smile"),
        (lambda card: card["models"]["model"].update(heads={"worn": [1, 2, 3]}), "for 3 outputs of worn"),
        (lambda card: card["models"]["model"].update(thresholds={"worn": [0.5, NAN, 0.5]}), "nan.*, not within 0..1"),
        (lambda card: card["models"]["model"].update(thresholds={"worn": 1.5}), "threshold 1.5, not within 0..1"),
        (lambda card: card["models"]["model"].update(thresholds={"worn": [0.5, 0.5]}), "card.json: ValueError"),
        (lambda card: card["models"]["model"].update(thresholds={"worn": "high"}), "card.json: ValueError"),
        (lambda card: card["models"]["model"].update(cascade={"then": "lost"}), "KeyError 'lost'"),
        (lambda card: card["models"]["model"].update(cascade={"then": ["model"]}), "card.json: TypeError"),
        (lambda card: card["models"]["model"].update(cascade="lost"), "card.json: AttributeError"),
        (lambda card: card["models"]["model"].update(cascade={"then": "model", "threshold": NAN}), "threshold nan, not within"),
        (lambda card: card["models"]["model"].update(cascade={"then": "model"}), "a cascade of classes .*'negative'"),
        (lambda card: card["models"]["model"].update(sha256="0" * 64), "sha256 .*; expected 0000"),
        (lambda card: card["models"]["model"].update(file="../../secret.keras"), r"model/secret.keras"),
        (lambda card: card["models"]["model"].update(cascade={"then": "model"}, classes=["a", "b"]), "for 3 outputs"),
    ],
)
def test_damaged_cards_are_refused(saved, tmp_path, change, message):
    folder = shutil.copytree(saved, tmp_path / "run")
    card = json.loads((folder / "model" / "card.json").read_text())
    change(card)
    (folder / "model" / "card.json").write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=message):
        Predictor(folder)


def test_a_card_that_is_a_pipe_is_refused_and_names_are_no_patterns(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "laptop" / "smile")
    (folder / "model" / "card.json").unlink()
    os.mkfifo(folder / "model" / "card.json")
    with pytest.raises(WeightsError, match="not a regular file"):
        Predictor(folder)
    for run in ("a**", "sm*le", "~nobody-here/smile2"):
        with pytest.raises(WeightsError, match="no run with a model"):
            find_run(run, tmp_path)


def test_files_that_are_no_models_are_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "run")
    for name, content in (("model.keras", b"PK\3\4 no archive"), ("card.json", b"\xff{")):
        (folder / "model" / name).write_bytes(content)
        with pytest.raises(WeightsError, match=name):
            Predictor(folder)


def test_a_network_that_needs_more_than_a_photo_is_refused(tmp_path):
    import keras

    images, attributes = keras.Input((8, 8, 3), name="images"), keras.Input((2,), name="attributes")
    x = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(images), attributes])
    model = keras.Model([images, attributes], keras.layers.Dense(1, name="popularity")(x))
    with pytest.raises(WeightsError, match="2 inputs; expected a network that needs the photo alone"):
        Predictor(save_run(tmp_path, {"model": (model, {})}))


def test_a_task_means_its_newest_run_with_a_model(tmp_path):
    for number, profile in enumerate(("sample", "laptop", "full")):
        (tmp_path / profile / "smile" / "model").mkdir(parents=True)
        if profile != "full":
            (tmp_path / profile / "smile" / "model" / "model.keras").touch()
        os.utime(tmp_path / profile / "smile" / "model", (number, number))
    assert find_run("smile", tmp_path) == tmp_path / "laptop" / "smile"
    assert find_run(str(tmp_path / "full" / "smile")) == tmp_path / "full" / "smile"
    message = r"^age: no run with a model .*; expected a run's folder or an experiment; make one: make age$"
    with pytest.raises(WeightsError, match=message):
        find_run("age", tmp_path)
