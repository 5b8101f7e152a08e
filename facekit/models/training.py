"""Training that is remembered and survives being killed; the last epoch is kept, or the one that validation chooses.

Predictions of watched batches, such as the test set's, are stored without labels, for a look after the choice.
"""

import gc
import json
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from facekit.data.batches import Batches, digest
from facekit.errors import ParameterError, TrainingError
from facekit.paths import build_key, cache_folder, read_cached, write_text
from facekit.progress import track

# TensorFlow counts the traces of all networks of a notebook together, and warns as if one were traced again and again.
tf.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())
# Goes up when facekit's own augmentation, losses or training compute something else, so that older fits are ignored.
REVISION = 2


def set_up(*, seed: int, gpu_memory_mb: int = 0, mixed_precision: bool = False) -> str:
    """Seed Keras, limit a GPU's memory and set the precision, before the first network is built; return the device.

    Args:
        seed: of weights and dropout.
        gpu_memory_mb: TensorFlow's logical limit on the first GPU in MiB; 0: none.
        mixed_precision: compute in 16 bits, store in 32: float16 on a GPU, bfloat16 on a CPU. Outputs need dtype="float32".
    """
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and gpu_memory_mb and not tf.config.get_logical_device_configuration(gpus[0]):
        try:
            tf.config.set_logical_device_configuration(gpus[0], [tf.config.LogicalDeviceConfiguration(gpu_memory_mb)])
        except RuntimeError as error:
            raise ParameterError("gpu_memory_mb: the GPU is in use", hint="restart the notebook's kernel") from error
    low = "mixed_float16" if gpus else "mixed_bfloat16"
    keras.mixed_precision.set_global_policy(low if mixed_precision else "float32")
    return f"{len(gpus)} gpu" if gpus else "cpu"


@keras.saving.register_keras_serializable("facekit")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises to its peak over `warmup` steps and then falls to 0 at step `total`, along a cosine.

    Keras' CosineDecay has a branch, which TensorFlow traces anew for every variable.
    """

    def __init__(self, peak: float, warmup: int, total: int):
        self.peak, self.warmup, self.total = peak, warmup, total

    def __call__(self, step):
        """Return the rate of a step, counted from 0."""
        step = keras.ops.cast(step, "float32")
        fallen = keras.ops.clip((step - self.warmup) / max(1, self.total - self.warmup), 0, 1)
        return self.peak * keras.ops.minimum(step / self.warmup, (1 + keras.ops.cos(np.pi * fallen)) / 2)

    def get_config(self) -> dict:
        return {"peak": self.peak, "warmup": self.warmup, "total": self.total}


def adamw(learning_rate: float, epochs: int, train: Batches) -> keras.optimizers.AdamW:
    """Return AdamW whose learning rate rises to its peak over a twentieth of all steps and then falls to 0 along a cosine."""
    total = epochs * len(train)
    return keras.optimizers.AdamW(WarmupCosine(learning_rate, max(1, total // 20), total), weight_decay=0.01)


@dataclass(frozen=True)
class Fit:
    """A finished fit: the model with the chosen epoch's weights, and its folder in the cache.

    The history has one row an epoch: epoch (from 1), loss, val_loss, metrics, seconds, best (True for the chosen epoch).
    """

    model: keras.Model
    history: pd.DataFrame
    folder: Path

    @property
    def seconds(self) -> float:
        """Seconds that training took."""
        return float(self.history["seconds"].sum())

    def predict(self, batches: Batches, *, flips: bool = False):
        """Predict rows, once: tracing a network takes longer than predicting a few images; see training.predict."""
        file = self.folder / f"predicted-{build_key(batches=batches.fingerprint(), flips=flips)}.npz"
        return predict(self.model, batches, flips=flips, file=file)

    def watched(self, name: str) -> np.ndarray:
        """Return the predictions of watched batches after every epoch, (epochs, n, outputs)."""
        return _read_watched(self.folder, name, len(self.history))


def fit(
    model: keras.Model, train: Batches, validation: Batches, *, name: str, epochs: int, checkpoint: str = "last", watch=None
) -> Fit:
    """Train a compiled model as `model.fit` does, and remember it.

    A finished fit is read, not run again; one that was stopped resumes after its last whole epoch, with the same values as if
    it had never stopped. Its key is computed from the model's layers, compile settings, initial weights and batches.

    Args:
        model: compiled, with its initial weights; afterwards it has those of the chosen epoch.
        train, validation, name: batches with a seed, and without; what is shown with the progress.
        checkpoint: the epoch whose weights are kept: the `last`, which suits a learning rate that falls to 0, or the one with
            the best value of a column of the history, such as `val_loss`.
        watch: name -> batches whose predictions are stored after every epoch, for Fit.watched; of a model with one output.

    Raises:
        ParameterError: no such column, or less than one epoch.
        TrainingError: the loss is not a number, or memory does not suffice.
    """
    if epochs < 1:
        raise ParameterError(f"epochs {epochs}", expected="at least 1")
    watch = watch or {}
    fingerprints = {name: each.fingerprint() for name, each in {"train": train, "validation": validation, **watch}.items()}
    key = _compute_key(model, fingerprints, [epochs, checkpoint])
    folder = cache_folder("fits", f"{re.sub('[^A-Za-z0-9]+', '-', name)}-{key}")
    with track(None, name, epochs * len(train), unit="batch") as progress:
        keeper = _Keeper(model, folder, train, watch, checkpoint, progress)
        if not keeper.history.exists():
            _run(model, train, validation, epochs, keeper)
    return Fit(model, pd.DataFrame(keeper.rows).assign(best=np.arange(len(keeper.rows)) == keeper.best), folder)


def _run(model: keras.Model, train: Batches, validation: Batches, epochs: int, keeper: "_Keeper") -> None:
    board = keras.callbacks.TensorBoard(cache_folder("tensorboard", keeper.folder.name), write_graph=False)
    callbacks = [keras.callbacks.TerminateOnNaN(raise_error=True), keeper, board]
    # Else TensorFlow sums gradients over devices, and the sum's own gradient in a table that is never emptied keeps each fit's
    # graph: 65 MB more after every fit of a small MobileNet.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # mixed precision scales around it
    apply, context = optimizer.apply, tf.distribute.get_replica_context
    optimizer.apply = lambda *gradients, **named: context().merge_call(lambda _: apply(*gradients, **named))
    span = {"epochs": epochs, "initial_epoch": len(keeper.rows)}
    try:
        # Variables that are made while TensorFlow traces the training step make it trace that step twice.
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        x, y, *weights = train[0]
        predicted = model.predict_on_batch(x)
        model.compute_loss(x, y, predicted, *weights)
        model.compute_metrics(x, y, predicted, *weights)
        model.reset_metrics()
        model.fit(train, validation_data=validation, **span, callbacks=callbacks, shuffle=False, verbose=0)
    except RuntimeError as error:
        if "NaN or Inf" not in str(error):
            raise
        received = f"epoch {train.epoch + 1}: {error}"
        raise TrainingError(received, expected="a finite loss", hint="lower learning_rate") from error
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        received = f"epoch {train.epoch + 1}: not enough memory"
        raise TrainingError(received, hint="lower batch_size, the images' size or the network's width") from error
    finally:
        del optimizer.apply


def predict(model: keras.Model, batches: Batches, *, flips: bool = False, name: str = "", file: Path | None = None):
    """Predict rows in the batches' order: float32 (n, outputs), or a dict of them by output name where the model has several.

    Args:
        model, batches: the model takes what the batches, without a seed, hold.
        flips: average with the predictions for the mirrored images.
        name, file: shown with the progress, where it takes long; keeps the predictions, and is read where it is there.
    """
    kept = file and read_cached(file, lambda file: _read(file, model.outputs))
    parts, indices = [], range(0 if kept else len(batches))
    for index in track(indices, name) if name else indices:
        # A last batch of another size would cost more than it does filled up: the graph is traced anew for it.
        x = keras.tree.map_structure(lambda each: np.resize(each, (batches.batch_size, *each.shape[1:])), batches[index][0])
        mirrored = keras.tree.map_structure(lambda each: each[:, :, ::-1] if each.ndim == 4 else each, x)
        outputs = [keras.tree.flatten(model.predict_on_batch(view)) for view in ((x, mirrored) if flips else (x,))]
        parts.append([np.mean(views, axis=0, dtype=np.float32) for views in zip(*outputs, strict=True)])
    found = kept or [np.concatenate(values)[: len(batches.rows)] for values in zip(*parts, strict=True)]
    if file and not kept:
        np.savez(part := file.with_suffix(".part.npz"), *found)
        part.replace(file)
    return found[0] if len(found) == 1 else dict(zip(model.output_names, found, strict=True))


def _compute_key(model: keras.Model, fingerprints: dict[str, str], settings: list) -> str:
    """Return the key of all that a fit depends on."""
    # Keras counts up the names of layers and optimizers over a session; what they are called changes no result.
    names = {layer.name: f"layer {position}" for position, layer in enumerate(model.layers)} | {model.name: "model"}
    config = re.sub(r'"([^"\\]*)"', lambda match: json.dumps(names.get(match[1], match[1])), model.to_json(sort_keys=True))
    variables = [
        [digest(np.atleast_1d(variable.numpy())), variable.trainable, keras.regularizers.serialize(variable.regularizer)]
        for variable in model.variables  # dropout's random state among them
    ]
    return build_key(
        config=re.sub(r'("name": "[^"]*?)_\d+"', r'\1"', config),
        outputs=[name for name in getattr(model, "output_names", ()) if not re.fullmatch(r"\w+_\d+", name)],
        variables=variables,
        fingerprints=fingerprints,
        settings=settings,
        # With another number of threads TensorFlow sums in another order, and trainings diverge.
        versions=[REVISION, keras.__version__, np.__version__, os.environ.get("TF_NUM_INTRAOP_THREADS")],
    )


class _Keeper(keras.callbacks.Callback):
    """Keeps history, best weights, watched predictions, and all that is needed to resume.

    Keras' BackupAndRestore forgets dropout's random state, its ModelCheckpoint what was best before the stop.
    """

    def __init__(self, model, folder: Path, train: Batches, watch: dict, checkpoint: str, progress):
        super().__init__()
        self.set_model(model)
        self.train, self.watch, self.checkpoint, self.progress = train, watch, checkpoint, progress
        self.folder, self.state, self.history, self.rows = folder, folder / "state.npz", folder / "history.json", []
        if self.history.exists() or self.state.exists():
            self.rows = read_cached(folder, self._resume) or []
            if not self.rows:
                shutil.rmtree(folder)
                folder.mkdir()
        progress.update(len(self.rows) * len(train))

    def _resume(self, folder: Path) -> list[dict]:
        """Take over what an earlier fit left, all of which is read before a variable changes, and return its history."""
        variables = self.model.weights
        values = _read(folder / "best.npz", variables)
        if self.history.exists():
            rows = self.history.read_text()
        else:
            self.model.optimizer.build(self.model.trainable_variables)
            variables = self.model.variables + self.model.optimizer.variables
            *values, rows = _read(self.state, variables, "rows")
        rows = json.loads(str(rows))
        if not rows or any("seconds" not in row for row in rows):
            raise ValueError("no history")
        for name in self.watch:
            _read_watched(folder, name, len(rows))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return rows

    @property
    def best(self) -> int:
        if self.checkpoint == "last":
            return len(self.rows) - 1
        if self.checkpoint not in self.rows[0]:
            columns = [name for name in self.rows[0] if name.startswith("val_")]
            raise ParameterError(f"checkpoint {self.checkpoint!r}", expected=f"last or one of {', '.join(columns)}")
        scores = pd.DataFrame(self.rows)[self.checkpoint]
        return int(scores.argmin() if re.search("loss|error|entropy|mae|mse", self.checkpoint) else scores.argmax())

    def on_epoch_begin(self, epoch, logs=None):
        # Set before Keras fetches the epoch's first batch, because it fetches ahead.
        self.train.epoch, self.started = epoch, time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        validation = {name: value for name, value in (self.rows or [{}])[-1].items() if name.startswith("val_")}
        self.progress.set_postfix(epoch=self.train.epoch + 1, loss=float(logs["loss"]), **validation, refresh=False)
        self.progress.update()

    def on_epoch_end(self, epoch, logs=None):
        seconds = time.monotonic() - self.started
        self.rows.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}, "seconds": seconds})
        for name, batches in self.watch.items():
            self._save(f"{name}-{epoch:03d}", output=predict(self.model, batches))
        if self.best == epoch:
            self._save("best", *self.model.weights)
        # A model's variables are more than its weights: dropout's random state is among them. History and state are one file,
        # which no kill can divide.
        self._save("state", *self.model.variables, *self.model.optimizer.variables, rows=json.dumps(self.rows))

    def on_train_end(self, logs=None):
        write_text(self.history, json.dumps(self.rows, indent=1))
        self.state.unlink(missing_ok=True)
        self.model.set_weights(_read(self.folder / "best.npz", self.model.weights))

    def _save(self, name: str, *variables, **arrays) -> None:
        # In their order, not by name, since names need not be unique.
        np.savez(part := self.folder / f"{name}.part.npz", *[variable.numpy() for variable in variables], **arrays)
        part.replace(self.folder / f"{name}.npz")


def _read_watched(folder: Path, name: str, epochs: int) -> np.ndarray:
    return np.concatenate([_read(folder / f"{name}-{epoch:03d}.npz", (), "output") for epoch in range(epochs)])


def _read(path: Path, variables, *names: str) -> list[np.ndarray]:
    """Return a value for each variable, and the arrays of these names; the file is closed also where it is damaged."""
    with path.open("rb") as file, np.load(file) as arrays:
        return [arrays[name] for name in (*(f"arr_{position}" for position in range(len(variables))), *names)]
