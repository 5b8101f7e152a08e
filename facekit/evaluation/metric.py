"""A metric is a value with its interval, number of rows and baseline; a comparison is a paired difference of two models.

In this room, rows of equal `groups` (n,) are resampled together (None: single rows), and `seed` is that of the resampling.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from facekit.errors import ParameterError
from facekit.evaluation.bootstrap import Statistic, compute_interval, compute_intervals, join, weigh

LOWER_IS_BETTER = ("log_loss", "ece", "mse", "mae", "loss", "off_by_one", "off_by_two_or_more")
LOWER_IS_BETTER += ("mean_absolute_rank_error", "confused_as")


@dataclass(frozen=True)
class Metric:
    """One measured value; `f"{metric:.1%}"` is `81.6% [79.8%, 83.4%]`."""

    name: str  # the split, then what and of whom: `test/accuracy`, `test/smile/recall/negative smile`
    value: float | None  # None where it is not defined (the recall of a class that no row has)
    interval: tuple[float, float] | None  # 95 %, bootstrap
    n: int  # rows that the value is computed from
    baseline: float | None = None  # what a constant prediction reaches, such as the majority class
    averaging: str = "none"  # or macro, micro, weighted, samples, mean over attributes
    higher_is_better: bool = True

    def __format__(self, form: str) -> str:
        return _format(self.value, self.interval, form or ".3f")

    def __float__(self) -> float:
        return float(np.nan if self.value is None else self.value)


@dataclass(frozen=True)
class Comparison:
    """How far model `a` exceeds model `b` on the same rows, with the 95 % interval of paired resamples."""

    a: str
    b: str
    metric: str
    difference: float | None  # None where the metric of either model is not defined
    interval: tuple[float, float] | None
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the difference is significant: its interval does not contain 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def __format__(self, form: str) -> str:
        return _format(self.difference, self.interval, "+" + (form or ".3f").lstrip("+"))

    def __float__(self) -> float:
        return float(np.nan if self.difference is None else self.difference)


class Column(NamedTuple):
    """One value of a statistic: its name, the rows that it is computed from, and its averaging."""

    name: str
    n: int
    averaging: str = "none"


class Part(NamedTuple):
    """A statistic that takes weights (c, n) and returns (c, columns), NaN where a value is not defined; and its columns."""

    columns: list[Column]
    statistic: Statistic


def measure(prefix: str, parts: list[Part], rows: int, *, baseline=(), groups=None, seed: int = 0) -> list[Metric]:
    """Compute statistics on the rows, intervals on resamples, and the same parts of a constant prediction, if any."""
    columns, ones = [column for part in parts for column in part.columns], np.ones((1, rows))
    statistic = join(*(part.statistic for part in parts))
    constants = [np.nan] * len(columns)
    if baseline:
        constants = join(*(part.statistic for part in baseline[: len(parts)]))(ones)[0]
    intervals = compute_intervals(statistic, rows, groups, seed=seed)
    found = []
    for (name, n, averaging), value, interval, constant in zip(columns, statistic(ones)[0], intervals, constants, strict=True):
        higher = name.split("/")[0] not in LOWER_IS_BETTER
        found.append(Metric(f"{prefix}/{name}", _define(value), interval, int(n), _define(constant), averaging, higher))
    return found


def compare(metric: str, models: dict[str, list[Part] | Statistic], rows: int, *, groups=None, seed: int = 0) -> Comparison:
    """Compare two models, each its statistic, or parts of which one has the metric, on the same rows, resampled in pairs."""
    if len(models) != 2:
        raise ParameterError(f"{len(models)} models ({', '.join(models)})", expected="two models of different names")
    pair = join(*(_select(metric, model) for model in models.values()))
    (interval,) = compute_intervals(lambda weights: np.subtract(*pair(weights).T), rows, groups, seed=seed)
    return Comparison(*models, metric, _define(np.subtract(*pair(np.ones((1, rows)))[0])), interval, rows)


def mean(
    name: str, values: np.ndarray, *, per=None, baseline=None, groups=None, seed: int = 0, higher_is_better: bool | None = None
) -> Metric:
    """Measure the mean of one value per row, such as whether it is right; with `per` (n,), the sum of values by that of these.

    `higher_is_better` None goes by the name's last part (LOWER_IS_BETTER).
    """
    statistic, n = weigh(values, per), len(values) if per is None else int(np.count_nonzero(per))
    (interval,) = compute_intervals(statistic, len(values), groups, seed=seed)
    value = _define(statistic(np.ones((1, len(values)))).item())
    better = name.split("/")[-1] not in LOWER_IS_BETTER if higher_is_better is None else higher_is_better
    return Metric(name, value, interval, n, None if baseline is None else float(baseline), higher_is_better=better)


def count(name: str, value: float, n: int = 1) -> Metric:
    """Record a count, a number of parameters, or another value without an interval."""
    return Metric(name, float(value), None, int(n))


def from_draws(prefix: str, values: pd.Series, draws=None, *, n: int, baseline=None, higher_is_better=True) -> list[Metric]:
    """Return the metric of each defined value of a series; its draws, (resamples, values), give the intervals."""
    intervals = [None] * len(values) if draws is None else map(compute_interval, draws.T)
    constants = pd.Series(baseline, values.index, dtype=float)
    return [
        Metric(f"{prefix}/{name}", float(value), interval, int(n), _define(constant), higher_is_better=higher_is_better)
        for (name, value), interval, constant in zip(values.items(), intervals, constants, strict=True)
        if np.isfinite(value)
    ]


def _define(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _select(metric: str, model: list[Part] | Statistic) -> Statistic:
    if callable(model):
        return model
    for columns, statistic in model:
        names = [column.name for column in columns]
        if metric in names:
            return lambda weights: statistic(weights).reshape(len(weights), -1)[:, names.index(metric)]
    known = [column.name for columns, _ in model for column in columns if "/" not in column.name]
    raise ParameterError(f"metric {metric!r}", expected=f"one of {', '.join(known)}")


def _format(value: float | None, interval: tuple[float, float] | None, form: str) -> str:
    if value is None:
        return "not defined"
    return f"{value:{form}}" + (f" [{interval[0]:{form}}, {interval[1]:{form}}]" if interval else "")
