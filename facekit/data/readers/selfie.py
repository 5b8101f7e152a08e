"""UCF Selfie: one table without header, separated by spaces, with a popularity score and 36 attributes."""

from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.manifests import DatasetManifest, read_manifest
from facekit.data.readers.text import find_form
from facekit.data.tables import divide, exclude, exclude_repeated, read_rows
from facekit.errors import DataError, ParameterError

AGES = ("baby", "child", "teenager", "youth", "middle_age", "senior")
# As the dataset names them, in the columns' order; what annotators saw in an image, not facts about a person.
ATTRIBUTES = tuple(read_manifest("selfie").table("selfies").columns)[2:]
UNCERTAIN = ("no", "missing")


def read_tables(root: Path, *, uncertain: str = "no") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read UCF Selfie's table in the file's order, and its excluded rows.

    No split is published: `split` is empty and each row a group of its own, unless rows.csv (which `facekit data plant`
    writes) gives partition and identity.

    Args:
        root: the folder with selfie_dataset.txt and images/.
        uncertain: what an attribute of 0, "not sure", becomes: it is no half of a yes. "no" is the default: every row stays in
            every column, and a chi-square counts what was seen. "missing" makes it NaN, to see what the choice is worth.

    Returns:
        `path`, `split`, `group`, `popularity` (as it is), ATTRIBUTES (int8, 1 or 0; with "missing" float, NaN where uncertain),
        and `age`: the one labelled age, or "" where none or several are, so that the row weighs nothing in a softmax over ages.

    Raises:
        DataError: rows.csv does not fit the rows; half a split would leak.

    Source: Kalayeh et al., How to Take a Good Selfie?, ACM Multimedia 2015.
    """
    if uncertain not in UNCERTAIN:
        raise ParameterError(f"uncertain = {uncertain!r}", expected="one of " + ", ".join(UNCERTAIN))
    manifest = read_manifest("selfie")
    rows = read_rows(manifest, "selfies", root).assign(split="")
    exclude_repeated(rows, "name", ["popularity", *ATTRIBUTES])
    good, excluded = divide(rows)
    values = good[list(ATTRIBUTES)].astype(np.int8)
    table = good[["path", "split"]].assign(group=good.index, popularity=good["popularity"].astype(float))
    if find_form(manifest.table("rows"), root) is not None:
        table[["split", "group"]] = _read_partition(manifest, root, good["name"])
    seen = (values == 1).astype(np.int8)
    table = table.join(seen if uncertain == "no" else seen.astype(float).mask(values == 0))
    one = seen[list(AGES)].sum(axis=1) == 1
    return table.assign(age=seen[list(AGES)].idxmax(axis=1).where(one, "")), excluded


def _read_partition(manifest: DatasetManifest, root: Path, names: pd.Series) -> pd.DataFrame:
    """Return split and group of the selfies from rows.csv."""
    hint = "plant the folder again, or remove rows.csv to have no split"
    rows = read_rows(manifest, "rows", root)
    exclude(rows, rows["name"].duplicated(), "is already in an earlier row")
    faults = divide(rows)[1]
    if len(faults):
        first = faults.iloc[0]
        raise DataError(f"{first.file} row {first.row}: {first.value}: {first.reason}", hint=hint)
    known = rows.set_index("name").reindex(names).set_index(names.index)
    if known["partition"].isna().any():
        missing = names[known["partition"].isna()].iloc[0]
        raise DataError(f"{rows['file'].iloc[0]} has no row for {missing}", expected="one for each selfie", hint=hint)
    split = known["partition"].map(manifest.table("rows").columns["partition"].values)
    return pd.DataFrame({"split": split, "group": known["identity"].astype(int)})
