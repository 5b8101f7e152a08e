"""One measured figure: its value with its interval, its number of rows, its averaging and what a constant would reach.

The trap this prevents: every kind of figure (of classes, of attributes, of a regression) written down in a way of its
own, one of them without the baseline or the interval. All of them are statistics of weighted rows, and all become
metrics, or a comparison of two models, here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

from facekit.bootstrap import Statistic, bootstrap_intervals
from facekit.errors import ParameterError

AVERAGINGS = ("none", "macro", "micro", "weighted", "samples", "mean over attributes")
# Of these the lower one is better; a figure's name begins with them.
LOWER_IS_BETTER = ("log_loss", "ece", "mse", "mae", "loss", "class_distance", "off_by_one", "off_by_two_or_more", "taken_for")


@dataclass(frozen=True)
class Metric:
    """One measured figure.

    Args:
        name: split first, then what and of whom, such as `test/accuracy` or `test/smile/recall/negative smile`.
        value: the figure; None where it is not defined (the recall of a class that no row has).
        interval: 95 % bootstrap interval (low, high); None where there is none.
        n: rows that the figure rests on.
        baseline: what a constant prediction reaches; None where there is none.
        averaging: one of AVERAGINGS.
        higher_is_better: False for losses.
    """

    name: str
    value: float | None
    interval: tuple[float, float] | None
    n: int
    baseline: float | None = None
    averaging: str = "none"
    higher_is_better: bool = True

    def __post_init__(self):
        if self.averaging not in AVERAGINGS:
            raise ParameterError(f"{self.name}: averaging {self.averaging!r}", expected=", ".join(AVERAGINGS))

    def to_dict(self) -> dict:
        """Return the metric as metrics.json holds it."""
        return asdict(self) | {"interval": None if self.interval is None else list(self.interval)}


class Figure(NamedTuple):
    """What a column of a statistic is called, how many rows it rests on, and how it was averaged."""

    name: str
    n: int
    averaging: str = "none"


def write_value(value: float, interval: Sequence[float], form: str = ".3f") -> str:
    """Return a figure with its 95 % interval, as a sentence or a table holds it.

    Args:
        value: the figure.
        interval: low and high.
        form: how a number is written, in Python's words; ".1%" for a share, "+.3f" for a difference.

    >>> write_value(0.5, (0.412, 0.6), "+.1%")
    '+50.0% [+41.2%, +60.0%]'
    """
    low, high = interval
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def build_metrics(
    prefix: str,
    figures: Sequence[Figure],
    statistic: Statistic,
    *,
    baselines: Sequence[float],
    rows: int,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> list[Metric]:
    """Compute a statistic on the rows and on resamples of them.

    Args:
        prefix: what stands before each name.
        figures: one for each column of the statistic.
        statistic: takes weights (c, rows), returns (c, figures); NaN where a figure is not defined.
        baselines: (figures,) what a constant reaches; NaN where there is none.
        rows: how many.
        groups: (rows,) rows that are drawn together, or None.
        seed: of the resampling.

    Returns:
        One metric a figure, in their order.
    """
    values = statistic(np.ones((1, rows)))[0]
    intervals = bootstrap_intervals(statistic, rows, groups=groups, seed=seed)
    return [
        Metric(
            name=f"{prefix}/{figure.name}",
            value=float(value) if np.isfinite(value) else None,
            interval=interval if np.isfinite(value) else None,
            n=int(figure.n),
            baseline=float(baseline) if np.isfinite(baseline) else None,
            averaging=figure.averaging,
            higher_is_better=figure.name.split("/")[0] not in LOWER_IS_BETTER,
        )
        for figure, value, interval, baseline in zip(figures, values, intervals, baselines, strict=True)
    ]


def compare_statistics(
    metric: str, models: dict[str, Statistic], rows: int, *, groups: np.ndarray | None = None, seed: int = 0
) -> dict:
    """Compare two models by one figure on the same rows: how far the first lies above the second, resampled in pairs.

    Args:
        metric: the figure's name.
        models: two names, each with a statistic that returns (c,) for weights (c, rows).
        rows: how many.
        groups: (rows,) rows that are drawn together, or None.
        seed: of the resampling.

    Returns:
        A comparison as metrics.json holds it: a, b, metric, difference (a minus b), interval, n.

    Raises:
        ParameterError: not two models.

    >>> says = [lambda w, right=np.array(right): w @ right / w.sum(axis=1) for right in ([1, 1], [1, 0])]
    >>> compare_statistics("accuracy", dict(zip("ab", says)), 2)["difference"]
    0.5
    """
    if len(models) != 2:
        raise ParameterError(f"{len(models)} models to compare", expected="two")
    first, second = models.values()

    def subtract(weights: np.ndarray) -> np.ndarray:
        return first(weights) - second(weights)

    (interval,) = bootstrap_intervals(subtract, rows, groups=groups, seed=seed)
    a, b = models
    difference = float(subtract(np.ones((1, rows)))[0])
    found = {"difference": difference, "interval": None if interval is None else list(interval), "n": rows}
    return {"a": a, "b": b, "metric": metric} | found


def divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Divide, with NaN where nothing stands below.

    >>> divide(np.array([1.0, 1.0]), np.array([2.0, 0.0])).tolist()
    [0.5, nan]
    """
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def average(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without the undefined ones.

    >>> average(np.array([[1.0, np.nan], [1.0, 2.0]])).tolist()
    [1.0, 1.5]
    """
    return divide(np.nansum(values, axis=-1), np.isfinite(values).sum(axis=-1))
