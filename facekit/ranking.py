"""Which attributes go with a class: chi-square as published and as Pearson meant it, and a regression that gives a direction.

The traps this prevents: a chi-square taken for an effect (it grows with the rows, has no direction, and says the same of
what drives the class and of what merely goes along with it), 36 tests at once without a correction, and
`sklearn.feature_selection.chi2` taken for Pearson's test. Of a column of ticks (0, 1) it counts the ticked rows alone, so
that it is Pearson's figure times the share of rows without a tick: of a frequent attribute little is left.

No TensorFlow is needed here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2, false_discovery_control, rankdata
from sklearn.linear_model import LogisticRegression

from facekit.bootstrap import RESAMPLES, Statistic, compute_interval, resample_statistic
from facekit.errors import DataError
from facekit.measured import Metric, divide

_SHUFFLES_AT_ONCE = 20  # of UCF Selfie's rows, 22 MB


def rank_attributes(attributes: pd.DataFrame, classes: np.ndarray) -> pd.DataFrame:
    """Test each attribute against the class.

    Args:
        attributes: (n, a), 1 ticked, 0 not, NaN unknown; unknown rows are left out of that column's test.
        classes: (n,) int, 0..k-1.

    Returns:
        One row an attribute, in their order: `n` (rows known), `ticked` (share), `chi_square` (as scikit-learn's chi2),
        `pearson` (its statistic), `p_value`, `q_value` (Benjamini and Hochberg: the share of false finds among all that
        are as good or better), `cramers_v` (0 to 1, whatever n), `lift` (share ticked in the highest class minus that in the
        lowest), `expected` (smallest expected count; below 5 the p-value cannot be trusted). A column that is always or never
        ticked cannot be tested: its figures are NaN.

    Raises:
        DataError: a value that is none of 0, 1 and NaN, such as a -1 that was not mapped.

    >>> ticks = pd.DataFrame({"hat": [1, 1, 1, 0, 0, 0, 0, 0]})
    >>> rank_attributes(ticks, np.array([1, 1, 1, 1, 0, 0, 0, 0]))[["chi_square", "pearson", "lift"]].round(3).values.tolist()
    [[3.0, 4.8, 0.75]]
    """
    _check_ticks(attributes)
    classes = np.asarray(classes)
    ticks, known = _find_ticks(attributes)
    one = np.ones((1, len(classes)))
    chi_square, v = (part[0] for part in np.split(_build_scores(attributes, classes)(one), 2, axis=1))
    n = known.sum(axis=0)
    ticked = divide(ticks.sum(axis=0), n)
    shares = [attributes[classes == code].mean() for code in (classes.max(), 0)]
    smallest = np.min([known[classes == code].sum(axis=0) for code in range(classes.max() + 1)], axis=0)
    found = pd.DataFrame({"n": n.astype(int), "ticked": ticked, "chi_square": chi_square}, index=attributes.columns)
    found["pearson"] = n * v**2
    found["p_value"] = chi2.sf(found["pearson"], classes.max())
    tested = found["pearson"].notna()
    found["q_value"] = np.nan
    if tested.any():
        found.loc[tested, "q_value"] = false_discovery_control(found.loc[tested, "p_value"])
    found["cramers_v"] = v
    found["lift"] = shares[0] - shares[1]
    found["expected"] = smallest * np.minimum(ticked, 1 - ticked)
    return found


def resample_scores(
    attributes: pd.DataFrame, classes: np.ndarray, *, groups: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the published chi-square and Cramer's V of each attribute on resamples of the rows.

    A resample adds chance of its own: about k - 1 to a chi-square. That is nothing beside a large one; of a small one it says
    that it cannot be told from chance.

    Args:
        attributes: as for `rank_attributes`.
        classes: (n,) int, 0..k-1.
        groups: (n,) rows that are drawn together, or None.
        seed: of the resampling.

    Returns:
        chi_square and cramers_v, each float (resamples, a); NaN where a column cannot be tested.
    """
    draws = resample_statistic(_build_scores(attributes, np.asarray(classes)), len(classes), groups=groups, seed=seed)
    chi_square, v = np.split(draws, 2, axis=1)
    return chi_square, v


def shuffle_scores(attributes: pd.DataFrame, classes: np.ndarray, *, shuffles: int = 200, seed: int = 0) -> np.ndarray:
    """Compute the published chi-square of each attribute with the classes shuffled: what chance alone reaches.

    Args:
        attributes: as for `rank_attributes`.
        classes: (n,) int, 0..k-1.
        shuffles: how often.
        seed: of the shuffles.

    Returns:
        float (shuffles, a).
    """
    random = np.random.default_rng((seed, 301))
    ticks, known = _find_ticks(attributes)
    codes = np.arange(np.max(classes) + 1)[:, None]
    found = []
    for start in range(0, shuffles, _SHUFFLES_AT_ONCE):
        copies = np.tile(classes, (min(_SHUFFLES_AT_ONCE, shuffles - start), 1))
        member = (random.permuted(copies, axis=1)[:, None] == codes).astype(float)
        counts = ((member.reshape(-1, len(ticks)) @ part).reshape(*member.shape[:2], -1) for part in (ticks, known))
        found.append(_score_counts(*counts)[0])
    return np.concatenate(found)


@dataclass(frozen=True)
class Effects:
    """What a logistic regression says of each attribute, the others being equal.

    Attributes:
        table: one row an attribute: `log_odds`, `low`, `high` (95 % interval), `odds_ratio`, `direction` ("raises",
            "lowers", or "not shown" where the interval holds 0).
        draws: float (resamples, a), the log odds on resamples of the rows.
        model: the fitted regression, for predictions.
    """

    table: pd.DataFrame
    draws: np.ndarray
    model: LogisticRegression


def fit_effects(
    attributes: pd.DataFrame,
    good: np.ndarray,
    *,
    strength: float = 1.0,
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Effects:
    """Fit a logistic regression of a class on all attributes, with bootstrap intervals.

    Each resample's coefficients are one Newton step from those of all rows, with that resample's own weights in gradient and
    curvature; refitting it to the end would move them by far less than their interval is wide, and take minutes.

    Args:
        attributes: (n, a), 0 or 1, without NaN. A column that the others determine (the last of several ages) belongs out:
            its effect would be shared out between them.
        good: (n,) bool: whether the row is of the class.
        strength: scikit-learn's C. The mild default matters to rare attributes only, which could otherwise get an endless
            coefficient from a handful of rows.
        groups: (n,) rows that are drawn together, or None.
        resamples: how many.
        seed: of the resampling.

    Returns:
        The effects, in the order of the columns.

    Raises:
        DataError: a value that is neither 0 nor 1, or only one class.

    Source: for bootstraps of one step, Davison and Hinkley, Bootstrap Methods and their Application, 1997, 7.2.
    """
    _check_ticks(attributes, unknown=False)
    good = np.asarray(good, bool)
    if good.all() or not good.any():
        raise DataError(f"{len(good)} rows of one class", expected="both classes", mend="use more rows")
    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-10, max_iter=200)
    model.fit(attributes.to_numpy(float), good)
    design = np.column_stack([np.ones(len(attributes)), attributes.to_numpy(float)])
    start = np.concatenate([model.intercept_, model.coef_[0]])
    penalty = np.full(len(start), 1 / strength)
    penalty[0] = 0  # the intercept is free
    prob = 1 / (1 + np.exp(-design @ start))
    upper = np.triu_indices(len(start))
    # The curvature is symmetric; one matrix product gives that of all resamples of a chunk.
    products = design[:, upper[0]] * design[:, upper[1]] * (prob * (1 - prob))[:, None]
    scores = design * (good - prob)[:, None]

    def step(weights: np.ndarray) -> np.ndarray:
        curvature = np.zeros((len(weights), len(start), len(start)))
        curvature[:, upper[0], upper[1]] = weights @ products
        curvature[:, upper[1], upper[0]] = curvature[:, upper[0], upper[1]]
        curvature += np.diag(penalty)
        gradient = weights @ scores - penalty * start
        return start[1:] + np.linalg.solve(curvature, gradient[..., None])[:, 1:, 0]

    draws = resample_statistic(step, len(design), groups=groups, resamples=resamples, seed=seed)
    low, high = np.array([compute_interval(column) for column in draws.T]).T
    table = pd.DataFrame({"log_odds": start[1:], "low": low, "high": high}, index=attributes.columns)
    table["odds_ratio"] = np.exp(table["log_odds"])
    table["direction"] = np.select([low > 0, high < 0], ["raises", "lowers"], "not shown")
    return Effects(table, draws, model)


def correlate_ranks(draws: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Compute Spearman's correlation of each row with one reference.

    Args:
        draws: float (..., a), for instance a score of a attributes on many resamples.
        reference: float (a,).

    Returns:
        float (...), -1 to 1; NaN where a row holds NaN, or all the same.

    >>> correlate_ranks(np.array([[1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]), np.array([0.1, 0.2, 0.3])).tolist()
    [1.0, -1.0]
    """
    ranks = rankdata(draws, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    wanted = rankdata(reference)
    wanted = wanted - wanted.mean()
    length = np.sqrt((ranks**2).sum(axis=-1) * (wanted**2).sum())
    found = divide((ranks * wanted).sum(axis=-1), length)
    return np.where(np.isnan(draws).any(axis=-1), np.nan, found)


def judge_ranking(
    found: pd.DataFrame, scores: np.ndarray, effects: Effects, made: pd.Series, independent: Sequence[str]
) -> list[Metric]:
    """Hold a ranking against the truth, where popularity was made by a known formula.

    Args:
        found: of `rank_attributes`.
        scores: chi-squares on resamples, of `resample_scores`, of the same attributes.
        effects: of `fit_effects`, of some of these attributes; the others are not judged by it.
        made: what each attribute adds to the popularity on average; 0 where nothing.
        independent: attributes that were drawn independently of everything; of the others without effect a chi-square is
            right to find that they go along with something.

    Returns:
        `truth/order` and `truth/order_by_chi_square`: Spearman's correlation of the size of what was found and of what was
        made, and `truth/signs`: the share with the right sign, among the attributes with an effect, with bootstrap intervals.
        `truth/found`: the share of these whose interval lies on the right side of 0. `truth/false_independent`: the share of
        the independent ones whose q-value is below 0.05; `truth/along`: the same of the others without effect.
        `truth/false_effects`: the share of all without effect whose interval leaves out 0; 0.05 is to be expected. Shares
        have exact binomial intervals; one of nothing is left out.
    """
    table = effects.table
    names = [name for name in table.index if made[name] != 0]
    none = [name for name in table.index if made[name] == 0]
    wanted, value = made[names].to_numpy(), table.loc[names, "log_odds"].to_numpy()
    draws = effects.draws[:, table.index.get_indexer(names)]
    drawn_scores = np.nan_to_num(scores[:, found.index.get_indexer(names)])  # what no row of a resample has scores none
    right_draws = (np.sign(draws) == np.sign(wanted)).mean(axis=1)
    resampled = {
        "order": (correlate_ranks(abs(value), abs(wanted)), correlate_ranks(abs(draws), abs(wanted)), 0.0),
        "order_by_chi_square": (
            correlate_ranks(found.loc[names, "chi_square"].to_numpy(), abs(wanted)),
            correlate_ranks(drawn_scores, abs(wanted)),
            0.0,
        ),
        "signs": (np.mean(np.sign(value) == np.sign(wanted)), right_draws, 0.5),
    }
    metrics = [
        Metric(f"truth/{name}", float(share), compute_interval(others), len(names), baseline)
        for name, (share, others, baseline) in resampled.items()
    ]
    tested = found.index[found["q_value"].notna()]
    significant = found["q_value"] < 0.05
    along = [name for name in tested if made[name] == 0 and name not in independent]
    shown = table["direction"].map({"raises": 1, "lowers": -1}).fillna(0)
    counted = {
        "found": (shown[names] == np.sign(made[names]), True),
        "false_independent": (significant[[name for name in tested if name in independent]], False),
        "along": (significant[along], False),
        "false_effects": (shown[none] != 0, False),
    }
    for name, (hits, higher) in counted.items():
        if len(hits):
            low, high = binomtest(int(hits.sum()), len(hits)).proportion_ci()
            interval = (float(low), float(high))
            metrics.append(Metric(f"truth/{name}", float(hits.mean()), interval, len(hits), higher_is_better=higher))
    return metrics


def _check_ticks(attributes: pd.DataFrame, *, unknown: bool = True) -> None:
    values = attributes.to_numpy(float)
    wrong = ~(np.isin(values, (0, 1)) | (np.isnan(values) & unknown))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        value = values[row, column]
        raise DataError(
            f"row {row}: {attributes.columns[column]} is {value:g}",
            expected="0 or 1" + (", or NaN where it is not known" if unknown else ""),
            mend="leave the row out" if np.isnan(value) else "map -1 to 0 first",
        )


def _build_scores(attributes: pd.DataFrame, classes: np.ndarray) -> Statistic:
    """Return the statistic of both scores, (c, 2a): scikit-learn's chi-square, then Cramer's V."""
    member = _mark_classes(classes)
    shape = (-1, member.shape[1], attributes.shape[1])
    # Ticked rows, and known rows, of each class and attribute, as columns: one matrix product counts them for all weights.
    columns = [(values[:, None, :] * member[:, :, None]).reshape(len(member), -1) for values in _find_ticks(attributes)]

    def compute(weights: np.ndarray) -> np.ndarray:
        return np.concatenate(_score_counts(*((weights @ part).reshape(shape) for part in columns)), axis=1)

    return compute


def _score_counts(observed: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return chi-square and V, each (c, a), of how many rows of each class are ticked and known, each (c, k, a)."""
    n = rows.sum(axis=1)
    share = divide(observed.sum(axis=1), n)
    expected = rows * share[:, None]
    # A class without known rows says nothing; an attribute that all or none have cannot be tested.
    terms = np.divide((observed - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0)
    score = np.where((share > 0) & (share < 1), terms.sum(axis=1), np.nan)
    return score, np.sqrt(divide(score, (1 - share) * n))


def _find_ticks(attributes: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return which values are ticked and which are known, as float (n, a)."""
    return (attributes == 1).to_numpy(float), attributes.notna().to_numpy(float)


def _mark_classes(classes: np.ndarray) -> np.ndarray:
    """Return float (n, k): 1 in the column of the row's class."""
    return (classes[:, None] == np.arange(classes.max() + 1)).astype(float)
