"""A dataset's published tables and files as rows, with a reason where one can't be used: for readers and verify alike."""

import importlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.manifests import DatasetManifest, Table, read_manifest
from facekit.data.readers.text import EXCLUDED, is_junk, read_text
from facekit.errors import DataError
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


@dataclass(frozen=True)
class Dataset:
    """A dataset as the rest of facekit sees it.

    Its table has `path` (relative to root, with /), `split` ("train", "validation", "test" or "" where none is published),
    `group` (what must not cross splits), then the target columns, and an index that counts from 0.
    """

    name: str  # the manifest's
    root: Path
    kind: str  # one of KINDS
    table: pd.DataFrame
    excluded: pd.DataFrame  # the rows left out: `file`, `row` (line in the file, from 1), `value`, `reason`
    note: str = ""  # why the split is not the official one

    def sample(self, rows: int, target: str, *, seed: int) -> pd.DataFrame:
        """Return `rows` rows, in their order, with each split and class in the proportion of the whole; 0: all of them.

        `target` is a column of classes, or of numbers, whose thirds are then the classes. DataError: a class, also one that the
        manifest alone names, has no row in one of the splits.
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
            columns = [column.values for table in read_manifest(self.name).tables.values() for column in table.columns.values()]
            refuse_missing_classes(part, target, next((names for names in columns if set(classes) <= set(names)), classes))
        return part


def read_dataset(name: str, folder: str | os.PathLike, **options: str) -> Dataset:
    """Read a dataset's tables and match them with its image files, which are not opened.

    ParameterError: there is no dataset of that name. DataError: a table is missing or unreadable, half of the rows or more
    can't be used, or there are too few for a split.

    Args:
        name: a manifest's name, whose reader is `facekit.data.readers.NAME`.
        folder: in the dataset's own layout; a relative one starts at the project's root.
        options: of that reader alone, such as `uncertain` of the selfies.
    """
    return complete_splits(read_every_row(name, folder, **options))


def read_every_row(name: str, folder: str | os.PathLike, **options: str) -> Dataset:
    """Read a dataset as `read_dataset` does, however few rows can be used, for verify, which lists the others."""
    root = resolve(folder)
    read_manifest(name)
    if not root.is_dir():
        hint = "run `make sample`" if root.parts[-3:-1] == ("data", "sample") else f"see `facekit data fetch {name}`"
        raise DataError(f"{root} is not a folder", expected=f"the folder of {name}", hint=hint)
    reader = importlib.import_module(f"facekit.data.readers.{name}")
    return Dataset(name, root, read_marker(root)["kind"], *reader.read_tables(root, **options))


def check_usable(name: str, root: Path, table: pd.DataFrame, excluded: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return table and excluded rows; DataError, which names the first of these, where they are at least half of all rows."""
    if len(excluded) >= len(table):
        first = excluded.iloc[0]
        counts = f"{len(excluded):,} of {len(excluded) + len(table):,} rows cannot be used"
        received = f"{root}: {counts}, the first in {first.file} row {first.row}: {first.value}: {first.reason}"
        raise DataError(received, hint=f"`facekit data verify {name} --root {root}` lists them all")
    return table, excluded


def complete_splits(dataset: Dataset) -> Dataset:
    """Return the dataset with a split of its own where an official split has no row, as in the first images of CelebA.

    A tenth of the groups, at random, for each split but train. This is printed, and recorded as the dataset's note.
    DataError: at least half of the rows can't be used, or there are fewer than ten groups, too few for that.
    """
    check_usable(dataset.name, dataset.root, dataset.table, dataset.excluded)
    table, needed, counts = dataset.table, read_manifest(dataset.name).splits, dataset.table["split"].value_counts()
    missing = [split for split in needed if split not in counts]
    if "" in counts or not missing:
        return dataset
    note = f"no image of the official split {' and '.join(missing)} ("
    note += ", ".join(f"{split} {count:,}" for split, count in counts.items()) + ")"
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
    path = root / "facekit.json"
    hint = "make the folder again; where its images are photographs, remove the file"
    marker = read_json(path, hint) if os.path.lexists(path) else {"kind": KINDS[0]}
    kind = marker.get("kind") if isinstance(marker, dict) else None
    if kind not in KINDS:
        raise DataError(f"{path}: kind {kind!r}", expected="one of " + ", ".join(KINDS), hint=hint)
    return marker


def is_image(name: str) -> bool:
    """Tell whether a file is called like an image, be it of a format that can't be read."""
    return name.lower().endswith(IMAGE_SUFFIXES + _OTHER_SUFFIXES)


def list_files(folder: str | os.PathLike) -> tuple[list[str], list[str]]:
    """Return the sorted names of a folder's regular files, and of its folders, pipes, devices and broken links.

    Nothing is opened, since a pipe or a device would never end; junk is left out. DataError: the folder can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(each.name, each.is_file(follow_symlinks=False) or os.path.isfile(each)) for each in entries]
    except OSError as error:
        raise DataError(f"{folder} cannot be read ({error.strerror})", expected="a folder with images") from error
    found = sorted(entry for entry in found if not is_junk(entry[0]))
    return [name for name, is_file in found if is_file], [name for name, is_file in found if not is_file]


def read_rows(manifest: DatasetManifest, name: str, root: Path) -> pd.DataFrame:
    """Read the published table of that name as `read_text` does, with a `reason` where something is wrong with `value`.

    A table with images also has `folder`, `path` and `found`. A missing image is a reason, unless the manifest allows a subset.
    """
    table = manifest.tables[name]
    rows = read_text(manifest, table, root)
    for name, column in table.columns.items():
        if column.values:
            exclude(rows, ~rows[name].isin(list(column.values)), f"{name} is none of {', '.join(column.values)}", name)
        elif column.number:
            numbers = pd.to_numeric(rows[name], errors="coerce").astype(float)
            exclude(rows, ~np.isfinite(numbers), f"{name} is not a finite number", name)
        elif column.pattern:
            matches = rows[name].str.fullmatch(column.pattern).eq(True)
            exclude(rows, ~matches, f"{name} is not of the form {column.pattern.pattern}", name)
    if table.images:
        before, after = re.split(r"\{.*\}", table.images[0].rpartition("/")[2])
        folder, found, others = _find_images(table, root, wanted := before + rows[table.key] + after)
        rows["folder"], rows["found"] = folder, found.notna()
        rows["path"] = f"{folder}/" * bool(folder) + found.fillna(wanted)
        exclude(rows, wanted.isin(others) & found.isna(), f"its image in {folder or root.name} is not a regular file")
        if not manifest.images.subset_allowed:
            exclude(rows, found.isna(), f"its image is missing in {folder or root.name}")
    return rows


def exclude(rows: pd.DataFrame, where: pd.Series, reason: str | pd.Series, column: str = "value") -> None:
    """Write `reason` beside the rows `where`, unless they have one already, and the value of `column` as what is wrong."""
    where = where & (rows["reason"] == "")
    rows.loc[where, "value"] = rows.loc[where, column]
    rows.loc[where, "reason"] = reason


def exclude_repeated(rows: pd.DataFrame, key: str, targets: list[str]) -> None:
    """Exclude every row that gives way to another of the same key.

    Where the rows of a key differ in a target, nobody knows which is right, and all of them go. Otherwise one stays: the
    first of the test set, which is to remain as published and must not be trained on, or else the first.
    """
    same = rows[rows["reason"] == ""]
    same = same[same[key].duplicated(keep=False)]
    for name in targets if len(same) else ():
        differing = same.groupby(key)[name].transform("nunique") > 1
        exclude(rows, differing.reindex(rows.index, fill_value=False), f"{key} has several values of {name}")
    same = same[rows.loc[same.index, "reason"] == ""]
    kept = same.loc[(same["split"] != "test").sort_values(kind="stable").index].drop_duplicates(key)
    places = "is already in " + kept["file"] + " row " + kept["row"].astype(str)
    others = same.drop(index=kept.index)[key]
    exclude(rows, rows.index.isin(others.index), (f"{key} " + others.map(places.set_axis(kept[key]))).reindex(rows.index))


def join(rows: pd.DataFrame, other: pd.DataFrame, key: str, column: str, required: bool = True) -> pd.DataFrame:
    """Write another table's column and reasons to the rows, NaN where it has no row; return that table's broken lines.

    Rows for which the other table has several values, or none though one is `required`, are excluded.
    """
    file, broken = other["file"].iloc[0], other.loc[other[key].isna(), EXCLUDED]
    other = other[other[key].notna()].drop_duplicates([key, column])
    exclude(other, other[key].duplicated(keep=False), f"has several values of {column}")
    other = other.drop_duplicates(key).set_index(key).reindex(rows[key]).set_index(rows.index)
    wrong = (rows["reason"] == "") & other["reason"].fillna("").ne("")
    rows.loc[wrong, EXCLUDED] = other.loc[wrong, EXCLUDED]
    rows[column] = other[column]
    exclude(rows, required & rows[column].isna(), f"has no row in {file}")
    return broken


def divide(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that can be used and, as EXCLUDED columns, the others; both counted from 0."""
    good = rows["reason"] == ""
    return rows[good].reset_index(drop=True), rows.loc[~good, EXCLUDED].reset_index(drop=True)


def read_usable(name: str, tables: Sequence[str], root: Path, targets: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read tables of the same columns, one after the other, and divide their rows into usable ones and others.

    The first have `split`, their table's, and `group`, one per row. Of a repeated key `exclude_repeated` keeps one or none.
    """
    manifest = read_manifest(name)
    parts = [read_rows(manifest, table, root).assign(split=manifest.tables[table].split) for table in tables]
    rows = pd.concat(parts, ignore_index=True)
    exclude_repeated(rows, manifest.tables[tables[0]].key, targets)
    good, excluded = divide(rows)
    return good.assign(group=good.index), excluded


def _find_images(table: Table, root: Path, wanted: pd.Series) -> tuple[str, pd.Series, list[str]]:
    """Return the folder with most of the images, their names in it, NaN where there is none, and what is no regular file there.

    Kaggle's archives have a folder in a folder of the same name; the table may be in the outer one. A copy of a dataset may
    hold .png for the table's .jpg.
    """
    folders = [pattern.rpartition("/")[0] for pattern in table.images]
    best = folders[0], wanted.mask(wanted.notna()), []
    for folder in folders + [f"{folder}/{folder.rpartition('/')[2]}" for folder in folders if folder]:
        if (root / folder).is_dir():
            files, others = list_files(root / folder)
            stems = {os.path.splitext(name)[0]: name for name in reversed(files) if name.lower().endswith(IMAGE_SUFFIXES)}
            similar = wanted.str.rpartition(".")[0].map(stems).astype(wanted.dtype)
            found = wanted.where(wanted.isin(files), similar.mask(similar.isin(wanted)))
            best = max(best, (folder, found, others), key=lambda each: each[1].count())
    return best
