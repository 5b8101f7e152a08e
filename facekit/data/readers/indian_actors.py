"""Indian actors: train.csv with an age class for each image in Train/, test.csv without labels for those in Test/."""

from pathlib import Path

import pandas as pd

from facekit.data.tables import check_usable, read_usable
from facekit.paths import resolve


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the labelled rows in the file's order, and those of them that are excluded.

    `split` is empty, since none is published; `group` is one per row: equal images are left to the audit.

    Source: Analytics Vidhya, practice problem Age Detection of Indian Actors; Setty et al., Indian Movie Face Database.
    """
    good, excluded = read_usable("indian_actors", ["train"], root, ["Class"])
    return good[["path", "split", "group"]].assign(label=good["Class"]), excluded


def read_unlabelled(root: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows of test.csv, whose labels are not published: for predictions, and for the audit of equal images.

    Returned are `path` (its file name is the ID), `split` (empty) and `group` (one per row, none of the labelled rows'
    numbers), in test.csv's order; and the excluded rows. DataError: the table is missing, or at least half can't be used.
    """
    root = resolve(root)
    good, excluded = check_usable("indian_actors", root, *read_usable("indian_actors", ["test"], root, []))
    return good[["path", "split"]].assign(group=-1 - good["group"]), excluded
