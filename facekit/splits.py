"""Which row trains, which validates, which tests.

The trap this prevents: equal pictures, or one person, on both sides of a split. Every function here keeps the rows of one
`group` together, and validation is always taken from the training rows, after duplicates have been grouped.
"""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from facekit.errors import DataError


def merge_groups(*columns: np.ndarray) -> np.ndarray:
    """Join rows that share a value in any of the columns, such as identity and equal pictures, into one group.

    Args:
        columns: arrays of shape (n,), each a grouping of the same n rows.

    Returns:
        Group numbers, int array of shape (n,), counted from 0.

    >>> merge_groups(np.array([0, 0, 1, 2]), np.array(["a", "b", "b", "c"])).tolist()
    [0, 0, 0, 1]
    """
    n = len(columns[0])
    offset, rows, nodes = n, [], []
    for column in columns:
        codes, values = pd.factorize(np.asarray(column))
        rows.append(np.arange(n))
        nodes.append(codes + offset)
        offset += len(values)
    rows, nodes = np.concatenate(rows), np.concatenate(nodes)
    graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, nodes)), shape=(offset, offset))
    return pd.factorize(connected_components(graph, directed=False)[1][:n])[0]


def split_validation(table: pd.DataFrame, target: str, fraction: float, *, seed: int) -> pd.DataFrame:
    """Move a stratified share of the training rows to validation, whole groups at a time; other splits stay.

    Args:
        table: rows with `split`, `group` and the target column.
        target: the column whose classes keep their proportions.
        fraction: share of the training rows, above 0 and at most 0.5; one part of round(1 / fraction) equal parts.
        seed: of the shuffle.

    Returns:
        A copy of the table in which some rows of `train` read `validation`.

    Raises:
        DataError: there are fewer groups in train than parts.
    """
    table = table.copy()
    train = np.flatnonzero(table["split"] == "train")
    table.loc[train[_pick_part(table.iloc[train], target, fraction, seed)], "split"] = "validation"
    return table


def split_table(table: pd.DataFrame, target: str, *, validation: float = 0.1, test: float = 0.1, seed: int) -> pd.DataFrame:
    """Split all rows anew into train, validation and test, stratified by the target, whole groups at a time.

    For data without an official partition, or to set beside one. With one group a row this is a plain stratified split.

    Args:
        table: rows with `group` and the target column; `split` is replaced.
        target: the column whose classes keep their proportions.
        validation: share of the rows that are not test.
        test: share of all rows.
        seed: of the shuffle.

    Returns:
        A copy of the table with a new `split` column.
    """
    table = table.copy()
    table["split"] = "train"
    table.loc[_pick_part(table, target, test, seed), "split"] = "test"
    return split_validation(table, target, validation, seed=seed)


def _pick_part(rows: pd.DataFrame, target: str, fraction: float, seed: int) -> np.ndarray:
    """Return the positions of one stratified part, grouped, of `rows`."""
    if not 0 < fraction <= 0.5:
        raise DataError(f"a split's share of {fraction}", expected="a number above 0 and at most 0.5")
    parts = round(1 / fraction)
    groups = rows["group"].nunique()
    if groups < parts:
        raise DataError(
            f"{groups} groups in {len(rows)} rows",
            expected=f"at least {parts}, to set one part of {parts} aside",
            mend="use more rows or a larger share",
        )
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    return next(folds.split(rows, rows[target].astype(str), rows["group"]))[1]
