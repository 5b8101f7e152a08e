"""The synthetic selfies have known effects on popularity, and the committed sample runs find them again."""

import json

import pytest

from facekit.paths import project_root

EFFECTS = {
    "is_female": 0.55,
    "wearing_lipstick": 0.35,
    "straight_hair": 0.25,
    "smiling": 0.30,
    "curly_hair": -0.20,
    "partial_faces": -0.45,
    "youth": 0.20,
    "blond_hair": 0.20,
    "wearing_sunglasses": -0.20,
    "frowning": -0.25,
    "showing_cellphone": -0.15,
    "harsh_lighting": -0.35,
    "dim_lighting": -0.35,
}


def read_sample(task):
    """Return metrics and comparisons of a committed sample run by name."""
    record = json.loads((project_root() / "reports" / "sample" / task / "metrics.json").read_text(encoding="utf-8"))
    assert record["data"]["kind"] == "synthetic"
    metrics = {metric["name"]: metric for metric in record["metrics"]}
    comparisons = {f"{row['a']} minus {row['b']}: {row['metric']}": row for row in record["comparisons"]}
    return metrics, comparisons


def test_sample_of_ranking_finds_what_drives_popularity():
    metrics, _ = read_sample("selfie-ranking")
    assert metrics["truth/found"]["n"] == len(EFFECTS)
    assert metrics["truth/found"]["value"] >= 12 / 13
    assert metrics["truth/signs"]["value"] == 1
    assert metrics["truth/order"]["interval"][0] > 0
    assert metrics["truth/false_effects"]["value"] <= 0.1
    chi_squares = {name: metric["value"] for name, metric in metrics.items() if name.startswith("chi_square/")}
    strongest = sorted(chi_squares, key=chi_squares.get)[-3:]
    assert set(strongest) == {"chi_square/wearing_lipstick", "chi_square/is_female", "chi_square/smiling"}


def test_sample_of_task1_finds_the_ceiling_and_stays_below_it():
    metrics, comparisons = read_sample("selfie-task1")
    low, high = metrics["test/ceiling/popularity/r2"]["interval"]
    assert low < 0.6 < high  # two fifths of the variance are noise
    low, high = metrics["test/36 true attributes/popularity/r2"]["interval"]
    assert low < 0.6 < high
    assert comparisons["ceiling minus A: r2"]["interval"][0] > 0
    assert metrics["test/A/popularity/r2"]["interval"][0] > 0
    # Of six labels five are no: a constant is right on five sixths of them, and on half of the images at most.
    assert metrics["test/A/age labels/accuracy"]["baseline"] == pytest.approx(5 / 6, abs=0.001)
    assert metrics["test/A/age/accuracy"]["baseline"] < 0.55


def test_sample_of_auxiliary_gains_from_true_attributes_and_from_nothing_else():
    metrics, comparisons = read_sample("selfie-auxiliary")
    for name in ("alone", "predicted", "shuffled"):
        assert comparisons[f"true minus {name}: r2"]["interval"][0] > 0
    assert metrics["test/implied gain/r2"]["interval"][0] > 0
    assert comparisons["true minus alone minus implied: r2"]["interval"][0] <= 0  # no more than the formula implies
    gain = comparisons["true minus alone: r2"]["difference"]
    for name in ("multitask", "predicted", "shuffled"):  # they tell nothing that the features do not hold
        assert abs(comparisons[f"{name} minus alone: r2"]["difference"]) < gain / 5


def test_sample_of_task2_lies_between_the_constant_and_the_oracle():
    metrics, comparisons = read_sample("selfie-task2")
    accuracy, oracle = metrics["test/accuracy"], metrics["test/oracle simulated/accuracy"]
    assert accuracy["interval"][0] > accuracy["baseline"]
    assert comparisons["oracle minus network: accuracy"]["interval"][0] > 0
    # With three fifths of the variance known, the right third is known in about two cases of three.
    assert oracle["value"] == pytest.approx(0.65, abs=0.02)
    low, high = metrics["test/oracle/accuracy"]["interval"]
    assert low < oracle["value"] < high
