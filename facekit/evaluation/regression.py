"""Metrics of a predicted number. The baseline predicts the mean of the training rows, which R² is computed against."""

import numpy as np

from facekit.errors import ParameterError
from facekit.evaluation import metric as metrics
from facekit.evaluation.bootstrap import Statistic, count_up_to, divide, join
from facekit.evaluation.metric import Column, Comparison, Metric, Part


def measure(prefix: str, y_true, predicted, *, groups=None, seed: int = 0, baseline_mean: float | None = None) -> list[Metric]:
    """Measure mse, mae, r2 (0 is as good as the baseline) and spearman (rank correlation, which a constant doesn't have).

    `predicted` is (n,) in the unit of `y_true` (n,), or (s, n) of s equal networks: their mean metrics. `baseline_mean` is the
    mean of the TRAINING rows; None takes that of `y_true`, which no model could know.
    """
    parts, baseline = (_build(y_true, each, baseline_mean) for each in (predicted, None))
    return metrics.measure(prefix, parts, baseline, len(y_true), groups=groups, seed=seed)


def compare(metric: str, y_true, models: dict, *, groups=None, seed: int = 0, baseline_mean=None) -> Comparison:
    """Compare two models on the same rows by mse, mae, r2 or spearman, resampled in pairs; arguments as for `measure`."""
    parts = {name: _build(y_true, predicted, baseline_mean) for name, predicted in models.items()}
    return metrics.compare(metric, parts, len(y_true), groups=groups, seed=seed)


def correlate(first: np.ndarray, second: np.ndarray) -> Statistic:
    """Return the statistic of Spearman's rank correlation, (c,); equal values share their mean rank, as in SciPy."""

    def compute(weights: np.ndarray) -> np.ndarray:
        by_row = np.ascontiguousarray(weights.T)
        # Rows up to a value minus rows from it on: twice the distance of its rank from the mean rank.
        x, y = (count_up_to(v, v, by_row) - count_up_to(-v, -v, by_row) for v in (first, second))
        shared, of_x, of_y = (np.einsum("nc,nc->c", a * by_row, b) for a, b in ((x, y), (x, x), (y, y)))
        return divide(shared, np.sqrt(of_x * of_y))

    return compute


def _build(y_true: np.ndarray, predicted: np.ndarray | None, baseline_mean: float | None) -> list[Part]:
    """Return the statistics of errors and of ranks, of several networks the mean of each; None predicts the mean."""
    (y_true,) = _check(y_true, np.size(y_true))
    mean = float(y_true.mean() if baseline_mean is None else baseline_mean)
    networks = _check(np.full(len(y_true), mean) if predicted is None else predicted, len(y_true))
    errors = np.abs(y_true - networks)
    # The mean of equal numbers can miss them by a rounding error, which is no spread to divide by.
    spread = np.where(np.isclose(y_true, mean, rtol=1e-12, atol=0), 0, y_true - mean)
    sums = np.column_stack([(errors**2).mean(axis=0), errors.mean(axis=0), spread**2])

    def compute_errors(weights: np.ndarray) -> np.ndarray:
        squared, absolute, spread = (weights @ sums / weights.sum(axis=1, keepdims=True)).T
        return np.column_stack([squared, absolute, 1 - divide(squared, spread)])

    ranks = join(*(correlate(y_true, each) for each in networks))
    columns = [Column(name, len(y_true)) for name in ("mse", "mae", "r2", "spearman")]
    return [(columns[:3], compute_errors), (columns[3:], lambda weights: ranks(weights).mean(axis=1, keepdims=True))]


def _check(values: np.ndarray, rows: int) -> np.ndarray:
    """Return values as float64 (s, rows)."""
    values = np.asarray(values, np.float64)
    # (n, 1) is what a network's head of one unit gives; subtracted from (n,) it would silently become (n, n).
    if values.ndim not in (1, 2) or not values.size or values.shape[-1] != rows:
        raise ParameterError(f"values of shape {values.shape}", expected=f"({rows or 'n'},), one number per row")
    for *_, row in np.argwhere(~np.isfinite(values))[:1]:
        raise ParameterError(f"row {row}: value {values[..., row].ravel()[0]}", expected="a finite number")
    return np.atleast_2d(values)
