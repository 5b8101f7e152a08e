"""Metrics of classifiers, ordered classes included: decisions, probabilities, confusion matrix and calibration curve.

The baseline is the majority class of the training rows, with their class frequencies as its probabilities.
"""

import numpy as np
import pandas as pd

from facekit.errors import ParameterError
from facekit.evaluation import metric as metrics
from facekit.evaluation.bootstrap import average, compute_intervals, divide, join, resample, weigh
from facekit.evaluation.metric import Column, Comparison, Metric, Part

BINS = 10
SMALLEST = np.finfo(np.float64).eps  # scikit-learn's: for a log loss, a probability of 0 costs 36, not infinity


def measure(prefix, y_true, predicted, classes, *, groups=None, seed=0, baseline_counts=None, ordered=False) -> list[Metric]:
    """Measure a classifier by its probabilities, or by its decisions alone.

    Returned are accuracy, balanced_accuracy and macro_f1 (means over the classes that occur), then precision/, recall/ and f1/
    of each class, whose n are the rows predicted so, the rows that are so, and both together. If ordered: off_by_one,
    off_by_two_or_more (proportions), mean_absolute_rank_error (0..k-1), quadratic_kappa (1 perfect, 0 a constant) and
    confused_as/<class>/<predicted> of the extremes. Of probabilities, and last: log_loss and ece (expected calibration error),
    whose interval lies too high on few rows and is no proof of calibration.

    Args:
        y_true: (n,) int, 0..k-1.
        predicted: (n, k) float, rows that sum to 1, of which the highest decides; or (n,) int, however decided.
        classes: the k names; from lowest to highest if ordered.
        baseline_counts: (k,) training rows of each class; None takes those of `y_true`.
    """
    n, k = len(y_true), len(classes)
    parts = _build(y_true, predicted, classes, ordered=ordered)
    counts = np.bincount(np.asarray(y_true, int), minlength=k) if baseline_counts is None else baseline_counts
    baseline = _build(y_true, np.tile(counts / np.sum(counts), (n, 1)), classes, ordered=ordered)
    return metrics.measure(prefix, parts, baseline, n, groups=groups, seed=seed)


def compare(metric: str, y_true: np.ndarray, models: dict[str, np.ndarray], *, groups=None, seed: int = 0) -> Comparison:
    """Compare two models, each (n, k) probabilities or (n,) decided classes, by one metric of all classes such as macro_f1."""
    k = max(np.shape(y)[1] if np.ndim(y) > 1 else 1 + int(np.max(y, initial=0)) for y in (y_true, *models.values()))
    parts = {name: _build(y_true, predicted, range(k), ordered=True) for name, predicted in models.items()}
    return metrics.compare(metric, parts, len(y_true), groups=groups, seed=seed)


def calibration(y_true: np.ndarray, y_prob: np.ndarray, *, groups=None, seed: int = 0) -> pd.DataFrame:
    """Compute the calibration (reliability) curve: the accuracy of the most probable class, by its probability.

    Each of the 10 bins that is not empty has a row: confidence (mean), accuracy, low and high (its 95 % interval), n.
    """
    y_true, y_pred, y_prob = _read(y_true, np.atleast_2d(y_prob), np.shape(y_prob)[-1])
    correct, (confidence, members) = y_pred == y_true, _find_bins(y_prob)
    bins = (members[:, None] == np.unique(members)).astype(np.float64)
    draws = resample(weigh(bins * correct[:, None], bins), len(y_true), groups, seed=seed)
    low, high = np.array([pair or (np.nan, np.nan) for pair in compute_intervals(draws)]).T
    n = bins.sum(axis=0).astype(int)
    return pd.DataFrame({"confidence": confidence @ bins / n, "accuracy": correct @ bins / n, "low": low, "high": high, "n": n})


def compute_rates(hits: np.ndarray, said: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of counts, NaN of what neither occurs nor was predicted."""
    # As in scikit-learn, the precision of what occurs but was never predicted is 0.
    precision = np.where(said > 0, divide(hits, said), np.where(true > 0, 0.0, np.nan))
    return precision, divide(hits, true), divide(2 * hits, said + true)


def _build(y_true: np.ndarray, predicted: np.ndarray, classes, *, ordered: bool) -> list[Part]:
    """Return the statistics of decisions, of ranks if ordered and, where there are any, of probabilities."""
    k, n = len(classes), len(y_true)
    y_true, y_pred, y_prob = _read(y_true, predicted, k)
    cells = np.eye(k * k)[y_true * k + y_pred]
    counts = cells.sum(axis=0).reshape(k, k)
    true, said = counts.sum(axis=1), counts.sum(axis=0)
    columns = [Column("accuracy", n), Column("balanced_accuracy", n, "macro"), Column("macro_f1", n, "macro")]
    for rate, rows in (("precision", said), ("recall", true), ("f1", true + said - np.diagonal(counts))):
        columns += [Column(f"{rate}/{name}", count) for name, count in zip(classes, rows, strict=True)]
    parts = [(columns, lambda weights: _rate((weights @ cells).reshape(-1, k, k)))]
    if ordered:
        ranks = ("off_by_one", "off_by_two_or_more", "mean_absolute_rank_error", "quadratic_kappa")
        columns = [Column(name, n) for name in ranks]
        columns += [Column(f"confused_as/{classes[a]}/{classes[b]}", true[a]) for a, b in ((0, -1), (-1, 0))]
        parts.append((columns, lambda weights: _rank((weights @ cells).reshape(-1, k, k))))
    if y_prob is not None:
        losses = weigh(-np.log(np.clip(y_prob[np.arange(n), y_true], SMALLEST, 1 - SMALLEST)))
        confidence, members = _find_bins(y_prob)
        gaps = weigh(((y_pred == y_true) - confidence)[:, None] * np.eye(BINS)[members], np.ones((n, 1)))
        statistic = join(losses, lambda weights: np.abs(gaps(weights)).sum(axis=1))
        parts.append(([Column("log_loss", n), Column("ece", n)], statistic))
    return parts


def _rate(counts: np.ndarray) -> np.ndarray:
    """Return accuracy, balanced accuracy and macro F1, then precision, recall and F1 of each class, of (c, k, k) counts."""
    hits, true = np.diagonal(counts, axis1=1, axis2=2), counts.sum(axis=2)
    precision, recall, f1 = compute_rates(hits, counts.sum(axis=1), true)
    return np.column_stack([hits.sum(axis=1) / true.sum(axis=1), average(recall), average(f1), precision, recall, f1])


def _rank(counts: np.ndarray) -> np.ndarray:
    """Return how far off decisions are, then how often each extreme class is confused with the other."""
    true, said, total = counts.sum(axis=2), counts.sum(axis=1), counts.sum(axis=(1, 2))
    distance = np.abs(np.subtract.outer(np.arange(true.shape[1]), np.arange(true.shape[1])))
    means = [(counts * part).sum(axis=(1, 2)) / total for part in (distance == 1, distance > 1, distance)]
    kappa = 1 - divide((counts * distance**2.0).sum(axis=(1, 2)), np.einsum("ci,ij,cj->c", true, distance**2.0, said) / total)
    return np.column_stack([*means, kappa, divide(counts[:, 0, -1], true[:, 0]), divide(counts[:, -1, 0], true[:, -1])])


def _find_bins(y_prob: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each row's highest probability, and its bin as scikit-learn cuts them."""
    confidence = y_prob.max(axis=1)
    return confidence, np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)


def _read(y_true: np.ndarray, predicted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return the true and the predicted classes, int (n,), and probabilities (n, k) if given; ParameterError where unfit."""
    n, y_prob = len(y_true), None
    if np.ndim(predicted) > 1:
        y_prob = np.asarray(predicted, np.float64)
        if y_prob.shape != (n, k):
            raise ParameterError(f"probabilities of shape {y_prob.shape}", expected=f"({n}, {k}), (rows, classes)")
        sums = y_prob.sum(axis=1)
        for row in np.flatnonzero(~(np.isclose(sums, 1, atol=1e-2) & (y_prob >= 0).all(axis=1)))[:1]:
            raise ParameterError(f"row {row}: probabilities {y_prob[row].tolist()}", expected="0 or more, with the sum 1")
        y_prob = y_prob / sums[:, None]
        predicted = y_prob.argmax(axis=1)
    for y in map(np.asarray, (y_true, predicted)):
        if y.shape != (n,) or not n:
            raise ParameterError(f"classes of shape {y.shape}", expected=f"({n or 'n'},), one class per row")
        for row in np.flatnonzero(~np.isin(y, range(k)))[:1]:
            raise ParameterError(f"row {row}: class {y[row]}", expected=f"whole numbers from 0 to {k - 1}")
    return np.asarray(y_true, int), np.asarray(predicted, int), y_prob
