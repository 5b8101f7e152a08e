"""What is measured of classes that have an order: how far off, not only how often.

The trap this prevents: YOUNG taken for OLD counted like YOUNG taken for MIDDLE. The baseline is the constant that says
the training rows' majority class, which for classes in the middle is never far off: the distances need it beside them.
"""

from collections.abc import Sequence

import numpy as np

from facekit.bootstrap import Statistic
from facekit.errors import ParameterError
from facekit.measured import Figure, Metric, build_metrics, divide
from facekit.metrics import check_classes, count_classes


def measure_ordinal(
    prefix: str,
    y_true: np.ndarray,
    y_pred: np.ndarray,
    classes: Sequence[str],
    *,
    groups: np.ndarray | None = None,
    seed: int = 0,
    baseline_counts: Sequence[int] | None = None,
) -> list[Metric]:
    """Measure decisions between ordered classes.

    Args:
        prefix: what stands before each name, such as `test/age`.
        y_true: (n,) int, 0..k-1.
        y_pred: (n,) int, 0..k-1.
        classes: the k names from lowest to highest, two or more.
        groups: (n,) rows that are drawn together for the intervals, or None.
        seed: of the resampling.
        baseline_counts: (k,) training rows of each class; None takes those of `y_true`.

    Returns:
        off_by_one and off_by_two_or_more (shares of the rows), class_distance (mean of the classes between, 0..k-1),
        quadratic_kappa (agreement beyond chance, an error counted by its distance squared: 1 is perfect, 0 is what a
        constant gets), taken_for/<lowest>/<highest> and taken_for/<highest>/<lowest> (of the rows that are the first,
        the share said to be the second; their n are those rows).

    Raises:
        ParameterError: fewer than two classes, or arrays that do not fit together.

    >>> says = measure_ordinal("t", np.array([0, 1, 2, 2]), np.array([0, 1, 1, 0]), ("YOUNG", "MIDDLE", "OLD"))
    >>> [metric.value for metric in says[:3]], says[5].name, says[5].value
    ([0.25, 0.25, 0.75], 't/taken_for/OLD/YOUNG', 0.5)
    """
    k = len(classes)
    if k < 2:
        raise ParameterError(f"{k} ordered classes", expected="two or more")
    y_true, y_pred = check_classes(y_true, k), check_classes(y_pred, k, rows=len(y_true))
    n = len(y_true)
    constant = np.full(n, int(np.argmax(count_classes(y_true, k, baseline_counts))))
    lowest, highest = classes[0], classes[-1]
    figures = [Figure(name, n) for name in ("off_by_one", "off_by_two_or_more", "class_distance", "quadratic_kappa")]
    figures.append(Figure(f"taken_for/{lowest}/{highest}", (y_true == 0).sum()))
    figures.append(Figure(f"taken_for/{highest}/{lowest}", (y_true == k - 1).sum()))
    return build_metrics(
        prefix,
        figures,
        _build_statistic(y_true, y_pred, k),
        baselines=_build_statistic(y_true, constant, k)(np.ones((1, n)))[0],
        rows=n,
        groups=groups,
        seed=seed,
    )


def _build_statistic(y_true: np.ndarray, y_pred: np.ndarray, k: int) -> Statistic:
    cells = np.eye(k * k)[y_true * k + y_pred]
    away = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    squared = away**2.0

    def compute(weights: np.ndarray) -> np.ndarray:
        confusion = (weights @ cells).reshape(-1, k, k)
        total = confusion.sum(axis=(1, 2))
        true, said = confusion.sum(axis=2), confusion.sum(axis=1)
        shares = [(confusion * chosen).sum(axis=(1, 2)) / total for chosen in (away == 1, away > 1, away)]
        by_chance = np.einsum("ci,ij,cj->c", true, squared, said) / total
        kappa = 1 - divide((confusion * squared).sum(axis=(1, 2)), by_chance)
        extremes = [divide(confusion[:, 0, -1], true[:, 0]), divide(confusion[:, -1, 0], true[:, -1])]
        return np.column_stack([*shares, kappa, *extremes])

    return compute
