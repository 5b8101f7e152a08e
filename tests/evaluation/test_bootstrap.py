"""bootstrap.py: whole groups are drawn, chunks change nothing, and the intervals are the right ones."""

import tracemalloc

import numpy as np
import pytest
from scipy import stats

from facekit.errors import ParameterError
from facekit.evaluation import bootstrap
from facekit.evaluation.bootstrap import compute_intervals, draw_weights, resample, weigh


def test_weights_of_a_seed_are_these():
    (weights,) = draw_weights(5, resamples=3, seed=7)
    assert weights.tolist() == [[0, 0, 1, 2, 2], [1, 2, 0, 1, 1], [1, 1, 1, 0, 2]]


@pytest.mark.parametrize("groups", [None, [0, 0, 0, 1, 1, 2, 3, 4, 4, 5]])
def test_chunks_change_nothing(groups, monkeypatch):
    whole = np.concatenate(list(draw_weights(10, groups, resamples=101, seed=3)))
    monkeypatch.setattr(bootstrap, "CHUNK_CELLS", 70)
    parts = list(draw_weights(10, groups, resamples=101, seed=3))
    assert len(parts) == 15
    assert whole.shape == (101, 10)
    assert np.array_equal(np.concatenate(parts), whole)


def test_every_row_is_drawn_once_on_average():
    weights = np.concatenate(list(draw_weights(50, resamples=4_000)))
    assert (weights.sum(axis=1) == 50).all()
    assert np.abs(weights.mean(axis=0) - 1).max() < 0.07
    assert abs(weights.var() - 0.98) < 0.02  # binomial: n p (1 - p)


def test_groups_are_drawn_whole():
    weights = np.concatenate(list(draw_weights(6, ["b", "a", "b", "c", "a", "b"], resamples=500)))
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 5]).all()
    assert (weights[:, 1] == weights[:, 4]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # three groups are drawn each time


def test_one_group_per_row_equals_no_groups():
    plain = resample(weigh(np.arange(8)), 8, seed=1)
    assert np.array_equal(plain, resample(weigh(np.arange(8)), 8, list("hgfedcba"), seed=1))


def test_interval_agrees_with_scipy():
    y = np.random.default_rng(0).exponential(size=300)
    (ours,) = compute_intervals(resample(weigh(y), 300, resamples=20_000))
    theirs = stats.bootstrap((y,), np.mean, n_resamples=20_000, method="percentile", vectorized=True, rng=1)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.006)


def test_interval_of_a_proportion_covers_its_truth():
    # The spread is known: sqrt(p (1 - p) / n) = 0.0229 at n = 400.
    ((low, high),) = compute_intervals(resample(weigh(np.repeat([0, 1], [120, 280])), 400))
    assert low == pytest.approx(0.7 - 1.96 * 0.0229, abs=0.006)
    assert high == pytest.approx(0.7 + 1.96 * 0.0229, abs=0.006)


def test_grouped_interval_is_wider_where_groups_agree():
    y = np.repeat(np.random.default_rng(0).integers(0, 2, 40), 10)
    ((low, high),) = compute_intervals(resample(weigh(y), 400))
    ((low_grouped, high_grouped),) = compute_intervals(resample(weigh(y), 400, np.repeat(range(40), 10)))
    assert 2.5 < (high_grouped - low_grouped) / (high - low) < 3.8  # sqrt(10) = 3.16


def cover(n, groups, resampled, seed=0):
    """Return how many of 2,000 intervals contain the true mean, of values that the rows of a group share by half."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(groups.max() + 1, 2_000))[groups] + random.normal(size=(n, 2_000))
    intervals = np.array(compute_intervals(resample(weigh(values, np.ones((n, 1))), n, resampled)))
    return np.mean((intervals[:, 0] <= 0) & (intervals[:, 1] >= 0))


def test_intervals_contain_the_truth_as_often_as_they_say():
    # benchmarks/coverage.py does so for every metric. An interval of 90 % or 99 %, or one that ignores groups, is off.
    rows, groups = np.arange(200), np.repeat(np.arange(100), np.tile([1, 2, 3, 4], 25))
    assert 0.93 <= cover(200, rows, None) <= 0.97
    assert 0.93 <= cover(250, groups, groups) <= 0.97
    assert cover(250, groups, None) < 0.9


def test_undefined_resamples_are_left_out():
    first, second = compute_intervals(np.array([[np.nan] * 2, [1.0, np.nan], [2.0, np.nan], [3.0, 1.0]]))
    assert first == pytest.approx((1.05, 2.95))
    assert second is None


def test_one_row_or_group_has_no_interval():
    assert compute_intervals(resample(weigh([1]), 1)) == [None]
    assert compute_intervals(resample(weigh([0, 1, 2]), 3, [4, 4, 4])) == [None]


@pytest.mark.parametrize(
    ("n", "groups", "message"),
    [(0, None, "0 groups for 0 rows"), (3, [1, 2], "2 groups for 3 rows"), (2, ["a", None], "1 of them missing")],
)
def test_groups_that_do_not_fit_are_refused(n, groups, message):
    with pytest.raises(ParameterError, match=message):
        resample(weigh(np.ones(n)), n, groups)


def test_memory_is_bounded_at_twenty_thousand_rows():
    y = np.random.default_rng(0).random(20_000)
    tracemalloc.start()
    draws = resample(weigh(y), 20_000, resamples=300)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert draws.shape == (300,)
    assert peak < 120e6
