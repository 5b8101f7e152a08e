"""What the experiments on selfies share: where the selfies are, and which of them train, validate and test.

The trap this prevents: the same selfies split in another way by each experiment, equal pictures or one person on both
sides, and a run that ends after minutes because a folder was never made.
"""

from pathlib import Path

import pandas as pd

from facekit.audit import find_groups
from facekit.errors import DataError
from facekit.folders import cache_folder, resolve
from facekit.splits import merge_groups, split_table
from facekit.synthetic import write_sample


def find_selfies(data: str) -> Path:
    """Return the folder of the selfies; the drawn ones are drawn first where they are not there yet.

    Args:
        data: a folder in UCF Selfie's layout, relative to the project's root; empty for drawn faces.

    Raises:
        DataError: there is no such folder; the message says which command makes it.
    """
    if not data:
        return write_sample("selfie", cache_folder("data", "sample", "selfie"))
    root = resolve(data)
    if not root.is_dir():
        planted = f"`facekit data plant --from CELEBA --to {data}` makes one of real photographs with a planted popularity"
        mend = f"{planted}; `facekit data fetch selfie` says how to get the dataset itself"
        raise DataError(f"{data} is no folder", expected="selfies in UCF Selfie's layout", mend=mend)
    return root


def find_photographs(photographs: str) -> Path:
    """Return the folder of somebody's own photographs; where none is given, faces drawn for another dataset.

    Args:
        photographs: a folder of pictures, relative to the project's root; empty for drawn faces.
    """
    if photographs:
        return resolve(photographs)
    return write_sample("facehack", cache_folder("data", "sample") / "facehack-100", count=100) / "happy_images"


def split_selfies(
    table: pd.DataFrame, hashes: pd.DataFrame, *, validation: float, test: float, limits: dict[str, int], seed: int
) -> pd.DataFrame:
    """Split selfies whole groups at a time, keep a split that is given, and take at most so many rows of each part.

    Args:
        table: of the reader, with `path`, `split`, `group` and `popularity`.
        hashes: of audit.hash_pictures, in the order of the table; pictures within 2 bits become one group.
        validation: share of the rows that are not test, where no split is given.
        test: share of all rows, where no split is given. Each third of the popularity is split alike.
        limits: split -> rows it has at most, drawn by chance; 0 for all of them.
        seed: of the split and the draw.

    Returns:
        A new table in the order of the old, numbered anew, with `split` and `group` set.
    """
    table = table.assign(group=merge_groups(table["group"], find_groups(hashes, distance=2)))
    if (table["split"] == "").any():
        thirds = pd.qcut(table["popularity"].rank(method="first"), 3, labels=False)
        table = split_table(table.assign(third=thirds), "third", validation=validation, test=test, seed=seed)
        table = table.drop(columns="third")
    parts = [
        part.sample(min(limits[split] or len(part), len(part)), random_state=seed) for split, part in table.groupby("split")
    ]
    return pd.concat(parts).sort_index().reset_index(drop=True)
