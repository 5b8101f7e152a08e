"""Indian actors: train.csv with an age class for each image in Train/, test.csv without labels for those in Test/."""

import os
from pathlib import Path

import pandas as pd

from facekit.data.manifests import read_manifest
from facekit.data.tables import divide, exclude_repeated, read_rows, refuse_unusable
from facekit.paths import resolve


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the labelled rows in the file's order, and those of them that are excluded.

    `split` is empty, since none is published; `group` is one per row: equal images are left to the audit.

    Source: Analytics Vidhya, practice problem Age Detection of Indian Actors; Setty et al., Indian Movie Face Database.
    """
    good, excluded = _read("train", root, ["Class"])
    return good[["path", "split", "group"]].assign(label=good["Class"]), excluded


def read_unlabelled(root: str | os.PathLike) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows of test.csv, whose labels are not published: for predictions, and for the audit of equal images.

    Returns:
        `path` (its file name is the ID), `split` (empty) and `group` (one per row, none of the labelled rows' numbers), in
        test.csv's order; and the excluded rows.

    Raises:
        DataError: the table is missing or unreadable, or at least half of the rows can't be used.
    """
    good, excluded = _read("test", resolve(root), [])
    refuse_unusable("indian_actors", resolve(root), good, excluded)
    return good[["path", "split"]].assign(group=-1 - good["group"]), excluded


def _read(name: str, root: Path, targets: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows = read_rows(read_manifest("indian_actors"), name, root).assign(split="")
    exclude_repeated(rows, "ID", targets)
    good, excluded = divide(rows)
    return good.assign(group=good.index), excluded
