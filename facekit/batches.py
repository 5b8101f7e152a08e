"""Rows of a table as batches for fit and predict.

The trap this prevents: training pictures that go another way than validation and test pictures (one preprocessing for all),
and figures that change with the number of workers: what a sample looks like depends on (seed, epoch, row, copy) alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from facekit.augment import ImageDataGenerator, draw_seed
from facekit.errors import DataError

# Streams are told apart in the seed, so that no order of rows is ever drawn with the numbers of an augmentation.
_ORDER = 1
# What ImageDataGenerator would do to training pictures alone.
_STANDARDIZING = ("rescale", "preprocessing_function", "samplewise_center", "samplewise_std_normalization")


def encode_classes(labels, classes: tuple[str, ...]) -> np.ndarray:
    """Turn class names into one-hot rows, in the fixed order of `classes`.

    Args:
        labels: names, shape (n,).
        classes: the known names.

    Returns:
        float32 array of shape (n, classes).

    Raises:
        DataError: a label is not a known class.

    >>> encode_classes(["b", "a"], ("a", "b")).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    codes = {name: code for code, name in enumerate(classes)}
    unknown = next((label for label in labels if label not in codes), None)
    if unknown is not None:
        raise DataError(f"label {unknown!r}", expected=f"one of {', '.join(classes)}")
    return np.eye(len(classes), dtype=np.float32)[[codes[label] for label in labels]]


@dataclass(frozen=True)
class Batches:
    """Samples in batches: which picture, which target, and how it is made ready for the network.

    Args:
        pictures: uint8 RGB of the whole table, shape (pictures, height, width, 3); may be a memory map.
        rows: the picture that each sample shows, int array of shape (n,).
        targets: one array of n targets per head, float32.
        preprocess: float pictures (batch, height, width, 3) in 0..255 -> what the network takes. The same for every split.
        batch_size: samples a batch; the last batch of an epoch may be smaller.
        augment: draws a changed copy of every picture; training only.
        copies: number of each sample among the copies of its row (see balance.oversample); zeros if not given.
        seed: of the order and the augmentation. None: rows in their order, never augmented, as validation and test need it.
    """

    pictures: np.ndarray
    rows: np.ndarray
    targets: dict[str, np.ndarray]
    preprocess: Callable[[np.ndarray], np.ndarray]
    batch_size: int = 32
    augment: ImageDataGenerator | None = None
    copies: np.ndarray | None = None
    seed: int | None = None

    def __post_init__(self):
        for name, values in self.targets.items():
            if len(values) != len(self.rows):
                raise DataError(f"head {name}: {len(values)} targets", expected=f"one for each of {len(self.rows)} rows")
        used = [name for name in _STANDARDIZING if getattr(self.augment, name, None)]
        if used:
            raise DataError(f"augmentation with {', '.join(used)}", expected="this in preprocess, which all splits go through")
        if self.augment is not None and self.seed is None:
            raise DataError("augmentation without a seed", expected="a seed for training rows, no augmentation elsewhere")

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self.rows) // self.batch_size)

    @cached_property
    def _copies(self) -> np.ndarray:
        return np.zeros(len(self.rows), dtype=int) if self.copies is None else np.asarray(self.copies)

    def draw_order(self, epoch: int) -> np.ndarray:
        """Return the order of the samples in an epoch (counted from 0), int array of shape (n,)."""
        order = np.arange(len(self.rows))
        return order if self.seed is None else np.random.default_rng((self.seed, epoch, _ORDER)).permutation(order)

    def read_pictures(self, samples: np.ndarray, epoch: int = 0) -> np.ndarray:
        """Return the samples' pictures as this epoch shows them, before preprocessing: float32 in 0..255."""
        pictures = self.pictures[self.rows[samples]].astype(np.float32)
        if self.augment is not None:
            for position, sample in enumerate(samples):
                key = draw_seed(self.seed, epoch, int(self.rows[sample]), int(self._copies[sample]))
                pictures[position] = self.augment.random_transform(pictures[position], seed=key)
        return pictures

    def read_batch(self, epoch: int, index: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return one batch: preprocessed pictures (batch, height, width, 3) float32, and the targets of each head."""
        samples = self.draw_order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        pictures = self.preprocess(self.read_pictures(samples, epoch))
        return pictures, {name: values[samples] for name, values in self.targets.items()}

    def stream(self, epochs: int = 1, *, first_epoch: int = 0, workers: int = 2):
        """Return a tf.data.Dataset over the batches of several epochs.

        Each element is made from its place in the whole run, so that reading ahead across the end of an epoch, the number of
        workers and going on after a kill change nothing.

        Args:
            epochs: number of the last epoch + 1.
            first_epoch: where to go on.
            workers: batches that are made at the same time.
        """
        import tensorflow as tf

        names = list(self.targets)

        def read(step):
            pictures, targets = self.read_batch(*divmod(int(step), len(self)))
            return [np.asarray(pictures, np.float32), *(np.asarray(targets[name], np.float32) for name in names)]

        def arrange(step):
            pictures, *targets = tf.numpy_function(read, [step], [tf.float32] * (1 + len(names)))
            pictures.set_shape((None, *self.pictures.shape[1:]))
            for name, values in zip(names, targets, strict=True):
                values.set_shape((None, *self.targets[name].shape[1:]))
            return pictures, dict(zip(names, targets, strict=True))

        steps = tf.data.Dataset.range(first_epoch * len(self), epochs * len(self))
        return steps.map(arrange, num_parallel_calls=workers, deterministic=True).prefetch(2)
