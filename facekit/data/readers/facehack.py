"""FaceHack: train.csv and test.csv without header, ids without .jpg, images in happy_images/."""

from pathlib import Path

import pandas as pd

from facekit.data.manifests import read_manifest
from facekit.data.tables import divide, exclude_repeated, read_rows


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read `path`, `split`, `group` (one per row) and `label`, in the files' order, train first; and the excluded rows.

    Where an id is repeated with another label, all its rows are excluded; with the same one, the row of the test file is
    kept, or else the first: a test image must not be trained on.

    Source: github.com/peppermenta/faceHack, folder dataset.
    """
    manifest = read_manifest("facehack")
    parts = [read_rows(manifest, table.name, root).assign(split=table.split) for table in manifest.tables]
    rows = pd.concat(parts, ignore_index=True)
    exclude_repeated(rows, "id", ["label"])
    good, excluded = divide(rows)
    return good[["path", "split"]].assign(group=good.index, label=good["label"]), excluded
