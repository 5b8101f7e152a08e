"""UCF Selfie: one table without header, separated by spaces, with a popularity score and 36 attributes."""

from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.manifests import read_manifest
from facekit.data.readers.text import find_form
from facekit.data.tables import divide, join, read_rows, read_usable
from facekit.errors import ParameterError

AGES = ("baby", "child", "teenager", "youth", "middle_age", "senior")
# As the dataset names them, in the columns' order; what annotators saw in an image, not facts about a person.
ATTRIBUTES = tuple(read_manifest("selfie").tables["selfies"].columns)[2:]


def read_tables(root: Path, *, uncertain: str = "no") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read UCF Selfie's table in the file's order, and its excluded rows.

    No split is published: `split` is empty and each row a group of its own, unless rows.csv (which `facekit data plant`
    writes) gives partition and identity; a row that does not fit there is excluded. DataError: a table is unreadable.
    ParameterError: `uncertain` is another word.

    `uncertain` is what an attribute of 0, "not sure", becomes: it is no half of a yes. "no" is the default: every row stays in
    every column, and a chi-square counts what was seen. "missing" makes it NaN, to see what the choice is worth.

    Returned are `path`, `split`, `group`, `popularity` (as it is), ATTRIBUTES (int8, 1 or 0; with "missing" float, NaN where
    uncertain), and `age`: the one labelled age, or "" where none or several are, which weighs nothing in a softmax over ages.

    Source: Kalayeh et al., How to Take a Good Selfie?, ACM Multimedia 2015.
    """
    if uncertain not in ("no", "missing"):
        raise ParameterError(f"uncertain = {uncertain!r}", expected="no or missing")
    manifest = read_manifest("selfie")
    good, excluded = read_usable("selfie", ["selfies"], root, ["popularity", *ATTRIBUTES])
    if find_form(manifest.tables["rows"], root) is not None:
        others = read_rows(manifest, "rows", root)
        broken = [join(good, others, "name", column) for column in ("partition", "identity")]
        good, wrong = divide(good)
        excluded = pd.concat([excluded, wrong, broken[0]], ignore_index=True)
        good["split"] = good["partition"].map(manifest.tables["rows"].columns["partition"].values)
        good["group"] = good["identity"].astype(int)
    table = good[["path", "split", "group"]].assign(popularity=good["popularity"].astype(float))
    values = good[list(ATTRIBUTES)].astype(np.int8)
    seen = (values == 1).astype(np.int8)
    table = table.join(seen if uncertain == "no" else seen.astype(float).mask(values == 0))
    return table.assign(age=seen[list(AGES)].idxmax(axis=1).where(seen[list(AGES)].sum(axis=1) == 1, "")), excluded
