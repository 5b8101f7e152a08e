"""bootstrap_ranks.py: figures of weighted rows are those of the rows repeated, as scikit-learn and SciPy compute them."""

import time

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score

from facekit.bootstrap import bootstrap_intervals
from facekit.bootstrap_ranks import build_average_precision, build_precision_at, build_spearman

# Ties: none, some, almost only.
DECIMALS = (8, 1, 0)


@pytest.mark.parametrize("decimals", DECIMALS)
def test_average_precision_is_that_of_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    y_true, y_prob = rng.integers(0, 2, (120, 2)), rng.random((120, 2)).round(decimals)
    known = rng.integers(0, 2, (120, 2))
    weights = rng.poisson(1, (5, 120)).astype(float)
    found = build_average_precision(y_true, y_prob, known)(weights)
    for draw, row in zip(found, weights, strict=True):
        for column in range(2):
            kept = known[:, column] > 0
            expected = average_precision_score(y_true[kept, column], y_prob[kept, column], sample_weight=row[kept])
            assert draw[column] == pytest.approx(expected, abs=1e-12)


def test_average_precision_without_hits_is_not_defined():
    y_true = np.array([[0, 1], [0, 1]])
    statistic = build_average_precision(y_true, np.full((2, 2), 0.5), np.array([[1, 1], [1, 0]]))
    found = statistic(np.array([[1.0, 1.0], [0.0, 2.0]]))  # the second resample holds no known hit
    assert np.isnan(found[:, 0]).all()
    assert found[0, 1] == 1.0 and np.isnan(found[1, 1])


def test_average_precision_by_hand():
    # Ranks: a hit, a miss, two tied rows of which one is a hit: 1/2 * 1 + 1/2 * 2/4.
    statistic = build_average_precision(np.array([[1], [0], [1], [0]]), np.array([[0.9], [0.8], [0.7], [0.7]]), np.ones((4, 1)))
    assert statistic(np.ones((1, 4))).tolist() == [[0.75]]


def test_precision_at_takes_rows_as_often_as_they_were_drawn():
    statistic = build_precision_at(3, np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]))
    weights = np.array([[1, 1, 1, 1], [2, 1, 1, 0], [5, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]) * 1.0
    assert statistic(weights).tolist() == pytest.approx([2 / 3, 2 / 3, 1.0, 1.0, np.nan], nan_ok=True)


@pytest.mark.parametrize("decimals", DECIMALS)
def test_spearman_is_that_of_scipy(decimals):
    rng = np.random.default_rng(decimals)
    first = rng.normal(size=80).round(decimals)
    second = (first + rng.normal(size=80)).round(1)
    weights = rng.poisson(1, (5, 80)).astype(float)
    for draw, row in zip(build_spearman(first, second)(weights), weights, strict=True):
        rows = np.repeat(np.arange(80), row.astype(int))
        assert draw == pytest.approx(spearmanr(first[rows], second[rows]).statistic, abs=1e-12)


def test_spearman_of_a_constant_is_not_defined():
    assert np.isnan(build_spearman(np.arange(3.0), np.ones(3))(np.ones((2, 3)))).all()


def test_two_thousand_resamples_take_seconds():
    rng = np.random.default_rng(0)
    y_true, y_prob = rng.random((2_903, 10)) < 0.2, rng.random((2_903, 10))
    started = time.process_time()
    bootstrap_intervals(build_average_precision(y_true, y_prob, np.ones((2_903, 10))), 2_903)
    bootstrap_intervals(build_spearman(y_prob[:, 0], y_prob[:, 1]), 2_903)
    bootstrap_intervals(build_precision_at(20, y_true[:, 0], y_prob[:, 0]), 2_903)
    assert time.process_time() - started < 20
