"""Metrics of many binary attributes at once. Unknown labels count nowhere; a mean leaves out what is not defined.

The trap this prevents: "F1 0.79" of forty attributes. The mean over attributes (macro), all cells pooled (micro), attributes
by frequency (weighted), images (samples) and both classes of each attribute differ by more than two models do.
"""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from facekit.errors import ParameterError
from facekit.evaluation import metric as metrics
from facekit.evaluation.bootstrap import Statistic, average, compute_intervals, count_up_to, divide, join, resample, weigh
from facekit.evaluation.classification import SMALLEST, compute_rates
from facekit.evaluation.metric import Column, Comparison, Metric, Part

RATES = ("precision", "recall", "f1")
MEANS = ("macro", "micro", "weighted", "samples", "both_classes")
METRICS = ("accuracy", "balanced_accuracy", *(f"{mean}_{rate}" for mean in MEANS for rate in RATES))
METRICS += ("mean_average_precision", "log_loss")


@dataclass
class Labels:
    """The attributes of some images."""

    names: list[str] | tuple[str, ...]
    y_true: np.ndarray  # (n, a) 0 or 1, and where it is unknown, NaN or below 0, which becomes 0
    groups: np.ndarray | None = None
    prevalence: np.ndarray | None = None  # (a,) of the TRAINING rows, for the baseline; None takes that of these rows
    known: np.ndarray = field(init=False)  # (n, a) 1, and 0 where it is unknown

    def __post_init__(self):
        labels, a = np.asarray(self.y_true, np.float64), len(self.names)
        if not labels.size or labels.shape[1:] != (a,):
            raise ParameterError(f"labels of shape {labels.shape}", expected=f"(n, {a}), (rows, attributes)")
        self.known = (labels >= 0).astype(np.float64)
        self.prevalence = compute_prevalence(labels) if self.prevalence is None else np.asarray(self.prevalence)
        self.y_true = np.where(labels >= 0, labels, 0.0)
        self._refuse("label", self.y_true, ~np.isin(self.y_true, (0, 1)), "0 or 1")

    def check(self, y_prob: np.ndarray) -> np.ndarray:
        """Return `y_prob` as float64 (n, a); ParameterError where it doesn't fit or leaves 0..1."""
        y_prob = np.asarray(y_prob, np.float64)
        if y_prob.shape != self.y_true.shape:
            raise ParameterError(f"probabilities of shape {y_prob.shape}", expected=f"{self.y_true.shape} as the labels")
        self._refuse("probability", y_prob, ~((y_prob >= 0) & (y_prob <= 1)), "0 to 1")
        return y_prob

    def _refuse(self, what: str, values: np.ndarray, wrong: np.ndarray, expected: str) -> None:
        for row, column in np.argwhere(wrong).tolist()[:1]:
            raise ParameterError(f"row {row}, {self.names[column]}: {what} {values[row, column]:g}", expected=expected)


def compute_prevalence(y_true: np.ndarray) -> np.ndarray:
    """Return the proportion of rows that have each attribute, (a,), of those where it is known; 0 where it never is."""
    return np.nan_to_num(divide((y_true == 1).sum(axis=0), (y_true >= 0).sum(axis=0)))


def measure(prefix: str, labels: Labels, y_prob: np.ndarray, *, thresholds=0.5, seed: int = 0) -> list[Metric]:
    """Measure all attributes together by METRICS, of probabilities (n, a), 0..1; the baseline's are the prevalence.

    An attribute is predicted from its threshold on: one for all, or (a,), chosen on validation rows.
    """
    constant = np.tile(labels.prevalence, (len(labels.y_true), 1))
    # Of two classes of equal frequency, the first is the majority: no.
    parts, baseline = _build(labels, y_prob, thresholds), _build(labels, constant, np.nextafter(0.5, 1))
    return metrics.measure(prefix, parts, baseline, len(constant), groups=labels.groups, seed=seed)


def compare(metric: str, labels: Labels, models: dict[str, np.ndarray], *, seed: int = 0) -> Comparison:
    """Compare two models, each (n, a) probabilities, by one of METRICS at threshold 0.5, resampled in pairs."""
    parts = {name: _build(labels, y_prob, 0.5) for name, y_prob in models.items()}
    return metrics.compare(metric, parts, len(labels.y_true), groups=labels.groups, seed=seed)


def tabulate(labels: Labels, y_prob: np.ndarray, *, thresholds=0.5, seed: int = 0) -> pd.DataFrame:
    """Tabulate the metrics of each attribute by itself; arguments as for `measure`.

    Columns: n (known rows), prevalence (of these, and what average precision reaches by chance), baseline (accuracy of the
    training rows' majority), threshold, then accuracy, balanced_accuracy, RATES and average_precision, each with its 95 %
    interval in `_low` and `_high`; NaN where not defined.
    """
    y_prob, (n, a) = labels.check(y_prob), labels.y_true.shape
    count = _count(labels, y_prob >= thresholds)
    statistic = join(lambda weights: np.hstack(_rate_each(*count(weights))), rank(labels.y_true, y_prob, labels.known))
    intervals = compute_intervals(resample(statistic, n, labels.groups, seed=seed))
    bounds = np.array([pair or (np.nan, np.nan) for pair in intervals]).reshape(-1, a, 2)
    known = labels.known.sum(axis=0)
    share = divide(labels.y_true.sum(axis=0), known)
    columns = {"n": known.astype(int), "prevalence": share}
    columns |= {"baseline": np.where(labels.prevalence > 0.5, share, 1 - share), "threshold": thresholds}
    names = ("accuracy", "balanced_accuracy", *RATES, "average_precision")
    for name, value, bound in zip(names, statistic(np.ones((1, n))).reshape(-1, a), bounds, strict=True):
        columns |= {name: value, f"{name}_low": bound[:, 0], f"{name}_high": bound[:, 1]}
    return pd.DataFrame(columns, pd.Index([*labels.names], name="attribute"))


def choose_thresholds(labels: Labels, y_prob: np.ndarray, criterion: str = "f1") -> np.ndarray:
    """Choose for each attribute the threshold (0..1) with the best F1 or accuracy on these rows, the validation rows.

    Of equally good ones, as where it is never known, the nearest to 0.5. On few rows the best is partly luck: test on others.
    """
    if criterion not in ("f1", "accuracy"):
        raise ParameterError(f"criterion {criterion!r}", expected="f1 or accuracy")
    chosen = []
    for y_true, known, prob in zip(labels.y_true.T > 0, labels.known.T > 0, labels.check(y_prob).T, strict=True):
        levels = np.unique(np.r_[0, prob[known], 1])
        cuts = np.r_[0.5, (levels[:-1] + levels[1:]) / 2, 0]
        cuts = cuts[np.argsort(np.abs(cuts - 0.5), kind="stable")]
        # An unknown label is no positive one.
        said, hits = (part.sum() - np.searchsorted(np.sort(prob[part]), cuts) for part in (known, y_true))
        scores = {"f1": 2 * hits / np.maximum(said + y_true.sum(), 1), "accuracy": 2 * hits - said}
        chosen.append(cuts[np.argmax(scores[criterion])])
    return np.array(chosen)


def precision_at(prefix: str, hits: np.ndarray, scores: np.ndarray, k: int = 20, *, groups=None, seed: int = 0) -> Metric:
    """Measure the proportion of hits (n,) among the k highest scores (n,); the baseline is that of all rows."""
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    held = np.asarray(hits, np.float64)[order]

    def compute(weights: np.ndarray) -> np.ndarray:
        drawn = weights[:, order]
        taken = np.clip(k - (drawn.cumsum(axis=1) - drawn), 0, drawn)
        return divide(taken @ held, taken.sum(axis=1))

    columns = [Column(f"precision_at_{k}", min(k, len(held)))]
    parts, baseline = ([(columns, statistic)] for statistic in (compute, weigh(hits)))
    return metrics.measure(prefix, parts, baseline, len(held), groups=groups, seed=seed)[0]


def rank(y_true: np.ndarray, y_prob: np.ndarray, known: np.ndarray) -> Statistic:
    """Return the statistic of each column's average precision, (c, a), as scikit-learn's average_precision_score."""

    def compute(weights: np.ndarray) -> np.ndarray:
        by_row, found = np.ascontiguousarray(weights.T), []
        for held, prob, kept in zip(y_true.T, -y_prob.T, known.T, strict=True):
            rows, hits = np.flatnonzero(kept), np.flatnonzero(kept * held)  # ranks without a hit add nothing
            hits = hits[np.argsort(prob[hits], kind="stable")]
            above, reached = (count_up_to(prob[hits], prob[part], by_row[part]) for part in (hits, rows))
            gained = by_row[hits]
            found.append(divide((above * gained / np.maximum(reached, 1)).sum(axis=0), gained.sum(axis=0)))
        return np.column_stack(found)

    return compute


def _rate_each(hits, said, true, known) -> list[np.ndarray]:
    """Return accuracy, balanced accuracy, precision, recall and F1 of counts of one shape."""
    rejected = known - said - true + hits
    balanced = average(np.stack([divide(hits, true), divide(rejected, known - true)], axis=-1))
    return [divide(hits + rejected, known), balanced, *compute_rates(hits, said, true)]


def _average_rates(hits, said, true, known, samples) -> np.ndarray:
    """Return the METRICS of decisions, (c, 17), of counts (c, a) and the means over images of RATES, (c, 3)."""
    accuracy, balanced, *each = _rate_each(hits, said, true, known)
    micro = compute_rates(*(counts.sum(axis=1) for counts in (hits, said, true)))
    weighted = [divide(np.nansum(rate * true, axis=1), true.sum(axis=1)) for rate in each]
    absent = compute_rates(known - said - true + hits, known - said, known - true)
    both = [average(average(np.stack(pair, axis=-1))) for pair in zip(each, absent, strict=True)]
    return np.column_stack([*map(average, (accuracy, balanced, *each)), *micro, *weighted, *samples.T, *both])


def _count(labels: Labels, y_pred: np.ndarray):
    """Return what counts, for weights (c, n), the hits, those predicted, those true and those known, each (c, a)."""
    said = y_pred * labels.known
    cells = np.hstack([said * labels.y_true, said, labels.y_true, labels.known])
    return lambda weights: np.split(weights @ cells, 4, axis=1)


def _build(labels: Labels, y_prob: np.ndarray, thresholds: float | np.ndarray) -> list[Part]:
    """Return the statistics of decisions, of the mean average precision and of the mean log loss."""
    y_prob, y_true, known = labels.check(y_prob), labels.y_true, labels.known
    said = (y_prob >= thresholds) * known
    count, ranking = _count(labels, said), rank(y_true, y_prob, known)
    rates = np.column_stack(compute_rates(*(cells.sum(axis=1) for cells in (said * y_true, said, y_true))))
    samples = weigh(np.nan_to_num(rates), np.isfinite(rates))
    losses = weigh(-np.log(np.where(y_true > 0, y_prob, 1 - y_prob).clip(SMALLEST, 1 - SMALLEST)) * known, known)
    n, means = known.any(axis=1).sum(), {f"{mean}_{rate}": mean for mean in MEANS[:4] for rate in RATES}
    columns = [Column(name, n, means.get(name, "mean over attributes")) for name in METRICS]
    return [
        (columns[:-2], lambda weights: _average_rates(*count(weights), samples(weights))),
        (columns[-2:-1], lambda weights: average(ranking(weights))),
        (columns[-1:], lambda weights: average(losses(weights))),
    ]
