"""Figures that hang on ranks, computed for many resamples at once.

The trap this prevents: sorting every resample anew, which takes minutes where the rest takes seconds. A resample only
changes how often each row counts, never which of two rows stands higher: rows are sorted once, and what is needed of a
resample are running sums of its weights. Ties are treated as scikit-learn and SciPy treat them.
"""

import numpy as np

from facekit.bootstrap import Statistic
from facekit.measured import divide


def build_average_precision(y_true: np.ndarray, y_prob: np.ndarray, known: np.ndarray) -> Statistic:
    """Return the statistic of the average precision of each column, as scikit-learn's average_precision_score.

    Args:
        y_true: (n, a) 0 or 1.
        y_prob: (n, a) the higher, the more likely 1; rows of equal probability share one rank.
        known: (n, a), 0 where the row is left out of the column.

    Returns:
        Takes weights (c, n), returns (c, a), NaN for a column in which no row of a resample holds.

    >>> columns = np.array([[1], [0], [1]]), np.array([[0.9], [0.8], [0.7]]), np.ones((3, 1))
    >>> build_average_precision(*columns)(np.ones((1, 3))).round(4).tolist()
    [[0.8333]]
    """
    ranked = []
    for held, prob, kept in zip(np.transpose(y_true), np.transpose(y_prob), np.transpose(known), strict=True):
        rows = np.flatnonzero(kept)
        rows = rows[np.argsort(-prob[rows], kind="stable")]
        hits = np.flatnonzero(held[rows])
        # Ranks without a hit add nothing and are left out.
        _, firsts, counts = np.unique(-prob[rows][hits], return_index=True, return_counts=True)
        ends = np.searchsorted(-prob[rows], -prob[rows][hits][firsts], side="right") - 1
        ranked.append((rows, hits, firsts if counts.max(initial=1) > 1 else None, ends))

    def compute(weights: np.ndarray) -> np.ndarray:
        by_row = np.ascontiguousarray(weights.T)
        return np.column_stack([_compute_average_precision(by_row, *each) for each in ranked])

    return compute


def build_precision_at(k: int, hits: np.ndarray, scores: np.ndarray) -> Statistic:
    """Return the statistic of the share of hits among the k rows of the highest score.

    Args:
        k: how many rows are looked at, 1 or more; all where a resample holds fewer.
        hits: (n,) 0 or 1.
        scores: (n,); of equal ones the earlier row stands higher.

    Returns:
        Takes weights (c, n), returns (c,).

    >>> build_precision_at(2, np.array([1, 1, 0]), np.array([0.1, 0.9, 0.5]))(np.array([[1, 1, 1], [0, 2, 1]]) * 1.0)
    array([0.5, 1. ])
    """
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    held = np.asarray(hits, np.float64)[order]

    def compute(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, order]
        taken = np.clip(k - (drawn.cumsum(axis=1) - drawn), 0, drawn)
        return divide(taken @ held, taken.sum(axis=1))

    return compute


def build_spearman(first: np.ndarray, second: np.ndarray) -> Statistic:
    """Return the statistic of Spearman's rank correlation; tied rows share the mean of their ranks, as in SciPy.

    Args:
        first: (n,) numbers.
        second: (n,) numbers.

    Returns:
        Takes weights (c, n), returns (c,), NaN where all rows of a resample are equal.

    >>> build_spearman(np.array([1, 2, 3]), np.array([10, 30, 20]))(np.ones((1, 3)))
    array([0.5])
    """
    tables = [_number_ranks(values) for values in (first, second)]

    def compute(weights: np.ndarray) -> np.ndarray:
        by_row = np.ascontiguousarray(weights.T)
        x, y = (_center_ranks(by_row, *table) for table in tables)
        weighted = x * by_row
        spread = np.einsum("nc,nc->c", weighted, x)
        shared = np.einsum("nc,nc->c", weighted, y)
        np.multiply(y, by_row, out=weighted)
        return divide(shared, np.sqrt(spread * np.einsum("nc,nc->c", weighted, y)))

    return compute


def _compute_average_precision(
    by_row: np.ndarray, rows: np.ndarray, hits: np.ndarray, firsts: np.ndarray | None, ends: np.ndarray
) -> np.ndarray:
    """Return the average precision of each column of weights.

    Args:
        by_row: (n, c) how often each row counts.
        rows: the rows by falling probability.
        hits: where in `rows` the attribute holds.
        firsts: where in `hits` each rank begins; None: each hit has a rank of its own.
        ends: where in `rows` each of these ranks ends.
    """
    if not len(hits):
        return np.full(by_row.shape[1], np.nan)
    drawn = by_row[rows]
    gained = drawn[hits] if firsts is None else np.add.reduceat(drawn[hits], firsts, axis=0)
    reached = drawn.cumsum(axis=0)[ends]
    found = gained.cumsum(axis=0)
    total = found[-1].copy()
    found *= gained
    found /= np.maximum(reached, 1)  # where nothing is reached, nothing is gained
    return divide(found.sum(axis=0), total)


def _number_ranks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows by rising value, where in them each value begins, and which value each row has."""
    members = np.unique(values, return_inverse=True)[1]
    order = np.argsort(members, kind="stable")
    return order, np.searchsorted(members[order], np.arange(members.max() + 1)), members


def _center_ranks(by_row: np.ndarray, order: np.ndarray, firsts: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return each row's mean rank less the mean of all ranks, (n, c)."""
    drawn = np.add.reduceat(by_row[order], firsts, axis=0)
    ranks = drawn.cumsum(axis=0)
    ranks -= ranks[-1] / 2 + drawn / 2
    return ranks[members]
