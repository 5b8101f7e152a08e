"""Training: best epoch by validation, going on after a kill, stopping at NaN."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from facekit.batches import Batches
from facekit.errors import ParameterError, TrainingError
from facekit.training import FitSettings, compile_model, fit_model, predict_heads, read_watched

HEADS = (SimpleNamespace(name="light", kind="multi-class"),)
PICTURES = np.random.default_rng(0).integers(0, 256, (64, 6, 6, 3), dtype=np.uint8)
TARGETS = np.eye(2, dtype=np.float32)[(PICTURES.mean((1, 2, 3)) > 127).astype(int)]


def make_batches(rows, seed=None):
    return Batches(PICTURES, rows, {"light": TARGETS[rows]}, lambda pictures: pictures / 255, batch_size=8, seed=seed)


def make_model():
    keras.utils.set_random_seed(3)
    inputs = keras.Input((6, 6, 3))
    hidden = keras.layers.BatchNormalization()(keras.layers.Flatten()(inputs))
    hidden = keras.layers.Dropout(0.3)(keras.layers.Dense(8, activation="relu")(hidden))
    return keras.Model(inputs, {"light": keras.layers.Dense(2, activation="softmax", name="light")(hidden)})


def fit(folder, settings, model=None):
    model = model or make_model()
    train, validation = make_batches(np.arange(48), seed=1), make_batches(np.arange(48, 64))
    history = fit_model(
        model, HEADS, train, validation, settings, folder=folder, watch={"test": make_batches(np.arange(48, 64))}
    )
    return model, history


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_figures(tmp_path, monkeypatch):
    settings = FitSettings(epochs=4, schedule="cosine", optimizer="adamw", weight_decay=0.01, label_smoothing=0.1)
    model, history = fit(tmp_path / "whole", settings)

    calls = []

    def predict_or_die(*args):
        calls.append(1)
        if len(calls) == 3:  # in the third epoch, before its state is stored
            raise Killed
        return predict_heads(*args)

    with monkeypatch.context() as patch:
        patch.setattr("facekit.training.predict_heads", predict_or_die)
        with pytest.raises(Killed):
            fit(tmp_path / "cut", settings)
    resumed, resumed_history = fit(tmp_path / "cut", settings)
    columns = ["epoch", "loss", "val_loss", "categorical_accuracy", "best"]
    assert history[columns].equals(resumed_history[columns])
    for weight, other in zip(model.weights, resumed.weights, strict=True):
        np.testing.assert_array_equal(weight, other)


def test_a_finished_run_is_read_not_run_again(tmp_path, monkeypatch):
    model, history = fit(tmp_path, FitSettings(epochs=2))
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained again"))
    again, again_history = fit(tmp_path, FitSettings(epochs=2))
    assert history.equals(again_history)
    np.testing.assert_array_equal(model.weights[0], again.weights[0])


def test_a_fit_traces_its_steps_once(tmp_path, monkeypatch):
    traced = []
    for name, step in {"train_step": keras.Model.train_step, "test_step": keras.Model.test_step}.items():

        def count(self, data, name=name, step=step):
            traced.append(name)
            return step(self, data)

        monkeypatch.setattr(keras.Model, name, count)
    fit(tmp_path, FitSettings(epochs=2, optimizer="adamw"))
    assert sorted(traced) == ["test_step", "train_step"]


def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path):
    # A learning rate this high makes validation worse after the first epochs.
    model, history = fit(tmp_path, FitSettings(epochs=30, learning_rate=0.5, patience=2))
    assert len(history) < 30
    best = int(history["val_loss"].idxmin())
    assert history["best"].tolist() == [epoch == best for epoch in range(len(history))]
    assert len(history) == best + 3
    watched = read_watched(tmp_path, "test", "light")
    assert watched.shape == (len(history), 16, 2)
    kept = predict_heads(model, make_batches(np.arange(48, 64)))["light"]
    np.testing.assert_allclose(watched[best], kept, atol=1e-6)


def test_the_epoch_is_kept_by_accuracy_or_is_the_last(tmp_path):
    for keep in ("accuracy", "last"):
        model, history = fit(tmp_path / keep, FitSettings(epochs=8, learning_rate=0.2, keep=keep))
        best = int(history["val_categorical_accuracy"].idxmax()) if keep == "accuracy" else 7
        assert best != int(history["val_loss"].idxmin())  # or this would say nothing
        assert history["best"].tolist() == [epoch == best for epoch in range(8)]
        kept = predict_heads(model, make_batches(np.arange(48, 64)))["light"]
        np.testing.assert_allclose(read_watched(tmp_path / keep, "test", "light")[best], kept, atol=1e-6)


def make_two_heads():
    keras.utils.set_random_seed(3)
    inputs = {"pictures": keras.Input((6, 6, 3), name="pictures"), "auxiliary": keras.Input((2,), name="auxiliary")}
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(inputs["pictures"]), inputs["auxiliary"]])
    tone = keras.layers.Dense(1, name="tone")(hidden)
    return keras.Model(inputs, {"tone": tone, "traits": keras.layers.Dense(3, "sigmoid", name="traits")(hidden)})


TWO_HEADS = (SimpleNamespace(name="tone", kind="regression"), SimpleNamespace(name="traits", kind="multi-label"))


def fit_two_heads(folder, *, weights=None, **settings):
    model, rows = make_two_heads(), np.arange(48)
    targets = {"tone": np.ones((48, 1)), "traits": np.tile([0.0, 1.0, -1.0], (48, 1))}
    numbers = {"weights": weights, "auxiliary": np.ones((48, 2))}
    train = Batches(PICTURES, rows, targets, lambda pictures: pictures / 255, batch_size=8, seed=1, **numbers)
    validation = Batches(PICTURES, rows, targets, lambda pictures: pictures / 255, batch_size=8, **numbers)
    return model, fit_model(model, TWO_HEADS, train, validation, FitSettings(epochs=2, **settings), folder=folder)


def test_a_head_whose_rows_or_losses_weigh_nothing_stays(tmp_path):
    start = make_two_heads().get_layer("traits").kernel.numpy()
    for name, changes in {"rows": {"weights": {"traits": np.zeros(48)}}, "loss": {"loss_weights": {"traits": 0.0}}}.items():
        model, _ = fit_two_heads(tmp_path / name, **changes)
        np.testing.assert_array_equal(model.get_layer("traits").kernel.numpy(), start)
    model, history = fit_two_heads(tmp_path / "both")
    moved = (model.get_layer("traits").kernel.numpy() != start).any(axis=0)
    assert moved.tolist() == [True, True, False]  # the third label is unknown everywhere
    assert {"val_traits_binary_accuracy", "val_tone_loss"} <= set(history)


def test_flips_are_averaged():
    model, batches = make_model(), make_batches(np.arange(48, 64))
    mirrored = Batches(PICTURES[:, :, ::-1], batches.rows, batches.targets, batches.preprocess)
    both = predict_heads(model, batches, flips=True)["light"]
    mean = (predict_heads(model, batches)["light"] + predict_heads(model, mirrored)["light"]) / 2
    np.testing.assert_allclose(both, mean, atol=1e-6)


def test_a_loss_that_is_not_a_number_stops_in_one_line(tmp_path):
    model = make_model()
    model.weights[-1].assign([np.nan, 0])
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, batch 1; expected a finite number; lower"):
        fit(tmp_path, FitSettings(epochs=1), model)


def test_unknown_choices_list_the_known():
    with pytest.raises(ParameterError, match="optimizer 'adamm'; expected one of adam, adamw, sgd"):
        FitSettings(epochs=1, optimizer="adamm")
    with pytest.raises(ParameterError, match="keep 'best'; expected one of loss, accuracy, last"):
        FitSettings(epochs=1, keep="best")
    with pytest.raises(ParameterError, match="patience 2 with keep last"):
        FitSettings(epochs=1, keep="last", patience=2)
    with pytest.raises(ParameterError, match="keep accuracy: no head has one"):
        compile_model(make_two_heads(), TWO_HEADS[:1], FitSettings(epochs=1, keep="accuracy"), steps=1)
    with pytest.raises(ParameterError, match="weights for head 'age'; expected one of tone, traits"):
        compile_model(make_two_heads(), TWO_HEADS, FitSettings(epochs=1, loss_weights={"age": 1.0}), steps=1)
    with pytest.raises(ParameterError, match="epochs 0; expected at least 1"):
        FitSettings(epochs=0)
