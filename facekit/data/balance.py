"""Rare classes: weights, and oversampling with augmented copies. Only training rows are counted or copied."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_class_weight

from facekit.errors import DataError


def compute_class_weights(table: pd.DataFrame, target: str, classes: Sequence[str]) -> np.ndarray:
    """Return n / (classes x its count) for each class, counted on the training rows, so that all weigh the same in the loss.

    Raises:
        DataError: a class has no training row.
    """
    labels = table.loc[table["split"] == "train", target]
    _demand_rows(labels, target, classes)
    return compute_class_weight("balanced", classes=np.array(classes), y=labels.to_numpy())


def compute_label_weights(y_true: np.ndarray) -> list[list[float]]:
    """Weigh, label by label, absence and presence so that both count the same in the loss. For losses.LabelCrossentropy.

    Args:
        y_true: the training rows' labels, 0 or 1, below 0 where unknown; shape (n, labels).

    Returns:
        Two rows (absent, present) of one weight per label: n / (2 x count), whose mean over the known rows is 1; 1 where a
        label has only one value.

    >>> compute_label_weights(np.array([[0, 1], [0, 1], [0, 1], [1, 1], [-1, 1]]))
    [[0.6666666666666666, 1.0], [2.0, 1.0]]
    """
    counts = np.stack([(y_true == value).sum(axis=0) for value in (0, 1)])
    both = counts.min(axis=0) > 0
    return np.where(both, counts.sum(axis=0) / (2 * np.maximum(counts, 1)), 1.0).tolist()


def oversample(table: pd.DataFrame, target: str, classes: Sequence[str], minimum: int, *, seed: int) -> pd.DataFrame:
    """Bring each of `classes` to at least `minimum` training rows by copies, which augmentation then makes differ.

    No row is copied a second time before every row of its class was copied once. With a minimum of 0 nothing is copied.

    Returns:
        The table with a column `copy` (0: the row itself; 1, 2, ...: its copies), copies appended at the end.

    Raises:
        DataError: a class has no training row to copy.

    >>> table = pd.DataFrame({"split": ["train"] * 4 + ["test"], "label": ["a", "a", "a", "b", "b"]})
    >>> oversample(table, "label", ("a", "b"), 3, seed=0)[["split", "label", "copy"]].value_counts().sort_index().to_dict()
    {('test', 'b', 0): 1, ('train', 'a', 0): 3, ('train', 'b', 0): 1, ('train', 'b', 1): 1, ('train', 'b', 2): 1}
    """
    table = table.assign(copy=0)
    train = table["split"] == "train"
    if minimum > 0:
        _demand_rows(table.loc[train, target], target, classes)
    parts = [table]
    for position, name in enumerate(classes):
        rows = np.flatnonzero(train & (table[target] == name))
        if minimum > len(rows):
            order = np.random.default_rng((seed, position)).permutation(rows)
            numbers = np.arange(minimum - len(rows))
            parts.append(table.iloc[order[numbers % len(rows)]].assign(copy=1 + numbers // len(rows)))
    return pd.concat(parts, ignore_index=True)


def _demand_rows(labels: pd.Series, target: str, classes: Sequence[str]) -> None:
    empty = [name for name in classes if not (labels == name).any()]
    if empty:
        received = f"column {target}: no training row of class {', '.join(empty)}"
        raise DataError(received, expected="at least one of each class", hint="leave the class out or use more rows")
