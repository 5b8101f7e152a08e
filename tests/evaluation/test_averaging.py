"""averaging.py: the averaging of published values is found again, and what cannot be is excluded with its reason."""

import numpy as np
import pytest
import yaml

from facekit.evaluation.averaging import judge, measure_averagings
from facekit.evaluation.multilabel import MEANS, RATES, Labels, measure
from facekit.paths import project_root

NAMES = tuple("abcdefgh")
PREVALENCE = np.array([0.02, 0.05, 0.08, 0.12, 0.2, 0.3, 0.45, 0.8])


def draw_model(seed, n=1_000, shift=0.0, share=0.0):
    """Labels and probabilities of a model that moves its decisions by a step and a share of the prevalence."""
    rng = np.random.default_rng(seed)
    y_true = rng.random((n, 8)) < PREVALENCE
    y_true[:, -1] |= ~y_true.any(axis=1)
    slopes = np.linspace(1.5, 3, 8)
    scores = slopes * (rng.normal(size=(n, 8)) + slopes * y_true) - slopes**2 / 2
    logits = scores + (1 - share) * np.log(PREVALENCE / (1 - PREVALENCE)) + shift
    return Labels(NAMES, y_true.astype(int), prevalence=PREVALENCE), 1 / (1 + np.exp(-logits))


def publish(labels, y_prob, name):
    found = measure_averagings(labels.y_true > 0, y_prob >= 0.5, labels.known > 0)[name]
    return {key: round(float(value), 4) for key, value in zip((*RATES, "accuracy"), found, strict=True)}


@pytest.mark.parametrize("name", ["macro", "weighted", "samples", "both_classes"])
@pytest.mark.parametrize(("shift", "share"), [(0.6, 0.0), (-0.3, 0.5)])
def test_the_averaging_of_a_like_model_is_found_again(name, shift, share):
    published = publish(*draw_model(1, shift=shift, share=share), name)  # other rows and another operating point than ours
    table, note = judge(published, *draw_model(2))
    assert table.index[0] == name
    assert table.loc[name, "distance"] < 0.02
    assert table.index[-1] == "micro" and "micro F1 is the harmonic mean" in table.loc["micro", "excluded"]
    assert f"nearest as {name} (largest difference" in note
    assert "which excludes micro." in note


def test_micro_values_are_not_excluded():
    published = publish(*draw_model(1), "micro")
    table, note = judge(published, *draw_model(2))
    assert (table["excluded"] == "").all()
    assert "which excludes no averaging." in note
    assert table.loc["micro", "distance"] < 0.02


def test_the_reports_values_are_not_micro():
    register = yaml.safe_load((project_root() / "reports" / "published.yaml").read_text())
    claims = [claim for source in register.values() for each in source.values() for claim in each.get("claims", [])]
    claims = {claim["id"]: claim.get("value") for claim in claims}
    gaps = []
    for network in ("resnet50", "densenet121"):
        published = {name: claims[f"{network}-{name}"] for name in (*RATES, "accuracy")}
        table, _ = judge(published, *draw_model(2, n=300))
        assert table.index[table["excluded"] != ""].tolist() == ["micro"]
        gaps.append(table["published_gap"].iloc[0])
    assert gaps == pytest.approx([-0.00741, -0.01400], abs=1e-5)


def test_rounding_is_forgiven_and_no_more():
    # 2 * 0.7764 * 0.8118 / (0.7764 + 0.8118) = 0.79371...
    like = {"precision": 0.7764, "recall": 0.8118, "accuracy": 0.9}
    excluded = {
        f1: judge(like | {"f1": f1}, *draw_model(2, n=300))[0].loc["micro", "excluded"] != ""
        for f1 in (0.7937, 0.7938, 0.7939, 0.7935, 0.794)
    }
    assert excluded == {0.7937: False, 0.7938: False, 0.7939: True, 0.7935: True, 0.794: False}  # 0.794 may be 0.7937


def test_values_above_the_harmonic_mean_exclude_every_averaging():
    published = {"precision": 0.7001, "recall": 0.7001, "f1": 0.7501, "accuracy": 0.9}
    table, note = judge(published, *draw_model(2, n=300), batch_size=50)
    assert (table["excluded"] != "").all()
    assert table.loc["macro", "excluded"] == "a mean of F1s cannot be above the harmonic mean; this one is, by 0.0500"
    assert "nearest" not in note


def test_micro_over_batches_moves_the_identity_only_a_little():
    labels, y_prob = draw_model(1)
    table, _ = judge(publish(labels, y_prob, "samples"), *draw_model(2), batch_size=64)
    batched = table.loc["micro, mean over batches of 64"]
    assert abs(table.loc["micro", "gap"]) < 1e-12
    assert -0.003 < batched["gap"] < -1e-5
    assert batched["excluded"] == ""
    assert batched["f1"] == pytest.approx(table.loc["micro", "f1"], abs=0.01)


def test_the_averagings_are_those_of_the_metrics():
    labels, y_prob = draw_model(3, n=400)
    labels = Labels(NAMES, np.where(np.random.default_rng(0).random(y_prob.shape) < 0.5, labels.y_true, -1))
    metrics = {metric.name: metric.value for metric in measure("t", labels, y_prob)}
    known = labels.known > 0
    found = measure_averagings(labels.y_true > 0, (y_prob >= 0.5) & known, known)
    assert tuple(found) == MEANS
    for name, values in found.items():
        expected = [metrics[f"t/{name}_{rate}"] for rate in RATES] + [metrics["t/accuracy"]]
        assert values.tolist() == pytest.approx(expected, abs=1e-12)
