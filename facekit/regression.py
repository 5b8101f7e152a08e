"""What is measured of a predicted number, against the constant that says the training rows' mean.

The trap this prevents: an R2 against the mean of the test rows, which no model could know; a loss without the loss of
the constant beside it; and only one of scale (mse, r2) and order (Spearman), which a prediction can get right apart.
"""

import numpy as np

from facekit.bootstrap import Statistic
from facekit.bootstrap_ranks import build_spearman
from facekit.errors import ParameterError
from facekit.measured import Figure, Metric, build_metrics, compare_statistics, divide

FIGURES = ("mse", "mae", "r2", "spearman")


def measure_regression(
    prefix: str,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    baseline_mean: float | None = None,
) -> list[Metric]:
    """Measure predictions of a number.

    Args:
        prefix: what stands before each name, such as `test/popularity`.
        y_true: (n,) finite numbers.
        y_pred: (n,) finite numbers, in the same unit.
        groups: (n,) rows that are drawn together for the intervals, or None.
        seed: of the resampling.
        baseline_mean: the mean of the TRAINING rows, the constant that stands as baseline; None takes that of `y_true`.

    Returns:
        mse (unit squared), mae (unit), r2 (1 less the squared error's share of the constant's: 0 is as good as the
        constant, below 0 worse) and spearman (rank correlation, ties share their mean rank). A constant has no
        rank correlation, so spearman's baseline is None; r2 is None where the constant is always right.

    Raises:
        ParameterError: arrays that do not fit together, or a value that is not finite.

    >>> metrics = measure_regression("t", np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0]), baseline_mean=2.0)
    >>> [round(metric.value, 3) for metric in metrics], [metric.baseline for metric in metrics[:3]]
    ([0.333, 0.333, 0.5, 0.866], [0.6666666666666666, 0.6666666666666666, 0.0])
    """
    y_true, y_pred = _check(y_true), _check(y_pred, rows=len(y_true))
    n, mean = len(y_true), _find_mean(y_true, baseline_mean)
    constant = _build_statistic(y_true, np.full(n, mean), mean)
    return build_metrics(
        prefix,
        [Figure(name, n) for name in FIGURES],
        _build_statistic(y_true, y_pred, mean),
        baselines=constant(np.ones((1, n)))[0],
        rows=n,
        groups=groups,
        seed=seed,
    )


def compare_regressions(
    metric: str,
    y_true: np.ndarray,
    models: dict[str, np.ndarray],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    baseline_mean: float | None = None,
) -> dict:
    """Compare two models on the same rows: how far the first lies above the second, resampled in pairs.

    Args:
        metric: one of FIGURES.
        y_true: (n,) finite numbers.
        models: two names, each with (n,) predictions.
        groups: (n,) rows that are drawn together, or None.
        seed: of the resampling.
        baseline_mean: as for `measure_regression`; only r2 hangs on it.

    Returns:
        A comparison as metrics.json holds it: a, b, metric, difference (a minus b), interval, n.

    Raises:
        ParameterError: an unknown metric, not two models, or arrays that do not fit together.

    >>> compare_regressions("mae", np.array([1.0, 2.0]), {"a": np.array([1.0, 2.0]), "b": np.array([1.0, 1.0])})["difference"]
    -0.5
    """
    if metric not in FIGURES:
        raise ParameterError(f"metric {metric!r}", expected=f"one of {', '.join(FIGURES)}")
    y_true = _check(y_true)
    mean = _find_mean(y_true, baseline_mean)
    statistics = {name: _build_one(metric, y_true, _check(y_pred, len(y_true)), mean) for name, y_pred in models.items()}
    return compare_statistics(metric, statistics, len(y_true), groups=groups, seed=seed)


def _build_one(metric: str, y_true: np.ndarray, y_pred: np.ndarray, mean: float) -> Statistic:
    if metric == "spearman":
        return build_spearman(y_true, y_pred)
    errors = _build_errors(y_true, y_pred, mean)
    return lambda weights: errors(weights)[:, FIGURES.index(metric)]


def _build_statistic(y_true: np.ndarray, y_pred: np.ndarray, mean: float) -> Statistic:
    errors, spearman = _build_errors(y_true, y_pred, mean), build_spearman(y_true, y_pred)
    return lambda weights: np.column_stack([errors(weights), spearman(weights)])


def _build_errors(y_true: np.ndarray, y_pred: np.ndarray, mean: float) -> Statistic:
    errors = np.column_stack([(y_true - y_pred) ** 2, np.abs(y_true - y_pred), (y_true - mean) ** 2])

    def compute(weights: np.ndarray) -> np.ndarray:
        squared, absolute, spread = (weights @ errors / weights.sum(axis=1, keepdims=True)).T
        return np.column_stack([squared, absolute, 1 - divide(squared, spread)])

    return compute


def _find_mean(y_true: np.ndarray, baseline_mean: float | None) -> float:
    mean = float(y_true.mean() if baseline_mean is None else baseline_mean)
    if not np.isfinite(mean):
        raise ParameterError(f"baseline_mean {mean}", expected="the mean of the training rows")
    return mean


def _check(values: np.ndarray, rows: int | None = None) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    # (n, 1) is what a network's head of one unit gives; set against (n,) it would silently become (n, n).
    if values.ndim != 1 or not len(values) or (rows is not None and len(values) != rows):
        raise ParameterError(f"values of shape {values.shape}", expected=f"({rows or 'n'},), one number a row")
    if not np.isfinite(values).all():
        row = int(np.argmax(~np.isfinite(values)))
        raise ParameterError(f"row {row}: value {values[row]}", expected="a finite number")
    return values
