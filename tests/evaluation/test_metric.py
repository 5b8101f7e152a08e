"""metric.py: statistics become metrics and comparisons with n, interval, baseline and averaging, and format themselves."""

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from facekit.evaluation.bootstrap import join, weigh
from facekit.evaluation.metric import Column, Comparison, Metric, compare, count, from_draws, mean, measure
from facekit.reporting.record import dump_json

RIGHT = np.array([1.0, 1.0, 1.0, 0.0])


def test_a_column_becomes_a_metric():
    columns = [Column("accuracy", 4, "micro"), Column("mse", 3)]
    parts = [(columns, join(weigh(RIGHT), weigh(1 - RIGHT)))]
    first, second = measure("test/age", parts, [(columns, lambda weights: np.array([[0.5, np.nan]]))], 4)
    assert first == Metric("test/age/accuracy", 0.75, (0.25, 1.0), 4, 0.5, "micro")
    assert (second.value, second.n, second.baseline, second.averaging) == (0.25, 3, None, "none")
    assert not second.higher_is_better


def test_an_undefined_value_has_no_interval():
    parts = [([Column("r2", 4)], lambda weights: np.full(len(weights), np.nan))]
    (metric,) = measure("t", parts, parts, 4)
    assert (metric.value, metric.interval, f"{metric:.1%}") == (None, None, "not defined")
    assert np.isnan(float(metric))


@pytest.mark.parametrize(
    ("name", "higher"),
    [
        *((name, False) for name in ("log_loss", "ece", "mse", "mae", "mean_absolute_rank_error", "off_by_one")),
        ("confused_as/OLD/YOUNG", False),
        ("recall/loss", True),  # a class called like a loss
    ],
)
def test_losses_are_known(name, higher):
    parts = [([Column(name, 4)], weigh(RIGHT))]
    (metric,) = measure("t", parts, parts, 4)
    assert metric.higher_is_better == higher


def test_metrics_format_themselves():
    metric = Metric("test/accuracy", 0.816, (0.798, 0.834), 1611)
    assert f"{metric:.1%}" == "81.6% [79.8%, 83.4%]"
    assert f"{metric}" == "0.816 [0.798, 0.834]"
    assert f"{count('cnn/parameters', 1234):,.0f}" == "1,234"
    assert float(metric) == 0.816


def test_comparisons_format_themselves_with_a_sign():
    assert f"{Comparison('a', 'b', 'accuracy', 0.008, (-0.002, 0.018), 9):.1%}" == "+0.8 [-0.2, +1.8] percentage points"
    assert f"{Comparison('a', 'b', 'accuracy', -0.0004, (-0.002, 0.018), 9)}" == "+0.000 [-0.002, +0.018]"
    assert f"{Comparison('a', 'b', 'accuracy', None, None, 1):.1%}" == "not defined"
    assert f"{Comparison('a', 'b', 'accuracy', -0.5, None, 1):+.2f}" == "-0.50"


@pytest.mark.parametrize(
    ("interval", "excludes"), [((0.1, 0.2), True), ((-0.2, -0.1), True), ((-0.1, 0.1), False), (None, False)]
)
def test_a_difference_is_significant_where_its_interval_excludes_zero(interval, excludes):
    assert Comparison("a", "b", "accuracy", 0.1, interval, 10).excludes_zero == excludes


def test_a_comparison_is_paired():
    a, b = weigh([1.0] * 90 + [0.0] * 10), weigh([1.0] * 80 + [0.0] * 20)
    found = compare("accuracy", {"a": a, "b": b}, 100)
    assert found.difference == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.05, 0.16), abs=0.011)
    parts = {name: [([Column("accuracy", 100)], statistic)] for name, statistic in (("a", a), ("b", b))}
    assert found == compare("accuracy", parts, 100)
    assert (found.a, found.b, found.metric, found.n) == ("a", "b", "accuracy", 100)


def test_a_difference_that_is_not_defined_can_be_written_and_read():
    nothing = weigh(RIGHT, RIGHT * 0)
    found = compare("accuracy", {"a": nothing, "b": weigh(RIGHT)}, 4)
    assert (found.difference, found.interval) == (None, None)
    assert TypeAdapter(Comparison).validate_json(dump_json(found)) == found


def test_a_mean_has_interval_and_baseline():
    metric = mean("test/autoencoder/mse", RIGHT, baseline=0.9)
    assert (metric.name, metric.value, metric.interval, metric.n) == ("test/autoencoder/mse", 0.75, (0.25, 1.0), 4)
    assert metric.baseline == 0.9 and not metric.higher_is_better
    assert mean("test/mse", RIGHT, higher_is_better=True).higher_is_better


def test_a_mean_over_some_rows():
    metric = mean("test/accuracy/with Hat", RIGHT * [0, 0, 1, 1], per=[0, 0, 1, 1])
    assert (metric.value, metric.n) == (0.5, 2)
    assert mean("test/accuracy/with Hat", RIGHT * 0, per=RIGHT * 0).value is None


def test_groups_are_drawn_whole():
    y, groups = np.repeat(np.random.default_rng(0).integers(0, 2, 10), 20), np.repeat(range(10), 20)
    spread = [float(np.diff(mean("t/accuracy", y, groups=each).interval)[0]) for each in (None, groups)]
    assert spread[1] > 3 * spread[0]


def test_values_with_draws_become_metrics():
    values, draws = pd.Series({"hat": 2.0, "scarf": np.nan}), np.arange(202.0).reshape(101, 2)
    (metric,) = from_draws("chi_square", values, draws, n=50, baseline=[1.0, 3.0], higher_is_better=False)
    assert metric == Metric("chi_square/hat", 2.0, metric.interval, 50, 1.0, higher_is_better=False)
    assert metric.interval == pytest.approx((5, 195))
    assert from_draws("q_value", values, n=50) == [Metric("q_value/hat", 2.0, None, 50)]
