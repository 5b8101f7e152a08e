"""Which attributes are associated with a class: chi-square as published and as Pearson meant it, and a regression.

The traps this prevents: a chi-square read as an effect (it grows with the rows), 36 tests without a correction, and
`sklearn.feature_selection.chi2` taken for Pearson's test: of 0 and 1 it gives Pearson's value times the proportion of zeros.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2, false_discovery_control, pearsonr, rankdata
from sklearn.linear_model import LogisticRegression

from facekit.errors import DataError
from facekit.evaluation.bootstrap import compute_interval, divide, resample
from facekit.evaluation.metric import Metric, from_draws


def rank_attributes(attributes: pd.DataFrame, classes: np.ndarray) -> pd.DataFrame:
    """Test each attribute (n, a), of 1, 0 and NaN (unknown), against the class (n,), 0..k-1.

    Returns:
        One row per attribute: n (known rows), prevalence, chi_square (as scikit-learn's chi2), pearson (its statistic),
        p_value, q_value (Benjamini and Hochberg's false discovery rate), cramers_v (0..1, whatever n), lift (prevalence in
        the highest class minus that in the lowest), expected (smallest expected count; below 5 the p-value can't be
        trusted). NaN for a column that is always 0 or always 1, which can't be tested.
    """
    for row, column in np.argwhere(~attributes.isin([0, 1, np.nan]).to_numpy())[:1]:
        received = f"row {row}: {attributes.columns[column]} is {attributes.iloc[row, column]:g}"
        raise DataError(received, expected="0 or 1, or NaN where it is unknown", hint="map -1 to 0 first")
    k, n = np.max(classes) + 1, len(classes)
    rows = attributes.notna().groupby(classes).sum()
    prevalence = attributes.mean()
    found = pd.DataFrame({"n": rows.sum(), "prevalence": prevalence})
    found["chi_square"], v = np.split(_build_scores(attributes, classes)(np.ones((1, n)))[0], 2)
    found["pearson"] = found["n"] * v**2
    found["p_value"] = chi2.sf(found["pearson"], (rows > 0).sum() - 1)  # a class without known rows is no degree of freedom
    found["q_value"] = pd.Series(false_discovery_control(tested := found["p_value"].dropna()), tested.index)
    found["cramers_v"] = v
    found["lift"] = attributes[classes == k - 1].mean() - attributes[classes == 0].mean()
    return found.assign(expected=rows.min() * np.minimum(prevalence, 1 - prevalence))


def resample_scores(attributes: pd.DataFrame, classes: np.ndarray, *, groups=None, seed: int = 0) -> list[np.ndarray]:
    """Return chi_square (a resample adds chance of its own, about k - 1) and cramers_v on resamples, each (resamples, a)."""
    return np.split(resample(_build_scores(attributes, classes), len(classes), groups, seed=seed), 2, axis=1)


def shuffle_scores(attributes: pd.DataFrame, classes: np.ndarray, *, shuffles: int = 200, seed: int = 0) -> np.ndarray:
    """Return chi_square with the classes shuffled, (shuffles, a): what chance alone reaches."""
    random = np.random.default_rng((seed, 301))
    parts = (attributes == 1).to_numpy(float), attributes.notna().to_numpy(float)
    members = (np.eye(np.max(classes) + 1)[random.permutation(classes)].T for _ in range(shuffles))
    return np.array([_score(*(member @ part for part in parts))[0] for member in members])


@dataclass(frozen=True)
class Effects:
    """The association of each attribute with a class, adjusted for the other attributes, by logistic regression."""

    table: pd.DataFrame  # log_odds, low, high (95 % interval), odds_ratio, direction: raises, lowers or not significant
    draws: np.ndarray  # (resamples, a) log odds on resamples of the rows
    model: LogisticRegression


def fit_effects(attributes: pd.DataFrame, positive: np.ndarray, *, C: float = 1.0, groups=None, seed: int = 0) -> Effects:
    """Fit a logistic regression of a class on all attributes, with bootstrap intervals.

    A resample's coefficients are one Newton step from those of all rows, with its own gradient and curvature; refitting
    would move them by far less than their interval is wide, and take minutes (Davison and Hinkley 1997, 7.2). The intervals
    do not allow for the penalty, which draws effects towards 0: with C = 1 they contained the unpenalised ones in 92 to 93 %
    of 1,000 simulated samples of 500 rows and in 77 to 93 % of those of 100 (benchmarks/coverage.py).

    Args:
        attributes: (n, a) 0 or 1. Leave out a column that the others determine (the last of several ages).
        C: inverse regularisation strength; without it, a handful of rows could give an infinite coefficient.
    """
    design = np.column_stack([np.ones(len(attributes)), attributes.to_numpy(float)])
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(design[:, 1:], positive)
    start = np.concatenate([model.intercept_, model.coef_[0]])
    penalty = np.r_[0, np.full(len(start) - 1, 1 / C)]  # the intercept is free
    prob = 1 / (1 + np.exp(-design @ start))
    upper = np.triu_indices(len(start))
    # The curvature is symmetric; one matrix product gives that of all resamples of a chunk.
    products = design[:, upper[0]] * design[:, upper[1]] * (prob * (1 - prob))[:, None]
    gradients = design * (positive - prob)[:, None]

    def step(weights: np.ndarray) -> np.ndarray:
        curvature = np.zeros((len(weights), len(start), len(start)))
        curvature[:, upper[0], upper[1]] = curvature[:, upper[1], upper[0]] = weights @ products
        gradient = weights @ gradients - penalty * start
        return start[1:] + np.linalg.solve(curvature + np.diag(penalty), gradient[..., None])[:, 1:, 0]

    draws = resample(step, len(design), groups, seed=seed)
    low, high = np.array([compute_interval(column) for column in draws.T]).T
    table = pd.DataFrame({"log_odds": start[1:], "low": low, "high": high}, index=attributes.columns)
    table["odds_ratio"] = np.exp(table["log_odds"])
    table["direction"] = np.select([low > 0, high < 0], ["raises", "lowers"], "not significant")
    return Effects(table, draws, model)


def correlate_ranks(draws: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation of each row of draws (..., a) with a reference (a,); NaN where a row holds NaN."""
    return pearsonr(rankdata(draws, axis=-1), np.broadcast_to(rankdata(reference), np.shape(draws)), axis=-1).statistic


def judge_ranking(found: pd.DataFrame, scores: np.ndarray, effects: Effects, made: pd.Series, independent) -> list[Metric]:
    """Compare a ranking with the truth, where a known formula made the class.

    Args:
        scores: the chi-squares of `resample_scores`.
        effects: of some of the attributes; the others are not judged by it.
        made: effect of each attribute by the formula; 0 where it has none.
        independent: attributes drawn independently of all others; the rest without effect may rightly be correlated.

    Returns:
        Of the attributes with an effect: truth/order and truth/order_by_chi_square (Spearman's correlation of the sizes found
        and made), truth/signs and truth/found (proportions of right signs, and of significant right signs). Of those
        without: truth/false_independent, truth/correlated (proportions with q < 0.05) and truth/false_effects.
    """
    table, q_value = effects.table, found["q_value"].dropna()
    names = [name for name in table.index if made[name] != 0]
    signs, sizes = np.sign(made[names].to_numpy()), abs(made[names].to_numpy())
    # In the first row all rows, then the resamples; of what no row of a resample has, the chi-square is 0.
    odds = np.vstack([table.loc[names, "log_odds"], effects.draws[:, table.index.get_indexer(names)]])
    chi_square = np.vstack([found.loc[names, "chi_square"], np.nan_to_num(scores[:, found.index.get_indexer(names)])])
    values = [correlate_ranks(abs(odds), sizes), correlate_ranks(chi_square, sizes), (np.sign(odds) == signs).mean(axis=1)]
    first, *draws = np.column_stack(values)
    of_names = pd.Series(first, ["order", "order_by_chi_square", "signs"])
    metrics = from_draws("truth", of_names, np.array(draws), n=len(names), baseline=[0, 0, 0.5])
    without = q_value[[made[name] == 0 for name in q_value.index]] < 0.05
    shown, alone = table["direction"].map({"raises": 1, "lowers": -1}).fillna(0), without.index.isin(independent)
    hits = {"found": shown[names] == signs, "false_independent": without[alone], "correlated": without[~alone]}
    for name, each in (hits | {"false_effects": shown.drop(names) != 0}).items():
        if len(each):
            interval = tuple(map(float, binomtest(int(each.sum()), len(each)).proportion_ci()))
            metrics.append(Metric(f"truth/{name}", float(each.mean()), interval, len(each), higher_is_better=name == "found"))
    return metrics


def _build_scores(attributes: pd.DataFrame, classes: np.ndarray):
    """Return the statistic of both scores, (c, 2 a): scikit-learn's chi-square, then Cramer's V."""
    member = np.eye(np.max(classes) + 1)[np.asarray(classes)]
    shape = (-1, member.shape[1], attributes.shape[1])
    # Ones and known rows of each class and attribute as columns: one matrix product counts them for all weights.
    values = (attributes == 1).to_numpy(float), attributes.notna().to_numpy(float)
    parts = [(value[:, None] * member[:, :, None]).reshape(len(member), -1) for value in values]
    return lambda weights: np.concatenate(_score(*((weights @ part).reshape(shape) for part in parts)), axis=1)


def _score(observed: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return chi-square and V, each (..., a), of how many rows of each class are 1 and known, each (..., k, a)."""
    n = rows.sum(axis=-2, keepdims=True)
    share = divide(observed.sum(axis=-2, keepdims=True), n)
    # A class without known rows says nothing.
    terms = np.nan_to_num(divide((observed - rows * share) ** 2, rows * share))
    score = np.where((share > 0) & (share < 1), terms.sum(axis=-2, keepdims=True), np.nan)
    return np.squeeze(score, -2), np.squeeze(np.sqrt(divide(score, (1 - share) * n)), -2)
