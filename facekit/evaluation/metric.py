"""A metric is a value with its interval, number of rows and baseline; a comparison is a paired difference of two models.

In this room, `prefix` (`test/stage1`) goes before each name, rows of equal `groups` (n,) are resampled together (None: single
rows), and `seed` is that of the resampling.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from facekit.errors import ParameterError
from facekit.evaluation.bootstrap import Statistic, compute_intervals, join, resample, weigh

LOWER_IS_BETTER = "gap log_loss ece mse mae loss off_by_one off_by_two_or_more mean_absolute_rank_error confused_as".split()


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
        if self.value is None:
            return "not defined"
        value, *bounds = (f"{each:{form or '.3f'}}" for each in (self.value, *(self.interval or ())))
        return f"{value} [{', '.join(bounds)}]" if bounds else value

    def __float__(self) -> float:
        return float(np.nan if self.value is None else self.value)


@dataclass(frozen=True)
class Comparison:
    """How far model `a` exceeds `b` on the same rows, with the 95 % interval of paired resamples; `%`: percentage points."""

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
        if self.difference is None:
            return "not defined"
        percent, digits = form.endswith("%"), form.strip("+%f") or ".3"
        shown = [f"{100**percent * each:+z{digits}f}" for each in (self.difference, *(self.interval or ()))]  # z: no -0.0
        return shown[0] + f" [{', '.join(shown[1:])}]" * (len(shown) > 1) + " percentage points" * percent

    def __float__(self) -> float:
        return float(np.nan if self.difference is None else self.difference)


class Column(NamedTuple):
    """One value of a statistic: its name, the rows that it is computed from, and its averaging."""

    name: str
    n: int
    averaging: str = "none"


# Columns, and the statistic of them all: it takes weights (c, n) and returns (c, columns), NaN where a value is not defined.
Part = tuple[list[Column], Statistic]


def measure(prefix: str, parts: list[Part], baseline: list[Part], rows: int, *, groups=None, seed: int = 0) -> list[Metric]:
    """Compute statistics on the rows, their intervals on resamples, and the same parts of a constant prediction."""
    columns, ones = [column for part, _ in parts for column in part], np.ones((1, rows))
    statistic, constant = (join(*(each for _, each in model[: len(parts)])) for model in (parts, baseline))
    intervals = compute_intervals(resample(statistic, rows, groups, seed=seed))
    found = []
    values = zip(statistic(ones)[0], constant(ones)[0], intervals, strict=True)
    for (name, n, averaging), (value, of_constant, interval) in zip(columns, values, strict=True):
        higher = name.split("/")[0] not in LOWER_IS_BETTER
        found.append(Metric(f"{prefix}/{name}", _define(value), interval, int(n), _define(of_constant), averaging, higher))
    return found


def compare(metric: str, models: dict[str, list[Part] | Statistic], rows: int, *, groups=None, seed: int = 0) -> Comparison:
    """Compare two models, each its statistic, or parts of which one has the metric, on the same rows, resampled in pairs."""
    if len(models) != 2:
        raise ParameterError(f"{len(models)} models ({', '.join(models)})", expected="two models of different names")
    pair = join(*(_select(metric, model) for model in models.values()))
    draws = resample(lambda weights: np.subtract(*pair(weights).T), rows, groups, seed=seed)
    return Comparison(*models, metric, _define(np.subtract(*pair(np.ones((1, rows)))[0])), *compute_intervals(draws), rows)


def mean(name: str, values, *, per=None, baseline=None, groups=None, seed: int = 0, higher_is_better=None) -> Metric:
    """Measure the mean of values (n,), or with `per` (n,) their sum by that of these; LOWER_IS_BETTER goes by the last name."""
    statistic, n = weigh(values, per), len(values) if per is None else int(np.count_nonzero(per))
    (interval,) = compute_intervals(resample(statistic, len(values), groups, seed=seed))
    value = _define(statistic(np.ones((1, len(values)))).item())
    better = name.split("/")[-1] not in LOWER_IS_BETTER if higher_is_better is None else higher_is_better
    return Metric(name, value, interval, n, None if baseline is None else float(baseline), higher_is_better=better)


def count(name: str, value: float, n: int = 1) -> Metric:
    """Record a count, a number of parameters, or another value without an interval."""
    return Metric(name, float(value), None, int(n))


def from_draws(prefix: str, values: pd.Series, draws=None, *, n: int, baseline=None, higher_is_better=True) -> list[Metric]:
    """Return the metric of each defined value of a series; its draws, (resamples, values), give the intervals."""
    intervals = [None] * len(values) if draws is None else compute_intervals(draws)
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
