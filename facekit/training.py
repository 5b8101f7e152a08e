"""Training that can be cut off, goes on where it stopped, and keeps the epoch that validation chose.

The traps this prevents: a model chosen on the test set (only validation is looked at; test predictions of each epoch may be
stored, without labels, for a look after the choice), a run that ends in NaN after an hour, and a killed run that starts anew.
"""

import gc
import hashlib
import inspect
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from facekit.batches import Batches
from facekit.errors import ParameterError, TrainingError
from facekit.folders import build_key, cache_folder
from facekit.losses import ACCURACIES, LOSSES

OPTIMIZERS = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW, "sgd": keras.optimizers.SGD}
SCHEDULES = ("constant", "cosine")
# What makes an epoch the one to keep: the lowest validation loss, the highest mean of the heads' validation accuracies, or
# being the last, which suits a learning rate that falls to 0.
KEEPS = ("loss", "accuracy", "last")


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted; every choice that changes the result.

    Args:
        epochs: passes over the training rows, at most.
        learning_rate: the highest one.
        optimizer: adam, adamw or sgd.
        schedule: constant, or cosine: a linear warm-up over the first twentieth of all steps, then down to 0 along a cosine.
        weight_decay: of adamw, a step's share.
        label_smoothing: share of each target that goes to all classes alike, 0..1.
        keep: the epoch whose weights are kept: of the lowest validation `loss`, of the highest validation `accuracy` (the mean
            over the heads that have one), or the `last`.
        patience: epochs without a better one after which training stops; 0: never stops early.
        batchnorm_momentum: of the running statistics; Keras' own 0.99 lags behind when an epoch has few steps.
        loss_weights: head -> its share in the sum of the losses; heads not named count 1.
        label_weights: binary or multi-label head -> weights of LabelCrossentropy, two rows of one number a label.
        seed: of the dropout.
    """

    epochs: int
    learning_rate: float = 1e-3
    optimizer: str = "adam"
    schedule: str = "constant"
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    keep: str = "loss"
    patience: int = 0
    batchnorm_momentum: float = 0.9
    loss_weights: dict[str, float] = field(default_factory=dict)
    label_weights: dict[str, list[list[float]]] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self):
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "keep": KEEPS}
        for name, known in choices.items():
            value = getattr(self, name)
            if value not in known:
                raise ParameterError(f"{name} {value!r}", expected=f"one of {', '.join(known)}")
        if self.epochs < 1:
            raise ParameterError(f"epochs {self.epochs}", expected="at least 1")
        if self.patience and self.keep == "last":
            raise ParameterError(f"patience {self.patience} with keep last", expected="keep loss or accuracy, or patience 0")


def configure_device(*, seed: int, gpu_memory_mb: int = 0, mixed_precision: bool = False) -> str:
    """Seed Keras, limit a GPU's memory and set the precision; call it before the first network is built.

    Args:
        seed: of weights and dropout.
        gpu_memory_mb: TensorFlow's logical limit on the first GPU in MiB; 0 takes what there is.
        mixed_precision: compute in 16 bits, store in 32: float16 on a GPU, bfloat16 on a CPU.

    Returns:
        The device in a word, such as `cpu`.

    Raises:
        ParameterError: the limit comes too late, the GPU is in use already.
    """
    import tensorflow as tf

    _forget_graphs()
    keras.utils.set_random_seed(seed)
    gpus = tf.config.list_physical_devices("GPU")
    if gpus and gpu_memory_mb and not tf.config.get_logical_device_configuration(gpus[0]):
        limit = [tf.config.LogicalDeviceConfiguration(memory_limit=gpu_memory_mb)]
        try:
            tf.config.set_logical_device_configuration(gpus[0], limit)
        except RuntimeError as error:
            raise ParameterError(
                f"gpu_memory_mb {gpu_memory_mb}: the GPU is in use already", mend="restart the notebook's kernel"
            ) from error
    low = "mixed_float16" if gpus else "mixed_bfloat16"
    keras.mixed_precision.set_global_policy(low if mixed_precision else "float32")
    return f"{len(gpus)} gpu" if gpus else "cpu"


def _forget_graphs() -> None:
    """Free what networks that nobody uses any more have left behind; it adds up to 150 MB a fit otherwise.

    TensorFlow registers the gradient of a loss under a new name for every graph and never takes it out again, and with it
    keeps the graph and all its variables. There is no public way; without this private one more memory is used, no more.
    """
    from tensorflow.python.framework import ops

    keras.backend.clear_session()
    gradients = getattr(ops.gradient_registry, "_registry", {})
    for name in [name for name in gradients if name.startswith("CustomGradient-")]:
        del gradients[name]
    gc.collect()


def compile_model(model: keras.Model, heads, settings: FitSettings, *, steps: int) -> None:
    """Give the model its optimizer, and each head the loss and accuracy of its kind.

    Args:
        model: as models.build_model makes it, one output named after each head.
        heads: the models.Head of each output.
        settings: how to fit.
        steps: batches an epoch, for the schedule's length.
    """
    total = settings.epochs * steps
    warmup = max(1, total // 20)
    rate = settings.learning_rate
    if settings.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(0.0, max(1, total - warmup), warmup_target=rate, warmup_steps=warmup)
    decay = {"weight_decay": settings.weight_decay} if settings.optimizer == "adamw" else {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.batchnorm_momentum
    if settings.keep == "accuracy" and not any(head.kind in ACCURACIES for head in heads):
        raise ParameterError("keep accuracy: no head has one", expected="keep loss or last")
    for name in (*settings.loss_weights, *settings.label_weights):
        if name not in [head.name for head in heads]:
            raise ParameterError(f"weights for head {name!r}", expected=f"one of {', '.join(head.name for head in heads)}")
    model.compile(
        OPTIMIZERS[settings.optimizer](rate, **decay),
        loss={head.name: LOSSES[head.kind](settings.label_weights.get(head.name), settings.label_smoothing) for head in heads},
        loss_weights={head.name: settings.loss_weights.get(head.name, 1.0) for head in heads},
        # Weighted, so that a row that does not count in the loss does not count here.
        weighted_metrics={head.name: [ACCURACIES[head.kind]()] for head in heads if head.kind in ACCURACIES},
    )
    # Variables that come into being while TensorFlow traces the training step make it trace that step twice.
    model.optimizer.build(model.trainable_variables)
    nothing = {name: np.zeros((1, *output.shape[1:]), np.float32) for name, output in model.output.items()}
    model.compute_loss(y=nothing, y_pred=nothing)
    model.compute_metrics(None, nothing, nothing)
    model.reset_metrics()


def find_folder(name: str, **parts) -> Path:
    """Return the cache folder of a training run, whose name stands for everything that changes the result.

    The code that a run goes through belongs to it: after a change there, old results are not found any more.

    Args:
        name: the run's stage, shown in the progress.
        parts: settings, digests and seeds, as JSON can hold them.
    """
    from facekit import augment, backbones, batches, images, losses, models, smallnets

    code = hashlib.sha256()
    for module in (augment, backbones, batches, images, losses, models, smallnets, sys.modules[__name__]):
        code.update(inspect.getsource(module).encode())
    versions = [keras.__version__, np.__version__]
    return cache_folder("fits") / f"{name}-{build_key(code=code.hexdigest(), versions=versions, **parts)}"


def fit_model(
    model: keras.Model,
    heads,
    train: Batches,
    validation: Batches,
    settings: FitSettings,
    *,
    folder: Path,
    watch: dict[str, Batches] | None = None,
) -> pd.DataFrame:
    """Train, keep the epoch that validation chose (FitSettings.keep), and leave everything in `folder` so that it can go on.

    A finished folder is read, not run again; a cut-off one goes on after its last whole epoch, with the same figures as if it
    had never stopped. The folder's name must therefore stand for everything that changes the result (folders.build_key).

    Args:
        model: built, with its initial weights; afterwards it holds the best epoch's weights.
        heads: the models.Head of each output.
        train: batches with a seed.
        validation: batches without.
        settings: how to fit.
        folder: where the states are kept.
        watch: batches whose predictions are stored after every epoch, for read_watched.

    Returns:
        One row an epoch: epoch (from 1), loss, val_loss and the accuracies, seconds, best (True for the epoch kept).

    Raises:
        TrainingError: the loss is not a number.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(settings.seed)
    compile_model(model, heads, settings, steps=len(train))
    keeper = _Keeper(folder, settings, watch or {})
    keeper.set_model(model)
    if keeper.restore() < settings.epochs and not keeper.done:
        model.fit(
            train.stream(settings.epochs, first_epoch=keeper.epochs_done),
            validation_data=validation.stream(),
            steps_per_epoch=len(train),
            epochs=settings.epochs,
            initial_epoch=keeper.epochs_done,
            callbacks=[keeper],
            shuffle=False,
            verbose=0,
        )
        keeper.finish()
    keeper.load_best()
    return keeper.build_history()


def read_watched(folder: Path, name: str, head: str) -> np.ndarray:
    """Return the predictions that fit_model stored after every epoch, shape (epochs, n, outputs)."""
    epochs = len(json.loads((Path(folder) / "state.json").read_text())["rows"])
    return np.stack([np.load(Path(folder) / f"{name}-{head}-{epoch:03d}.npy") for epoch in range(epochs)])


def predict_heads(model: keras.Model, batches: Batches, *, flips: bool = False) -> dict[str, np.ndarray]:
    """Predict every sample, batch by batch, in the samples' order.

    Args:
        model: as models.build_model makes it.
        batches: without a seed.
        flips: average with the predictions for the mirrored pictures.

    Returns:
        One float32 array of shape (n, outputs) per head.
    """
    parts: dict[str, list[np.ndarray]] = {}
    for index in range(len(batches)):
        inputs, _, _ = batches.read_batch(0, index)
        n = len(inputs["pictures"])
        # A last batch of another size would cost more than it does filled up: the graph is traced anew for it.
        inputs = {name: np.resize(values, (batches.batch_size, *values.shape[1:])) for name, values in inputs.items()}
        outputs = _predict_batch(model, inputs)
        mirrored = _predict_batch(model, inputs | {"pictures": inputs["pictures"][:, :, ::-1]}) if flips else outputs
        for name in outputs:
            parts.setdefault(name, []).append((outputs[name][:n] + mirrored[name][:n]) / 2)
    return {name: np.concatenate(values) for name, values in parts.items()}


def _predict_batch(model: keras.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return model.predict_on_batch(inputs if "auxiliary" in inputs else inputs["pictures"])


class _Keeper(keras.callbacks.Callback):
    """After every epoch: history, state of model and optimizer, best weights, watched predictions, progress."""

    def __init__(self, folder: Path, settings: FitSettings, watch: dict[str, Batches]):
        super().__init__()
        self.folder, self.settings, self.watch = folder, settings, watch
        self.rows: list[dict] = []
        self.done = False

    @property
    def epochs_done(self) -> int:
        return len(self.rows)

    @property
    def best(self) -> int:
        if self.settings.keep == "last":
            return self.epochs_done - 1
        if self.settings.keep == "loss":
            return int(np.argmin([row["val_loss"] for row in self.rows]))
        names = [name for name in self.rows[0] if name.startswith("val_") and name.endswith("_accuracy")]
        return int(np.argmax([np.mean([row[name] for name in names]) for row in self.rows]))

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs["loss"]):
            raise TrainingError(
                f"the loss is {logs['loss']} in epoch {self.epochs_done + 1}, batch {batch + 1}",
                expected="a finite number",
                mend=f"lower learning_rate (now {self.settings.learning_rate})",
            )

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()
        seconds = [row["seconds"] for row in self.rows]
        _report_progress(
            stage=self.folder.name.rpartition("-")[0],
            epoch=epoch + 1,
            epochs=self.settings.epochs,
            seconds_left=np.mean(seconds) * (self.settings.epochs - epoch) if seconds else None,
        )

    def on_epoch_end(self, epoch, logs=None):
        for name, batches in self.watch.items():
            for head, values in predict_heads(self.model, batches).items():
                np.save(self.folder / f"{name}-{head}-{epoch:03d}.npy", values)
        row = {name: float(value) for name, value in logs.items()}
        self.rows.append({"epoch": epoch + 1, **row, "seconds": time.monotonic() - self.started})
        if self.best == epoch:
            _save_variables(self.folder / "best.npz", self.model.weights)
        # The variables of a model are more than its weights: the state of the dropout's random numbers is among them.
        _save_variables(self._name_state(epoch), self.model.variables + self.model.optimizer.variables)
        self._write_state()
        self._name_state(epoch - 1).unlink(missing_ok=True)
        if self.settings.patience and epoch - self.best >= self.settings.patience:
            self.model.stop_training = True

    def restore(self) -> int:
        """Put model and optimizer back to the last whole epoch, if there is one; return how many epochs are done."""
        record = self.folder / "state.json"
        if record.exists():
            content = json.loads(record.read_text())
            self.rows, self.done = content["rows"], content["done"]
        if self.rows and not self.done:
            self.model.optimizer.build(self.model.trainable_variables)
            _load_variables(self._name_state(self.epochs_done - 1), self.model.variables + self.model.optimizer.variables)
        return self.epochs_done

    def finish(self) -> None:
        self.done = True
        self._write_state()
        self._name_state(self.epochs_done - 1).unlink(missing_ok=True)
        _report_progress()

    def load_best(self) -> None:
        _load_variables(self.folder / "best.npz", self.model.weights)

    def build_history(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows).assign(best=np.arange(self.epochs_done) == self.best)

    def _name_state(self, epoch: int) -> Path:
        return self.folder / f"state-{epoch:03d}.npz"

    def _write_state(self) -> None:
        # Written last and renamed into place: a kill in between leaves the state of the epoch before.
        content = {"rows": self.rows, "done": self.done, "settings": asdict(self.settings)}
        unfinished = self.folder / "state.json.part"
        unfinished.write_text(json.dumps(content, indent=1))
        unfinished.replace(self.folder / "state.json")


def _save_variables(path: Path, variables: list) -> None:
    # In their order, not by name: names need not be unique. A file never half-written under its final name.
    part = path.with_suffix(".part.npz")
    np.savez(part, *[variable.value.numpy() for variable in variables])
    part.replace(path)


def _load_variables(path: Path, variables: list) -> None:
    with np.load(path) as arrays:
        for i, variable in enumerate(variables):
            variable.assign(arrays[f"arr_{i}"])


def _report_progress(**progress) -> None:
    """Tell the runner, where there is one, how far training is."""
    if path := os.environ.get("FACEKIT_PROGRESS"):
        part = Path(path).with_suffix(".part")
        part.write_text(json.dumps(progress))
        part.replace(path)
