"""multilabel.py: every mean is scikit-learn's, unknown labels count nowhere, thresholds and baselines are the right ones."""

import time
import warnings

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from facekit.errors import ParameterError
from facekit.evaluation.bootstrap import resample
from facekit.evaluation.multilabel import (
    MEANS,
    METRICS,
    RATES,
    Labels,
    choose_thresholds,
    compare,
    compute_prevalence,
    measure,
    precision_at,
    rank,
    tabulate,
)

NAMES = ("Male", "Smiling", "Bald")
# Four pictures; by hand below.
TRUE = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 1, 1]])
PROB = np.array([[0.9, 0.8, 0.1], [0.4, 0.7, 0.2], [0.1, 0.6, 0.3], [0.6, 0.2, 0.4]])


def draw_case(n=500, a=6, seed=0):
    rng = np.random.default_rng(seed)
    prevalence = np.linspace(0.1, 0.7, a)
    y_true = (rng.random((n, a)) < prevalence).astype(int)
    y_true[:, 0] |= y_true.sum(axis=1) == 0  # so that no picture has nothing: there the means' conventions part
    y_prob = 1 / (1 + np.exp(-(rng.normal(size=(n, a)) + 2.0 * y_true - 1)))
    return y_true, y_prob


def index(metrics):
    return {metric.name: metric for metric in metrics}


def test_figures_by_hand():
    # Said: Male rows 0, 3; Smiling rows 0, 1, 2; Bald none.
    found = index(measure("test", Labels(NAMES, TRUE), PROB))
    values = {name.removeprefix("test/"): metric.value for name, metric in found.items()}
    assert values["accuracy"] == pytest.approx((2 / 4 + 2 / 4 + 3 / 4) / 3)
    assert values["balanced_accuracy"] == pytest.approx((1 / 2 + (2 / 3 + 0) / 2 + (0 + 1) / 2) / 3)
    assert values["macro_precision"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert values["macro_recall"] == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert values["micro_precision"] == pytest.approx(3 / 5)
    assert values["micro_recall"] == pytest.approx(3 / 6)
    assert values["micro_f1"] == pytest.approx(6 / 11)
    assert values["weighted_precision"] == pytest.approx((2 * 1 / 2 + 3 * 2 / 3 + 0) / 6)
    assert values["weighted_recall"] == values["micro_recall"]
    # Pictures: 2 of 2 said, 2 true; 0 of 1; 1 of 1 said, 1 true; 0 of 1.
    assert values["samples_precision"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert values["samples_recall"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert values["both_classes_precision"] == pytest.approx(((1 / 2 + 1 / 2) + (2 / 3 + 0) + (0 + 3 / 4)) / 6)
    assert values["both_classes_recall"] == pytest.approx(values["balanced_accuracy"])
    assert values["mean_average_precision"] == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 3 + 3 / 4) / 3 + 1) / 3)
    assert list(values) == list(METRICS)


@pytest.mark.parametrize("seed", range(3))
def test_values_are_those_of_scikit_learn(seed):
    y_true, y_prob = draw_case(seed=seed)
    y_pred = (y_prob >= 0.5).astype(int)
    found = {name: metric.value for name, metric in index(measure("t", Labels("abcdef", y_true), y_prob)).items()}
    for mean in ("macro", "micro", "weighted", "samples"):
        expected = sklearn_metrics.precision_recall_fscore_support(y_true, y_pred, average=mean, zero_division=0)[:3]
        assert [found[f"t/{mean}_{what}"] for what in ("precision", "recall", "f1")] == pytest.approx(list(expected), abs=1e-12)
    both = [
        sklearn_metrics.precision_recall_fscore_support(y, p, average="macro")[:3]
        for y, p in zip(y_true.T, y_pred.T, strict=True)
    ]
    assert [found[f"t/both_classes_{what}"] for what in ("precision", "recall", "f1")] == pytest.approx(np.mean(both, axis=0))
    balanced = [sklearn_metrics.balanced_accuracy_score(y, p) for y, p in zip(y_true.T, y_pred.T, strict=True)]
    assert found["t/balanced_accuracy"] == pytest.approx(np.mean(balanced))
    assert found["t/accuracy"] == pytest.approx(1 - sklearn_metrics.hamming_loss(y_true, y_pred))
    assert found["t/mean_average_precision"] == pytest.approx(sklearn_metrics.average_precision_score(y_true, y_prob))
    losses = [sklearn_metrics.log_loss(y, p) for y, p in zip(y_true.T, y_prob.T, strict=True)]
    assert found["t/log_loss"] == pytest.approx(np.mean(losses))


def rate_by_scikit_learn(y, pred):
    """Return precision, recall and F1; NaN of what neither occurs nor was predicted."""
    if not (y.any() or pred.any()):
        return np.full(3, np.nan)
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(y, pred, average="binary", zero_division=0)
    return np.array([precision, recall if y.any() else np.nan, f1])


def average(values, axis=0):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of nothing but NaN the mean is NaN
        return np.nanmean(values, axis=axis)


def rate_rows_by_scikit_learn(y_true, y_prob):
    return np.array([rate_by_scikit_learn(y[y >= 0], prob[y >= 0] >= 0.5) for y, prob in zip(y_true, y_prob, strict=True)])


def measure_by_scikit_learn(y_true, y_prob, rates_of_rows):
    """Measure with -1 as unknown."""
    y_pred, known = y_prob >= 0.5, y_true >= 0
    columns = [(y[k], pred[k], prob[k]) for y, pred, prob, k in zip(y_true.T, y_pred.T, y_prob.T, known.T, strict=True)]
    rates = np.array([rate_by_scikit_learn(y, pred) for y, pred, _ in columns])
    absent = np.array([rate_by_scikit_learn(1 - y, ~pred) for y, pred, _ in columns])
    both = average(np.stack([rates, absent]))
    true = np.array([y.sum() for y, _, _ in columns])
    means = {"macro": average(rates), "micro": rate_by_scikit_learn(y_true[known], y_pred[known])}
    means["weighted"] = np.nansum(rates * true[:, None], axis=0) / true.sum() if true.any() else np.full(3, np.nan)
    means |= {"samples": average(rates_of_rows), "both_classes": average(both)}
    found = {f"{mean}_{rate}": value for mean in MEANS for rate, value in zip(RATES, means[mean], strict=True)}
    found["accuracy"] = average([sklearn_metrics.accuracy_score(y, pred) if len(y) else np.nan for y, pred, _ in columns])
    found["balanced_accuracy"] = average(both[:, 1])
    precisions = [sklearn_metrics.average_precision_score(y, prob) if y.any() else np.nan for y, _, prob in columns]
    losses = [sklearn_metrics.log_loss(y, prob, labels=[0, 1]) if len(y) else np.nan for y, _, prob in columns]
    return found | {"mean_average_precision": average(precisions), "log_loss": average(losses)}


@pytest.mark.parametrize("case", ["random", "groups", "one group", "unknown", "never known", "all", "none", "equal", "n = 1"])
def test_values_and_intervals_are_those_of_scikit_learn_on(case, check_against):
    n = 1 if case == "n = 1" else 20
    y_true, y_prob = draw_case(n=n, a=3, seed=5)
    y_true = np.where(np.random.default_rng(6).random((n, 3)) < 0.4, -1, y_true) if case == "unknown" else y_true
    y_true[:, 1] = {"never known": -1, "all": 1, "none": 0}.get(case, y_true[:, 1])
    y_prob = np.full((n, 3), 0.5) if case == "equal" else y_prob
    groups = {"groups": np.arange(n) // 3, "one group": np.zeros(n)}.get(case)
    rates = rate_rows_by_scikit_learn(y_true, y_prob)
    found = measure("t", Labels("abc", y_true, groups), y_prob)
    check_against(found, lambda rows: measure_by_scikit_learn(y_true[rows], y_prob[rows], rates[rows]), n, groups)


def test_each_figure_names_its_averaging_and_has_an_interval_around_it():
    y_true, y_prob = draw_case()
    found = index(measure("t", Labels("abcdef", y_true), y_prob))
    for name, metric in found.items():
        low, high = metric.interval
        assert low < metric.value < high, name
        assert metric.n == 500
    assert found["t/accuracy"].averaging == found["t/mean_average_precision"].averaging == "mean over attributes"
    assert [found[f"t/{mean}_f1"].averaging for mean in ("macro", "micro", "weighted", "samples")] == [
        "macro",
        "micro",
        "weighted",
        "samples",
    ]
    assert [name for name, metric in found.items() if not metric.higher_is_better] == ["t/log_loss"]


def test_interval_of_the_mean_accuracy_is_that_of_the_pictures_mean():
    # Mean over attributes of accuracies = mean over pictures of their shares, whose standard error is known.
    y_true, y_prob = draw_case(n=2_000)
    right = ((y_prob >= 0.5) == y_true).mean(axis=1)
    low, high = index(measure("t", Labels("abcdef", y_true), y_prob))["t/accuracy"].interval
    assert (high - low) / 2 == pytest.approx(1.96 * right.std() / np.sqrt(2_000), rel=0.1)


def test_baseline_is_the_majority_of_the_training_rows():
    prevalence = np.array([0.9, 0.5, 0.2])  # yes, no (a draw), no
    found = index(measure("t", Labels(NAMES, TRUE, prevalence=prevalence), PROB))
    assert found["t/accuracy"].baseline == pytest.approx((2 / 4 + 1 / 4 + 3 / 4) / 3)
    assert found["t/balanced_accuracy"].baseline == 0.5
    assert found["t/micro_recall"].baseline == pytest.approx(2 / 6)
    assert found["t/mean_average_precision"].baseline == pytest.approx((2 / 4 + 3 / 4 + 1 / 4) / 3)
    expected = [
        -(share * np.log(p) + (1 - share) * np.log(1 - p)) for share, p in zip(TRUE.mean(axis=0), prevalence, strict=True)
    ]
    assert found["t/log_loss"].baseline == pytest.approx(np.mean(expected))


def test_what_is_not_known_counts_nowhere():
    y_true, y_prob = draw_case(n=40)
    weight = np.random.default_rng(1).integers(0, 2, y_true.shape)
    weight[:3] = 0
    labels = Labels("abcdef", np.where(weight, y_true, -1))
    assert index(measure("t", Labels("abcdef", np.where(weight, y_true, np.nan)), y_prob)) == index(
        measure("t", labels, y_prob)
    )
    found = index(measure("t", labels, y_prob))
    other = np.where(weight, y_prob, 1 - y_prob)  # anything where it is not known
    assert index(measure("t", labels, other)) == found
    assert found["t/accuracy"].n == 37
    right = [((p >= 0.5) == y)[w > 0].mean() for y, p, w in zip(y_true.T, y_prob.T, weight.T, strict=True)]
    assert found["t/accuracy"].value == pytest.approx(np.mean(right))
    table = tabulate(labels, y_prob)
    assert table["n"].tolist() == weight.sum(axis=0).tolist()
    assert table["accuracy"].tolist() == pytest.approx(right)
    assert np.array_equal(choose_thresholds(labels, y_prob), choose_thresholds(labels, other))


def test_an_attribute_that_nobody_has_is_left_out_of_what_it_cannot_say():
    y_true, y_prob = np.array([[1, 0], [0, 0]]), np.array([[0.9, 0.1], [0.1, 0.2]])
    found = index(measure("t", Labels("ab", y_true), y_prob))
    assert found["t/macro_recall"].value == found["t/macro_f1"].value == found["t/accuracy"].value == 1.0
    assert found["t/mean_average_precision"].value == 1.0
    assert found["t/samples_f1"].value == 1.0  # of the one picture that has something
    table = tabulate(Labels("ab", y_true), y_prob)
    assert table.loc["b", ["recall", "recall_low", "average_precision"]].isna().all()
    assert table.loc["b", "accuracy"] == 1.0


def test_an_attribute_that_is_never_known_is_nan():
    table = tabulate(Labels("ab", np.array([[1, -1], [0, -1]])), np.full((2, 2), 0.6))
    assert table.loc["b", "n"] == 0
    assert table.loc["b", ["prevalence", "baseline", "accuracy", "accuracy_low", "f1"]].isna().all()


def test_table_of_attributes_by_hand():
    table = tabulate(Labels(NAMES, TRUE, prevalence=[0.6, 0.4, 0.1]), PROB, thresholds=[0.5, 0.5, 0.35])
    assert table.index.tolist() == list(NAMES)
    assert table["prevalence"].tolist() == [0.5, 0.75, 0.25]
    assert table["baseline"].tolist() == [0.5, 0.25, 0.75]
    assert table["threshold"].tolist() == [0.5, 0.5, 0.35]
    assert table["accuracy"].tolist() == [0.5, 0.5, 1.0]
    assert table["precision"].tolist() == pytest.approx([1 / 2, 2 / 3, 1])
    assert table["average_precision"].tolist() == pytest.approx([5 / 6, 29 / 36, 1])
    assert (table["accuracy_low"] <= table["accuracy"]).all() and (table["accuracy"] <= table["accuracy_high"]).all()


def test_groups_widen_the_interval_and_seeds_repeat_it():
    y_true, y_prob = draw_case(n=60)
    y_true, y_prob = np.repeat(y_true, 10, axis=0), np.repeat(y_prob, 10, axis=0)
    widths = []
    for groups in (None, np.repeat(range(60), 10)):
        low, high = measure("t", Labels("abcdef", y_true, groups=groups), y_prob, seed=3)[0].interval
        widths.append(high - low)
    assert widths[1] > 2.5 * widths[0]
    labels = Labels("abcdef", y_true)
    assert measure("t", labels, y_prob, seed=1) == measure("t", labels, y_prob, seed=1)
    assert measure("t", labels, y_prob, seed=1)[0].interval != measure("t", labels, y_prob)[0].interval


def test_thresholds_are_the_best_that_there_are():
    y_true, y_prob = draw_case(n=80)
    labels = Labels("abcdef", y_true)
    scores = {"f1": sklearn_metrics.f1_score, "accuracy": sklearn_metrics.accuracy_score}
    for criterion, score in scores.items():
        chosen = choose_thresholds(labels, y_prob, criterion)
        for column, threshold in enumerate(chosen):
            y, p = y_true[:, column], y_prob[:, column]
            every = [score(y, p >= cut) for cut in [*np.unique(p), 0.0, 1.0]]
            assert score(y, p >= threshold) == pytest.approx(max(every))


@pytest.mark.parametrize(
    ("y_true", "y_prob", "criterion", "expected"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "f1", 0.5),  # 0.5 decides as well as any
        ([0, 0, 1, 1], [0.1, 0.2, 0.4, 0.9], "f1", 0.3),  # the middle between what it parts
        ([0, 1, 0, 1], [0.2, 0.3, 0.4, 0.9], "accuracy", 0.5),  # 3 of 4 at 0.25 too, but 0.5 is nearer to itself
        ([1, 1, 1, 1], [0.1, 0.2, 0.3, 0.4], "f1", 0.05),  # all must be said to hold
        ([0, 0, 0, 0], [0.6, 0.7, 0.8, 0.9], "accuracy", 0.95),  # none must be
        ([0, 0, 0, 0], [0.6, 0.7, 0.8, 0.9], "f1", 0.5),  # nothing to find
        ([0, 1, 1, 0], [0.5, 0.5, 0.5, 0.5], "accuracy", 0.5),
        ([0, 0, 0, 1], [1.0, 1.0, 1.0, 1.0], "accuracy", 0.5),  # no threshold says no to them; one in reach of all
        ([0, 1], [0.0, 1.0], "f1", 0.5),
        ([-1, -1], [0.2, 0.9], "f1", 0.5),  # never known
        ([-1, -1], [0.2, 0.9], "accuracy", 0.5),
        ([-1, 1, 0], [0.9, 0.4, 0.2], "f1", 0.3),
    ],
)
def test_threshold_by_hand(y_true, y_prob, criterion, expected):
    labels = Labels(("Bald",), np.array(y_true)[:, None])
    assert choose_thresholds(labels, np.array(y_prob)[:, None], criterion).tolist() == pytest.approx([expected])


def test_thresholds_chosen_on_some_rows_move_decisions_on_others():
    y_true, y_prob = draw_case(n=900)
    y_prob = y_prob**3  # too low, all of them
    chosen = choose_thresholds(Labels("abcdef", y_true[:450]), y_prob[:450])
    assert (chosen < 0.5).all()
    labels = Labels("abcdef", y_true[450:])
    moved = index(measure("t", labels, y_prob[450:], thresholds=chosen))
    plain = index(measure("t", labels, y_prob[450:]))
    assert moved["t/macro_f1"].value > plain["t/macro_f1"].value + 0.1
    assert moved["t/mean_average_precision"] == plain["t/mean_average_precision"]


def test_models_are_compared_in_pairs():
    y_true, y_prob = draw_case(n=400)
    labels = Labels("abcdef", y_true)
    worse = np.where(np.random.default_rng(0).random(y_true.shape) < 0.05, 1 - y_prob, y_prob)
    whole = {name: index(measure("t", labels, prob)) for name, prob in (("a", y_prob), ("b", worse))}
    for metric in ("accuracy", "macro_f1", "samples_f1", "mean_average_precision", "log_loss"):
        found = compare(metric, labels, {"a": y_prob, "b": worse})
        parts = [whole[name][f"t/{metric}"] for name in "ab"]
        assert found.difference == pytest.approx(parts[0].value - parts[1].value)
        low, high = found.interval
        assert low <= found.difference <= high
        assert (low > 0) if metric != "log_loss" else (high < 0)
        assert high - low < max(part.interval[1] - part.interval[0] for part in parts)
        assert (found.a, found.b, found.metric, found.n) == ("a", "b", metric, 400)


def test_prevalence_of_training_rows():
    assert compute_prevalence(TRUE).tolist() == [0.5, 0.75, 0.25]
    assert compute_prevalence(np.array([[1, -1]])).tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"y_true": TRUE[:, :2]}, r"labels of shape \(4, 2\); expected \(n, 3\)"),
        ({"y_true": np.zeros((0, 3))}, r"labels of shape \(0, 3\)"),
        ({"y_true": TRUE + 1}, "row 0, Male: label 2; expected 0 or 1"),
    ],
)
def test_labels_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(ParameterError, match=message):
        Labels(NAMES, **({"y_true": TRUE} | fields))


def test_arrays_that_do_not_fit_are_refused():
    labels = Labels(NAMES, TRUE)
    with pytest.raises(ParameterError, match=r"probabilities of shape \(3, 3\); expected \(4, 3\)"):
        measure("t", labels, PROB[:3])
    with pytest.raises(ParameterError, match="row 0, Male: probability 1.8; expected 0 to 1"):
        tabulate(labels, PROB * 2)
    with pytest.raises(ParameterError, match="row 1, Bald: probability nan"):
        measure("t", labels, np.where(PROB == 0.2, np.nan, PROB))
    with pytest.raises(ParameterError, match=r"probabilities of shape \(4, 1\)"):
        measure("t", Labels(NAMES, TRUE, prevalence=[0.5]), PROB)
    with pytest.raises(ParameterError, match="metric 'f1'; expected one of accuracy"):
        compare("f1", labels, {"a": PROB, "b": PROB})
    with pytest.raises(ParameterError, match="3 groups for 4 rows"):
        measure("t", Labels(NAMES, TRUE, groups=[1, 2, 3]), PROB)
    with pytest.raises(ParameterError, match="row 1, Bald: probability nan; expected 0 to 1"):
        choose_thresholds(labels, np.where(PROB == 0.2, np.nan, PROB))
    with pytest.raises(ParameterError, match=r"probabilities of shape \(0, 3\)"):
        choose_thresholds(labels, PROB[:0])
    with pytest.raises(ParameterError, match="criterion 'recall'; expected f1 or accuracy"):
        choose_thresholds(labels, PROB, "recall")


def test_forty_attributes_of_a_thousand_pictures_take_seconds():
    y_true, y_prob = draw_case(n=1_000, a=40)
    started = time.process_time()
    measure("t", Labels([str(number) for number in range(40)], y_true), y_prob)
    assert time.process_time() - started < 10


# Ties: none, some, almost only.
@pytest.mark.parametrize("decimals", [8, 1, 0])
def test_average_precision_of_resamples_is_that_of_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    y_true, y_prob = rng.integers(0, 2, (120, 2)), rng.random((120, 2)).round(decimals)
    known = rng.integers(0, 2, (120, 2))
    weights = rng.poisson(1, (5, 120)).astype(float)
    for values, row in zip(rank(y_true, y_prob, known)(weights), weights, strict=True):
        for column in range(2):
            kept = known[:, column] > 0
            score = sklearn_metrics.average_precision_score(y_true[kept, column], y_prob[kept, column], sample_weight=row[kept])
            assert values[column] == pytest.approx(score, abs=1e-12)


def test_average_precision_without_hits_is_not_defined():
    statistic = rank(np.array([[0, 1], [0, 1]]), np.full((2, 2), 0.5), np.array([[1, 1], [1, 0]]))
    found = statistic(np.array([[1.0, 1.0], [0.0, 2.0]]))  # the second resample holds no known hit
    assert np.isnan(found[:, 0]).all()
    assert found[0, 1] == 1.0 and np.isnan(found[1, 1])


def test_precision_at_k_against_the_prevalence():
    y_true, y_prob = draw_case()
    hits, scores = y_true[:, 4], y_prob[:, 4]
    metric = precision_at("test/retrieval/Hat", hits, scores)
    assert (metric.name, metric.n) == ("test/retrieval/Hat/precision_at_20", 20)
    assert metric.value == hits[np.argsort(-scores, kind="stable")[:20]].mean()
    assert metric.baseline == hits.mean() < metric.interval[0] <= metric.value <= metric.interval[1]
    few = precision_at("t", hits[:8], scores[:8])
    assert (few.n, few.value) == (8, hits[:8].mean())


def test_precision_at_k_ranks_each_resample_anew():
    # Drawn rows by hand: of three hits and a miss of the lowest score, 2 are looked at.
    hits, scores = np.array([1, 1, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1])
    draws = np.random.default_rng((0,)).integers(4, size=(2_000, 4))
    expected = [hits[np.sort(draw)][:2].mean() for draw in draws]
    assert precision_at("t", hits, scores, k=2).interval == tuple(np.quantile(expected, [0.025, 0.975]))


def test_average_precisions_of_resamples_take_seconds():
    rng = np.random.default_rng(0)
    started = time.process_time()
    resample(rank(rng.random((2_903, 10)) < 0.2, rng.random((2_903, 10)), np.ones((2_903, 10))), 2_903)
    assert time.process_time() - started < 20
