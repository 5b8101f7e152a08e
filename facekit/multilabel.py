"""What is measured of many yes-or-no attributes at once, every mean with its name.

The trap this prevents: "F1 0.79" of forty attributes. The mean over attributes (macro), over all cells as one heap
(micro), over attributes by how often they hold (weighted), over pictures (samples), and over attributes of the mean of
having and not having it (both classes) differ by more than two models do. And "90 % right": most attributes hold so
rarely that always saying no is right on 80 %.

An attribute holds where its probability reaches its threshold. What is not known of a picture (weight 0) counts
nowhere. A precision is 0 where nothing was said to hold though something does, and a mean leaves out what has nothing
to measure: an attribute that no row has and none is said to have, a picture of the same kind.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from facekit.bootstrap import Statistic, bootstrap_intervals
from facekit.bootstrap_ranks import build_average_precision
from facekit.errors import ParameterError
from facekit.measured import Figure, Metric, average, build_metrics, compare_statistics, divide

# What goes before precision, recall and f1, and the averaging that this is.
MEANS = {
    "macro": "macro",
    "micro": "micro",
    "weighted": "weighted",
    "samples": "samples",
    "both_classes": "mean over attributes",
}
EACH = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")  # of every attribute
FIGURES = {"accuracy": "mean over attributes", "balanced_accuracy": "mean over attributes"}
FIGURES |= {f"{mean}_{what}": averaging for mean, averaging in MEANS.items() for what in ("precision", "recall", "f1")}
FIGURES |= {"mean_average_precision": "mean over attributes", "log_loss": "mean over attributes"}
CRITERIA = ("f1", "accuracy")

Thresholds = float | Sequence[float] | np.ndarray


@dataclass(frozen=True)
class Labels:
    """What is known of some pictures' attributes.

    Args:
        names: the a attributes.
        y_true: (n, a) 0 or 1; anything where it is not known.
        weight: (n, a), 0 where it is not known whether the attribute holds, else above 0; None: all is known.
        groups: (n,) rows that are drawn together for the intervals, such as identities; None: single rows.
        prevalence: (a,) share of the TRAINING rows that have the attribute, 0..1, from which the constant that stands
            as baseline says its yes or no; None takes that of these rows.

    Raises:
        ParameterError: arrays that do not fit together, or a known label that is neither 0 nor 1.

    >>> labels = Labels(("Male", "Smiling"), np.array([[1, 0], [0, 9]]), weight=np.array([[1, 1], [1, 0]]))
    >>> labels.y_true.tolist(), labels.known.tolist(), labels.prevalence.tolist()
    ([[1.0, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 0.0]], [0.5, 0.0])
    """

    names: Sequence[str]
    y_true: np.ndarray
    weight: np.ndarray | None = None
    groups: np.ndarray | None = None
    prevalence: np.ndarray | None = None

    def __post_init__(self):
        y_true = np.asarray(self.y_true, dtype=np.float64)
        if y_true.ndim != 2 or not y_true.size or y_true.shape[1] != len(self.names):
            raise ParameterError(f"labels of shape {y_true.shape}", expected=f"(n, {len(self.names)}), (rows, attributes)")
        known = np.ones(y_true.shape) if self.weight is None else (np.asarray(self.weight) > 0).astype(np.float64)
        if known.shape != y_true.shape:
            raise ParameterError(f"weights of shape {known.shape}", expected=f"{y_true.shape} as the labels")
        wrong = (known > 0) & (y_true != 0) & (y_true != 1)
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise ParameterError(f"row {row}, {self.names[column]}: label {y_true[row, column]:g}", expected="0 or 1")
        y_true = np.where(known > 0, y_true, 0.0)
        prevalence = compute_prevalence(y_true, known) if self.prevalence is None else np.asarray(self.prevalence, np.float64)
        if prevalence.shape != (len(self.names),) or not ((prevalence >= 0) & (prevalence <= 1)).all():
            raise ParameterError(f"prevalence {prevalence.tolist()}", expected=f"{len(self.names)} shares from 0 to 1")
        fields = {"names": tuple(self.names), "y_true": y_true, "weight": known, "prevalence": prevalence}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @property
    def known(self) -> np.ndarray:
        """(n, a) float, 1 where the label is known, else 0."""
        return self.weight

    def select(self, rows: np.ndarray) -> "Labels":
        """Return the labels of some rows, with the same baseline."""
        groups = None if self.groups is None else np.asarray(self.groups)[rows]
        return replace(self, y_true=self.y_true[rows], weight=self.weight[rows], groups=groups)

    def check_probabilities(self, y_prob: np.ndarray) -> np.ndarray:
        """Return `y_prob` as float64 (n, a); ParameterError where it does not fit or leaves 0..1."""
        y_prob = np.asarray(y_prob, dtype=np.float64)
        if y_prob.shape != self.y_true.shape:
            raise ParameterError(f"probabilities of shape {y_prob.shape}", expected=f"{self.y_true.shape} as the labels")
        wrong = ~((y_prob >= 0) & (y_prob <= 1))
        if wrong.any():
            row, column = np.argwhere(wrong)[0].tolist()
            raise ParameterError(f"row {row}, {self.names[column]}: probability {y_prob[row, column]:g}", expected="0 to 1")
        return y_prob

    def decide(self, y_prob: np.ndarray, thresholds: Thresholds) -> np.ndarray:
        """Return which attributes are said to hold, float (n, a); ParameterError for thresholds that do not fit."""
        thresholds = np.asarray(thresholds, dtype=np.float64)
        if thresholds.shape not in ((), (len(self.names),)) or not ((thresholds >= 0) & (thresholds <= 1)).all():
            raise ParameterError(
                f"thresholds {thresholds.tolist()}",
                expected=f"one from 0 to 1, or one for each of {len(self.names)} attributes",
            )
        return (self.check_probabilities(y_prob) >= thresholds).astype(np.float64)


def compute_prevalence(y_true: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Return how often each attribute holds where it is known, (a,); 0 where it is never known.

    Args:
        y_true: (n, a) 0 or 1, of the training rows.
        weight: (n, a), 0 where it is not known; None: all is known.

    >>> compute_prevalence(np.array([[1, 0], [1, 1], [0, 1]]), np.array([[1, 0], [1, 1], [1, 0]])).tolist()
    [0.6666666666666666, 1.0]
    """
    known = np.ones(np.shape(y_true)) if weight is None else (np.asarray(weight) > 0).astype(np.float64)
    held = np.where(known > 0, np.asarray(y_true, np.float64), 0.0).sum(axis=0)
    return np.nan_to_num(divide(held, known.sum(axis=0)))


def measure_multilabel(
    prefix: str, labels: Labels, y_prob: np.ndarray, *, thresholds: Thresholds = 0.5, seed: int = 0
) -> list[Metric]:
    """Measure all attributes together, every mean by its name.

    Args:
        prefix: what stands before each name, such as `test` or `test/resnet50`.
        labels: of n rows and a attributes.
        y_prob: (n, a) probability that the attribute holds, 0..1.
        thresholds: one for all attributes, or (a,); of `choose_thresholds` on validation rows.
        seed: of the resampling.

    Returns:
        The metrics of FIGURES: accuracy and balanced_accuracy (means over attributes); precision, recall and f1 by each
        of MEANS; mean_average_precision (area under precision against recall, as scikit-learn's
        average_precision_score, mean over the attributes that some row has) and log_loss (natural logarithm, mean over
        attributes). The n are the rows of which something is known. Always the same: weighted and micro recall;
        both_classes_recall and balanced_accuracy.
        Baselines: yes to each attribute that most training rows have; for the last two, the training prevalence as
        every picture's probability.

    Raises:
        ParameterError: arrays that do not fit together.
    """
    y_prob = labels.check_probabilities(y_prob)
    constant = np.tile(labels.prevalence, (len(y_prob), 1))
    parts = [_build_means(labels, labels.decide(y_prob, thresholds)), *_build_probabilities(labels, y_prob)]
    # Of two classes that are equally frequent the first one counts as the majority: no.
    baselines = [_build_means(labels, (constant > 0.5).astype(np.float64)), *_build_probabilities(labels, constant)]
    n = int((labels.known.sum(axis=1) > 0).sum())
    return build_metrics(
        prefix,
        [Figure(name, n, mean) for name, mean in FIGURES.items()],
        _join(parts),
        baselines=_join(baselines)(np.ones((1, len(y_prob))))[0],
        rows=len(y_prob),
        groups=labels.groups,
        seed=seed,
    )


def compare_multilabel(
    metric: str,
    labels: Labels,
    models: dict[str, np.ndarray],
    *,
    thresholds: Thresholds | Mapping[str, Thresholds] = 0.5,
    seed: int = 0,
) -> dict:
    """Compare two models on the same rows: how far the first lies above the second, resampled in pairs.

    Args:
        metric: one of FIGURES, such as accuracy or macro_f1.
        labels: of n rows and a attributes.
        models: two names, each with (n, a) probabilities.
        thresholds: as for `measure_multilabel`, or one such for each of the two names.
        seed: of the resampling.

    Returns:
        A comparison as metrics.json holds it: a, b, metric, difference (a minus b), interval, n.

    Raises:
        ParameterError: an unknown metric, not two models, a model without thresholds, arrays that do not fit together.

    >>> labels = Labels(("Male",), np.array([[1], [0]]))
    >>> models = {"a": np.array([[0.9], [0.1]]), "b": np.array([[0.9], [0.8]])}
    >>> compare_multilabel("accuracy", labels, models)["difference"]
    0.5
    """
    if metric not in FIGURES:
        raise ParameterError(f"metric {metric!r}", expected=f"one of {', '.join(FIGURES)}")
    cuts = thresholds if isinstance(thresholds, Mapping) else dict.fromkeys(models, thresholds)
    if missing := [name for name in models if name not in cuts]:
        raise ParameterError(f"no thresholds for {missing[0]}", expected=f"one for each of {', '.join(models)}")
    statistics = {name: _build_one(metric, labels, y_prob, cuts[name]) for name, y_prob in models.items()}
    return compare_statistics(metric, statistics, len(labels.y_true), groups=labels.groups, seed=seed)


def tabulate_attributes(labels: Labels, y_prob: np.ndarray, *, thresholds: Thresholds = 0.5, seed: int = 0) -> pd.DataFrame:
    """Tabulate what a model does on each attribute by itself.

    Args:
        labels: of n rows and a attributes.
        y_prob: (n, a) probability that the attribute holds, 0..1.
        thresholds: one for all attributes, or (a,).
        seed: of the resampling.

    Returns:
        One row an attribute, its name as index: n (rows where it is known), prevalence (of these rows), baseline (the
        accuracy of saying what most training rows have), threshold, then accuracy, balanced_accuracy, precision, recall,
        f1 and average_precision, each with its 95 % interval in `_low` and `_high`; NaN where a figure is not defined.
        What average precision reaches by chance is the prevalence.

    Raises:
        ParameterError: arrays that do not fit together.
    """
    y_prob = labels.check_probabilities(y_prob)
    n, count = y_prob.shape
    ranking = build_average_precision(labels.y_true, y_prob, labels.known)
    statistic = _join([_build_each(labels, labels.decide(y_prob, thresholds)), ranking])
    ones = np.ones((1, n))
    values = statistic(ones)[0].reshape(-1, count)
    intervals = bootstrap_intervals(statistic, n, groups=labels.groups, seed=seed)
    bounds = np.array([(np.nan, np.nan) if pair is None else pair for pair in intervals]).reshape(-1, count, 2)
    bounds[np.isnan(values)] = np.nan
    majority = np.tile(labels.prevalence > 0.5, (n, 1)).astype(np.float64)
    columns = {
        "n": labels.known.sum(axis=0).astype(int),
        "prevalence": divide(labels.y_true.sum(axis=0), labels.known.sum(axis=0)),
        "baseline": _build_each(labels, majority)(ones)[0][:count],
        "threshold": np.broadcast_to(np.asarray(thresholds, np.float64), (count,)),
    }
    for name, value, bound in zip((*EACH, "average_precision"), values, bounds, strict=True):
        columns |= {name: value, f"{name}_low": bound[:, 0], f"{name}_high": bound[:, 1]}
    return pd.DataFrame(columns, index=pd.Index(labels.names, name="attribute"))


def choose_thresholds(labels: Labels, y_prob: np.ndarray, criterion: str = "f1") -> np.ndarray:
    """Choose for each attribute the threshold that does best on these rows, which should be validation rows.

    Every decision that some threshold can make is tried. Thresholds between the same two probabilities decide alike:
    0.5 stands for those that decide as it does, for others the middle. Of equally good ones the nearest to 0.5 is
    taken, and 0.5 where an attribute has no known row (for f1: none that holds). The best of many tried on few rows is
    partly luck, so the figure reached here is no result: measure on other rows.

    Args:
        labels: of n validation rows and a attributes.
        y_prob: (n, a) probability that the attribute holds, 0..1.
        criterion: f1 or accuracy, of each attribute by itself.

    Returns:
        float64 (a,), 0..1.

    Raises:
        ParameterError: an unknown criterion, or arrays that do not fit together.

    >>> labels = Labels(("Smiling",), np.array([[0], [0], [1], [1]]))
    >>> choose_thresholds(labels, np.array([[0.1], [0.2], [0.4], [0.9]])).round(2).tolist()
    [0.3]
    """
    if criterion not in CRITERIA:
        raise ParameterError(f"criterion {criterion!r}", expected=f"one of {', '.join(CRITERIA)}")
    y_prob = labels.check_probabilities(y_prob)
    columns = zip(labels.y_true.T, labels.known.T > 0, y_prob.T, strict=True)
    return np.array([_choose_threshold(y_true[known], prob[known], criterion) for y_true, known, prob in columns])


def compute_rates(hits: np.ndarray, said: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of counts, as the head of this module defines them where one is 0/0.

    >>> [rate.tolist() for rate in compute_rates(np.array([1, 0]), np.array([2, 0]), np.array([1, 1]))]
    [[0.5, 0.0], [1.0, 0.0], [0.6666666666666666, 0.0]]
    """
    precision = np.where(said > 0, divide(hits, said), np.where(true > 0, 0.0, np.nan))
    return precision, divide(hits, true), divide(2 * hits, said + true)


def _choose_threshold(y_true: np.ndarray, y_prob: np.ndarray, criterion: str) -> float:
    levels, members = np.unique(y_prob, return_inverse=True)
    if not len(levels) or (criterion == "f1" and not y_true.any()):
        return 0.5
    true = np.bincount(members, y_true)
    # Said to hold by the threshold below each level: all from there on; by the last one, above all levels: none.
    said = np.append(np.bincount(members)[::-1].cumsum()[::-1], 0)
    hits = np.append(true[::-1].cumsum()[::-1], 0)
    edges = np.concatenate([[0.0], levels, [1.0]])
    low, high = edges[:-1], edges[1:]  # what decides alike: above low, up to high
    cuts = np.where((low < 0.5) & (high >= 0.5), 0.5, (low + high) / 2)
    score = 2 * hits / (said + true.sum()) if criterion == "f1" else len(y_true) - said - true.sum() + 2 * hits
    possible = (low < high) | (np.arange(len(cuts)) == 0)  # no threshold up to 1 says no to a probability of 1
    best = np.flatnonzero(possible & (score >= score[possible].max()))
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


def _build_one(metric: str, labels: Labels, y_prob: np.ndarray, thresholds: Thresholds) -> Statistic:
    """Return the statistic of one of FIGURES, without computing the dear ones for the others."""
    names = list(FIGURES)
    if metric in ("log_loss", "mean_average_precision"):
        ranking, loss = _build_probabilities(labels, labels.check_probabilities(y_prob))
        chosen = loss if metric == "log_loss" else ranking
        return lambda weights: chosen(weights)[:, 0]
    means = _build_means(labels, labels.decide(y_prob, thresholds))
    return lambda weights: means(weights)[:, names.index(metric)]


def _build_counts(labels: Labels, y_pred: np.ndarray):
    """Return what counts, for weights (c, n), the hits, those said, those true and those known, each (c, a)."""
    said = y_pred * labels.known
    cells = np.hstack([said * labels.y_true, said, labels.y_true, labels.known])
    return lambda weights: np.split(weights @ cells, 4, axis=1)


def _build_each(labels: Labels, y_pred: np.ndarray) -> Statistic:
    """Return the statistic of EACH for every attribute: (c, 5 a)."""
    count = _build_counts(labels, y_pred)

    def compute(weights: np.ndarray) -> np.ndarray:
        hits, said, true, known = count(weights)
        rejected = known - said - true + hits
        recalls = np.stack([divide(hits, true), divide(rejected, known - true)], axis=-1)
        return np.hstack([divide(hits + rejected, known), average(recalls), *compute_rates(hits, said, true)])

    return compute


def _build_means(labels: Labels, y_pred: np.ndarray) -> Statistic:
    """Return the statistic of all of FIGURES that hang on decisions, (c, 17)."""
    count, each = _build_counts(labels, y_pred), _build_each(labels, y_pred)
    said = y_pred * labels.known
    rows = compute_rates((said * labels.y_true).sum(axis=1), said.sum(axis=1), labels.y_true.sum(axis=1))
    samples = np.stack(rows, axis=1)
    defined = np.isfinite(samples).astype(np.float64)
    samples = np.nan_to_num(samples)

    def compute(weights: np.ndarray) -> np.ndarray:
        hits, said, true, known = count(weights)
        accuracy, balanced, *rates = np.split(each(weights), len(EACH), axis=1)
        micro = compute_rates(hits.sum(axis=1), said.sum(axis=1), true.sum(axis=1))
        weighted = [divide(np.nansum(rate * true, axis=1), true.sum(axis=1)) for rate in rates]
        by_row = divide(weights @ samples, weights @ defined)
        absent = compute_rates(known - said - true + hits, known - said, known - true)
        both = [average(average(np.stack(pair, axis=-1))) for pair in zip(rates, absent, strict=True)]
        columns = [average(accuracy), average(balanced), *map(average, rates), *micro, *weighted, *by_row.T, *both]
        return np.column_stack(columns)

    return compute


def _build_probabilities(labels: Labels, y_prob: np.ndarray) -> tuple[Statistic, Statistic]:
    """Return the statistics of the mean average precision and of the mean log loss, (c, 1) each."""
    ranking = build_average_precision(labels.y_true, y_prob, labels.known)
    smallest = np.finfo(np.float64).eps  # as in metrics.py: a probability of 0 costs 36, not infinity
    given = np.clip(np.where(labels.y_true > 0, y_prob, 1 - y_prob), smallest, 1 - smallest)
    losses = -np.log(given) * labels.known

    def compute_loss(weights: np.ndarray) -> np.ndarray:
        return average(divide(weights @ losses, weights @ labels.known))[:, None]

    return lambda weights: average(ranking(weights))[:, None], compute_loss


def _join(statistics: Sequence[Statistic]) -> Statistic:
    return lambda weights: np.hstack([statistic(weights) for statistic in statistics])
