"""FaceHack's reader: train.csv and test.csv without header, ids without .jpg, pictures in happy_images/.

The trap this prevents: reading the csv with a header loses one row of each file, and an id that stands in both files
puts a test picture into training.
"""

from pathlib import Path

import pandas as pd

from facekit.manifests import DatasetManifest, load_manifest
from facekit.tables import list_pictures, name_pictures, read_rows

LABELS = ("NOT smile", "positive smile", "negative smile")


def read_facehack_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read FaceHack's table and the rows set aside.

    A row is set aside where its line is broken, its label is none of LABELS, its picture is missing, or its id stands
    elsewhere: with another label, all rows of the id go; with the same one, the first row of the test file stays, or
    else the first.

    Args:
        root: the folder with train.csv, test.csv and happy_images/.

    Returns:
        The table (`path`, `split`, `group`, `label`) in the files' order, train first; and the rows set aside
        (`file`, `row`, `value`, `reason`).

    Raises:
        DataError: a table is missing or unreadable.

    Source: github.com/peppermenta/faceHack, folder dataset.
    """
    manifest = load_manifest("facehack")
    assert isinstance(manifest, DatasetManifest)
    parts, aside = [], []
    for table in manifest.tables:
        rows, broken = read_rows(manifest, table.name, root)
        folder, names = list_pictures(table, root)
        picture = name_pictures(table, rows["id"])
        rows = rows.assign(split=table.split, path=f"{folder}/" + picture, reason="")
        rows.loc[~picture.isin(names), "reason"] = f"its picture is missing in {folder}"
        unknown = ~rows["label"].isin(LABELS)
        rows.loc[unknown, "reason"] = "label is none of " + ", ".join(LABELS)
        rows["value"] = rows["id"].where(~unknown, rows["label"])
        parts.append(rows)
        aside.append(broken)
    rows = pd.concat(parts, ignore_index=True)
    _mark_repeated(rows)
    good = rows[rows["reason"] == ""]
    table = good[["path", "split"]].assign(group=range(len(good)), label=good["label"])
    aside.append(rows.loc[rows["reason"] != "", ["file", "row", "value", "reason"]])
    return table, pd.concat(aside, ignore_index=True)


def _mark_repeated(rows: pd.DataFrame) -> None:
    """Write the reason beside every row that gives way to another of the same id."""
    usable = rows[rows["reason"] == ""]
    for key, same in usable[usable.duplicated("id", keep=False)].groupby("id"):
        if same["label"].nunique() > 1:
            rows.loc[same.index, "reason"] = f"id {key} has several labels: {', '.join(sorted(same['label'].unique()))}"
            continue
        # The test set stays as published; so it is the training row that gives way.
        tested = same.index[same["split"] == "test"]
        kept = tested[0] if len(tested) else same.index[0]
        where = f"{rows['file'][kept]} row {rows['row'][kept]}"
        rows.loc[same.index.drop(kept), "reason"] = f"id stands in {where} already"
