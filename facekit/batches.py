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
            Features in their place (pictures, width) go the same way, with a `preprocess` that leaves them as they are.
        rows: the picture that each sample shows, int array of shape (n,).
        targets: one array of n targets per head, float32.
        preprocess: float pictures (batch, height, width, 3) in 0..255 -> what the network takes. The same for every split.
        batch_size: samples a batch; the last batch of an epoch may be smaller.
        augment: draws a changed copy of every picture; training only.
        copies: number of each sample among the copies of its row (see balance.oversample); zeros if not given.
        seed: of the order and the augmentation. None: rows in their order, never augmented, as validation and test need it.
        weights: head -> what each sample counts in that head's loss and accuracy, shape (n,); heads not named count fully.
        auxiliary: numbers that go with each sample into the network's input `auxiliary`, shape (n, width).
    """

    pictures: np.ndarray
    rows: np.ndarray
    targets: dict[str, np.ndarray]
    preprocess: Callable[[np.ndarray], np.ndarray]
    batch_size: int = 32
    augment: ImageDataGenerator | None = None
    copies: np.ndarray | None = None
    seed: int | None = None
    weights: dict[str, np.ndarray] | None = None
    auxiliary: np.ndarray | None = None

    def __post_init__(self):
        given = [(f"head {name}", "targets", values) for name, values in self.targets.items()]
        given += [(f"head {name}", "weights", values) for name, values in (self.weights or {}).items()]
        given += [] if self.auxiliary is None else [("input auxiliary", "values", self.auxiliary)]
        for owner, what, values in given:
            if len(values) != len(self.rows):
                raise DataError(f"{owner}: {len(values)} {what}", expected=f"one for each of {len(self.rows)} rows")
        if strange := [name for name in self.weights or {} if name not in self.targets]:
            raise DataError(f"weights for head {strange[0]}", expected=f"one of {', '.join(self.targets)}")
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

    def read_batch(self, epoch: int, index: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return one batch, all float32: inputs, targets and weights.

        Inputs: `pictures`, preprocessed, (batch, height, width, 3), and `auxiliary` where there is one. Targets and weights:
        those of each head; weights are empty where none were given.
        """
        samples = self.draw_order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = {"pictures": self.preprocess(self.read_pictures(samples, epoch))}
        if self.auxiliary is not None:
            inputs["auxiliary"] = self.auxiliary[samples]
        targets = {name: values[samples] for name, values in self.targets.items()}
        full = np.ones(len(samples))
        weights = {name: self.weights[name][samples] if name in self.weights else full for name in targets if self.weights}
        return tuple({name: np.asarray(a, np.float32) for name, a in parts.items()} for parts in (inputs, targets, weights))

    def stream(self, epochs: int = 1, *, first_epoch: int = 0, workers: int = 2):
        """Return a tf.data.Dataset over the batches of several epochs, as Keras' fit takes it.

        Each element is made from its place in the whole run, so that reading ahead across the end of an epoch, the number of
        workers and going on after a kill change nothing.

        Args:
            epochs: number of the last epoch + 1.
            first_epoch: where to go on.
            workers: batches that are made at the same time.
        """
        import tensorflow as tf

        first = self.read_batch(0, 0)
        names = [list(part) for part in first]
        shapes = [(None, *values.shape[1:]) for part in first for values in part.values()]

        def read(step):
            return [values for part in self.read_batch(*divmod(int(step), len(self))) for values in part.values()]

        def arrange(step):
            tensors = tf.numpy_function(read, [step], [tf.float32] * len(shapes))
            for tensor, shape in zip(tensors, shapes, strict=True):
                tensor.set_shape(shape)
            rest = iter(tensors)
            inputs, targets, weights = ({name: next(rest) for name in part} for part in names)
            # Keras warns when a network of one input is given a dict.
            inputs = inputs if "auxiliary" in inputs else inputs["pictures"]
            return (inputs, targets, weights) if weights else (inputs, targets)

        steps = tf.data.Dataset.range(first_epoch * len(self), epochs * len(self))
        return steps.map(arrange, num_parallel_calls=workers, deterministic=True).prefetch(2)
