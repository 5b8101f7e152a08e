"""What is measured, each figure with its number of rows, its interval, its averaging and what a constant would reach.

The trap this prevents: a lone figure. 0.70 accuracy is nothing where 70 % of the rows are of one class, "F1" is no
figure before its averaging is named, and a difference between two models means little without an interval.

The constant that stands as baseline says the majority class of the training rows, with their class shares as its
probabilities; every metric of it is computed by the same code as the model's.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from facekit.bootstrap import Statistic, bootstrap_intervals
from facekit.errors import ParameterError
from facekit.measured import Figure, Metric, average, build_metrics, compare_statistics, divide

BINS = 10


def measure_classification(
    prefix: str,
    y_true: np.ndarray,
    y_prob: np.ndarray,
    classes: Sequence[str],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    baseline_counts: Sequence[int] | None = None,
) -> list[Metric]:
    """Measure a classifier that says its most probable class: its decisions, then its probabilities.

    Args:
        prefix: what stands before each name, such as `test` or `test/stage1`.
        y_true: (n,) int, 0..k-1.
        y_prob: (n, k) float, rows that sum to 1.
        classes: the k names.
        groups: (n,) rows that are drawn together for the intervals, or None.
        seed: of the resampling.
        baseline_counts: (k,) training rows of each class; None takes those of `y_true`.

    Returns:
        What `measure_decisions` and `measure_probabilities` return.

    Raises:
        ParameterError: arrays that do not fit together, or rows that are no probabilities.
    """
    options = {"groups": groups, "seed": seed, "baseline_counts": baseline_counts}
    y_prob = check_probabilities(y_true, y_prob, len(classes))
    decisions = measure_decisions(prefix, y_true, y_prob.argmax(axis=1), classes, **options)
    return decisions + measure_probabilities(prefix, y_true, y_prob, **options)


def measure_decisions(
    prefix: str,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    classes: Sequence[str],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    baseline_counts: Sequence[int] | None = None,
) -> list[Metric]:
    """Measure what was decided, however it was decided: by the highest probability, by thresholds, by a cascade.

    Args:
        prefix: what stands before each name.
        y_true: (n,) int, 0..k-1.
        y_pred: (n,) int, 0..k-1.
        classes: the k names.
        groups: (n,) rows that are drawn together for the intervals, or None.
        seed: of the resampling.
        baseline_counts: (k,) training rows of each class; None takes those of `y_true`.

    Returns:
        accuracy, balanced_accuracy, macro_f1, then precision, recall and f1 of each class. The n of a precision are the
        rows predicted so, of a recall the rows that are so, of an f1 both together. Macro: the plain mean over the
        classes that the rows hold.

    Raises:
        ParameterError: arrays that do not fit together.
    """
    k = len(classes)
    y_true, y_pred = check_classes(y_true, k), check_classes(y_pred, k, rows=len(y_true))
    n = len(y_true)
    constant = np.full(n, int(np.argmax(count_classes(y_true, k, baseline_counts))))
    true, predicted = np.bincount(y_true, minlength=k), np.bincount(y_pred, minlength=k)
    either = true + predicted - np.bincount(y_true[y_true == y_pred], minlength=k)
    figures = [Figure("accuracy", n), Figure("balanced_accuracy", n, "macro"), Figure("macro_f1", n, "macro")]
    for what, counts in (("precision", predicted), ("recall", true), ("f1", either)):
        figures += [Figure(f"{what}/{name}", count) for name, count in zip(classes, counts, strict=True)]
    return build_metrics(
        prefix,
        figures,
        _build_decisions(y_true, y_pred, k),
        baselines=_build_decisions(y_true, constant, k)(np.ones((1, n)))[0],
        rows=n,
        groups=groups,
        seed=seed,
    )


def measure_probabilities(
    prefix: str,
    y_true: np.ndarray,
    y_prob: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    baseline_counts: Sequence[int] | None = None,
) -> list[Metric]:
    """Measure how good the probabilities are: log loss, and the expected calibration error of the most probable class.

    Resampling adds noise to every bin, so the interval of a calibration error lies a little high, even above a small
    value: it says when a model is badly calibrated, not that it is perfectly so.

    Args:
        prefix: what stands before each name.
        y_true: (n,) int, 0..k-1.
        y_prob: (n, k) float, rows that sum to 1.
        groups: (n,) rows that are drawn together for the intervals, or None.
        seed: of the resampling.
        baseline_counts: (k,) training rows of each class; None takes those of `y_true`.

    Returns:
        log_loss (natural logarithm) and ece (10 bins of equal width).

    Raises:
        ParameterError: arrays that do not fit together, or rows that are no probabilities.
    """
    k = np.shape(y_prob)[-1]
    y_true, y_prob = check_classes(y_true, k), check_probabilities(y_true, y_prob, k)
    n = len(y_true)
    counts = count_classes(y_true, k, baseline_counts)
    prior = np.tile(counts / counts.sum(), (n, 1))
    return build_metrics(
        prefix,
        [Figure("log_loss", n), Figure("ece", n)],
        _build_probabilities(y_true, y_prob),
        baselines=_build_probabilities(y_true, prior)(np.ones((1, n)))[0],
        rows=n,
        groups=groups,
        seed=seed,
    )


def compare_models(
    metric: str,
    y_true: np.ndarray,
    models: dict[str, np.ndarray],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> dict:
    """Compare two models on the same rows: how much better the first is, resampled in pairs.

    Args:
        metric: accuracy, balanced_accuracy, macro_f1, log_loss or ece.
        y_true: (n,) int, 0..k-1.
        models: two names, each with (n, k) probabilities, or with (n,) decided classes.
        groups: (n,) rows that are drawn together, or None.
        seed: of the resampling.

    Returns:
        A comparison as metrics.json holds it: a, b, metric, difference (a minus b), interval, n.

    Raises:
        ParameterError: an unknown metric, not two models, or probabilities missing where the metric needs them.

    >>> compare_models("accuracy", np.array([0, 1]), {"a": np.array([0, 1]), "b": np.array([0, 0])})["difference"]
    0.5
    """
    statistics = {name: _build_statistic(metric, np.asarray(y_true), np.asarray(out)) for name, out in models.items()}
    return compare_statistics(metric, statistics, len(y_true), groups=groups, seed=seed)


def compute_confusion(y_true: np.ndarray, y_pred: np.ndarray, k: int) -> np.ndarray:
    """Count the rows of each class (first axis) predicted as each class (second axis), int (k, k).

    >>> compute_confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    return confusion_matrix(check_classes(y_true, k), check_classes(y_pred, k, rows=len(y_true)), labels=range(k))


def compute_calibration(
    y_true: np.ndarray, y_prob: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0, bins: int = BINS
) -> pd.DataFrame:
    """Compute the reliability curve: how often the most probable class is right, by how sure the model was.

    Args:
        y_true: (n,) int, 0..k-1.
        y_prob: (n, k) float, rows that sum to 1.
        groups: (n,) rows that are drawn together for the intervals, or None.
        seed: of the resampling.
        bins: of equal width between 0 and 1; empty ones are left out.

    Returns:
        One row a bin: confidence (mean), accuracy, low and high (95 % interval of the accuracy), n.
    """
    y_true, y_prob = check_classes(y_true, np.shape(y_prob)[1]), check_probabilities(y_true, y_prob)
    correct, confidence, members = _find_bins(y_true, y_prob, bins)
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=bins)
    present = np.unique(members)
    in_bin = (members[:, None] == present).astype(np.float64)

    def compute_accuracies(weights: np.ndarray) -> np.ndarray:
        return divide(weights @ (in_bin * correct[:, None]), weights @ in_bin)

    intervals = bootstrap_intervals(compute_accuracies, len(y_true), groups=groups, seed=seed)
    low, high = np.array([(np.nan, np.nan) if pair is None else pair for pair in intervals]).T
    columns = {"confidence": mean_confidence, "accuracy": accuracy, "low": low, "high": high}
    return pd.DataFrame(columns | {"n": in_bin.sum(axis=0).astype(int)})


def compute_ece(calibration: pd.DataFrame) -> float:
    """Return the expected calibration error of a reliability curve of `compute_calibration`, 0..1.

    >>> compute_ece(pd.DataFrame({"confidence": [0.5, 1.0], "accuracy": [0.5, 0.5], "n": [3, 1]}))
    0.125
    """
    gaps = (calibration["accuracy"] - calibration["confidence"]).abs()
    return float(np.average(gaps, weights=calibration["n"]))


def check_classes(y: np.ndarray, k: int, *, rows: int | None = None) -> np.ndarray:
    """Return `y` as int (n,); ParameterError where it holds something else than 0..k-1, or not `rows` of them."""
    y = np.asarray(y)
    if y.ndim != 1 or not len(y) or (rows is not None and len(y) != rows):
        raise ParameterError(f"classes of shape {y.shape}", expected=f"({rows or 'n'},), one class a row")
    if not np.issubdtype(y.dtype, np.integer) and not np.array_equal(y, y.astype(int, copy=True)):
        raise ParameterError(f"classes of type {y.dtype}", expected="whole numbers")
    wrong = (y < 0) | (y >= k)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ParameterError(f"row {row}: class {y[row]}", expected=f"0 to {k - 1}")
    return y.astype(int)


def check_probabilities(y_true: np.ndarray, y_prob: np.ndarray, k: int | None = None) -> np.ndarray:
    """Return `y_prob` as float64 (n, k) with rows that sum to 1 exactly; ParameterError where they never did."""
    y_prob = np.asarray(y_prob, dtype=np.float64)
    k = k or (y_prob.shape[-1] if y_prob.ndim else 0)
    if y_prob.shape != (len(y_true), k):
        raise ParameterError(f"probabilities of shape {y_prob.shape}", expected=f"({len(y_true)}, {k}), (rows, classes)")
    sums = y_prob.sum(axis=1)
    wrong = ~(np.isclose(sums, 1, atol=1e-2) & (y_prob >= 0).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ParameterError(f"row {row}: probabilities {y_prob[row].tolist()}", expected="0 or more, with the sum 1")
    return y_prob / sums[:, None]


def count_classes(y_true: np.ndarray, k: int, counts: Sequence[int] | None) -> np.ndarray:
    """Return the training rows of each class, (k,): `counts`, or those of `y_true` where None is given."""
    counts = np.bincount(y_true, minlength=k) if counts is None else np.asarray(counts, dtype=np.float64)
    if counts.shape != (k,) or (counts < 0).any() or not counts.sum():
        raise ParameterError(f"baseline_counts {counts.tolist()}", expected=f"training rows of each of {k} classes")
    return counts


def _build_statistic(metric: str, y_true: np.ndarray, output: np.ndarray) -> Statistic:
    """Return the statistic of one named metric, of (n, k) probabilities or (n,) decided classes."""
    decisions = ("accuracy", "balanced_accuracy", "macro_f1")
    probabilities = ("log_loss", "ece")
    if metric not in decisions + probabilities:
        raise ParameterError(f"metric {metric!r}", expected=f"one of {', '.join(decisions + probabilities)}")
    if metric in probabilities:
        if output.ndim != 2:
            raise ParameterError(f"decided classes to compare by {metric}", expected="probabilities of shape (n, k)")
        every = _build_probabilities(check_classes(y_true, output.shape[1]), check_probabilities(y_true, output))
        return lambda weights: every(weights)[:, probabilities.index(metric)]
    y_pred = output.argmax(axis=1) if output.ndim == 2 else output
    k = output.shape[1] if output.ndim == 2 else int(max(y_true.max(), output.max())) + 1
    every = _build_decisions(check_classes(y_true, k), check_classes(y_pred, k, rows=len(y_true)), k)
    return lambda weights: every(weights)[:, decisions.index(metric)]


def _build_decisions(y_true: np.ndarray, y_pred: np.ndarray, k: int) -> Statistic:
    cells = np.eye(k * k)[y_true * k + y_pred]

    def compute(weights: np.ndarray) -> np.ndarray:
        confusion = (weights @ cells).reshape(-1, k, k)
        hits = np.diagonal(confusion, axis1=1, axis2=2)
        true, predicted = confusion.sum(axis=2), confusion.sum(axis=1)
        recall, f1 = divide(hits, true), divide(2 * hits, true + predicted)
        # A class that is never predicted has precision 0, as in scikit-learn; one that no row has is left out.
        precision = np.where(predicted > 0, divide(hits, predicted), np.where(true > 0, 0.0, np.nan))
        accuracy = hits.sum(axis=1) / true.sum(axis=1)
        return np.column_stack([accuracy, average(recall), average(f1), precision, recall, f1])

    return compute


def _build_probabilities(y_true: np.ndarray, y_prob: np.ndarray) -> Statistic:
    smallest = np.finfo(np.float64).eps  # scikit-learn's: a probability of 0 costs 36, not infinity
    losses = -np.log(np.clip(y_prob[np.arange(len(y_true)), y_true], smallest, 1 - smallest))
    correct, confidence, members = _find_bins(y_true, y_prob, BINS)
    gaps = (correct - confidence)[:, None] * np.eye(BINS)[members]

    def compute(weights: np.ndarray) -> np.ndarray:
        total = weights.sum(axis=1)
        return np.column_stack([weights @ losses, np.abs(weights @ gaps).sum(axis=1)]) / total[:, None]

    return compute


def _find_bins(y_true: np.ndarray, y_prob: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return whether each row is right (0 or 1), how sure the model was, and its bin as scikit-learn cuts them."""
    confidence = np.clip(y_prob.max(axis=1), 0, 1)
    members = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    return (y_prob.argmax(axis=1) == y_true).astype(np.float64), confidence, members
