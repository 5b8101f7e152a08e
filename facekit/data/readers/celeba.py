"""CelebA: 40 attributes, the official partition and, where the file is there, identities; any part of the images."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.manifests import read_manifest
from facekit.data.readers.text import EXCLUDED, find_form
from facekit.data.tables import divide, exclude, exclude_repeated, read_rows, refuse_unusable
from facekit.errors import DataError
from facekit.paths import resolve

# As the annotators named them, in the columns' order; "Attractive" is their judgement, "Male" is all that is said of gender.
ATTRIBUTES = tuple(read_manifest("celeba").table("attributes").columns)[1:]
UNKNOWN = -1  # identity of a row for which none is published


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows whose images are there, and those of them that are excluded.

    A row without its image appears nowhere: a part of the images is a dataset as well.

    Returns:
        `path`; `split`, the official partition; `group`, the identity, or one group per row where that is unknown; `identity`
        (1 to 10177, or UNKNOWN); ATTRIBUTES as int8, 1 present and 0 absent; in the order of the attribute table. And the rows
        with a wrong value, without a partition, or with several values of one column.

    Raises:
        DataError: a table is missing or unreadable, or no image matches.

    Source: Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015.
    """
    rows = _read_joined(root)
    found = rows["found"].eq(True)
    if not found.any():
        received, example = f"{root}: no image that {rows['file'].iloc[0]} names", rows["path"].dropna().iloc[0]
        raise DataError(received, expected=f"such as {example}", hint="put all images, or a part of them, there")
    return _form_table(rows[found | rows["image_id"].isna()])  # a line that is not a row has no image


def read_attributes(root: str | os.PathLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all rows as `read_tables` does, with or without their images: for what needs no pixel.

    Raises:
        DataError: a table is missing or unreadable, or at least half of the rows can't be used.
    """
    table, excluded = _form_table(_read_joined(resolve(root)))
    refuse_unusable("celeba", resolve(root), table, excluded)
    return table, excluded


def _read_joined(root: Path) -> pd.DataFrame:
    """Return the rows of the attribute table with partition, split and identity, and the broken lines of all tables."""
    manifest = read_manifest("celeba")
    rows = read_rows(manifest, "attributes", root)
    partition = read_rows(manifest, "partition", root)
    broken = [_join(rows, partition, "partition")]
    exclude(rows, rows["partition"].isna(), f"has no row in {partition['file'].iloc[0]}")
    rows["split"] = rows["partition"].map(manifest.table("partition").columns["partition"].values).fillna("")
    rows["identity"] = UNKNOWN
    if find_form(manifest.table("identities"), root) is not None:
        broken.append(_join(rows, read_rows(manifest, "identities", root), "identity"))
        rows["identity"] = pd.to_numeric(rows["identity"].where(rows["reason"] == "")).fillna(UNKNOWN).astype(int)
    exclude_repeated(rows, "image_id", list(ATTRIBUTES))
    return pd.concat([rows, *broken], ignore_index=True)


def _join(rows: pd.DataFrame, other: pd.DataFrame, column: str) -> pd.DataFrame:
    """Write another table's column and reasons to the rows, NaN where it has no row; return that table's broken lines."""
    broken = other.loc[other["image_id"].isna(), EXCLUDED]
    other = other[other["image_id"].notna()].drop_duplicates(["image_id", column])
    exclude(other, other["image_id"].duplicated(keep=False), f"has several values of {column}")
    other = other.drop_duplicates("image_id").set_index("image_id").reindex(rows["image_id"]).set_index(rows.index)
    wrong = (rows["reason"] == "") & other["reason"].fillna("").ne("")
    rows.loc[wrong, EXCLUDED] = other.loc[wrong, EXCLUDED]
    rows[column] = other[column]
    return broken


def _form_table(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    good, excluded = divide(rows)
    alone = good["identity"].max() + 1 + np.arange(len(good))  # numbers that no identity has
    group = good["identity"].where(good["identity"] != UNKNOWN, alone).astype(int)
    table = good[["path", "split"]].assign(group=group, identity=good["identity"].astype(int))
    return table.join((good[list(ATTRIBUTES)] == "1").astype(np.int8)), excluded
