"""Which attributes are associated with a class: chi-square as published and as Pearson meant it, and a regression.

The traps this prevents: a chi-square read as an effect (it grows with the rows), 36 tests without a correction, and
`sklearn.feature_selection.chi2` taken for Pearson's test: of 0 and 1 it gives Pearson's value times the proportion of zeros.
"""

import numpy as np
import pandas as pd
from scipy.stats import chi2, false_discovery_control
from sklearn.linear_model import LogisticRegression

from facekit.errors import DataError
from facekit.evaluation.bootstrap import compute_intervals, divide, resample


def rank_attributes(attributes: pd.DataFrame, classes: np.ndarray) -> pd.DataFrame:
    """Test each attribute (n, a), of 1, 0 and NaN (unknown), against the class (n,), 0..k-1.

    The table has a row per attribute: n (known rows), prevalence, chi_square (as scikit-learn's chi2), pearson (its statistic),
    p_value, q_value (Benjamini and Hochberg's false discovery rate), cramers_v (0..1, whatever n), lift (prevalence in the
    highest class minus that in the lowest), expected (smallest expected count; below 5 the p-value can't be trusted). NaN for a
    column that is always 0 or always 1, which can't be tested.
    """
    _check(attributes, classes, [0, 1, np.nan], "0 or 1, or NaN where it is unknown")
    rows, prevalence = attributes.notna().groupby(classes).sum(), attributes.mean()
    chi_square, v = _score(attributes.eq(1).groupby(classes).sum().to_numpy(float), rows.to_numpy(float))
    n = rows.sum()
    found = pd.DataFrame({"n": n, "prevalence": prevalence, "chi_square": chi_square, "cramers_v": v, "pearson": n * v**2})
    found["p_value"] = chi2.sf(found["pearson"], (rows > 0).sum() - 1)  # a class without known rows is no degree of freedom
    found["q_value"] = pd.Series(false_discovery_control(tested := found["p_value"].dropna()), tested.index)
    found["lift"] = attributes[classes == np.max(classes)].mean() - attributes[classes == 0].mean()
    return found.assign(expected=rows.min() * np.minimum(prevalence, 1 - prevalence))


def resample_scores(attributes: pd.DataFrame, classes: np.ndarray, *, groups=None, seed: int = 0) -> list[np.ndarray]:
    """Return chi_square (a resample adds chance of its own, about k - 1) and cramers_v on resamples, each (resamples, a)."""
    member = np.eye(np.max(classes) + 1)[np.asarray(classes)]
    shape = (-1, member.shape[1], attributes.shape[1])
    # Ones and known rows of each class and attribute as columns: one matrix product counts them for all resamples.
    values = attributes.eq(1).to_numpy(float), attributes.notna().to_numpy(float)
    cells = [(value[:, None] * member[:, :, None]).reshape(len(member), -1) for value in values]

    def score(weights: np.ndarray) -> np.ndarray:
        return np.hstack(_score(*((weights @ each).reshape(shape) for each in cells)))

    return np.split(resample(score, len(member), groups, seed=seed), 2, axis=1)


def fit_effects(attributes: pd.DataFrame, positive: np.ndarray, *, C: float = 1.0, groups=None, seed: int = 0) -> tuple:
    """Fit a logistic regression of a class on all attributes: the association of each, adjusted for the others.

    A resample's coefficients are one Newton step from those of all rows, with its own gradient and curvature; refitting
    would move them by far less than their interval is wide, and take minutes (Davison and Hinkley 1997, 7.2). The intervals
    do not allow for the penalty, which draws effects towards 0 (see benchmarks/coverage.py).

    Returned are a table, one row per attribute: log_odds, low, high (95 % interval), odds_ratio, direction (raises, lowers or
    not significant); the log odds on resamples of the rows, (resamples, a); and the fitted regression.

    Args:
        attributes: (n, a) 0 or 1. Leave out a column that the others determine (the last of several ages).
        positive: (n,) bool, whether a row is of the class.
        C: inverse regularisation strength; without it, a handful of rows could give an infinite coefficient.
    """
    _check(attributes, positive, [0, 1], "0 or 1; leave out rows where it is unknown")
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
    low, high = np.array([pair or (np.nan, np.nan) for pair in compute_intervals(draws)]).T
    table = pd.DataFrame({"log_odds": start[1:], "low": low, "high": high, "odds_ratio": np.exp(start[1:])}, attributes.columns)
    table["direction"] = np.select([low > 1e-9, high < -1e-9], ["raises", "lowers"], "not significant")  # 1e-9 is rounding
    return table, draws, model


def _check(attributes: pd.DataFrame, classes: np.ndarray, allowed: list[float], expected: str) -> None:
    """Refuse, by a DataError, less than one attribute or two classes, classes of other rows, and values not allowed."""
    if not attributes.size or len(classes) != len(attributes) or len(np.unique(classes)) < 2:
        received = f"attributes of shape {attributes.shape}, {len(classes)} rows of classes {np.unique(classes).tolist()}"
        raise DataError(received, expected="an attribute or more, and as many rows of both, of two classes or more")
    for row, column in np.argwhere(~attributes.isin(allowed).to_numpy())[:1]:
        received = f"row {row}: {attributes.columns[column]} is {attributes.iloc[row, column]}"
        raise DataError(received, expected=expected, hint="map -1 to 0 first")


def _score(observed: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return chi-square and V, each (..., a), of how many rows of each class are 1 and known, each (..., k, a)."""
    n = rows.sum(axis=-2, keepdims=True)
    share = divide(observed.sum(axis=-2, keepdims=True), n)
    # A class without known rows says nothing.
    terms = np.nan_to_num(divide((observed - rows * share) ** 2, rows * share))
    score = np.where((share > 0) & (share < 1), terms.sum(axis=-2, keepdims=True), np.nan)
    return np.squeeze(score, -2), np.squeeze(np.sqrt(divide(score, (1 - share) * n)), -2)
