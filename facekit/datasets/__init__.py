"""The contract of all readers: a dataset's own files in, one kind of table out.

The trap this prevents: four datasets with four habits (with and without header, with and without .jpg, -1/1 and 0/1)
leaking into every notebook. A reader knows its dataset's files; everything after it knows only the table.

A reader is a function `read_<name>_tables(root)`, entered in READERS. Rows that cannot be used are set aside with
their file, row and reason; they never vanish silently, and a folder in which most rows are unusable is refused. A row
without its picture is such a row, but for CelebA, of which any part is a dataset. What is no table of labelled pictures has
a function beside the reader: `celeba.read_attributes` (all rows, no pixel needed), `indian_actors.read_unlabelled`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from facekit.datasets.celeba import read_celeba_tables
from facekit.datasets.facehack import read_facehack_tables
from facekit.datasets.indian_actors import read_indian_actors_tables
from facekit.datasets.selfie import read_selfie_tables
from facekit.errors import DataError, ParameterError
from facekit.tables import read_kind, refuse_unusable

SPLITS = ("train", "validation", "test", "")

# A reader returns the table (path, split, group, targets) and the rows set aside.
READERS: dict[str, Callable[..., tuple[pd.DataFrame, pd.DataFrame]]] = {
    "celeba": read_celeba_tables,
    "facehack": read_facehack_tables,
    "indian_actors": read_indian_actors_tables,
    "selfie": read_selfie_tables,
}


@dataclass(frozen=True)
class Dataset:
    """A dataset as the rest of facekit sees it.

    Attributes:
        name: the manifest's name.
        root: the folder that `path` is relative to.
        kind: "photographs", "synthetic" or "planted".
        table: `path` (relative, with /), `split` ("train", "validation", "test" or "" where none is published),
            `group` (what must not cross splits), then the target columns; the index counts from 0.
        set_aside: the rows left out: `file`, `row` (line in the file), `value`, `reason`.
    """

    name: str
    root: Path
    kind: str
    table: pd.DataFrame
    set_aside: pd.DataFrame


def read_dataset(name: str, root: Path, **options: str) -> Dataset:
    """Read a dataset's tables and match them with its pictures.

    Pictures are not opened here: `facekit data verify` does that once.

    Args:
        name: the dataset's name, one of READERS.
        root: the folder in the dataset's own layout.
        options: of that reader alone, such as `undecided` of the selfies.

    Returns:
        The dataset; its table has at least one row.

    Raises:
        ParameterError: there is no reader of that name.
        DataError: a table is missing, or at least half of the rows cannot be used.
    """
    if name not in READERS:
        raise ParameterError(f"no reader for dataset {name!r}", expected="one of " + ", ".join(READERS))
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is no folder", expected=f"the folder of {name}", mend=f"see `facekit data fetch {name}`")
    table, set_aside = READERS[name](root, **options)
    refuse_unusable(name, root, table, set_aside)
    return Dataset(name, root, read_kind(root), table.reset_index(drop=True), set_aside.reset_index(drop=True))
