"""From a dataset's published tables and files to one table: what is read and judged here, verify prints as well.

Each becomes a data frame of text, with the file and line of every row and the reason for which it can't be used; a reader turns
that into paths, splits, groups and targets.
"""

import importlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.manifests import DatasetManifest, Table, read_manifest
from facekit.data.readers.text import EXCLUDED, read_text
from facekit.errors import DataError, ParameterError
from facekit.paths import read_json, resolve

KINDS = ("photographs", "synthetic", "planted")
# What an image is called, for readers, verify and predict alike: images.FORMATS, and formats that are named as not readable.
IMAGE_SUFFIXES = tuple(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .avif .avifs .jp2 .j2k".split()
)
_OTHER_SUFFIXES = tuple(
    ".heic .heics .heif .heifs .hif .jxl .dng .cr2 .cr3 .crw .nef .nrw .arw .srf .sr2 .raf .orf .rw2 .rwl .pef .srw .x3f .3fr "
    ".iiq .pfm .mrw .kdc .dcr .erf .svg .svgz .psd .psb .xcf .tga .pcx .ico .icns .qoi .sgi .exr .hdr .eps .wmf .emf".split()
)
# What Windows, macOS, Synology, Kaggle and Office leave in a folder: a whole name, whatever its case.
_JUNK = re.compile(
    r"\..*|~\$.*|(eh)?thumbs(_vista)?\.db|desktop\.ini|icon\r|__macosx|@eadir|\$recycle\.bin|system volume information"
    r"|.*(:encryptable|zone\.identifier)",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Dataset:
    """A dataset as the rest of facekit sees it.

    Attributes:
        table: `path` (relative to root, with /), `split` ("train", "validation", "test" or "" where none is published),
            `group` (what must not cross splits), then the target columns; the index counts from 0.
        excluded: the rows left out: `file`, `row` (line in the file, from 1), `value`, `reason`.
    """

    name: str  # the manifest's
    root: Path
    kind: str  # one of KINDS
    table: pd.DataFrame
    excluded: pd.DataFrame
    note: str = ""  # why the split is not the official one

    def sample(self, rows: int, target: str, *, seed: int) -> pd.DataFrame:
        """Return a part of the table, in its order, with each split and class in the proportion of the whole.

        Args:
            rows: how many; 0, or more than there are: all.
            target: a column of classes, or of numbers, whose thirds are then the classes.

        Raises:
            DataError: a class, also one that the manifest alone names, has no row in one of the splits.
        """
        part, classes = self.table.copy(), self.table[target]
        is_number = classes.nunique() > 20 and pd.api.types.is_numeric_dtype(classes)
        if 0 < rows < len(part):
            order = np.random.default_rng(seed).permutation(len(part))
            classes = pd.qcut(classes, 3, labels=False, duplicates="drop") if is_number else classes
            strata = pd.DataFrame({"split": part["split"], "class": classes}).iloc[order]
            same = strata.groupby(["split", "class"], dropna=False)
            place = (same.cumcount() + 0.5) / same["split"].transform("size")
            part = part.loc[np.sort(place.sort_values(kind="stable").index[:rows])].reset_index(drop=True)
        if not is_number:
            columns = [column.values for table in read_manifest(self.name).tables for column in table.columns.values()]
            refuse_missing_classes(part, target, next((names for names in columns if set(classes) <= set(names)), classes))
        return part


def read_dataset(name: str, folder: str | os.PathLike, *, every_row: bool = False, **options: str) -> Dataset:
    """Read a dataset's tables and match them with its image files, which are not opened.

    Args:
        name: a manifest's name, whose reader is `facekit.data.readers.NAME`.
        folder: in the dataset's own layout; a relative one starts at the project's root.
        every_row: however few rows can be used, for verify, which lists the others.
        options: of that reader alone, such as `uncertain` of the selfies.

    Raises:
        ParameterError: there is no dataset of that name.
        DataError: a table is missing or unreadable, half of the rows or more can't be used, or there are too few for a split.
    """
    root = resolve(folder)
    read_manifest(name)
    if not root.is_dir():
        hint = "run `make sample`" if root.parts[-3:-1] == ("data", "sample") else f"see `facekit data fetch {name}`"
        raise DataError(f"{root} is not a folder", expected=f"the folder of {name}", hint=hint)
    try:
        reader = importlib.import_module(f"facekit.data.readers.{name}")
    except ModuleNotFoundError as error:
        raise ParameterError(f"{name} has no reader", expected=f"facekit/data/readers/{name}.py") from error
    dataset = Dataset(name, root, read_marker(root)["kind"], *reader.read_tables(root, **options))
    if not every_row:
        refuse_unusable(name, root, dataset.table, dataset.excluded)
        dataset = complete_splits(dataset)
    return dataset


def refuse_unusable(name: str, root: Path, table: pd.DataFrame, excluded: pd.DataFrame) -> None:
    """Raise DataError where at least half of the rows can't be used, naming the first of them."""
    if len(excluded) >= len(table):
        first = excluded.iloc[0]
        counts = f"{len(excluded):,} of {len(excluded) + len(table):,} rows cannot be used"
        received = f"{root}: {counts}, the first in {first.file} row {first.row}: {first.value}: {first.reason}"
        raise DataError(received, hint=f"`facekit data verify {name} --root {root}` lists them all")


def complete_splits(dataset: Dataset) -> Dataset:
    """Return the dataset with a split of its own where an official split has no row, as in the first images of CelebA.

    A tenth of the groups, at random, for each split but train. This is printed, and recorded as the dataset's note.

    Raises:
        DataError: fewer than ten groups, too few for that.
    """
    table, tables = dataset.table, read_manifest(dataset.name).tables
    meanings = [column.values.values() for each in tables for column in each.columns.values()]
    published, counts = {each.split for each in tables}.union(*meanings), table["split"].value_counts()
    needed = [split for split in ("train", "validation", "test") if split in published]
    missing = [split for split in needed if split not in counts]
    if "" in counts or not missing:
        return dataset
    there = ", ".join(f"{split} {count:,}" for split, count in counts.items())
    note = f"no image of the official split {' and '.join(missing)} ({there})"
    groups = np.random.default_rng(0).permutation(table["group"].unique())
    if len(groups) < 10:
        expected = f"some of {', '.join(needed)}, or ten groups (people) to split"
        raise DataError(f"{dataset.root}: {note}", expected=expected, hint="add images")
    names = np.repeat(needed[::-1], [len(groups) // 10] * (len(needed) - 1) + [len(groups)])[: len(groups)]
    note += ": split here, a tenth of the groups for each of the others"
    print(f"{dataset.root}: {note}")
    return replace(dataset, table=table.assign(split=table["group"].map(dict(zip(groups, names, strict=True)))), note=note)


def refuse_missing_classes(table: pd.DataFrame, target: str, classes: Iterable = ()) -> None:
    """Raise DataError where one of `classes`, or of those in the table, has no row in one of its splits, or is the only one."""
    counts = pd.crosstab(table[target], table["split"]).reindex(sorted({*table[target], *classes}), fill_value=0)
    if len(counts) == 1:
        raise DataError(f"all {len(table):,} rows are of class '{counts.index[0]}' of {target}", expected="two classes or more")
    for name, row in counts[(counts == 0).any(axis=1)].iterrows():
        listed = ", ".join(f"{split or 'in all'} {count:,}" for split, count in row.items())
        received = f"class '{name}' of {target} has too few rows: {listed}"
        raise DataError(received, expected="at least one in each split", hint="use more rows, or leave the class out")


def read_marker(root: Path) -> dict:
    """Return what facekit.json in a folder states, its `kind` one of KINDS; where there is no such file, "photographs"."""
    path, marker = root / "facekit.json", {"kind": KINDS[0]}
    if os.path.lexists(path):
        if not path.is_file():  # a pipe would never end
            raise DataError(f"{path} is not a regular file", expected="a file that states the kind", hint="remove it")
        try:
            marker = read_json(path)
        except DataError:
            marker = None
    kind = marker.get("kind") if isinstance(marker, dict) else None
    if kind not in KINDS:
        raise DataError(f"{path}: kind {kind!r}", expected="one of " + ", ".join(KINDS))
    return marker


def is_image(name: str) -> bool:
    """Tell whether a file is called like an image, be it of a format that can't be read."""
    return name.lower().endswith(IMAGE_SUFFIXES + _OTHER_SUFFIXES)


def list_files(folder: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Return the sorted names of a folder's regular files, and of its folders, pipes, devices and broken links.

    Nothing is opened, since a pipe or a device would never end. What systems leave behind is left out.

    Raises:
        DataError: the folder can't be read.
    """
    files, others = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not _JUNK.fullmatch(entry.name):
                    is_file = entry.is_file(follow_symlinks=False) or os.path.isfile(entry)
                    (files if is_file else others).append(entry.name)
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})", expected="a folder with images") from error
    return sorted(files), sorted(others)


def read_rows(manifest: DatasetManifest, name: str, root: Path) -> pd.DataFrame:
    """Read the published table of that name and judge each of its rows.

    Returns:
        What `read_text` does, with a `reason` where something is wrong with `value`; and, where the table has images, `path`
        and `found`. A missing image is a reason, unless the manifest allows a subset.
    """
    table = manifest.table(name)
    rows = read_text(manifest, table, root)
    for name, column in table.columns.items():
        values = rows[name]
        if column.values:
            exclude(rows, ~values.isin(list(column.values)), f"{name} is none of {', '.join(column.values)}", name)
        elif column.number:
            finite = np.isfinite(pd.to_numeric(values, errors="coerce").astype(float))
            exclude(rows, ~finite, f"{name} is not a finite number", name)
        elif column.pattern:
            matches = values.str.fullmatch(column.pattern).fillna(False).astype(bool)
            exclude(rows, ~matches, f"{name} is not of the form {column.pattern.pattern}", name)
    if table.images:
        folder, files, others = find_folder(table, root, rows[table.key])
        wanted = _name_images(table.images[0], rows[table.key])
        stems = _index_stems(files)
        similar = wanted.map(lambda name: stems.get(name.rpartition(".")[0]), na_action="ignore").astype(wanted.dtype)
        names = wanted.where(wanted.isin(files), similar.mask(similar.isin(wanted)))
        rows["found"] = names.notna()
        rows["path"] = f"{folder}/" * bool(folder) + names.fillna(wanted)
        exclude(rows, wanted.isin(others) & ~rows["found"], f"its image in {folder or root.name} is not a regular file")
        if not manifest.images.subset_allowed:
            exclude(rows, ~rows["found"], f"its image is missing in {folder or root.name}")
    return rows


def exclude(rows: pd.DataFrame, where: pd.Series, reason: str | pd.Series, column: str = "") -> None:
    """Write `reason` beside the rows `where`, unless they have one already, and the value of `column` as what is wrong."""
    where = where & (rows["reason"] == "")
    if where.any():
        rows.loc[where, "reason"] = reason
        if column:
            rows.loc[where, "value"] = rows.loc[where, column]


def exclude_repeated(rows: pd.DataFrame, key: str, targets: list[str]) -> None:
    """Exclude every row that gives way to another of the same key.

    Where the rows of a key differ in a target, nobody knows which is right, and all of them go. Otherwise one stays: the
    first of the test set, which is to remain as published, or else the first.
    """
    usable = rows[rows["reason"] == ""]
    same = usable[usable[key].duplicated(keep=False)]
    for name in targets if len(same) else ():
        differing = same.groupby(key)[name].transform("nunique") > 1
        exclude(rows, differing.reindex(rows.index, fill_value=False), f"{key} has several values of {name}")
    same = same[rows.loc[same.index, "reason"] == ""]
    kept = same.loc[(same["split"] != "test").sort_values(kind="stable").index].drop_duplicates(key)
    places = "is already in " + kept["file"] + " row " + kept["row"].astype(str)
    others = same.drop(index=kept.index)[key]
    exclude(rows, rows.index.isin(others.index), (f"{key} " + others.map(places.set_axis(kept[key]))).reindex(rows.index))


def divide(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that can be used and, as EXCLUDED columns, the others; both counted from 0."""
    good = rows["reason"] == ""
    return rows[good].reset_index(drop=True), rows.loc[~good, EXCLUDED].reset_index(drop=True)


def find_folder(table: Table, root: Path, keys: pd.Series) -> tuple[str, list[str], list[str]]:
    """Return the folder that holds most of the table's images, and what `list_files` lists in it.

    Kaggle's archives have folders in folders of the same name; the table may be in the outer one.
    """
    best, most = (table.images[0].rpartition("/")[0], [], []), -1
    for pattern in table.images:
        folder = pattern.rpartition("/")[0]
        stems = {name.rpartition(".")[0] for name in _name_images(pattern, keys.dropna())}
        while (root / folder).is_dir():
            files, others = list_files(root / folder)
            count = len(stems.intersection(_index_stems(files)))
            if count > most:
                best, most = (folder, files, others), count
            if not folder:
                break
            folder += "/" + folder.rpartition("/")[2]
    return best


def _index_stems(files: list[str]) -> dict[str, str]:
    """Return name without suffix -> image file: a dataset's copy may hold .png for the table's .jpg."""
    return {os.path.splitext(name)[0]: name for name in reversed(files) if name.lower().endswith(IMAGE_SUFFIXES)}


def _name_images(pattern: str, keys: pd.Series) -> pd.Series:
    before, after = re.split(r"\{.*\}", pattern.rpartition("/")[2])
    return before + keys + after
