"""Bootstrap intervals over rows or whole groups, all resamples at once.

A resample of n rows is n weights, how often each row was drawn: [2, 0, 1] is row 0 twice, row 1 never, row 2 once. A statistic
takes many resamples, one per row of a matrix, and returns a value for each.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd

from facekit.errors import ParameterError

CHUNK_CELLS = 2_000_000  # weights held at a time: 16 MB as float64

Statistic = Callable[[np.ndarray], np.ndarray]  # weights (c, n) -> (c,) or (c, m): m values for each row of weights


def draw_weights(n: int, groups=None, *, resamples: int = 2_000, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield chunks (c, n) of float64 weights: how often each resample of rows, or of whole `groups` (n,), holds each row."""
    members = np.arange(n) if groups is None else pd.factorize(np.asarray(groups))[0]  # -1: missing
    if not 0 < n == len(members) or (members < 0).any():
        received = f"{len(members)} groups for {n} rows, {np.sum(members < 0)} of them missing"
        raise ParameterError(received, expected="one group for each of one row or more")
    count = members.max() + 1
    generator = np.random.default_rng((seed,))
    chunk = max(1, CHUNK_CELLS // n)
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + np.arange(size)[:, None] * count
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        yield weights if count == n else weights[:, members]


def resample(statistic: Statistic, n: int, groups=None, **options: int) -> np.ndarray:
    """Return a statistic of every resample, (resamples,) or (resamples, m); NaN of one group. Arguments of `draw_weights`."""
    draws = np.concatenate([statistic(weights) for weights in draw_weights(n, groups, **options)])
    # One row or group, drawn again and again, would seem to have no spread.
    return draws if (n if groups is None else pd.Series(groups).nunique()) > 1 else np.full(draws.shape, np.nan)


def compute_intervals(draws: np.ndarray) -> list[tuple[float, float] | None]:
    """Return the 95 % percentile interval of each column of resampled values; None where fewer than half are defined.

    Percentile intervals are too narrow on few rows or groups: with 30 rows they contain the true value in 85 to 96 % of cases,
    with 5 groups in 64 to 93 %; benchmarks/coverage.py measures it, and names what is worse.
    """
    columns = [(column[np.isfinite(column)], len(column)) for column in draws.reshape(len(draws), -1).T]
    bounds = [(1 - 0.95) / 2, (1 + 0.95) / 2]
    return [tuple(np.quantile(defined, bounds).tolist()) if 2 * len(defined) >= n else None for defined, n in columns]


def weigh(values: np.ndarray, per: np.ndarray | None = None) -> Statistic:
    """Return the statistic of the mean of values (n,); with `per`, of sum by sum, of one or more columns (n, m)."""
    values = np.asarray(values, np.float64)
    per = np.ones(len(values)) if per is None else np.asarray(per, np.float64)
    return lambda weights: divide(weights @ values, weights @ per)


def join(*statistics: Statistic) -> Statistic:
    """Return the statistic that gives the values of several statistics side by side."""
    return lambda weights: np.column_stack([statistic(weights) for statistic in statistics])


def count_up_to(bounds: np.ndarray, values: np.ndarray, by_row: np.ndarray) -> np.ndarray:
    """Return how often rows whose value (n,) is at most each bound (m,), itself a value, were drawn, (m, c); weights (n, c)."""
    order = np.argsort(values, kind="stable")
    return by_row[order].cumsum(axis=0)[np.searchsorted(values[order], bounds, side="right") - 1]


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide, with NaN where the divisor is not above 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def average(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis, without undefined values."""
    return divide(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))
