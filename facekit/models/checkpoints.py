"""What a fit remembers: the key of all that it depends on, and its history, best weights and state on disk."""

import json
import os
import re
import shutil
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from facekit.data.batches import Batches, digest
from facekit.errors import ParameterError
from facekit.paths import build_key, read_cached, write_text

# Goes up when facekit's own augmentation, losses or training compute something else, so that older fits are ignored.
REVISION = 2
KERNELS = ("TF_NUM_INTRAOP_THREADS", "TF_ENABLE_ONEDNN_OPTS")  # with others sums have another order, and trainings diverge


def compute_key(model: keras.Model, fingerprints: dict[str, str], settings: list) -> str:
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
        versions=[REVISION, keras.__version__, np.__version__, *map(os.environ.get, KERNELS)],
    )


class Keeper(keras.callbacks.Callback):
    """Keeps history, best weights, what functions of the model return after each epoch, and all that is needed to resume.

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
        values = read_arrays(folder / "best.npz", variables)
        if self.history.exists():
            rows = self.history.read_text()
        else:
            self.model.optimizer.build(self.model.trainable_variables)
            variables = self.model.variables + self.model.optimizer.variables
            *values, rows = read_arrays(self.state, variables, "rows")
        rows = json.loads(str(rows))
        if not rows or any("seconds" not in row for row in rows):
            raise ValueError("no history")
        for name in self.watch:
            read_watched(folder, name, len(rows))
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
        for name, compute in self.watch.items():
            self._save(f"{name}-{epoch:03d}", output=compute(self.model))
        if self.best == epoch:
            self._save("best", *self.model.weights)
        # A model's variables are more than its weights: dropout's random state is among them. History and state are one file,
        # which no kill can divide.
        self._save("state", *self.model.variables, *self.model.optimizer.variables, rows=json.dumps(self.rows))

    def on_train_end(self, logs=None):
        write_text(self.history, json.dumps(self.rows, indent=1))
        self.state.unlink(missing_ok=True)
        self.model.set_weights(read_arrays(self.folder / "best.npz", self.model.weights))

    def _save(self, name: str, *variables, **arrays) -> None:
        # In their order, not by name, since names need not be unique.
        np.savez(part := self.folder / f"{name}.part.npz", *[variable.numpy() for variable in variables], **arrays)
        part.replace(self.folder / f"{name}.npz")


def read_watched(folder: Path, name: str, epochs: int) -> np.ndarray:
    """Return what a Keeper's `watch` computed after every epoch, (epochs, ...)."""
    return np.concatenate([read_arrays(folder / f"{name}-{epoch:03d}.npz", (), "output") for epoch in range(epochs)])


def read_arrays(path: Path, variables, *names: str) -> list[np.ndarray]:
    """Return a value for each variable, and the arrays of these names; the file is closed also where it is damaged."""
    with path.open("rb") as file, np.load(file) as arrays:
        return [arrays[name] for name in (*(f"arr_{position}" for position in range(len(variables))), *names)]
