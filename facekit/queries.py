"""Queries such as `Eyeglasses and not Male`: pictures ranked by how probably they answer, and how often they do.

The trap this prevents: a retrieval shown by its best hits alone. One picture in five may answer the query anyway, so a
precision is set against the prevalence; and a misspelt attribute must be refused, not silently match nothing.

A picture's score is the product of the probabilities of what is asked, p for `X` and 1 - p for `not X`, as if the
attributes were independent given the picture. They are not quite, so the score ranks; it is no calibrated probability.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facekit.bootstrap_ranks import build_precision_at
from facekit.errors import ParameterError
from facekit.measured import Figure, Metric, build_metrics
from facekit.multilabel import Labels

GRAMMAR = "names joined by `and`, each with at most one `not` before it, such as `Eyeglasses and not Male`"


@dataclass(frozen=True)
class Query:
    """What is asked of a picture.

    Attributes:
        text: the query as it was understood, with the attributes' own names.
        columns: which attributes, by number.
        wanted: for each of them whether it must hold (True) or must not.
    """

    text: str
    columns: tuple[int, ...]
    wanted: tuple[bool, ...]


def parse_query(text: str, names: Sequence[str]) -> Query:
    """Read a query.

    Args:
        text: names joined by `and`, each with at most one `not` before it; there is no `or` and there are no
            parentheses. Case does not matter, and a blank in a name is as good as its underscore.
        names: the attributes.

    Returns:
        The query.

    Raises:
        ParameterError: what is no query, an unknown name (close ones are listed), or a name asked for twice.

    >>> parse_query("wearing hat and not Male", ["Male", "Wearing_Hat"])
    Query(text='Wearing_Hat and not Male', columns=(1, 0), wanted=(True, False))
    """
    known = {_simplify(name): number for number, name in enumerate(names)}
    terms = [term.strip() for term in re.split(r"\band\b", text, flags=re.IGNORECASE)]
    found = {}
    for term in terms:
        negated = re.match(r"not\s+", term, flags=re.IGNORECASE)
        name = _simplify(term[negated.end() :] if negated else term)
        if name not in known:
            raise _refuse(text, term, name, names)
        if known[name] in found:
            raise ParameterError(f"query {text!r} asks for {names[known[name]]} twice", expected="each attribute once")
        found[known[name]] = not negated
    written = " and ".join(names[column] if wanted else f"not {names[column]}" for column, wanted in found.items())
    return Query(written, tuple(found), tuple(found.values()))


def score_query(query: Query, y_prob: np.ndarray) -> np.ndarray:
    """Score how probably each picture answers: the product over what is asked, as if independent.

    Args:
        query: of `parse_query`.
        y_prob: (n, a) probability of each attribute, 0..1.

    Returns:
        float64 (n,), 0..1.

    >>> score_query(Query("A and not B", (0, 1), (True, False)), np.array([[0.5, 0.5], [1.0, 0.0]])).tolist()
    [0.25, 1.0]
    """
    asked = np.asarray(y_prob, dtype=np.float64)[:, list(query.columns)]
    return np.where(query.wanted, asked, 1 - asked).prod(axis=1)


def rank_query(query: Query, y_prob: np.ndarray, count: int) -> np.ndarray:
    """Return the numbers of the pictures that answer most probably, best first; of equal ones the earlier first.

    Args:
        query: of `parse_query`.
        y_prob: (n, a) probability of each attribute, 0..1.
        count: how many at most.
    """
    return np.argsort(-score_query(query, y_prob), kind="stable")[:count]


def match_query(query: Query, labels: Labels) -> np.ndarray:
    """Return which pictures answer the query by their labels.

    Args:
        query: of `parse_query`.
        labels: of n pictures, for the same attributes.

    Returns:
        float64 (n,): 1 where all that is asked is so, 0 where something is not, NaN where that cannot be known.
    """
    columns = list(query.columns)
    known = labels.known[:, columns] > 0
    fits = labels.y_true[:, columns] == np.asarray(query.wanted)
    return np.where((known & ~fits).any(axis=1), 0.0, np.where(known.all(axis=1), 1.0, np.nan))


def measure_retrieval(
    prefix: str, texts: Sequence[str], labels: Labels, y_prob: np.ndarray, *, k: int = 20, seed: int = 0
) -> list[Metric]:
    """Measure how many of the k pictures that answer each query most probably do answer it.

    The interval resamples all pictures and ranks each resample anew. Where it is a single point, every list was alike
    (all hits, or none): that says little about a miss at rank k + 1.

    Args:
        prefix: what stands before each name, such as `test/retrieval`.
        texts: queries, see `parse_query`.
        labels: of n pictures; those of which the answer is not known are left out of its query.
        y_prob: (n, a) probability of each attribute, 0..1.
        k: length of the list, 1 or more.
        seed: of the resampling.

    Returns:
        For each query `<query>/precision_at_<k>`; its n is k (or all pictures, where they are fewer), its baseline the
        query's prevalence, which pictures in any order that knows nothing reach. No metric where no label is known.

    Raises:
        ParameterError: a query that cannot be read, a k below 1, or arrays that do not fit together.
    """
    if k < 1:
        raise ParameterError(f"precision at {k}", expected="1 or more")
    y_prob = labels.check_probabilities(y_prob)
    metrics = []
    for query in (parse_query(text, labels.names) for text in texts):
        answers = match_query(query, labels)
        rows = np.flatnonzero(np.isfinite(answers))
        if not len(rows):
            continue
        precision = build_precision_at(k, answers[rows], score_query(query, y_prob[rows]))
        metrics += build_metrics(
            prefix,
            [Figure(f"{query.text}/precision_at_{k}", min(k, len(rows)))],
            lambda weights, precision=precision: precision(weights)[:, None],
            baselines=[answers[rows].mean()],
            rows=len(rows),
            groups=None if labels.groups is None else np.asarray(labels.groups)[rows],
            seed=seed,
        )
    return metrics


def _simplify(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip()).lower()


def _refuse(text: str, term: str, name: str, names: Sequence[str]) -> ParameterError:
    """Return the error for a term that is no attribute: the grammar where that is broken, else the close names."""
    if not name:
        return ParameterError(f"query {text!r}: a name is missing", expected=GRAMMAR)
    if set(name.split("_")) & {"not", "or"} or re.search(r"[^\w.-]", name):
        return ParameterError(f"query {text!r}: cannot read {term!r}", expected=GRAMMAR)
    own = {_simplify(each): each for each in names}
    close = [each for each in own if name in each] + difflib.get_close_matches(name, own, n=3, cutoff=0.5)
    close = [own[each] for each in dict.fromkeys(close)]
    return ParameterError(
        f"query {text!r}: no attribute {name!r}",
        expected=f"perhaps {', '.join(close)}" if close else f"one of {', '.join(names)}",
    )
