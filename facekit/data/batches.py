"""Rows of a table as batches for Keras' fit and predict. What an image becomes depends on (seed, epoch, row, copy) alone."""

import hashlib
import json
import mmap
import weakref

import keras
import numpy as np
import pandas as pd

from facekit.data.augment import draw_seed
from facekit.errors import DataError

_ORDER = 1  # tells streams apart in the seed: no order of rows is drawn with the numbers of an augmentation
_DIGESTS: dict[int, tuple[weakref.ref, str]] = {}


def digest(array: np.ndarray) -> str:
    """Return a digest of an array's shape, type and bytes; one that cannot be written to is read once."""
    known = _DIGESTS.get(id(array))
    if known and known[0]() is array:
        return known[1]
    content = hashlib.sha256(f"{array.shape} {array.dtype.str}".encode())
    content.update(np.ascontiguousarray(array))
    _let_go(array)
    if not array.flags.writeable:
        remember_digest(array, content.hexdigest())
    return content.hexdigest()


def _let_go(array: np.ndarray) -> None:
    if isinstance(array, np.memmap) and hasattr(mmap, "MADV_DONTNEED"):  # what was read of a file need not stay in memory
        array._mmap.madvise(mmap.MADV_DONTNEED)


def remember_digest(array: np.ndarray, content: str) -> np.ndarray:
    """Remember the digest of an array that cannot be written to, and return the array."""
    _DIGESTS[id(array)] = (weakref.ref(array), content)
    return array


class Batches(keras.utils.PyDataset):
    """Batches that fit, evaluate and predict take as they are: float32 images in 0..255, preprocessed by the model.

    With a seed every epoch shows the rows in another order, each augmented anew; without one they keep their order and are
    never augmented, as needed for validation and test. `epoch` (from 0) is moved on by Keras itself, and set by training.fit.
    DataError: lengths that differ, or an augmentation without a seed.

    Args:
        inputs: uint8 images (n, height, width, 3) or features (n, width), or a dict of such arrays by input name.
        targets: array with a target for each of the n rows, or a dict of them by output name; None to predict.
        rows: row numbers to take, in this order; None takes all. Each copy of a row is augmented differently.
        batch_size: rows per batch; with a seed the last one is smaller. Without a seed batches have about the same size, since
            Keras weighs all of them alike in the loss of one of several outputs.
        augment: an ImageDataGenerator that changes each image; needs a seed.
        seed: of the order and the augmentation.
        sample_weights: what each of the n rows counts, shape (n,), or a dict of them by output name.
    """

    def __init__(self, inputs, targets=None, rows=None, *, batch_size=32, augment=None, seed=None, sample_weights=None):
        # Threads only pay where there is much to compute, and each epoch waits a tenth of a second for their end.
        super().__init__(workers=1 if augment is None else 2, max_queue_size=8)
        self.inputs, self.targets, self.sample_weights = inputs, targets, sample_weights
        count = len(next(self._name_arrays("inputs"))[1])
        for what, array in self._name_arrays("inputs", "targets", "sample_weights"):
            if len(array) != count:
                raise DataError(f"{what}: {len(array)} rows", expected=f"{count}, as the first input has")
        self.rows = np.arange(count) if rows is None else np.asarray(rows, dtype=int)
        self.batch_size, self.augment, self.seed, self.epoch = batch_size, augment, seed, 0
        if augment is not None and seed is None:
            raise DataError("augmentation without a seed", expected="a seed for training rows, no augmentation elsewhere")
        self._copies = pd.Series(self.rows).groupby(self.rows).cumcount().to_numpy()

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __getitem__(self, index: int) -> tuple:
        """Return inputs, targets and weights of a batch, all float32; those that were not given are left out."""
        epoch = self.epoch
        bounds = [n * len(self.rows) // len(self) if self.seed is None else n * self.batch_size for n in (index, index + 1)]
        positions = self.draw_order(epoch)[slice(*bounds)]
        given = [values for values in (self.inputs, self.targets, self.sample_weights) if values is not None]
        x, *rest = keras.tree.map_structure(lambda array: np.asarray(array[self.rows[positions]], np.float32), given)
        for images in keras.tree.flatten(x) if self.augment is not None else ():
            for place, position in enumerate(positions if images.ndim == 4 else ()):
                key = draw_seed(self.seed, epoch, int(self.rows[position]), int(self._copies[position]))
                images[place] = self.augment.random_transform(images[place], seed=key)
        for _, array in self._name_arrays("inputs"):
            _let_go(array)
        return (x, *rest)

    def draw_order(self, epoch: int) -> np.ndarray:
        """Return the order in which an epoch shows `rows`: their positions, int array of shape (n,)."""
        order = np.arange(len(self.rows))
        return order if self.seed is None else np.random.default_rng((self.seed, epoch, _ORDER)).permutation(order)

    def on_epoch_end(self) -> None:
        self.epoch += 1

    def fingerprint(self) -> str:
        """Return a digest of everything that the batches depend on."""
        arrays = {what: digest(np.asanyarray(array)) for what, array in self._name_arrays("inputs")}
        rest = self._name_arrays("targets", "sample_weights")  # of the rows alone: another split's may change
        arrays |= {what: digest(np.asarray(array)[self.rows]) for what, array in rest} | {"rows": digest(self.rows)}
        augment = None if self.augment is None else {name: repr(value) for name, value in vars(self.augment).items()}
        parts = {"arrays": arrays, "batch_size": self.batch_size, "augment": augment, "seed": self.seed}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _name_arrays(self, *kinds):
        for kind in kinds:
            values = getattr(self, kind)
            if values is not None:
                yield from [(f"{kind} {k}", v) for k, v in values.items()] if isinstance(values, dict) else [(kind, values)]
