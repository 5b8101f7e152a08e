"""Training: the chosen epoch, the key of a fit, going on after a kill, stopping at NaN."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from facekit.data.augment import ImageDataGenerator
from facekit.data.batches import Batches
from facekit.errors import ParameterError, TrainingError
from facekit.models import losses, training

IMAGES = np.random.default_rng(0).integers(0, 256, (64, 6, 6, 3), dtype=np.uint8)
LABELS = np.where(IMAGES.mean((1, 2, 3)) > 127, "light", "dark")
TRAIN, VALIDATION = np.arange(48), np.arange(48, 64)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path))
    return tmp_path


def one_hot(labels):
    return np.eye(2, dtype=np.float32)[(labels == "light").astype(int)]


def make_batches(rows, *, images=IMAGES, labels=LABELS, **settings):
    return Batches(images, one_hot(labels), rows, batch_size=8, **settings)


def make_model(*, units=8, dropout=0.3, seed=3):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.BatchNormalization()(keras.layers.Flatten()(x))
    x = keras.layers.Dropout(dropout)(keras.layers.Dense(units, activation="relu")(x))
    return keras.Model(inputs, keras.layers.Dense(2, "softmax", name="light")(x))


def fit(model=None, *, epochs=2, learning_rate=0.01, changes=None, watch=True, **settings):
    model = model or make_model()
    augment = ImageDataGenerator(horizontal_flip=True)
    train = make_batches(TRAIN, seed=1, augment=augment, **(changes or {}))
    validation = make_batches(VALIDATION)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    model.compile(training.adamw(learning_rate, epochs, train), loss, metrics=["accuracy"])
    watched = {"test": make_batches(VALIDATION)} if watch else None
    return training.fit(model, train, validation, name="light or dark", epochs=epochs, watch=watched, **settings)


def test_a_finished_fit_is_read_not_run_again(monkeypatch):
    first = fit()
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = fit()
    assert first.history.equals(again.history)
    assert first.seconds == again.seconds > 0
    assert list(first.history) == ["epoch", "accuracy", "loss", "val_accuracy", "val_loss", "seconds", "best"]
    for weight, other in zip(first.model.weights, again.model.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def regularize(model):
    model.layers[-1].kernel.regularizer = keras.regularizers.L2(0.1)
    return model


def freeze(model):
    model.layers[3].gamma.trainable = False
    return model


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A cache that holds one fit."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEKIT_CACHE", str(folder))
        fit()
    return folder


CHANGED_LABEL, CHANGED_PIXEL = LABELS.copy(), IMAGES.copy()
CHANGED_LABEL[0] = "light" if LABELS[0] == "dark" else "dark"
CHANGED_PIXEL[0, 0, 0, 0] ^= 1


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.02},
        {"epochs": 3},
        {"checkpoint": "val_loss"},
        {"changes": {"labels": CHANGED_LABEL}},
        {"changes": {"images": CHANGED_PIXEL}},
        {"model": lambda: make_model(units=9)},
        {"model": lambda: make_model(dropout=0.4)},
        {"model": lambda: make_model(seed=4)},
        {"model": lambda: regularize(make_model())},
        {"model": lambda: freeze(make_model())},
        {"watch": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_result_makes_another_fit(change, fitted, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(fitted))
    monkeypatch.setattr(training.keras.Model, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyError("trains")))
    fit()
    with pytest.raises(KeyError, match="trains"):
        fit(**{name: value() if name == "model" else value for name, value in change.items()})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("best.npz", b"PK\3\4 cut"),
        ("history.json", b""),
        ("history.json", b"[{}]"),
        ("history.json", b"[]"),
        ("test-001.npz", b"no zip"),
        ("state.npz", b"\x93NUMPY cut"),  # of a fit that was stopped
    ],
)
def test_a_fit_whose_files_are_damaged_is_made_again(fitted, cache, capsys, name, content):
    shutil.copytree(fitted, cache, dirs_exist_ok=True)
    (path,) = (cache / "fits").glob("*/history.json")
    folder, history = path.parent, json.loads(path.read_text())
    if name == "state.npz":
        path.unlink()
    (folder / name).write_bytes(content)
    found = fit()
    assert f"{folder}: damaged (" in capsys.readouterr().err
    assert found.folder == folder
    assert found.history["loss"].tolist() == [row["loss"] for row in history]
    assert found.watched("test").shape == (2, 16, 2)
    assert fit().history.equals(found.history)
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM when\nallocating")])
def test_too_little_memory_is_one_line(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(keras.Model, "fit", fail)
    with pytest.raises(TrainingError, match="^epoch 1: not enough memory; lower batch_size, the images' size or .*width$"):
        fit()


def test_one_dropout_seed_is_another_fit():
    first, second = make_model(), make_model()
    state = second.layers[5].seed_generator.state
    state.assign(state + 1)
    assert not fit(first).history["loss"].equals(fit(second).history["loss"])


def test_names_that_keras_counts_up_change_no_key():
    folder = fit(make_model()).folder
    keras.layers.Dense(1), keras.layers.Flatten(), keras.layers.Dropout(0.1), keras.layers.BatchNormalization()
    assert fit(make_model()).folder == folder


def copy_with_other_comments(target):
    shutil.copytree(Path(training.__file__).parent.parent, target / "facekit")
    for path in (target / "facekit").rglob("*.py"):
        path.write_text("# A comment more.\n" + path.read_text() + "\n# And another.\n")
    return target


KILLED = """
import os, signal, sys
sys.path[:0] = sys.argv[1:3]
from test_training import fit
from facekit.models import training
predict, calls = training.predict, []

def predict_or_die(*args, **settings):
    calls.append(1)
    if len(calls) == 3:  # in the third epoch, before its state is stored
        os.kill(os.getpid(), signal.SIGKILL)
    return predict(*args, **settings)

training.predict = predict_or_die
fit(epochs=3, checkpoint="val_loss")
"""


def test_a_killed_fit_resumes_to_the_same_values_whatever_the_comments(tmp_path, monkeypatch):
    whole = fit(epochs=3, checkpoint="val_loss")
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cut"))
    # In a process of its own, whose facekit has other comments: they change no key, so the fit is found again below.
    folders = [str(copy_with_other_comments(tmp_path / "edited")), os.path.dirname(__file__)]
    killed = subprocess.run([sys.executable, "-c", KILLED, *folders], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    (state,) = (tmp_path / "cut").rglob("state.npz")
    assert state.parent.name == whole.folder.name
    assert len(json.loads(str(np.load(state)["rows"]))) == 2
    resumed = fit(epochs=3, checkpoint="val_loss")
    assert len(list((tmp_path / "cut" / "fits").iterdir())) == 1
    assert resumed.history.drop(columns="seconds").equals(whole.history.drop(columns="seconds"))
    for weight, other in zip(whole.model.variables, resumed.model.variables, strict=True):
        np.testing.assert_array_equal(weight, other)
    np.testing.assert_array_equal(whole.watched("test"), resumed.watched("test"))


def test_a_fit_traces_its_steps_once(monkeypatch):
    traced = []
    for name, step in {name: getattr(keras.Model, name) for name in ("train_step", "test_step", "predict_step")}.items():

        def count(self, data, name=name, step=step):
            traced.append(name)
            return step(self, data)

        monkeypatch.setattr(keras.Model, name, count)
    # 48 rows in batches of 9: the last one is smaller.
    model, train = make_model(), Batches(IMAGES, one_hot(LABELS), TRAIN, batch_size=9, seed=0)
    model.compile(training.adamw(0.1, 2, train), "categorical_crossentropy", metrics=["accuracy"])
    found = training.fit(model, train, make_batches(VALIDATION), name="traced", epochs=2)
    found.predict(Batches(IMAGES, batch_size=9), flips=True)
    assert sorted(traced) == ["predict_step", "test_step", "train_step"]


def test_the_epoch_is_chosen_by_loss_by_accuracy_or_is_the_last():
    # A learning rate this high makes validation worse after the first epochs.
    for checkpoint in ("val_loss", "val_accuracy", "last"):
        found = fit(epochs=8, learning_rate=0.2, checkpoint=checkpoint)
        history = found.history
        best = {"val_loss": history["val_loss"].idxmin(), "val_accuracy": history["val_accuracy"].idxmax(), "last": 7}
        assert len(set(best.values())) == 3  # or this would say nothing
        assert history["best"].tolist() == [epoch == best[checkpoint] for epoch in range(8)]
        assert found.watched("test").shape == (8, 16, 2)
        np.testing.assert_allclose(found.watched("test")[best[checkpoint]], found.predict(make_batches(VALIDATION)), atol=1e-6)


def fit_two_heads(*, weights=None, loss_weights=None):
    keras.utils.set_random_seed(3)
    inputs = {"images": keras.Input((6, 6, 3), name="images"), "auxiliary": keras.Input((2,), name="auxiliary")}
    x = keras.layers.Concatenate()([keras.layers.Flatten()(inputs["images"]), inputs["auxiliary"]])
    outputs = {
        "tone": keras.layers.Dense(1, name="tone")(x),
        "traits": keras.layers.Dense(3, "sigmoid", name="traits")(x),
        "worn": keras.layers.Dense(1, "sigmoid", name="worn")(x),
    }
    model = keras.Model(inputs, outputs)
    targets = {"tone": np.ones(64), "traits": np.tile([0.0, 1.0, -1.0], (64, 1)), "worn": np.arange(64) % 2}
    data = ({"images": IMAGES / 255, "auxiliary": np.ones((64, 2))}, targets)
    train = Batches(*data, TRAIN, batch_size=8, seed=1, sample_weights=weights)
    validation = Batches(*data, np.arange(47, 64), batch_size=8)  # one row more than two whole batches
    crossentropy = {"traits": losses.LabelCrossentropy(), "worn": losses.LabelCrossentropy()}
    accuracies = {"traits": losses.LabelAccuracy(), "worn": losses.LabelAccuracy()}
    model.compile("adam", {"tone": "mse", **crossentropy}, loss_weights=loss_weights, weighted_metrics=accuracies)
    start = model.get_layer("traits").kernel.numpy()
    found = training.fit(model, train, validation, name="two heads", epochs=2, checkpoint="val_worn_accuracy")
    return found, (model.get_layer("traits").kernel.numpy() != start).any(axis=0).tolist()


def test_heads_have_their_own_losses_weights_and_predictions():
    ones = {name: np.ones(64) for name in ("tone", "traits", "worn")}
    found, moved = fit_two_heads()
    assert moved == [True, True, False]  # the third label is unknown everywhere
    assert {"val_traits_accuracy", "val_worn_accuracy", "val_tone_loss"} <= set(found.history)
    predicted = found.predict(Batches({"images": IMAGES / 255, "auxiliary": np.ones((64, 2))}))
    assert {name: values.shape for name, values in predicted.items()} == {"tone": (64, 1), "traits": (64, 3), "worn": (64, 1)}
    kept = found.history[found.history["best"]].iloc[0]
    assert kept["val_tone_loss"] == pytest.approx(np.mean((predicted["tone"][47:] - 1) ** 2), rel=0.05)
    assert kept[["val_tone_loss", "val_traits_loss", "val_worn_loss"]].sum() == pytest.approx(kept["val_loss"], rel=0.05)
    assert fit_two_heads(weights=ones | {"traits": np.zeros(64)})[1] == [False] * 3
    assert fit_two_heads(loss_weights={"tone": 1.0, "traits": 0.0, "worn": 1.0})[1] == [False] * 3


def test_label_weights_make_another_fit():
    keys = []
    for weights in (None, [[1.0], [2.0]], [[1.0], [3.0]]):
        model = make_model()
        model.compile("sgd", losses.LabelCrossentropy(weights), metrics=[losses.LabelAccuracy()])
        keys.append(training.fit(model, make_batches(TRAIN, seed=0), make_batches(VALIDATION), name="a", epochs=1).folder)
    assert len(set(keys)) == 3


def test_a_sequential_model_and_one_whose_outputs_are_a_list_are_taken_too():
    images, labels = IMAGES / 255, one_hot(LABELS)
    train, validation = Batches(images, labels, TRAIN, seed=0), Batches(images, labels, VALIDATION)
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    assert training.fit(model, train, validation, name="plain", epochs=1).predict(validation).shape == (16, 2)
    flat = keras.layers.Flatten()(inputs := keras.Input((6, 6, 3)))
    model = keras.Model(inputs, [keras.layers.Dense(1, name="a")(flat), keras.layers.Dense(2, name="b")(flat)])
    predicted = training.predict(model, validation)
    assert {name: values.shape for name, values in predicted.items()} == {"a": (16, 1), "b": (16, 2)}


def test_flips_are_averaged():
    model, batches = make_model(), make_batches(VALIDATION)
    mirrored = make_batches(VALIDATION, images=IMAGES[:, :, ::-1])
    mean = (training.predict(model, batches) + training.predict(model, mirrored)) / 2
    np.testing.assert_allclose(training.predict(model, batches, flips=True), mean, atol=1e-6)


def test_a_fit_remembers_predictions_and_makes_damaged_ones_again(monkeypatch, capsys):
    found, batches, others = fit(watch=False), make_batches(VALIDATION), make_batches(TRAIN)
    plain, flipped = (found.predict(batches, flips=flips) for flips in (False, True))
    assert not np.array_equal(plain, flipped)
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "predict_on_batch", lambda *_: (_ for _ in ()).throw(KeyError("predicts")))
        again = fit(watch=False)
        np.testing.assert_array_equal(again.predict(batches), plain)
        np.testing.assert_array_equal(again.predict(batches, flips=True), flipped)
        with pytest.raises(KeyError, match="predicts"):
            again.predict(others)
    for path in found.folder.glob("predicted-*.npz"):
        path.write_bytes(b"PK\3\4 cut")
    np.testing.assert_array_equal(again.predict(batches), plain)
    assert "damaged (" in capsys.readouterr().err


def test_a_loss_that_is_not_a_number_stops_in_one_line():
    model = make_model()
    model.weights[-1].assign([np.nan, 0])
    with pytest.raises(TrainingError, match="epoch 1: NaN or Inf loss.*; expected a finite loss; lower learning_rate"):
        fit(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoint": "val_f1"}, "checkpoint 'val_f1'; expected last or one of val_accuracy, val_loss"),
        ({"epochs": 0}, "epochs 0; expected at least 1"),
    ],
)
def test_unknown_choices_list_the_known(settings, message):
    with pytest.raises(ParameterError, match=message):
        fit(**settings)


def test_the_learning_rate_rises_and_falls_to_nothing():
    train = make_batches(TRAIN, seed=0)
    config = training.adamw(0.1, 10, train).get_config()["learning_rate"]["config"]
    assert config == {"peak": 0.1, "warmup": 3, "total": 60}
    ours = training.WarmupCosine(**config)
    theirs = keras.optimizers.schedules.CosineDecay(0.0, decay_steps=57, warmup_target=0.1, warmup_steps=3)
    rates = [float(ours(step)) for step in range(62)]
    np.testing.assert_allclose(rates, [float(theirs(step)) for step in range(62)], atol=1e-8)
    assert [rates[0], max(rates), rates[60]] == [0, rates[3], 0]


def test_scalars_are_logged_for_tensorboard(cache):
    fit()
    assert len(list((cache / "tensorboard").glob("*/validation/events*"))) == 1


def test_half_precision_is_left_to_the_inside():
    training.set_up(seed=1, mixed_precision=True)
    try:
        assert make_model().layers[-2].compute_dtype in ("bfloat16", "float16")
        keras.mixed_precision.set_global_policy("mixed_float16")  # a GPU's, whose losses are scaled
        assert np.isfinite(fit().history["val_loss"]).all()
    finally:
        training.set_up(seed=1)
    assert make_model().layers[-2].compute_dtype == "float32"


def fit_and_forget():
    model = make_model()
    return weakref.ref(model), fit(model).seconds


def test_a_fit_that_nobody_uses_any_more_leaves_no_graph_behind():
    model, _ = fit_and_forget()
    keras.backend.clear_session()
    gc.collect()
    assert model() is None
