"""Which averaging a published precision, recall and F1 can have been: what they exclude, and what ours resemble.

A micro F1 is exactly the harmonic mean of precision and recall (over batches, nearly); a mean of F1s is never above that of
the mean precision and recall, which is concave. A model can trade precision for recall, so our thresholds are moved to where
ours resembles the published values most: all by one step, and each by a share of its attribute's prevalence (1: as if both
classes were equally frequent in training). What then still differs is a resemblance between like models and no proof.
"""

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logit
from scipy.stats import hmean

from facekit.evaluation.bootstrap import average
from facekit.evaluation.classification import compute_rates
from facekit.evaluation.multilabel import MEANS, RATES, Labels, average_rates

VALUES = (*RATES, "accuracy")
PLACES = np.array([(step, share) for step in np.arange(-3, 3.01, 0.25) for share in np.arange(0, 1.01, 0.25)])  # step in logits


def judge(published: dict[str, float], labels: Labels, y_prob, *, batch_size: int | None = None) -> tuple[pd.DataFrame, str]:
    """Compare published values of unnamed averaging with what ours can be under every averaging.

    Args:
        published: precision, recall, f1 and accuracy, with the decimals that were printed.
        batch_size: adds the mean of micro values over batches, as the report's loop may have computed them.

    Returns:
        The table, one row per averaging, the nearest first and the excluded last: our VALUES nearest to the published ones,
        gap (F1 minus the harmonic mean), published_gap, distance (largest difference from a published value), step and share
        (see above), excluded (why, or empty). And a summary of it.
    """
    logits, priors = logit(np.clip(labels.check(y_prob), 1e-9, 1 - 1e-9)), logit(np.clip(labels.prevalence, 1e-4, 1 - 1e-4))
    y_true, known = labels.y_true > 0, labels.known > 0

    def measure(place: np.ndarray, rows: slice = slice(None)) -> dict[str, np.ndarray]:
        said = (logits[rows] >= place[0] + place[1] * priors) & known[rows]
        return measure_averagings(y_true[rows], said, known[rows])

    def find_distance(ours: np.ndarray) -> float:
        # What is not defined resembles nothing.
        return np.nan_to_num(abs(ours - [published[name] for name in VALUES]), nan=1.0).max()

    tried, found = [measure(place) for place in PLACES], {}
    for name in MEANS:
        start = PLACES[np.argmin([find_distance(each[name]) for each in tried])]
        simplex = start + np.array([[0, 0], [0.2, 0], [0, 0.2 if start[1] < 0.9 else -0.2]])
        way = {"method": "Nelder-Mead", "bounds": [(-3, 3), (0, 1)]}  # decisions are counted: no gradient
        way["options"] = {"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-5, "maxfev": 200}
        nearest = minimize(lambda place, name=name: find_distance(measure(place)[name]), start, **way).x
        found[name] = nearest, measure(nearest)[name]
    if batch_size is not None:
        place, starts = found["micro"][0], range(0, len(logits), batch_size)
        batches = [measure(place, slice(start, start + batch_size))["micro"] for start in starts]
        found[f"micro, mean over batches of {batch_size}"] = place, np.nanmean(batches, axis=0)
    gap = published["f1"] - hmean([published["precision"], published["recall"]])
    columns = [*VALUES, "gap", "published_gap", "distance", "step", "share", "excluded"]
    rows = [
        (*ours, ours[2] - hmean(ours[:2]), gap, find_distance(ours), *place, _exclude(name, gap, published))
        for name, (place, ours) in found.items()
    ]
    table = pd.DataFrame(rows, pd.Index(found, name="averaging"), columns)
    table = table.iloc[np.lexsort((table["distance"], table["excluded"] != ""))]
    return table, _summarise(table, published["accuracy"], measure(np.zeros(2))["micro"][3])


def measure_averagings(y_true: np.ndarray, y_pred: np.ndarray, known: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and accuracy (mean over attributes) by averaging; all three arguments are bool (n, a)."""
    cells = (y_true & y_pred, y_pred, y_true, known)
    samples = average(np.stack(compute_rates(*(each.sum(axis=1) for each in cells[:3]))))
    values = average_rates(*(each.sum(axis=0)[None] for each in cells), samples[None])[0]
    return {name: np.r_[rates, values[0]] for name, rates in zip(MEANS, values[2:].reshape(-1, 3), strict=True)}


def _exclude(name: str, gap: float, published: dict[str, float]) -> str:
    precision, recall, f1 = (published[name] for name in RATES)
    half = [0.5 * 10.0 ** -len(repr(float(value)).partition(".")[2]) for value in (precision, recall, f1)]
    gradient = [2 * (other / (precision + recall)) ** 2 for other in (recall, precision)] + [1]
    rounding = np.dot(gradient, half)  # by how much rounding can move the gap
    if name == "micro" and abs(gap) > rounding:
        return f"a micro F1 is the harmonic mean of its precision and recall; this one differs by {abs(gap):.4f}"
    if name != "micro" and gap > rounding:
        return f"a mean of F1s cannot be above the harmonic mean; this one is, by {gap:.4f}"
    return ""


def _summarise(table: pd.DataFrame, published: float, accuracy: float) -> str:
    gap, excluded = table["published_gap"].iloc[0], table.index[table["excluded"] != ""]
    text = f"The published F1 is {abs(gap):.4f} {'below' if gap < 0 else 'above'} the harmonic mean of the published precision "
    text += f"and recall, which excludes {', '.join(excluded) or 'no averaging'}."
    if near := [f"{name} (largest difference {far:.4f})" for name, far in table["distance"].drop(excluded).head(2).items()]:
        text += f" With thresholds moved to where they resemble it most, our values are nearest as {', then as '.join(near)}."
    return f"{text} This assumes models of like quality: published accuracy {published:.4f}, ours {accuracy:.4f}."
