"""classification.py: the values are scikit-learn's, and each comes with n, interval, baseline and averaging."""

import time

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve
from sklearn.dummy import DummyClassifier

from facekit.errors import ParameterError
from facekit.evaluation.classification import calibration, compare, measure

CLASSES = ("NOT smile", "positive smile", "negative smile")
TRUE = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
PREDICTED = np.array([0, 0, 0, 0, 1, 2, 1, 1, 0, 0])


def draw_case(n=600, k=3, seed=0):
    rng = np.random.default_rng(seed)
    y_true = rng.choice(k, n, p=[0.7, 0.2, 0.1])
    logits = rng.normal(size=(n, k)) + 1.5 * np.eye(k)[y_true]
    return y_true, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def index(metrics):
    return {metric.name: metric for metric in metrics}


def test_decisions_by_hand():
    found = index(measure("test", TRUE, PREDICTED, CLASSES))
    values = {name: metric.value for name, metric in found.items()}
    assert values == {
        "test/accuracy": pytest.approx(0.6),
        "test/balanced_accuracy": pytest.approx((4 / 6 + 2 / 3 + 0) / 3),
        "test/macro_f1": pytest.approx((8 / 12 + 4 / 6 + 0) / 3),
        "test/precision/NOT smile": pytest.approx(4 / 6),
        "test/precision/positive smile": pytest.approx(2 / 3),
        "test/precision/negative smile": 0.0,
        "test/recall/NOT smile": pytest.approx(4 / 6),
        "test/recall/positive smile": pytest.approx(2 / 3),
        "test/recall/negative smile": 0.0,
        "test/f1/NOT smile": pytest.approx(8 / 12),
        "test/f1/positive smile": pytest.approx(4 / 6),
        "test/f1/negative smile": 0.0,
    }
    assert [metric.n for metric in found.values()] == [10, 10, 10, 6, 3, 1, 6, 3, 1, 8, 4, 2]
    assert found["test/accuracy"].baseline == 0.6
    assert found["test/balanced_accuracy"].baseline == pytest.approx(1 / 3)
    assert found["test/recall/NOT smile"].baseline == 1.0
    assert found["test/accuracy"].averaging == "none"
    assert found["test/macro_f1"].averaging == found["test/balanced_accuracy"].averaging == "macro"


@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_of_scikit_learn(seed):
    y_true, y_prob = draw_case(seed=seed)
    y_pred = y_prob.argmax(axis=1)
    found = {name: metric.value for name, metric in index(measure("t", y_true, y_prob, CLASSES)).items()}
    each = sklearn_metrics.precision_recall_fscore_support(y_true, y_pred, labels=range(3))
    assert found["t/accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y_true, y_pred), abs=1e-12)
    assert found["t/balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(y_true, y_pred))
    assert found["t/macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y_true, y_pred, average="macro"))
    assert found["t/log_loss"] == pytest.approx(sklearn_metrics.log_loss(y_true, y_prob))
    for what, values in zip(("precision", "recall", "f1"), each, strict=False):
        assert [found[f"t/{what}/{name}"] for name in CLASSES] == pytest.approx(list(values))


def rate_by_scikit_learn(y_true, y_pred, of):
    """Return precision, recall and F1 of a class; NaN of what neither occurs nor was predicted."""
    true, said = y_true == of, y_pred == of
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(true, said, average="binary", zero_division=0)
    either = true.any() or said.any()
    return (precision if either else np.nan), (recall if true.any() else np.nan), (f1 if either else np.nan)


def measure_by_scikit_learn(y_true, y_prob):
    y_pred, top, found = y_prob.argmax(axis=1), y_prob.max(axis=1), {}
    rates = np.array([rate_by_scikit_learn(y_true, y_pred, of) for of in range(3)])
    found["accuracy"] = sklearn_metrics.accuracy_score(y_true, y_pred)
    found["balanced_accuracy"], found["macro_f1"] = np.nanmean(rates[:, 1]), np.nanmean(rates[:, 2])
    for name, of_each in zip(CLASSES, rates, strict=True):
        found |= {f"{rate}/{name}": value for rate, value in zip(("precision", "recall", "f1"), of_each, strict=True)}
    off = np.abs(y_true - y_pred)
    found |= {"off_by_one": np.mean(off == 1), "off_by_two_or_more": np.mean(off > 1)}
    found["mean_absolute_rank_error"] = sklearn_metrics.mean_absolute_error(y_true, y_pred)
    one = len(np.union1d(y_true, y_pred)) == 1  # of which scikit-learn divides 0 by 0
    kappa = np.nan if one else sklearn_metrics.cohen_kappa_score(y_true, y_pred, labels=range(3), weights="quadratic")
    found["quadratic_kappa"] = kappa
    for a, b in ((0, 2), (2, 0)):
        found[f"confused_as/{CLASSES[a]}/{CLASSES[b]}"] = np.mean(y_pred[y_true == a] == b) if (y_true == a).any() else np.nan
    found["log_loss"] = sklearn_metrics.log_loss(y_true, y_prob, labels=range(3))
    bins = np.ceil(np.maximum(top, 1e-9) * 10)
    found["ece"] = sum(abs(np.sum((y_pred == y_true)[bins == b] - top[bins == b])) for b in range(1, 11)) / len(top)
    return found


@pytest.mark.parametrize(
    "case", ["random", "groups", "groups of one", "one group", "one class", "equal scores", "certain", "n = 1"]
)
def test_values_and_intervals_are_those_of_scikit_learn(case, check_against):
    n = 1 if case == "n = 1" else 50
    y_true, y_prob = draw_case(n=n, seed=3)
    y_true = y_true * (case != "one class")
    y_prob = (
        np.full((n, 3), 1 / 3) if case == "equal scores" else np.eye(3)[y_prob.argmax(axis=1)] if case == "certain" else y_prob
    )
    groups = {"groups": np.arange(n) // 3, "groups of one": np.arange(n)[::-1], "one group": np.zeros(n)}.get(case)
    found = measure("t", y_true, y_prob, CLASSES, ordered=True, groups=groups)
    check_against(found, lambda rows: measure_by_scikit_learn(y_true[rows], y_prob[rows]), n, groups)


def test_every_value_stands_in_its_interval_and_the_interval_is_no_point():
    y_true, y_prob = draw_case()
    for metric in measure("t", y_true, y_prob, CLASSES):
        low, high = metric.interval
        assert low < high
        if metric.name != "t/ece":  # whose resamples lie high, as its docstring says
            assert low <= metric.value <= high


def test_baseline_is_the_constant_of_the_training_rows():
    y_true, y_prob = draw_case()
    counts = [100, 300, 50]
    found = index(measure("t", y_true, y_prob, CLASSES, baseline_counts=counts))
    train = np.repeat(range(3), counts)
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((450, 1)), train)
    constant, prior = dummy.predict(np.zeros((600, 1))), dummy.predict_proba(np.zeros((600, 1)))
    assert set(constant) == {1}
    assert found["t/accuracy"].baseline == pytest.approx(sklearn_metrics.accuracy_score(y_true, constant))
    assert found["t/log_loss"].baseline == pytest.approx(sklearn_metrics.log_loss(y_true, prior))
    expected = sklearn_metrics.f1_score(y_true, constant, average="macro", zero_division=0)
    assert found["t/macro_f1"].baseline == pytest.approx(expected)
    assert found["t/recall/positive smile"].baseline == 1.0


def test_losses_are_marked_as_losses():
    y_true, y_prob = draw_case()
    lower = [m.name for m in measure("t", y_true, y_prob, CLASSES) if not m.higher_is_better]
    assert lower == ["t/log_loss", "t/ece"]


def test_certain_and_wrong_costs_what_scikit_learn_says():
    log_loss = measure("t", np.array([0, 1]), np.array([[0.0, 1.0], [0.0, 1.0]]), "ab")[-2]
    assert log_loss.value == pytest.approx(18.021826694558577)  # 52 bits of float64, half of the rows


def test_a_class_without_rows_is_null_and_left_out_of_means():
    found = index(measure("t", np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0]), CLASSES))
    assert found["t/recall/negative smile"].value is None
    assert found["t/recall/negative smile"].interval is None
    assert found["t/precision/negative smile"].value is None
    assert found["t/balanced_accuracy"].value == 0.75


def test_the_cascade_may_decide_otherwise_than_the_highest_probability():
    y_prob = np.array([[0.45, 0.28, 0.27], [0.9, 0.05, 0.05]])
    y_true = np.array([1, 0])
    assert measure("t", y_true, y_prob, CLASSES)[0].value == 0.5
    assert measure("t", y_true, np.array([1, 0]), CLASSES)[0].value == 1.0


def test_groups_widen_the_interval():
    y_true, y_prob = draw_case(n=60)
    y_true, y_prob = np.repeat(y_true, 10), np.repeat(y_prob, 10, axis=0)
    plain = measure("t", y_true, y_prob, CLASSES)[0].interval
    grouped = measure("t", y_true, y_prob, CLASSES, groups=np.repeat(range(60), 10))[0].interval
    assert grouped[1] - grouped[0] > 2.5 * (plain[1] - plain[0])


def test_same_seed_same_interval():
    y_true, y_prob = draw_case(n=100)
    first, again, other = (measure("t", y_true, y_prob, CLASSES, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_two_models_on_the_same_rows():
    y_true = np.repeat([0, 1], 50)
    good, bad = y_true.copy(), y_true.copy()
    good[:5] = 1  # 95 right
    bad[:15] = 1  # 85 right, wrong wherever the other is wrong
    found = compare("accuracy", y_true, {"cascade": good, "single": bad})
    assert (found.a, found.b, found.metric, found.n) == ("cascade", "single", "accuracy", 100)
    assert found.difference == pytest.approx(0.10)
    assert found.interval == pytest.approx((0.05, 0.16), abs=0.011)
    mirrored = compare("accuracy", y_true, {"single": bad, "cascade": good})
    assert mirrored.difference == pytest.approx(-0.10)


COMPARED = ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "ece", "mean_absolute_rank_error", "quadratic_kappa")


@pytest.mark.parametrize("metric", COMPARED)
def test_a_difference_is_that_of_the_metrics(metric):
    y_true, y_prob = draw_case(n=200)
    other = np.roll(y_prob, 1, axis=1)
    values = [index(measure("t", y_true, prob, CLASSES, ordered=True))[f"t/{metric}"].value for prob in (y_prob, other)]
    assert compare(metric, y_true, {"a": y_prob, "b": other}).difference == pytest.approx(values[0] - values[1])
    equal = compare(metric, y_true, {"a": y_prob, "b": y_prob})
    assert (equal.difference, equal.interval) == (0.0, (0.0, 0.0))


def test_calibration_by_hand():
    # Four rows at confidence 0.75 of which three are right, two at 0.95 of which one is.
    y_prob = np.array([[0.75, 0.25]] * 4 + [[0.05, 0.95]] * 2)
    curve = calibration(np.array([0, 0, 0, 1, 1, 0]), y_prob)
    assert curve["n"].tolist() == [4, 2]
    assert curve["confidence"].tolist() == pytest.approx([0.75, 0.95])
    assert curve["accuracy"].tolist() == [0.75, 0.5]
    assert (curve["low"] <= curve["accuracy"]).all() and (curve["accuracy"] <= curve["high"]).all()


def test_calibration_is_that_of_scikit_learn_and_its_error_the_metric():
    y_true, y_prob = draw_case()
    curve = calibration(y_true, y_prob)
    expected = calibration_curve(y_prob.argmax(axis=1) == y_true, y_prob.max(axis=1), n_bins=10)
    assert [curve["accuracy"].tolist(), curve["confidence"].tolist()] == [pytest.approx(list(part)) for part in expected]
    assert curve["n"].sum() == 600
    ece = np.average(abs(curve["accuracy"] - curve["confidence"]), weights=curve["n"])
    assert measure("t", y_true, y_prob, CLASSES)[-1].value == pytest.approx(ece)


YOUNG_TO_OLD = ("YOUNG", "MIDDLE", "OLD")
AGES = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
PREDICTED_AGES = np.array([0, 0, 1, 2, 1, 1, 0, 2, 1, 0])


def measure_ranks(*args, **options):
    return index(measure("t", *args, ordered=True, **options)[-6:])


def test_ordered_classes_by_hand():
    found = measure_ranks(AGES, PREDICTED_AGES, YOUNG_TO_OLD)
    assert {name: (metric.value, metric.n) for name, metric in found.items() if "kappa" not in name} == {
        "t/off_by_one": (0.3, 10),
        "t/off_by_two_or_more": (0.2, 10),
        "t/mean_absolute_rank_error": (0.7, 10),
        "t/confused_as/YOUNG/OLD": (0.25, 4),
        "t/confused_as/OLD/YOUNG": (1.0, 1),
    }
    # The baseline is MIDDLE: never far off, and of no agreement beyond chance.
    assert [metric.baseline for metric in found.values()] == [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]
    assert [name for name, metric in found.items() if metric.higher_is_better] == ["t/quadratic_kappa"]
    young = measure_ranks(AGES, PREDICTED_AGES, YOUNG_TO_OLD, baseline_counts=[9, 1, 1])
    assert young["t/mean_absolute_rank_error"].baseline == pytest.approx((5 + 2) / 10)
    assert young["t/confused_as/OLD/YOUNG"].baseline == 1.0


@pytest.mark.parametrize("k", [2, 3, 5])
def test_kappa_is_that_of_scikit_learn(k):
    rng = np.random.default_rng(k)
    y_true = rng.integers(0, k, 400)
    y_pred = np.clip(y_true + rng.integers(-1, 2, 400), 0, k - 1)
    found = measure_ranks(y_true, y_pred, [str(number) for number in range(k)])
    kappa = sklearn_metrics.cohen_kappa_score(y_true, y_pred, weights="quadratic")
    assert found["t/quadratic_kappa"].value == pytest.approx(kappa)
    assert found["t/mean_absolute_rank_error"].value == pytest.approx(np.abs(y_true - y_pred).mean())
    low, high = found["t/quadratic_kappa"].interval
    assert low < found["t/quadratic_kappa"].value < high


def test_ranks_that_are_not_defined():
    found = measure_ranks(np.array([0, 1, 1]), np.array([0, 1, 0]), YOUNG_TO_OLD)
    assert (found["t/confused_as/OLD/YOUNG"].value, found["t/confused_as/YOUNG/OLD"].value) == (None, 0.0)
    alone = measure_ranks(np.zeros(4, int), np.zeros(4, int), YOUNG_TO_OLD)
    assert (alone["t/quadratic_kappa"].value, alone["t/off_by_one"].value) == (None, 0.0)


@pytest.mark.parametrize(
    ("y_true", "y_prob", "message"),
    [
        ([0, 3], [[1, 0, 0], [1, 0, 0]], "row 1: class 3; expected whole numbers from 0 to 2"),
        ([0, 1], [[1, 0, 0]], r"shape \(1, 3\); expected \(2, 3\)"),
        ([0, 1], [[1, 0, 0], [1, 1, 0]], r"row 1: probabilities \[1.0, 1.0, 0.0\]"),
        ([0, 1], [[1, 0, 0], [np.nan, 1, 0]], "row 1: probabilities"),
        ([0.5, 1], [[1, 0, 0], [1, 0, 0]], "row 0: class 0.5; expected whole numbers"),
        ([], np.zeros((0, 3)), r"shape \(0,\)"),
        ([0, np.nan], [[1, 0, 0], [1, 0, 0]], "row 1: class nan"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(y_true, y_prob, message):
    y_true, y_prob = np.array(y_true), np.array(y_prob)
    with pytest.raises(ParameterError, match=message):
        measure("t", y_true, y_prob, CLASSES)
    with pytest.raises(ParameterError):
        calibration(y_true, y_prob)


def test_unknown_names_are_refused():
    with pytest.raises(ParameterError, match="'auc'; expected one of accuracy, balanced_accuracy, macro_f1, off_by_one"):
        compare("auc", TRUE, {"a": PREDICTED, "b": PREDICTED})
    with pytest.raises(ParameterError, match="'log_loss'; expected one of"):
        compare("log_loss", TRUE, {"a": PREDICTED, "b": PREDICTED})  # decided classes have none
    with pytest.raises(ParameterError, match=r"probabilities of shape \(10, 2\)"):
        measure("t", TRUE, PREDICTED, CLASSES, baseline_counts=[1, 2])
    with pytest.raises(ParameterError, match=r"classes of shape \(0,\)"):
        compare("accuracy", [], {"a": [], "b": []})
    with pytest.raises(ParameterError, match=r"1 models \(a\); expected two models of different names"):
        compare("accuracy", TRUE, {"a": PREDICTED})


def test_pandas_columns_are_taken():
    y_true, y_prob = draw_case(n=40)
    frame = pd.DataFrame({"y": y_true, "group": np.repeat([f"g{i}" for i in range(20)], 2)})
    assert measure("t", frame["y"], y_prob, CLASSES, groups=frame["group"])[0].n == 40


def test_twenty_thousand_rows_take_seconds():
    rng = np.random.default_rng(0)
    y_true = rng.integers(0, 3, 20_000)
    started = time.process_time()
    measure("t", y_true, rng.integers(0, 3, 20_000), CLASSES)
    assert time.process_time() - started < 10
