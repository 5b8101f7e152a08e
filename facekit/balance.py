"""Rare classes: class weights, and oversampling with augmented copies.

The trap this prevents: copies of a picture that reach validation or test. Only training rows are ever counted or copied.
"""

import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_class_weight

from facekit.errors import DataError


def compute_class_weights(table: pd.DataFrame, target: str, classes: tuple[str, ...]) -> np.ndarray:
    """Weigh each class by n / (classes x its count), counted on the training rows, so that all weigh the same in the loss.

    Args:
        table: rows with `split` and the target column.
        target: the column with the class names.
        classes: the class names, in the order of the result.

    Returns:
        Weights, float array of shape (classes,); their mean over the training rows is 1.

    Raises:
        DataError: a class has no training row.
    """
    labels = table.loc[table["split"] == "train", target]
    _demand_rows(labels, target, classes)
    return compute_class_weight("balanced", classes=np.array(classes), y=labels.to_numpy())


def compute_label_weights(y_true: np.ndarray) -> list[list[float]]:
    """Weigh, label by label, absence and presence so that both count the same in the loss.

    Args:
        y_true: the training rows' labels, 0 or 1, below 0 where unknown; shape (n, labels).

    Returns:
        Two rows (absent, present) of one weight a label: n / (2 x count), whose mean over the known rows is 1; 1 where a label
        has only one value. For training.FitSettings.label_weights.

    >>> compute_label_weights(np.array([[0, 1], [0, 1], [0, 1], [1, 1], [-1, 1]]))
    [[0.6666666666666666, 1.0], [2.0, 1.0]]
    """
    counts = np.stack([(y_true == value).sum(axis=0) for value in (0, 1)])
    both = counts.min(axis=0) > 0
    return np.where(both, counts.sum(axis=0) / (2 * np.maximum(counts, 1)), 1.0).tolist()


def oversample(table: pd.DataFrame, target: str, classes: tuple[str, ...], minimum: int, *, seed: int) -> pd.DataFrame:
    """Bring every class to at least `minimum` training rows by copies, which augmentation then makes differ.

    The copies of a class are spread evenly: no row is copied a second time before every row was copied once.

    Args:
        table: rows with `split` and the target column.
        target: the column with the class names.
        classes: the classes to bring up.
        minimum: training rows that each class shall have at least; 0 leaves the table as it is.
        seed: of the order in which rows are copied.

    Returns:
        The table with a column `copy` (0: the row itself; 1, 2, ...: its augmented copies), copies appended at the end.

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
        missing = max(0, minimum - len(rows))
        if missing:
            order = np.random.default_rng((seed, position)).permutation(rows)
            numbers = np.arange(missing)
            parts.append(table.iloc[order[numbers % len(rows)]].assign(copy=1 + numbers // len(rows)))
    return pd.concat(parts, ignore_index=True)


def _demand_rows(labels: pd.Series, target: str, classes: tuple[str, ...]) -> None:
    empty = [name for name in classes if not (labels == name).any()]
    if empty:
        raise DataError(
            f"column {target}: no training row of class {', '.join(empty)}",
            expected="at least one of each class",
            mend="leave the class out or use more rows",
        )
