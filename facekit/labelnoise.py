"""Labels that contradict each other, and the accuracy that they leave possible.

The trap this prevents: the last points of accuracy chased, or the lack of them explained by the network, where the
labels themselves disagree. Pictures of one person must agree on what does not change (CelebA's Male), equal pictures on
everything. Where they do not, some of them are labelled wrongly, and a model that is right is counted as wrong.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from facekit.bootstrap import bootstrap_intervals, number_groups
from facekit.errors import DataError, ParameterError
from facekit.measured import divide


def count_label_noise(
    table: pd.DataFrame, attributes: Sequence[str], groups: Sequence | np.ndarray, *, seed: int = 0
) -> pd.DataFrame:
    """Count where pictures of one group contradict each other, and say what ceiling that implies.

    The ceiling is the best accuracy of anything that gives one answer to each group: the majority of its labels. It is
    an upper bound on how well such an answer can look, under two assumptions: that the attribute is the same on all
    pictures of a group (true of equal pictures; of one person only for what does not change), and that pictures without
    a partner are labelled as well as those with one. Groups that are wrong as a whole are not seen.

    Args:
        table: one row a picture, with a column of 0 and 1 (or missing) for each attribute.
        attributes: which columns.
        groups: (n,) what names the group of each row: its identity, or a number of audit.find_groups.
        seed: of the resampling, which draws whole groups.

    Returns:
        One row an attribute, its name as index: groups (of two labelled pictures or more), pictures (in them),
        contradicting_groups, minority (pictures on the smaller side of their group; of a draw, half), minority_share
        (of the pictures in them) with its 95 % interval low and high, and ceiling (1 less that share). NaN where no
        group has two.

    Raises:
        ParameterError: an attribute that is no column, or groups of another length.
        DataError: a label that is neither 0 nor 1.

    >>> table = pd.DataFrame({"Male": [1, 1, 0, 0, 1]})
    >>> count_label_noise(table, ["Male"], ["ann", "ann", "ann", "bob", "eve"])["minority"].tolist()
    [1]
    """
    if missing := [name for name in attributes if name not in table]:
        raise ParameterError(f"attribute {missing[0]!r}", expected=f"a column of the table: {', '.join(map(str, table))}")
    values = table[list(attributes)].to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise DataError(f"row {row}, {attributes[column]}: label {values[row, column]:g}", expected="0, 1 or missing")
    members = number_groups(len(table), groups)
    members = np.arange(len(table)) if members is None else members
    count = members.max() + 1
    rows = {name: _count_one(values[:, column], members, count, seed) for column, name in enumerate(attributes)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("attribute")


def _count_one(values: np.ndarray, members: np.ndarray, count: int, seed: int) -> dict[str, float]:
    known = ~np.isnan(values)
    labelled = np.bincount(members[known], minlength=count)
    held = np.bincount(members[known], values[known], minlength=count)
    paired = labelled > 1
    labelled, held = labelled[paired].astype(np.float64), held[paired]
    minority = np.minimum(held, labelled - held)
    found = {
        "groups": int(paired.sum()),
        "pictures": int(labelled.sum()),
        "contradicting_groups": int((minority > 0).sum()),
        "minority": int(minority.sum()),
    }
    share = float(divide(minority.sum(), labelled.sum()))
    interval = None
    if paired.any():
        (interval,) = bootstrap_intervals(lambda w: divide(w @ minority, w @ labelled), len(labelled), seed=seed)
    low, high = interval or (np.nan, np.nan)
    return found | {"minority_share": share, "low": low, "high": high, "ceiling": 1 - share}
