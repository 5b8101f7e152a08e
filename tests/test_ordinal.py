"""ordinal.py: how far off, with scikit-learn's kappa, and the constant beside it."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from facekit.errors import ParameterError
from facekit.ordinal import measure_ordinal

CLASSES = ("YOUNG", "MIDDLE", "OLD")
TRUE = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
SAID = np.array([0, 0, 1, 2, 1, 1, 0, 2, 1, 0])


def index(metrics):
    return {metric.name: metric for metric in metrics}


def test_figures_by_hand():
    found = index(measure_ordinal("test/age", TRUE, SAID, CLASSES))
    assert {name: (metric.value, metric.n) for name, metric in found.items() if "kappa" not in name} == {
        "test/age/off_by_one": (0.3, 10),
        "test/age/off_by_two_or_more": (0.2, 10),
        "test/age/class_distance": (0.7, 10),
        "test/age/taken_for/YOUNG/OLD": (0.25, 4),
        "test/age/taken_for/OLD/YOUNG": (1.0, 1),
    }
    # The constant says MIDDLE: never far off, and of no agreement beyond chance.
    assert {name.removeprefix("test/age/"): metric.baseline for name, metric in found.items()} == {
        "off_by_one": 0.5,
        "off_by_two_or_more": 0.0,
        "class_distance": 0.5,
        "quadratic_kappa": 0.0,
        "taken_for/YOUNG/OLD": 0.0,
        "taken_for/OLD/YOUNG": 0.0,
    }
    assert [name for name, metric in found.items() if metric.higher_is_better] == ["test/age/quadratic_kappa"]


@pytest.mark.parametrize("k", [2, 3, 5])
def test_kappa_is_that_of_scikit_learn(k):
    rng = np.random.default_rng(k)
    y_true = rng.integers(0, k, 400)
    y_pred = np.clip(y_true + rng.integers(-1, 2, 400), 0, k - 1)
    found = index(measure_ordinal("t", y_true, y_pred, [str(number) for number in range(k)]))
    assert found["t/quadratic_kappa"].value == pytest.approx(cohen_kappa_score(y_true, y_pred, weights="quadratic"))
    assert found["t/class_distance"].value == pytest.approx(np.abs(y_true - y_pred).mean())
    low, high = found["t/quadratic_kappa"].interval
    assert low < found["t/quadratic_kappa"].value < high


def test_baseline_is_the_majority_of_the_training_rows():
    found = index(measure_ordinal("t", TRUE, SAID, CLASSES, baseline_counts=[9, 1, 1]))
    assert found["t/class_distance"].baseline == pytest.approx((5 + 2) / 10)  # always YOUNG
    assert found["t/taken_for/OLD/YOUNG"].baseline == 1.0


def test_a_class_that_no_row_has_is_not_defined():
    found = index(measure_ordinal("t", np.array([0, 1, 1]), np.array([0, 1, 0]), CLASSES))
    assert found["t/taken_for/OLD/YOUNG"].value is None
    assert found["t/taken_for/YOUNG/OLD"].value == 0.0


def test_one_class_alone_has_no_kappa():
    found = index(measure_ordinal("t", np.zeros(4, int), np.zeros(4, int), CLASSES))
    assert found["t/quadratic_kappa"].value is None
    assert found["t/off_by_one"].value == 0.0


def test_groups_widen_the_interval():
    y_true, y_pred = np.repeat(TRUE, 20), np.repeat(SAID, 20)
    plain = measure_ordinal("t", y_true, y_pred, CLASSES)[0].interval
    grouped = measure_ordinal("t", y_true, y_pred, CLASSES, groups=np.repeat(range(10), 20))[0].interval
    assert grouped[1] - grouped[0] > 2.5 * (plain[1] - plain[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ParameterError, match="1 ordered classes; expected two or more"):
        measure_ordinal("t", np.array([0]), np.array([0]), ("YOUNG",))
    with pytest.raises(ParameterError, match="row 2: class 3; expected 0 to 2"):
        measure_ordinal("t", np.array([0, 1, 3]), np.array([0, 1, 2]), CLASSES)
    with pytest.raises(ParameterError, match="baseline_counts"):
        measure_ordinal("t", TRUE, SAID, CLASSES, baseline_counts=[1, 2])
