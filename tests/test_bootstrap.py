"""bootstrap.py: whole groups are drawn, chunks change nothing, and the intervals are the right ones."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from facekit.bootstrap import (
    bootstrap_intervals,
    bootstrap_weights,
    compute_interval,
    number_groups,
    resample_statistic,
)
from facekit.errors import ParameterError


def compute_means(y):
    return lambda weights: weights @ y / weights.sum(axis=1)


def test_weights_of_a_seed_are_these():
    (weights,) = bootstrap_weights(5, resamples=3, seed=7)
    assert weights.tolist() == [[0, 0, 1, 2, 2], [1, 2, 0, 1, 1], [1, 1, 1, 0, 2]]


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, 2, 3, 4, 4, 5]])
def test_chunks_change_nothing(groups):
    whole = np.concatenate(list(bootstrap_weights(10, groups=groups, resamples=101, seed=3)))
    parts = list(bootstrap_weights(10, groups=groups, resamples=101, seed=3, chunk_cells=70))
    assert len(parts) == 15
    assert whole.shape == (101, 10)
    assert np.array_equal(np.concatenate(parts), whole)


def test_every_row_is_drawn_once_on_average():
    weights = np.concatenate(list(bootstrap_weights(50, resamples=4_000, seed=0)))
    assert (weights.sum(axis=1) == 50).all()
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.07
    assert abs(weights.var() - 0.98) < 0.02  # binomial: n p (1 - p)


def test_groups_are_drawn_whole():
    groups = ["b", "a", "b", "c", "a", "b"]
    weights = np.concatenate(list(bootstrap_weights(6, groups=groups, resamples=500, seed=0)))
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # three groups are drawn each time


def test_one_group_a_row_is_the_same_as_no_groups():
    plain = resample_statistic(compute_means(np.arange(8.0)), 8, seed=1)
    grouped = resample_statistic(compute_means(np.arange(8.0)), 8, seed=1, groups=list("abcdefgh"))
    assert np.array_equal(plain, grouped)


def test_interval_agrees_with_scipy():
    y = np.random.default_rng(0).exponential(size=300)
    (ours,) = bootstrap_intervals(compute_means(y), 300, seed=0, resamples=20_000)
    theirs = stats.bootstrap((y,), np.mean, n_resamples=20_000, method="percentile", vectorized=True, rng=1)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)


def test_interval_of_a_proportion_covers_its_truth():
    # The spread is known: sqrt(p (1 - p) / n) = 0.0229 at n = 400.
    y = np.repeat([0.0, 1.0], [120, 280])
    ((low, high),) = bootstrap_intervals(compute_means(y), 400)
    assert low == pytest.approx(0.7 - 1.96 * 0.0229, abs=0.006)
    assert high == pytest.approx(0.7 + 1.96 * 0.0229, abs=0.006)


def test_grouped_interval_is_wider_where_groups_agree():
    y = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10).astype(float)
    ((low, high),) = bootstrap_intervals(compute_means(y), 400)
    ((low_grouped, high_grouped),) = bootstrap_intervals(compute_means(y), 400, groups=np.repeat(range(40), 10))
    assert 2.5 < (high_grouped - low_grouped) / (high - low) < 3.8  # sqrt(10) = 3.16


def test_paired_differences_are_narrower_than_apart():
    rng = np.random.default_rng(0)
    a = rng.random(500)
    b = a - 0.01 + rng.normal(0, 0.005, 500)
    pair = bootstrap_intervals(lambda w: compute_means(a)(w) - compute_means(b)(w), 500)
    assert pair[0][0] > 0.009 and pair[0][1] < 0.011


def test_undefined_resamples_are_left_out():
    assert compute_interval(np.array([np.nan, 1.0, 2.0, 3.0])) == pytest.approx((1.05, 2.95))
    assert compute_interval(np.array([np.nan, np.nan, np.nan, 1.0])) is None


def test_one_row_or_group_has_no_interval():
    assert bootstrap_intervals(compute_means(np.ones(1)), 1) == [None]
    assert bootstrap_intervals(compute_means(np.arange(3.0)), 3, groups=[4, 4, 4]) == [None]


@pytest.mark.parametrize(
    ("n", "groups", "message"),
    [(0, None, "no rows"), (3, [1, 2], "2 groups for 3 rows"), (2, ["a", None], "row 1 has no group")],
)
def test_what_does_not_fit_is_refused(n, groups, message):
    with pytest.raises(ParameterError, match=message):
        number_groups(n, groups)


def test_memory_is_bounded_at_twenty_thousand_rows():
    y = np.random.default_rng(0).random(20_000)
    tracemalloc.start()
    draws = resample_statistic(compute_means(y), 20_000, resamples=300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert draws.shape == (300,)
    assert peak < 120e6
