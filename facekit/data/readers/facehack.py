"""FaceHack: train.csv and test.csv without header, ids without .jpg, images in happy_images/."""

from pathlib import Path

import pandas as pd

from facekit.data.tables import read_usable


def read_tables(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read `path`, `split`, `group` (one per row) and `label`, in the files' order, train first; and the excluded rows.

    Source: github.com/peppermenta/faceHack, folder dataset.
    """
    good, excluded = read_usable("facehack", ("train", "test"), root, ["label"])
    return good[["path", "split", "group", "label"]], excluded
