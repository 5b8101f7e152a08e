"""A check of metrics, values and intervals, against a library's function of the rows themselves."""

import functools

import numpy as np
import pytest

from facekit.evaluation import bootstrap


@pytest.fixture
def check_against(monkeypatch):
    """Let intervals come from few resamples, for which a library can be asked; NaN is what a library doesn't define."""
    few = functools.partial(bootstrap.draw_weights, resamples=24)
    monkeypatch.setattr(bootstrap, "draw_weights", few)

    def check(metrics, reference, n, groups=None):
        """Compare with `reference`, which takes the places of rows, repeated as drawn, and returns values by last name."""
        expected = reference(np.arange(n))
        draws = [reference(np.repeat(np.arange(n), weights.astype(int))) for weights in np.concatenate(list(few(n, groups)))]
        found = {metric.name.partition("/")[2]: metric for metric in metrics}
        assert set(expected) == set(found)
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(value, abs=1e-9, nan_ok=True), name
            defined = [draw[name] for draw in draws if np.isfinite(draw[name])]
            if len(defined) < 12 or len(set(range(n) if groups is None else groups)) == 1:
                assert found[name].interval is None, name
            else:
                assert found[name].interval == pytest.approx(tuple(np.quantile(defined, [0.025, 0.975])), abs=1e-9), name

    return check
