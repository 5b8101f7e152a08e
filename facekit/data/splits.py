"""Which row trains, which validates, which tests: rows of one `group` stay together, and validation is taken from train."""

import warnings

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import StratifiedGroupKFold

from facekit.data import audit
from facekit.data.tables import refuse_missing_classes
from facekit.errors import DataError


def merge_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Join rows that share a value of either column (n,), such as identity and equal images, into numbered groups (n,)."""
    (rows, values), (columns, others) = pd.factorize(np.asarray(first)), pd.factorize(np.asarray(second))
    nodes = len(values) + len(others)  # a row of the table is an edge from its first value to its second
    graph = coo_array((np.ones(len(rows), bool), (rows, len(values) + columns)), shape=(nodes, nodes))
    return pd.factorize(connected_components(graph, directed=False)[1][rows])[0]


def split_validation(table: pd.DataFrame, target: str, fraction: float, *, seed: int) -> pd.DataFrame:
    """Return the table with a part of its training rows moved to validation, whole groups at a time; other splits stay.

    The part is one of round(1 / fraction) equal ones, `fraction` above 0 and at most 0.5; the classes of `target` keep their
    proportions. DataError: train has fewer groups than parts, or a class has no row in one of the splits.
    """
    table = table.copy()
    train = np.flatnonzero(table["split"] == "train")
    table.loc[train[_pick_part(table.iloc[train], target, fraction, seed)], "split"] = "validation"
    refuse_missing_classes(table, target)
    return table


def split_table(table: pd.DataFrame, target: str, *, validation: float, test: float, seed: int) -> pd.DataFrame:
    """Move a part `test` of all rows, whatever their split, to test, then a part `validation` of the others to validation."""
    table = table.assign(split="train")
    table.loc[_pick_part(table, target, test, seed), "split"] = "test"
    return split_validation(table, target, validation, seed=seed)


def split_selfies(
    table: pd.DataFrame, hashes: pd.DataFrame, *, validation: float, test: float, limits: dict[str, int], seed: int
) -> pd.DataFrame:
    """Split selfies as `split_table` does, or keep a split that is given, and take at most so many rows of each part.

    The table is the reader's, with `split`, `group` and `popularity`, each third of which is split alike. Images whose hashes,
    of audit.hash_images in its order, are within audit.NEAR bits become one group. `limits`: split -> rows it has at most,
    drawn at random, in the table's order, with a new index; 0 for all of them.
    """
    table = table.assign(group=merge_groups(table["group"], audit.find_groups(hashes)))
    if (table["split"] == "").any():
        thirds = pd.qcut(table["popularity"].rank(method="first"), 3, labels=False)
        table = split_table(table.assign(third=thirds), "third", validation=validation, test=test, seed=seed)
    most = {split: min(limits[split] or count, count) for split, count in table["split"].value_counts().items()}
    parts = [rows.sample(most[split], random_state=seed) for split, rows in table.groupby("split")]
    return pd.concat(parts).sort_index().reset_index(drop=True).drop(columns="third", errors="ignore")


def _pick_part(rows: pd.DataFrame, target: str, fraction: float, seed: int) -> np.ndarray:
    """Return the positions of one stratified part, grouped, of `rows`."""
    if not 0 < fraction <= 0.5:
        raise DataError(f"a split's fraction of {fraction}", expected="a number above 0 and at most 0.5")
    parts, largest = round(1 / fraction), rows[target].value_counts().max()
    groups = rows["group"].nunique(), f"groups in {len(rows)} rows"
    count, what = min(groups, (largest, f"rows of the largest class of {target}"))
    if count < parts:
        expected = f"at least {parts}, to split off one part of {parts}"
        raise DataError(f"{count} {what}", expected=expected, hint="use more rows or a larger fraction")
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of a class with fewer rows than parts
        return next(folds.split(rows, rows[target].astype(str), rows["group"]))[1]
