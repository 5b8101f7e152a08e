"""Rare classes and labels: weights, and oversampling. Only training rows are counted or copied."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from facekit.errors import DataError


def compute_label_weights(y_true: np.ndarray) -> list[list[float]]:
    """Weigh, label by label, absence and presence so that both count the same in the loss. For losses.LabelCrossentropy.

    Of training labels (n, labels), 0 or 1, below 0 where unknown, it makes two rows (absent, present) of one weight per label:
    n / (2 x count), whose mean over the known rows is 1; 1 where a label has only one value.

    >>> compute_label_weights(np.array([[0, 1], [0, 1], [0, 1], [1, 1], [-1, 1]]))
    [[0.6666666666666666, 1.0], [2.0, 1.0]]
    """
    counts = np.stack([(y_true == value).sum(axis=0) for value in (0, 1)])
    return np.where(counts.min(axis=0) > 0, counts.sum(axis=0) / (2 * np.maximum(counts, 1)), 1.0).tolist()


def oversample(table: pd.DataFrame, target: str, classes: Sequence[str], minimum: int, *, seed: int) -> pd.DataFrame:
    """Bring each of `classes` to at least `minimum` training rows by copies at the table's end; augmentation makes them differ.

    No row is copied a second time before every row of its class was copied once. With a minimum of 0 nothing is copied.
    DataError: a class has no training row to copy.
    """
    parts = [table]
    for position, name in enumerate(classes):
        rows = np.flatnonzero((table["split"] == "train") & (table[target] == name))
        if minimum > 0 and not len(rows):
            received = f"column {target}: no training row of class {name}"
            raise DataError(received, expected="at least one of each class", hint="leave the class out or use more rows")
        if minimum > len(rows):
            order = np.random.default_rng((seed, position)).permutation(rows)
            parts.append(table.iloc[order[np.arange(minimum - len(rows)) % len(rows)]])
    return pd.concat(parts, ignore_index=True)
