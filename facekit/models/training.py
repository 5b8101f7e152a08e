"""Training that is remembered and survives being killed; the last epoch is kept, or the one that validation chooses."""

import gc
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from filelock import FileLock

from facekit import cluster
from facekit.data.batches import Batches
from facekit.errors import FacekitError, ParameterError, TrainingError
from facekit.models.checkpoints import Keeper, compute_key, read_arrays, read_watched
from facekit.paths import build_key, cache_folder, read_cached
from facekit.progress import track

# TensorFlow counts the traces of all networks of a notebook together, and warns as if one were traced again and again.
tf.get_logger().addFilter(lambda record: "tf.function retracing" not in record.getMessage())
gc.freeze()  # or Keras' clear_session would look for garbage in all that TensorFlow's import left


def set_up(*, seed: int, gpu_memory_mb: int = 0, mixed_precision: bool = False, devices: str = "") -> None:
    """Seed Keras, limit a GPU's memory, set the precision and choose the devices, before the first network is built.

    On several devices each takes an equal part of every batch, and their gradients are averaged: batch size and learning rate
    mean the same as on one. Where a last batch can't be divided evenly, its rows do not count quite alike. ParameterError:
    devices that are not there, or the GPU is in use.

    Args:
        seed: of weights and dropout.
        gpu_memory_mb: TensorFlow's logical limit on the first GPU in MiB; 0: none.
        mixed_precision: compute in 16 bits, store in 32: float16 on a GPU, bfloat16 on a CPU. Outputs need dtype="float32".
        devices: of one training: `one`, `all` of this machine (its GPUs, or TensorFlow's logical CPUs), or a number of them;
            with TF_CONFIG in the environment those of all its workers. Empty: leave them as they are.
    """
    strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None  # which Keras clears away
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and gpu_memory_mb and not tf.config.get_logical_device_configuration(gpus[0]):
        try:
            tf.config.set_logical_device_configuration(gpus[0], [tf.config.LogicalDeviceConfiguration(gpu_memory_mb)])
        except RuntimeError as error:
            raise ParameterError("gpu_memory_mb: the GPU is in use", hint="restart the notebook's kernel") from error
    keras.mixed_precision.set_global_policy(f"mixed_{'' if gpus else 'b'}float16" if mixed_precision else "float32")
    tf.distribute.experimental_set_strategy(_choose_strategy(devices) if devices else strategy)


def _choose_strategy(devices: str) -> tf.distribute.Strategy | None:
    if devices != "one" and "TF_CONFIG" in os.environ:
        try:
            return _MultiWorkerMirroredStrategy()
        except (KeyError, TypeError, ValueError) as error:
            raise ParameterError(f"TF_CONFIG: {error}", expected="TensorFlow's JSON of all workers") from error
    known = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    count = {"one": 1, "all": len(known)}.get(devices) or (int(devices) if devices.isdecimal() else 0)
    if not 0 < count <= len(known):
        raise ParameterError(f"devices = {devices!r}", expected=f"one, all or a number up to {len(known)}, as this machine has")
    return tf.distribute.MirroredStrategy([device.name for device in known[:count]]) if count > 1 else None


class _MultiWorkerMirroredStrategy(tf.distribute.MultiWorkerMirroredStrategy):
    """As TensorFlow's, but it also reduces what Keras asks it to (https://github.com/keras-team/keras/issues/20585)."""

    def reduce(self, reduce_op, value, axis=None):
        if isinstance(value, tuple):  # a whole batch, of which Keras only wants the shapes
            return tf.nest.map_structure(lambda each: self.experimental_local_results(each)[0], value)
        return super().reduce(reduce_op, value, axis if self.experimental_local_results(value)[0].shape.rank else None)


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
        return read_watched(self.folder, name, len(self.history))


def fit(model, train: Batches, validation: Batches, *, name: str, epochs: int, checkpoint: str = "last", watch=None) -> Fit:
    """Train a compiled model as `model.fit` does, and remember it.

    A finished fit is read, not run again; one that was stopped resumes after its last whole epoch, with the same values as if
    it had never stopped. Its key is computed from the model's layers, compile settings, initial weights and batches.
    ParameterError: no such column, or less than one epoch. TrainingError: the loss is not a number, or too little memory.

    Args:
        model: compiled, with its initial weights; afterwards it has those of the chosen epoch.
        train, validation, name: batches with a seed, and without; what is shown with the progress.
        checkpoint: the epoch whose weights are kept: the `last`, which suits a learning rate that falls to 0, or the one with
            the best value of a column of the history, such as `val_loss`.
        watch: name -> batches without targets, whose predictions are stored after every epoch, for Fit.watched; of one output.
    """
    if epochs < 1:
        raise ParameterError(f"epochs {epochs}", expected="at least 1")
    folder = _name_folder(model, train, validation, name, epochs, checkpoint, watch or {})
    watched = {name: partial(predict, batches=batches) for name, batches in (watch or {}).items()}
    lock = FileLock(cache_folder("locks") / f"{folder.name}.lock")  # the same fit may be asked for elsewhere
    with lock, track(None, name, epochs * len(train), unit="batch") as progress:
        keeper = Keeper(model, folder, train, watched, checkpoint, progress)
        if not keeper.history.exists():
            _run(model, train, validation, epochs, keeper)
    return Fit(model, pd.DataFrame(keeper.rows).assign(best=np.arange(len(keeper.rows)) == keeper.best), folder)


def _name_folder(model, train, validation, name, epochs, checkpoint="last", watch=()) -> Path:
    batches = {"train": train, "validation": validation, **dict(watch)}
    settings, devices = [epochs, checkpoint], model.distribute_strategy.num_replicas_in_sync
    key = compute_key(model, {name: each.fingerprint() for name, each in batches.items()}, settings + [devices][devices < 2 :])
    return cache_folder("fits", f"{re.sub('[^A-Za-z0-9]+', '-', name)}-{key}")


def fit_all(jobs: Iterable[dict]) -> Iterator[Fit]:
    """Yield the fit of each job, a dict of the arguments of `fit`, in their order: trained here, or on a Dask cluster.

    FacekitError: names each job that failed, after all others. Of a generator of jobs only one model is held at a time.
    """
    failed = []
    if cluster.is_used():
        packed = [(_name_folder(**job), cluster.pack(job)) for job in jobs]
        units = {folder.name: job for folder, job in packed if not (folder / "history.json").exists()}
        cluster.run_all(_fit_packed, units, "fits")
        for folder in [folder for folder, _ in packed if not (folder / "history.json").exists()]:
            raise TrainingError(f"{folder} is empty, though a worker filled it", hint="let all workers share this folder")
        jobs = (cluster.unpack(job) for _, job in packed)
    for job in jobs:
        try:
            yield fit(**job)
        except FacekitError as error:
            failed.append(f"{job['name']}: {error}")
        job = None  # or its model would be there while the next is built
    if failed:
        raise TrainingError("; ".join(failed))


def _fit_packed(name: str, packed: bytes) -> None:
    keras.backend.clear_session()
    job = cluster.unpack(packed)
    if _name_folder(**job).name != name:  # its fit would never be found
        raise TrainingError("another key", expected="code, TF_NUM_INTRAOP_THREADS, TF_ENABLE_ONEDNN_OPTS as where it was sent")
    fit(**job)


def _run(model: keras.Model, train: Batches, validation: Batches, epochs: int, keeper: Keeper) -> None:
    board = keras.callbacks.TensorBoard(cache_folder("tensorboard", keeper.folder.name), write_graph=False)
    callbacks = [keras.callbacks.TerminateOnNaN(raise_error=True), keeper, board]
    # Else TensorFlow sums gradients over devices, and the sum's own gradient in a table that is never emptied keeps each fit's
    # graph: 65 MB more after every fit of a small MobileNet.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # mixed precision scales around it
    apply, context = optimizer.apply, tf.distribute.get_replica_context
    if one := not tf.distribute.has_strategy():
        optimizer.apply = lambda *gradients, **named: context().merge_call(lambda _: apply(*gradients, **named))
    span = {"epochs": epochs, "initial_epoch": len(keeper.rows)}
    try:
        # Variables that are made while TensorFlow traces the training step make it trace that step twice.
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        if one:  # on several devices Keras does so itself
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
        if one:
            del optimizer.apply


def predict(model: keras.Model, batches: Batches, *, flips: bool = False, name: str = "", file: Path | None = None):
    """Predict rows in the batches' order: float32 (n, outputs), or a dict of them by output name where the model has several.

    Args:
        model, batches: the model takes what the batches, without a seed, hold.
        flips: average with the predictions for the mirrored images.
        name, file: shown with the progress, where it takes long; keeps the predictions, and is read where it is there.
    """
    kept = file and read_cached(file, lambda file: read_arrays(file, model.outputs))
    parts, indices = [], range(0 if kept else len(batches))
    for index in track(indices, name) if name else indices:
        # A batch of another size would cost more than it does filled up: the graph is traced anew for it.
        given = batches[index][0]
        count = len(keras.tree.flatten(given)[0])
        x = keras.tree.map_structure(lambda each: np.resize(each, (batches.batch_size, *each.shape[1:])), given)
        mirrored = keras.tree.map_structure(lambda each: each[:, :, ::-1] if each.ndim == 4 else each, x)
        outputs = [keras.tree.flatten(model.predict_on_batch(view)) for view in ((x, mirrored) if flips else (x,))]
        # Each of several devices predicts the whole batch.
        parts.append([np.mean(v, axis=0, dtype=np.float32)[:count] for v in zip(*outputs, strict=True)])
    found = kept or [np.concatenate(values) for values in zip(*parts, strict=True)]
    if file and not kept:
        np.savez(part := file.with_suffix(".part.npz"), *found)
        part.replace(file)
    return found[0] if len(found) == 1 else dict(zip(model.output_names, found, strict=True))
