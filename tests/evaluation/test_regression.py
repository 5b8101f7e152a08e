"""regression.py: the values are scikit-learn's and SciPy's, against the mean of the training rows."""

import time

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn import metrics as sklearn_metrics

from facekit.errors import ParameterError
from facekit.evaluation.bootstrap import resample
from facekit.evaluation.regression import compare, correlate, measure


def draw_case(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.normal(4, 1, n)
    return y_true, 4 + 0.6 * (y_true - 4) + rng.normal(0, 0.5, n)


def index(metrics):
    return {metric.name: metric for metric in metrics}


def test_values_are_those_of_the_libraries():
    y_true, y_pred = draw_case()
    y_pred = y_pred.round(1)  # ties
    found = index(measure("test/popularity", y_true, y_pred))
    assert found["test/popularity/mse"].value == pytest.approx(sklearn_metrics.mean_squared_error(y_true, y_pred))
    assert found["test/popularity/mae"].value == pytest.approx(sklearn_metrics.mean_absolute_error(y_true, y_pred))
    assert found["test/popularity/r2"].value == pytest.approx(sklearn_metrics.r2_score(y_true, y_pred))
    assert found["test/popularity/spearman"].value == pytest.approx(spearmanr(y_true, y_pred).statistic)
    for metric in found.values():
        assert metric.interval[0] < metric.value < metric.interval[1]
        assert metric.n == 300
    assert [metric.higher_is_better for metric in found.values()] == [False, False, True, True]


@pytest.mark.parametrize("case", ["random", "ties", "groups", "groups of one", "one group", "equal", "equal scores", "n = 1"])
def test_values_and_intervals_are_those_of_the_libraries(case, check_against):
    n = 1 if case == "n = 1" else 40
    y_true, y_pred = draw_case(n=n, seed=2)
    y_true, y_pred = (y_true.round(), y_pred.round()) if case == "ties" else (y_true, y_pred)
    # The mean of forty 0.7 is not quite 0.7.
    y_true, y_pred = (y_true * 0 + 0.7 if case == "equal" else y_true), (y_pred * 0 + 4 if case == "equal scores" else y_pred)
    groups = {"groups": np.arange(n) // 3, "groups of one": np.arange(n)[::-1], "one group": np.zeros(n)}.get(case)

    def reference(rows):
        y, pred, mean = y_true[rows], y_pred[rows], np.full(len(rows), y_true.mean())
        found = {"mse": sklearn_metrics.mean_squared_error(y, pred), "mae": sklearn_metrics.mean_absolute_error(y, pred)}
        varied = {name: len(set(values)) > 1 for name, values in (("y", y), ("pred", pred), ("all", y_true))}
        found["r2"] = 1 - found["mse"] / sklearn_metrics.mean_squared_error(y, mean) if varied["all"] else np.nan
        return found | {"spearman": spearmanr(y, pred).statistic if varied["y"] and varied["pred"] else np.nan}

    check_against(measure("t", y_true, y_pred, groups=groups), reference, n, groups)


def test_r2_is_against_the_mean_of_the_training_rows():
    y_true, y_pred = np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.0])
    mse, mae, r2, spearman = measure("t", y_true, y_pred, baseline_mean=1.0)
    assert mse.value == pytest.approx(1 / 3)
    assert r2.value == pytest.approx(1 - 1 / 5)  # the constant's squared errors: 0, 1, 4
    assert (mse.baseline, mae.baseline, r2.baseline) == (pytest.approx(5 / 3), 1.0, 0.0)
    assert spearman.baseline is None


def test_a_constant_prediction_is_as_good_as_the_baseline_and_has_no_order():
    y_true, _ = draw_case(n=50)
    mse, mae, r2, spearman = measure("t", y_true, np.full(50, 4.0), baseline_mean=4.0)
    assert (mse.value, mae.value) == (mse.baseline, mae.baseline)
    assert r2.value == 0.0
    assert (spearman.value, spearman.interval) == (None, None)


def test_a_constant_truth_has_no_r2():
    _, _, r2, spearman = measure("t", np.full(4, 2.0), np.array([1.0, 2.0, 3.0, 2.0]))
    assert r2.value is None and r2.baseline is None and spearman.value is None
    # The mean of three 0.1 is 0.10000000000000002; of the training rows it may be either.
    for mean in (None, 0.1, np.mean([0.1] * 3)):
        _, _, r2, _ = measure("t", np.full(3, 0.1), np.array([1.0, 2.0, 3.0]), baseline_mean=mean)
        assert (r2.value, r2.interval, r2.baseline) == (None, None, None)


def test_a_difference_of_what_is_not_defined_is_not_defined():
    y_true, y_pred = draw_case(n=5)
    found = compare("spearman", y_true, {"constant": np.zeros(5), "model": y_pred})
    assert (found.difference, found.interval, found.excludes_zero, f"{found:+.1%}") == (None, None, False, "not defined")
    assert np.isnan(float(found))


def test_interval_of_the_rank_correlation_is_as_wide_as_theory_says():
    # Fisher: the standard error of atanh(r) is about 1.03 / sqrt(n - 3) for Spearman.
    y_true, y_pred = draw_case(n=1_000)
    metric = measure("t", y_true, y_pred)[3]
    low, high = np.arctanh(metric.interval)
    assert (high - low) / 2 == pytest.approx(1.96 * 1.06 / np.sqrt(997), rel=0.15)


def test_groups_widen_and_seeds_repeat():
    y_true, y_pred = (np.repeat(values, 8) for values in draw_case(n=60))
    plain = measure("t", y_true, y_pred)
    grouped = measure("t", y_true, y_pred, groups=np.repeat(range(60), 8))
    for one, other in zip(plain, grouped, strict=True):
        assert other.interval[1] - other.interval[0] > 2 * (one.interval[1] - one.interval[0])
    assert plain == measure("t", y_true, y_pred)
    assert plain != measure("t", y_true, y_pred, seed=1)


@pytest.mark.parametrize("metric", ["mse", "mae", "r2", "spearman"])
def test_models_are_compared_in_pairs(metric):
    y_true, y_pred = draw_case()
    worse = y_pred + np.random.default_rng(5).normal(0, 0.7, 300)
    parts = [
        {m.name: m.value for m in measure("t", y_true, pred, baseline_mean=3.9)}[f"t/{metric}"] for pred in (y_pred, worse)
    ]
    found = compare(metric, y_true, {"alone": y_pred, "noisy": worse}, baseline_mean=3.9)
    assert found.difference == pytest.approx(parts[0] - parts[1])
    low, high = found.interval
    assert (high < 0) if metric in ("mse", "mae") else (low > 0)
    assert (found.a, found.b, found.metric, found.n) == ("alone", "noisy", metric, 300)


def test_several_networks_have_the_mean_of_their_metrics():
    y_true, y_pred = draw_case(n=100)
    networks = np.stack([y_pred, y_pred + 0.3, 0.5 * y_true + 2])
    found = measure("t", y_true, networks, baseline_mean=4.0)
    each = [[metric.value for metric in measure("t", y_true, network, baseline_mean=4.0)] for network in networks]
    assert [metric.value for metric in found] == pytest.approx(np.mean(each, axis=0))
    assert [metric.n for metric in found] == [100] * 4
    expected = found[2].value - each[0][2]
    assert compare("r2", y_true, {"all": networks, "first": y_pred}, baseline_mean=4.0).difference == pytest.approx(expected)


@pytest.mark.parametrize("decimals", [8, 1, 0])  # ties: none, some, almost only
def test_ranks_of_resamples_are_correlated_as_in_scipy(decimals):
    rng = np.random.default_rng(decimals)
    first = rng.normal(size=80).round(decimals)
    second = (first + rng.normal(size=80)).round(1)
    weights = rng.poisson(1, (5, 80)).astype(float)
    for value, row in zip(correlate(first, second)(weights), weights, strict=True):
        rows = np.repeat(np.arange(80), row.astype(int))
        assert value == pytest.approx(spearmanr(first[rows], second[rows]).statistic, abs=1e-12)


def test_two_thousand_resamples_take_seconds():
    started = time.process_time()
    resample(correlate(*np.random.default_rng(0).random((2, 2_903))), 2_903)
    assert time.process_time() - started < 10


def test_values_that_do_not_fit_are_refused():
    y_true, y_pred = draw_case(n=3)
    with pytest.raises(ParameterError, match=r"values of shape \(3, 1\); expected \(3,\), one number per row"):
        measure("t", y_true, y_pred[:, None])
    with pytest.raises(ParameterError, match=r"values of shape \(2,\); expected \(3,\)"):
        measure("t", y_true, y_pred[:2])
    with pytest.raises(ParameterError, match="row 1: value nan; expected a finite number"):
        measure("t", np.array([1.0, np.nan, 2.0]), y_pred)
    with pytest.raises(ParameterError, match="value inf"):
        measure("t", y_true, y_pred, baseline_mean=np.inf)
    with pytest.raises(ParameterError, match="metric 'rmse'; expected one of mse, mae, r2, spearman"):
        compare("rmse", y_true, {"a": y_pred, "b": y_pred})
