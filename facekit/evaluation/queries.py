"""Search by predicted labels: `Eyeglasses and not (Male or Smiling > 0.8)`, read by Python's parser, nothing run."""

import ast
import difflib
import operator
import re
import warnings
from collections.abc import Mapping

import numpy as np

from facekit.errors import ParameterError

COMPARE = {ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Lt: operator.lt, ast.LtE: operator.le}
GRAMMAR = "names, `and`, `or`, `not`, parentheses, comparisons like Smiling > 0.8; quote names with spaces or a digit first"


def answer(text: str, values: Mapping[str, np.ndarray], decided: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Find which of n images match a query, and how probably: bool (n,), and a score 0..1 (n,).

    A score multiplies the probabilities of what is asked as if one had nothing to do with the other (`not`: 1 - p; `or`: the
    probability of either), so it ranks and is no calibrated probability. A comparison counts as p above, and as 1 - p below.

    Args:
        text: the query; case does not matter, an underscore is as good as a space.
        values: name -> (n,) probabilities, or numbers, which can only be compared.
        decided: name -> (n,) bool, the labels; a name without them is a number.
    """
    known = {_simplify(name): name for name in values}

    def refuse(what: str, expected: str = GRAMMAR) -> ParameterError:
        return ParameterError(f"query {text!r}: {what}", expected=expected)

    def find(node: ast.expr) -> str:
        if not isinstance(name := node.id if isinstance(node, ast.Name) else getattr(node, "value", None), str):
            raise refuse(f"cannot read {ast.unparse(node)!r}")
        if (simple := _simplify(name)) in known:
            return known[simple]
        close = [each for each in known if simple in each] + difflib.get_close_matches(simple, known, 3)
        names = ", ".join(dict.fromkeys(known[each] for each in close or known))
        raise refuse(f"no label {name!r}", f"{'perhaps' if close else 'one of'} {names}")

    def evaluate(node: ast.expr) -> np.ndarray:
        """Return (2, n): 1 where an image matches, else 0, and the scores; both follow the same arithmetic."""
        if isinstance(node, ast.BoolOp):
            parts = np.stack([evaluate(each) for each in node.values])
            return parts.prod(axis=0) if isinstance(node.op, ast.And) else 1 - (1 - parts).prod(axis=0)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return 1 - evaluate(node.operand)
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARE:
            name, bound = find(node.left), node.comparators[0]
            if not isinstance(bound, ast.Constant) or type(bound.value) not in (int, float):
                raise refuse(f"cannot compare with {ast.unparse(bound)!r}")
            p = values[name] if name in decided else np.ones(len(values[name]))
            below = isinstance(node.ops[0], (ast.Lt, ast.LtE)) and name in decided
            return np.stack([COMPARE[type(node.ops[0])](values[name], bound.value), 1 - p if below else p])
        if (name := find(node)) not in decided:
            raise refuse(f"{name} is a number, not a label; compare it, as in {name} > 4")
        return np.stack([decided[name], values[name]])

    lower = re.sub(r"\b(AND|OR|NOT|And|Or|Not)\b", lambda word: word[0].lower(), text.strip())
    try:
        with warnings.catch_warnings(action="ignore"):  # such as of `5or`
            matches, scores = evaluate(ast.parse(lower, mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        raise refuse("cannot be read") from None
    return matches > 0, scores


def _simplify(name: str) -> str:
    return re.sub(r"[\s_]+", "_", name.strip()).lower()
