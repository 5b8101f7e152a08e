"""UCF Selfie's reader: one table without header, separated by spaces, with a popularity score and 36 attributes.

The trap this prevents: -1, 0 and 1 taken for numbers. 0 is no half of a yes, it says that the annotators were not sure;
and a selfie with two ages, or none, has no class in a softmax over ages. Both are settled here, once and in the open.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from facekit.errors import DataError, ParameterError
from facekit.manifests import DatasetManifest, load_manifest
from facekit.tables import (
    divide_rows,
    find_form,
    mark_missing_pictures,
    mark_repeated,
    mark_wrong_values,
    read_rows,
)

AGES = ("baby", "child", "teenager", "youth", "middle_age", "senior")
# As the dataset names them, in the columns' order; what annotators ticked for a picture, not facts about a person.
ATTRIBUTES = tuple(
    """
partial_faces is_female baby child teenager youth middle_age senior white black asian oval_face round_face heart_face
smiling mouth_open frowning wearing_glasses wearing_sunglasses wearing_lipstick tongue_out duck_face black_hair
blond_hair brown_hair red_hair curly_hair straight_hair braid_hair showing_cellphone using_earphone using_mirror
braces wearing_hat harsh_lighting dim_lighting
""".split()
)
UNDECIDED = ("no", "missing")


def read_selfie_tables(root: Path, *, undecided: str = "no") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read UCF Selfie's table and the rows set aside.

    A row is set aside where its line is broken, its popularity is no finite number, an attribute is none of 1, -1 and 0,
    its picture is missing, or its name stands elsewhere: with other values, all rows of the name go; else the first stays.

    No split is published: `split` is empty and each row a group of its own, unless rows.csv (which `facekit data plant`
    writes) gives partition and identity.

    Args:
        root: the folder with selfie_dataset.txt and images/.
        undecided: what an attribute of 0, "not sure", becomes. "no" is the default: who is not sure has not seen it, every
            row stays in every column, and a chi-square counts ticks. "missing" makes it NaN, to see what the choice is worth.

    Returns:
        The table in the file's order: `path`, `split`, `group`, `popularity` (as it is), ATTRIBUTES (int8, 1 or 0; with
        "missing" float, NaN where undecided), and `age`: the one age that is ticked, or "" where none or several are, so
        that the row weighs nothing in a softmax over ages. And the rows set aside (`file`, `row`, `value`, `reason`).

    Raises:
        ParameterError: an unknown `undecided`.
        DataError: a table is missing or unreadable, or rows.csv does not fit the rows.

    Source: Kalayeh et al., How to Take a Good Selfie?, ACM Multimedia 2015.
    """
    if undecided not in UNDECIDED:
        raise ParameterError(f"undecided = {undecided!r}", expected="one of " + ", ".join(UNDECIDED))
    manifest = load_manifest("selfie")
    assert isinstance(manifest, DatasetManifest)
    source = manifest.table("selfies")
    rows, broken = read_rows(manifest, "selfies", root)
    rows = rows.assign(split="", value=rows["name"], reason="")
    mark_wrong_values(rows, source)
    endless = np.isinf(pd.to_numeric(rows["popularity"], errors="coerce")) & (rows["reason"] == "")
    rows.loc[endless, "value"] = rows.loc[endless, "popularity"]
    rows.loc[endless, "reason"] = "popularity is no finite number"
    mark_missing_pictures(rows, source, root)
    mark_repeated(rows, "name", ["popularity", *ATTRIBUTES])
    good, set_aside = divide_rows(rows, [broken])
    values = good[list(ATTRIBUTES)].astype(np.int8)
    table = good[["path", "split"]].assign(group=good.index, popularity=good["popularity"].astype(float))
    if find_form(manifest.table("rows"), root) is not None:
        table[["split", "group"]] = _read_partition(manifest, root, good["name"])
    ticks = (values == 1).astype(np.int8)
    table = table.join(ticks if undecided == "no" else ticks.astype(float).mask(values == 0))
    one = ticks[list(AGES)].sum(axis=1) == 1
    return table.assign(age=ticks[list(AGES)].idxmax(axis=1).where(one, "")), set_aside


def _read_partition(manifest: DatasetManifest, root: Path, names: pd.Series) -> pd.DataFrame:
    """Return split and group of the selfies from rows.csv; any fault is refused, for half a split would leak."""
    mend = "plant the folder again, or remove rows.csv to have no split"
    source = manifest.table("rows")
    rows, broken = read_rows(manifest, "rows", root)
    rows = rows.assign(split="", value=rows["name"], reason="")
    mark_wrong_values(rows, source)
    whole = rows["identity"].str.fullmatch("[0-9]{1,9}") | (rows["reason"] != "")
    rows.loc[~whole, "reason"] = "identity is no whole number"
    repeated = rows["name"].duplicated() & (rows["reason"] == "")
    rows.loc[repeated, "reason"] = "stands in an earlier row already"
    _, faults = divide_rows(rows, [broken])
    if len(faults):
        first = faults.iloc[0]
        raise DataError(f"{first.file} row {first.row}: {first.value}: {first.reason}", mend=mend)
    known = rows.set_index("name").reindex(names).set_index(names.index)
    if known["split"].isna().any():
        missing = names[known["split"].isna()].iloc[0]
        raise DataError(f"{rows['file'].iloc[0]} has no row for {missing}", expected="one for each selfie", mend=mend)
    split = known["partition"].map(source.columns["partition"].values)
    return pd.DataFrame({"split": split, "group": known["identity"].astype(int)})
