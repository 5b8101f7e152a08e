"""The Indian actors' reader: train.csv with an age class for each picture in Train/, test.csv without labels.

The trap this prevents: the unlabelled pictures forgotten. Predictions are asked for them, in test.csv's order, and some are
byte for byte pictures of Train/; so they must be there for the audit, and must not stand among the labelled rows.
"""

from pathlib import Path

import pandas as pd

from facekit.manifests import DatasetManifest, load_manifest
from facekit.tables import (
    divide_rows,
    mark_missing_pictures,
    mark_repeated,
    mark_wrong_values,
    read_rows,
    refuse_unusable,
)


def read_indian_actors_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the labelled rows and those of them that are set aside.

    A row is set aside where its class is none of YOUNG, MIDDLE and OLD, its picture is missing, or its ID stands
    elsewhere: with another class, all rows of the ID go; else the first stays. Equal pictures are left to the audit.

    Args:
        root: the folder with train.csv and Train/; Train/train.csv and Train/Train/ do as well.

    Returns:
        The table in the file's order: `path`, `split` (empty: none is published), `group` (one a row) and `label`. And the
        rows set aside (`file`, `row`, `value`, `reason`).

    Raises:
        DataError: the table is missing or unreadable.

    Source: Analytics Vidhya, practice problem Age Detection of Indian Actors; Setty et al., Indian Movie Face Database.
    """
    table, set_aside = _read_table("train", root)
    return table.rename(columns={"Class": "label"}), set_aside


def read_unlabelled(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the rows of test.csv, whose labels are not published: for predictions and for the audit.

    Args:
        root: the folder with test.csv and Test/; Test/test.csv and Test/Test/ do as well.

    Returns:
        The table in test.csv's order: `path`, `split` (empty), `group` (one a row, -1 and below: none of the labelled rows'
        numbers); the file name in `path` is the ID. And the rows set aside, as for the labelled ones.

    Raises:
        DataError: the table is missing or unreadable, or at least half of the rows cannot be used.
    """
    table, set_aside = _read_table("test", root)
    refuse_unusable("indian_actors", root, table, set_aside)
    return table.assign(group=-1 - table["group"]), set_aside


def _read_table(name: str, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    manifest = load_manifest("indian_actors")
    assert isinstance(manifest, DatasetManifest)
    source = manifest.table(name)
    rows, broken = read_rows(manifest, name, root)
    targets = [column for column in source.columns if column != source.key]
    rows = rows.assign(split="", value=rows[source.key], reason="")
    mark_wrong_values(rows, source)
    mark_missing_pictures(rows, source, root)
    mark_repeated(rows, source.key, targets)
    good, set_aside = divide_rows(rows, [broken])
    return good.assign(group=good.index)[["path", "split", "group", *targets]], set_aside
