"""attribute_tests.py: values are those of scikit-learn and SciPy, intervals those of refits, known effects are recovered."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency, false_discovery_control, spearmanr
from sklearn.feature_selection import chi2
from sklearn.linear_model import LogisticRegression

from facekit.data.readers.popularity import Truth
from facekit.data.readers.selfie import ATTRIBUTES
from facekit.errors import DataError
from facekit.evaluation.attribute_tests import (
    fit_effects,
    rank_attributes,
    resample_scores,
)
from facekit.evaluation.bootstrap import draw_weights
from facekit.synthetic import people, populations

EITHER = (rank_attributes, fit_effects)


@pytest.fixture(scope="module")
def rows():
    """600 rows: a drives the class up, b down, c is correlated with a, d is chance, e is rare, f is always 1."""
    random = np.random.default_rng(1)
    attributes = pd.DataFrame({"a": random.random(600) < 0.5, "b": random.random(600) < 0.3})
    attributes["c"] = np.where(random.random(600) < 0.8, attributes["a"], random.random(600) < 0.5)
    attributes["d"], attributes["e"], attributes["f"] = random.random(600) < 0.7, random.random(600) < 0.02, True
    attributes = attributes.astype(int)
    score = 1.0 * attributes["a"] - 0.8 * attributes["b"] + random.normal(0, 0.8, 600)
    return attributes, pd.qcut(score, 3, labels=False).to_numpy()


def test_scores_are_those_of_the_libraries(rows):
    attributes, classes = rows
    found = rank_attributes(attributes, classes)
    tested = found.drop(index="f")
    assert tested["chi_square"].to_numpy() == pytest.approx(chi2(attributes[tested.index], classes)[0])
    for name in tested.index:
        result = chi2_contingency(pd.crosstab(attributes[name], classes), correction=False)
        row = (result.statistic, result.pvalue, result.expected_freq.min())
        assert found.loc[name, ["pearson", "p_value", "expected"]].tolist() == pytest.approx(row)
    assert tested["q_value"].to_numpy() == pytest.approx(false_discovery_control(tested["p_value"]))
    assert tested["cramers_v"].to_numpy() == pytest.approx(np.sqrt(tested["pearson"] / 600))
    # What lies between the two: the share without the tick.
    assert (tested["chi_square"] / tested["pearson"]).to_numpy() == pytest.approx(1 - tested["prevalence"])
    assert found["n"].tolist() == [600] * 6


def test_a_table_by_hand():
    attributes = pd.DataFrame({"hat": [1, 1, 0, 0, 0, 0]})
    found = rank_attributes(attributes, np.array([2, 2, 1, 1, 0, 0])).loc["hat"]
    # Expected 2/3 attributes in each class: (2 - 2/3)^2 / (2/3) + 2 x 2/3 = 4, and of the rows without 4/3 each: 2 more.
    assert found[["chi_square", "pearson", "cramers_v", "lift"]].tolist() == pytest.approx([4.0, 6.0, 1.0, 1.0])
    assert found["expected"] == pytest.approx(2 / 3)


def test_what_all_or_none_have_cannot_be_tested(rows):
    attributes, classes = rows
    found = rank_attributes(attributes.assign(g=0), classes)
    assert found.index[found["pearson"].isna()].tolist() == ["f", "g"]
    assert found.loc[["f", "g"], ["chi_square", "p_value", "q_value", "cramers_v"]].isna().all().all()
    assert found["q_value"].notna().sum() == 5


def test_unknown_values_leave_their_column_only(rows):
    attributes, classes = rows
    holed = attributes.astype(float)
    holed.iloc[::3, 1] = np.nan
    found = rank_attributes(holed, classes)
    kept = np.arange(600) % 3 != 0
    alone = rank_attributes(attributes.loc[kept, ["b"]], classes[kept])
    columns = ["n", "prevalence", "chi_square", "pearson", "p_value", "cramers_v", "lift", "expected"]
    assert found.loc["b", columns].tolist() == pytest.approx(alone.loc["b", columns].tolist())
    assert found.loc["a", columns].tolist() == pytest.approx(rank_attributes(attributes, classes).loc["a", columns].tolist())


@pytest.mark.parametrize("seed", range(6))
def test_scores_with_unknown_values_and_empty_classes_are_those_of_scipy(seed):
    random = np.random.default_rng(seed)
    n, k = (60, 4) if seed < 5 else (4, 2)
    classes = random.permutation(np.arange(n) % k)
    attributes = pd.DataFrame(random.integers(0, 2, (n, 5)).astype(float), columns=list("abcde"))
    attributes = attributes.mask(random.random((n, 5)) < 0.3)
    attributes.loc[classes == 1, "b"] = np.nan  # no row of a class
    attributes.loc[classes != 0, "c"] = np.nan  # rows of one class only: nothing to compare
    attributes["d"] = np.nan
    found = rank_attributes(attributes, classes)
    for name, row in found.iterrows():
        table = pd.crosstab(attributes[name], classes)
        if 1 in table.shape or not table.size:
            assert np.isnan(row["p_value"])
            continue
        result = chi2_contingency(table, correction=False)
        assert row[["n", "pearson", "p_value"]].tolist() == pytest.approx([table.values.sum(), result.statistic, result.pvalue])
        assert row["cramers_v"] == pytest.approx(np.sqrt(result.statistic / table.values.sum()))
    assert found["q_value"].notna().equals(found["p_value"].notna())


KNOWN = "expected 0 or 1, or NaN where it is unknown; map -1 to 0 first"


@pytest.mark.parametrize(
    ("values", "classes", "function", "message"),
    [
        ([[0], [1], [-1]], [0, 1, 1], rank_attributes, f"row 2: hat is -1; {KNOWN}"),
        ([["no"], [1], [0]], [0, 1, 1], rank_attributes, f"row 0: hat is no; {KNOWN}"),
        ([[0.5], [1], [0]], [0, 1, 1], rank_attributes, f"row 0: hat is 0.5; {KNOWN}"),
        ([[0], [1], [-1]], [0, 1, 1], fit_effects, "row 2: hat is -1; expected 0 or 1"),
        (
            [[0], [1], [np.nan]],
            [0, 1, 1],
            fit_effects,
            "row 2: hat is nan; expected 0 or 1; leave out rows where it is unknown",
        ),
        ([[np.nan], [np.nan]], [0, 1], fit_effects, "row 0: hat is nan"),
        *((np.zeros((0, 1)), [], each, "attributes of shape (0, 1), 0 rows of classes []; expected") for each in EITHER),
        *(([[0], [1]], [1, 1], each, "attributes of shape (2, 1), 2 rows of classes [1]") for each in EITHER),
        *(([[0], [1]], [0, 1, 1], each, "attributes of shape (2, 1), 3 rows of classes [0, 1]") for each in EITHER),
        *((np.zeros((2, 0)), [0, 1], each, "attributes of shape (2, 0)") for each in EITHER),
    ],
)
def test_odd_input_is_refused(values, classes, function, message):
    with pytest.raises(DataError, match=re.escape(message)):
        function(pd.DataFrame(values, columns=["hat"][: np.shape(values)[1]]), np.array(classes, int))


def test_what_cannot_be_known_shows_no_effect():
    attributes = pd.DataFrame({"hat": [0, 0, 1, 1, 1], "all": [1] * 5, "none": [0] * 5})
    good = np.array([0, 0, 0, 1, 1])
    table, _, _ = fit_effects(attributes, good)
    assert table.loc[["all", "none"], "log_odds"].tolist() == pytest.approx([0, 0])
    assert table.loc[["all", "none"], "direction"].tolist() == ["not significant"] * 2
    table, _, _ = fit_effects(attributes, good, groups=[7] * 5)  # one group has no spread
    assert table.loc["hat", "log_odds"] > 0.1
    assert table[["low", "high"]].isna().all(axis=None) and set(table["direction"]) == {"not significant"}
    found = rank_attributes(attributes * np.nan, good)  # all unknown
    assert found["n"].tolist() == [0] * 3
    assert found[["chi_square", "p_value", "q_value"]].isna().all(axis=None)


def test_resamples_are_scored_as_rows_are(rows):
    attributes, classes = rows
    groups = np.arange(600) // 2
    chi_square, v = resample_scores(attributes.drop(columns="f"), classes, groups=groups, seed=3)
    weights = next(draw_weights(600, groups, seed=3))[7].astype(int)
    assert (weights[::2] == weights[1::2]).all()
    again = rank_attributes(attributes.drop(columns="f").loc[np.repeat(np.arange(600), weights)], np.repeat(classes, weights))
    assert chi_square[7] == pytest.approx(again["chi_square"])
    assert v[7] == pytest.approx(again["cramers_v"])
    assert chi_square.shape == (2000, 5)


def test_effects_are_adjusted_for_correlated_attributes(rows):
    attributes, classes = rows
    ends = classes != 1
    effects, _, _ = fit_effects(attributes.loc[ends].drop(columns="f"), classes[ends] == 2, seed=1)
    assert effects["direction"].tolist() == ["raises", "lowers", "not significant", "not significant", "not significant"]
    found = rank_attributes(attributes, classes)
    assert (found["q_value"] < 0.05).tolist() == [True, True, True, False, False, False]
    assert effects["odds_ratio"].to_numpy() == pytest.approx(np.exp(effects["log_odds"]))
    plain = LogisticRegression(tol=1e-9, max_iter=1000).fit(attributes.loc[ends].drop(columns="f"), classes[ends] == 2)
    assert effects["log_odds"].to_numpy() == pytest.approx(plain.coef_[0], abs=1e-4)


def test_one_step_is_near_to_a_refit(rows):
    attributes, classes = rows
    ends = classes != 1
    x, good, groups = attributes.loc[ends, list("abcde")], classes[ends] == 2, np.arange(ends.sum()) // 2
    table, draws, _ = fit_effects(x, good, groups=groups, seed=5)
    chosen = np.arange(0, 2000, 20)
    weights = np.concatenate(list(draw_weights(len(x), groups, seed=5)))[chosen]
    refits = np.array([LogisticRegression(tol=1e-9, max_iter=1000).fit(x, good, sample_weight=w).coef_[0] for w in weights])
    wide = (table["high"] - table["low"]).to_numpy()
    assert (np.abs(draws[chosen] - refits).mean(axis=0) < 0.05 * wide).all()
    for place in range(5):
        low, high = np.quantile(refits[:, place], [0.25, 0.75])
        assert np.quantile(draws[chosen, place], [0.25, 0.75]) == pytest.approx([low, high], abs=0.05 * wide[place])


def test_the_sample_gives_back_what_drives_its_popularity():
    """Synthetic people as in the sample, without their images: all 13 effects, their signs and their order are found."""
    random = np.random.default_rng(7)
    faces = [people.draw_selfie(random) for _ in range(2500)]
    popularity = np.array([populations.rate_popularity(random, populations.describe_face(face)) for face in faces])
    attributes = pd.DataFrame([people.label_selfie(random, face) for face in faces], columns=list(ATTRIBUTES)).eq(1).astype(int)
    classes = pd.qcut(popularity, 3, labels=False)
    effects = populations.POPULARITY_EFFECTS
    truth = Truth(populations.POPULARITY_BASE, effects, (), populations.POPULARITY_NOISE, populations.POPULARITY_INDEPENDENT)
    used = [name for name in ATTRIBUTES if name not in ("middle_age", "white")]
    ends = classes != 1
    table, _, _ = fit_effects(attributes.loc[ends, used], classes[ends] == 2, seed=0)
    every = truth.compute_effects(attributes)
    made, direction = every[used], table["direction"].map({"raises": 1, "lowers": -1, "not significant": 0})
    assert (direction == np.sign(made))[made != 0].all()
    assert (direction != 0)[made == 0].mean() <= 0.15
    assert spearmanr(table["log_odds"][made != 0].abs(), made[made != 0].abs()).statistic > 0.9
    independent = (every == 0) & every.index.isin(truth.drawn)
    assert not (rank_attributes(attributes, classes)["q_value"][independent] < 0.05).any()
    assert table["log_odds"].abs().nlargest(2).index.tolist() == ["is_female", "partial_faces"]
    assert set(table.index[table["direction"] == "lowers"]) >= {"frowning", "harsh_lighting", "curly_hair"}
