"""measured.py: a statistic becomes metrics and comparisons, with n, interval, baseline and averaging."""

import numpy as np
import pytest

from facekit.errors import ParameterError
from facekit.measured import Figure, build_metrics, compare_statistics

RIGHT = np.array([1.0, 1.0, 1.0, 0.0])


def compute_two(weights):
    share = weights @ RIGHT / weights.sum(axis=1)
    return np.column_stack([share, 1 - share])


def test_a_column_becomes_a_metric():
    figures = [Figure("accuracy", 4, "micro"), Figure("mse", 3)]
    first, second = build_metrics("test/age", figures, compute_two, baselines=[0.5, np.nan], rows=4)
    assert first.to_dict() == {
        "name": "test/age/accuracy",
        "value": 0.75,
        "interval": [0.25, 1.0],
        "n": 4,
        "baseline": 0.5,
        "averaging": "micro",
        "higher_is_better": True,
    }
    assert (second.value, second.n, second.baseline, second.averaging) == (0.25, 3, None, "none")
    assert not second.higher_is_better


def test_what_is_not_defined_has_no_interval():
    (metric,) = build_metrics("t", [Figure("r2", 4)], lambda w: np.full((len(w), 1), np.nan), baselines=[0.0], rows=4)
    assert (metric.value, metric.interval) == (None, None)


@pytest.mark.parametrize("name", ["log_loss", "ece", "mse", "mae", "class_distance", "off_by_one", "taken_for/OLD/YOUNG"])
def test_losses_are_known(name):
    (metric,) = build_metrics("t", [Figure(name, 4)], lambda w: compute_two(w)[:, :1], baselines=[0.0], rows=4)
    assert not metric.higher_is_better


def test_a_class_that_is_called_like_a_loss_is_none():
    (metric,) = build_metrics("t", [Figure("recall/loss", 4)], lambda w: compute_two(w)[:, :1], baselines=[0.0], rows=4)
    assert metric.higher_is_better


def test_groups_are_drawn_whole():
    spread = []
    for groups in (None, np.repeat(range(10), 20)):
        y = np.repeat(np.random.default_rng(0).integers(0, 2, 10), 20).astype(float)
        share = lambda w, y=y: (w @ y / w.sum(axis=1))[:, None]  # noqa: E731
        (metric,) = build_metrics("t", [Figure("accuracy", 200)], share, baselines=[0.5], rows=200, groups=groups)
        spread.append(metric.interval[1] - metric.interval[0])
    assert spread[1] > 3 * spread[0]


def test_a_comparison_is_paired():
    a, b = np.array([1.0] * 90 + [0.0] * 10), np.array([1.0] * 80 + [0.0] * 20)
    pair = {"a": lambda w: w @ a / w.sum(axis=1), "b": lambda w: w @ b / w.sum(axis=1)}
    found = compare_statistics("accuracy", pair, 100)
    assert found["difference"] == pytest.approx(0.1)
    assert found["interval"] == pytest.approx([0.05, 0.16], abs=0.011)
    assert (found["a"], found["b"], found["metric"], found["n"]) == ("a", "b", "accuracy", 100)
    with pytest.raises(ParameterError, match="3 models to compare; expected two"):
        compare_statistics("accuracy", pair | {"c": pair["a"]}, 100)
