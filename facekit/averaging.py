"""Which averaging a published precision, recall and F1 can have been: what the numbers exclude, and what ours resemble.

The trap this prevents: our macro F1 set against somebody's samples F1, and called better or worse. The averages of the
same decisions lie further apart than two networks do.

What can be said without the report's predictions:

- micro: one precision and one recall over all cells, so that F1 is exactly their harmonic mean. Published figures for
  which it is not, beyond rounding, are no micro figures. (The mean of such figures over batches moves it a little.)
- macro, weighted, samples: the harmonic mean is concave, so the mean of F1s never lies above the harmonic mean of the
  mean precision and the mean recall. How far below it lies, the gap, differs between these averagings.
- both_classes: scikit-learn's macro average of one attribute is the mean over its two classes, having it and not
  having it; of that the mean over attributes is taken. Its recall is the balanced accuracy. The same rule holds for it.
- A model can trade precision for recall, and class weights do. So our model is moved, without new training, to where it
  resembles the published figures most: all thresholds by one step, and each by a share of its attribute's prevalence (1:
  as if both classes were equally frequent in training). What is still different then is the distance. That takes a
  model of like quality: if ours is far better or worse, every distance is large.

So the nearest averaging is a likeness, no proof of what the report computed.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from facekit.errors import ParameterError
from facekit.measured import average, divide
from facekit.multilabel import Labels, compute_rates

ASKED = ("precision", "recall", "f1")
STEPS = np.arange(-3, 3.01, 0.25)  # logits
SHARES = np.arange(0, 1.01, 0.25)


def judge_averaging(
    published: dict[str, float], labels: Labels, y_prob: np.ndarray, *, batch_size: int | None = None
) -> tuple[pd.DataFrame, str]:
    """Set published figures of unnamed averaging beside what ours can be under every averaging.

    Args:
        published: precision, recall and f1, and accuracy where it is known; with the decimals that were printed.
        labels: of n rows and a attributes; its prevalence is that of the training rows.
        y_prob: (n, a) our probabilities, 0..1.
        batch_size: of the report's loop: the mean of micro figures over batches is shown too, at the place of micro.

    Returns:
        The table: one row an averaging, the nearest first and the excluded last: precision, recall, f1 and accuracy
        (ours, where it resembles the published ones most), gap (our F1 less the harmonic mean), published_gap, distance
        (the largest difference from a published figure), step and share (where that is, see the head of this module),
        excluded (why; empty where nothing speaks against it). And what follows from it, as sentences.

    Raises:
        ParameterError: a published figure is missing or no share, or arrays that do not fit together.
    """
    if wrong := [name for name in (*ASKED, *published) if not 0 < published.get(name, 0) <= 1]:
        raise ParameterError(f"published {wrong[0]}: {published.get(wrong[0])}", expected="a share above 0, up to 1")
    if other := sorted(set(published) - {*ASKED, "accuracy"}):
        raise ParameterError(f"published {other[0]}", expected=f"{', '.join(ASKED)}, accuracy")
    y_prob = np.clip(labels.check_probabilities(y_prob), 1e-9, 1 - 1e-9)
    prevalence = np.clip(labels.prevalence, 1e-4, 1 - 1e-4)
    logits, priors = np.log(y_prob / (1 - y_prob)), np.log(prevalence / (1 - prevalence))
    y_true, known = labels.y_true > 0, labels.known > 0

    def measure(place: np.ndarray, rows: slice = slice(None)) -> dict[str, dict[str, float]]:
        said = (logits[rows] >= place[0] + place[1] * priors) & known[rows]
        return measure_averagings(y_true[rows], said, known[rows])

    places = _find_nearest(measure, published)
    found = {name: (place, measure(place)[name]) for name, place in places.items()}
    if batch_size is not None:
        batches = [slice(first, first + batch_size) for first in range(0, len(y_prob), batch_size)]
        mean = pd.DataFrame([measure(places["micro"], rows)["micro"] for rows in batches]).mean().to_dict()
        found[f"micro, mean over batches of {batch_size}"] = (places["micro"], mean)
    gap = compute_gap(published)
    columns = {name: _describe(place, ours, published) for name, (place, ours) in found.items()}
    table = pd.DataFrame.from_dict(columns, orient="index").rename_axis("averaging")
    table["excluded"] = [_exclude(name, gap, _find_rounding(published)) for name in table.index]
    table = table.iloc[np.lexsort((table["distance"], table["excluded"] != ""))]
    return table, _write_note(table, published, measure(np.zeros(2))["micro"]["accuracy"])


def measure_averagings(y_true: np.ndarray, y_pred: np.ndarray, known: np.ndarray) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and accuracy (mean over attributes) by every averaging.

    Args:
        y_true: bool (n, a).
        y_pred: bool (n, a), False where nothing is known.
        known: bool (n, a).

    >>> found = measure_averagings(np.array([[True, False]]), np.array([[True, True]]), np.ones((1, 2), bool))
    >>> found["micro"]["precision"], found["macro"]["precision"], found["micro"]["accuracy"]
    (0.5, 0.5, 0.5)
    """
    hits = y_true & y_pred
    counts = [cells.sum(axis=0) for cells in (hits, y_pred, y_true, known)]
    each = compute_rates(*counts[:3])
    absent = compute_rates(counts[3] - counts[1] - counts[2] + counts[0], counts[3] - counts[1], counts[3] - counts[2])
    accuracy = average(divide(counts[3] - counts[1] - counts[2] + 2 * counts[0], counts[3]))
    rates = {
        "macro": [average(rate) for rate in each],
        "micro": compute_rates(*(count.sum() for count in counts[:3])),
        "weighted": [divide(np.nansum(rate * counts[2]), counts[2].sum()) for rate in each],
        "samples": [average(rate) for rate in compute_rates(*(cells.sum(axis=1) for cells in (hits, y_pred, y_true)))],
        "both_classes": [average(average(np.stack(pair, axis=1))) for pair in zip(each, absent, strict=True)],
    }
    return {
        name: {key: float(value) for key, value in zip(ASKED, values, strict=True)} | {"accuracy": float(accuracy)}
        for name, values in rates.items()
    }


def compute_gap(figures: dict[str, float]) -> float:
    """Return how far an F1 lies above the harmonic mean of its precision and recall.

    >>> round(compute_gap({"precision": 0.7764, "recall": 0.8118, "f1": 0.7863}), 4)
    -0.0074
    """
    precision, recall, f1 = (figures[name] for name in ASKED)
    return f1 - 2 * precision * recall / (precision + recall) if precision + recall else f1


def _find_nearest(
    measure: Callable[[np.ndarray], dict[str, dict[str, float]]], published: dict[str, float]
) -> dict[str, np.ndarray]:
    """Return for each averaging the step and the share at which our figures are nearest to the published ones."""
    places = [np.array([step, share]) for step in STEPS for share in SHARES]
    tried = [measure(place) for place in places]
    bounds = [(STEPS[0], STEPS[-1]), (SHARES[0], SHARES[-1])]
    nearest = {}
    for name in tried[0]:
        start = places[int(np.argmin([_find_distance(found[name], published) for found in tried]))]
        simplex = start + np.array([[0, 0], [0.2, 0], [0, 0.2 if start[1] < 0.9 else -0.2]])
        nearest[name] = minimize(
            lambda place, name=name: _find_distance(measure(place)[name], published),
            start,
            method="Nelder-Mead",  # decisions are counted, so there is no slope to follow
            bounds=bounds,
            options={"initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-5, "maxfev": 200},
        ).x
    return nearest


def _find_distance(ours: dict[str, float], published: dict[str, float]) -> float:
    # What is not defined resembles nothing.
    return float(max(np.nan_to_num(abs(ours[name] - value), nan=1.0) for name, value in published.items()))


def _describe(place: np.ndarray, ours: dict[str, float], published: dict[str, float]) -> dict[str, float]:
    gaps = {"gap": compute_gap(ours), "published_gap": compute_gap(published)}
    return ours | gaps | {"distance": _find_distance(ours, published), "step": place[0], "share": place[1]}


def _find_rounding(published: dict[str, float]) -> float:
    """Return by how much the gap of rounded figures can differ from that of the unrounded ones."""
    precision, recall, _ = (published[name] for name in ASKED)
    half = [0.5 * 10.0 ** -len(repr(float(published[name])).partition(".")[2]) for name in ASKED]
    slopes = [2 * (other / (precision + recall)) ** 2 for other in (recall, precision)]
    return slopes[0] * half[0] + slopes[1] * half[1] + half[2]


def _exclude(name: str, gap: float, rounding: float) -> str:
    if name == "micro" and abs(gap) > rounding:
        return f"a micro F1 is the harmonic mean of its precision and recall; this one lies {abs(gap):.4f} off"
    if name != "micro" and gap > rounding:
        return f"a mean of F1s cannot lie above the harmonic mean; this one does by {gap:.4f}"
    return ""


def _write_note(table: pd.DataFrame, published: dict[str, float], accuracy: float) -> str:
    gap = compute_gap(published)
    excluded = table.index[table["excluded"] != ""]
    left = table[table["excluded"] == ""].head(2)
    note = f"The published F1 lies {abs(gap):.4f} {'below' if gap < 0 else 'above'} the harmonic mean of the published "
    note += "precision and recall, which excludes " + (f"{', '.join(excluded)}." if len(excluded) else "no averaging.")
    if len(left):
        near = [f"{name} (largest difference {row.distance:.4f}, gap {row.gap:.4f})" for name, row in left.iterrows()]
        note += f" Moved to where they resemble the published ones most, ours are nearest as {', then as '.join(near)}."
    if "accuracy" in published:
        note += " That takes models of like quality: "
        note += f"the published accuracy is {published['accuracy']:.4f}, ours where it is not moved {accuracy:.4f}."
    return note
