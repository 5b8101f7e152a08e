"""CelebA: 40 attributes, the official partition and, where the file is there, identities; any part of the images."""

from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.manifests import read_manifest
from facekit.data.readers.text import find_form
from facekit.data.tables import check_usable, divide, exclude_repeated, join, read_rows
from facekit.errors import DataError
from facekit.paths import resolve

# As the annotators named them, in the columns' order; "Attractive" is their judgement, "Male" is all that is said of gender.
ATTRIBUTES = tuple(read_manifest("celeba").tables["attributes"].columns)[1:]
UNKNOWN = -1  # identity of a row for which none is published


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows whose images are there, and those of them that are excluded.

    A row without its image appears nowhere: a part of the images is a dataset as well. DataError: a table is missing or
    unreadable, or no image matches.

    Returned are, in the order of the attribute table, `path`; `split`, the official partition; `group`, the identity, or one
    group per row where that is unknown; `identity` (1 to 10177, or UNKNOWN); ATTRIBUTES as int8, 1 present and 0 absent. And
    the rows with a wrong value, without a partition, or with several values of one column.

    Source: Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015.
    """
    return _read(root, with_images=True)


def read_attributes(root: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read all rows as `read_tables` does, with or without their images; DataError also where at least half can't be used."""
    root = resolve(root)
    return check_usable("celeba", root, *_read(root, with_images=False))


def _read(root: Path, with_images: bool) -> tuple[pd.DataFrame, pd.DataFrame]:
    manifest = read_manifest("celeba")
    rows = read_rows(manifest, "attributes", root)
    if with_images:
        received, example = f"{root}: no image that {rows['file'].iloc[0]} names", rows["path"].dropna().iloc[0]
        if not rows["found"].any():
            raise DataError(received, expected=f"such as {example}", hint="put all images, or a part of them, there")
        rows = rows[rows["found"] | rows["image_id"].isna()]  # a line that is not a row has no image
    broken = [join(rows, read_rows(manifest, "partition", root), "image_id", "partition")]
    rows["split"] = rows["partition"].map(manifest.tables["partition"].columns["partition"].values).fillna("")
    rows["identity"] = UNKNOWN
    if find_form(manifest.tables["identities"], root) is not None:
        broken.append(join(rows, read_rows(manifest, "identities", root), "image_id", "identity", required=False))
        rows["identity"] = pd.to_numeric(rows["identity"].where(rows["reason"] == "")).fillna(UNKNOWN).astype(int)
    exclude_repeated(rows, "image_id", list(ATTRIBUTES))
    good, excluded = divide(pd.concat([rows, *broken], ignore_index=True))
    alone = good["identity"].max() + 1 + np.arange(len(good))  # numbers that no identity has
    group = good["identity"].where(good["identity"] != UNKNOWN, alone).astype(int)
    table = good[["path", "split"]].assign(group=group, identity=good["identity"].astype(int))
    return table.join((good[list(ATTRIBUTES)] == "1").astype(np.int8)), excluded
