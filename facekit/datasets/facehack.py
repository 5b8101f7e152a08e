"""FaceHack's reader: train.csv and test.csv without header, ids without .jpg, pictures in happy_images/.

The trap this prevents: reading the csv with a header loses one row of each file, and an id that stands in both files
puts a test picture into training.
"""

from pathlib import Path

import pandas as pd

from facekit.manifests import DatasetManifest, load_manifest
from facekit.tables import divide_rows, mark_missing_pictures, mark_repeated, mark_wrong_values, read_rows


def read_facehack_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read FaceHack's table and the rows set aside.

    A row is set aside where its line is broken, its label is another than the three, its picture is missing, or its id stands
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
        rows = rows.assign(split=table.split, value=rows["id"], reason="")
        mark_wrong_values(rows, table)
        mark_missing_pictures(rows, table, root)
        parts.append(rows)
        aside.append(broken)
    rows = pd.concat(parts, ignore_index=True)
    mark_repeated(rows, "id", ["label"])
    good, set_aside = divide_rows(rows, aside)
    return good[["path", "split"]].assign(group=good.index, label=good["label"]), set_aside
