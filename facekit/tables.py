"""A dataset's published table, as text with the file and line of every row.

The trap this prevents: a reader that loses the first row of a csv without header, shifts columns where a name holds a
blank, or reports a bad label without saying where it stands. The manifest says which forms a table comes in; all of
them end here in the same data frame of strings. What a reader must judge (values, repeated keys, too little that can be
used) is judged here too, so that every dataset says it in the same words.
"""

import csv
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.errors import DataError
from facekit.manifests import Column, DatasetManifest, Form, Table, load_manifest

SET_ASIDE_COLUMNS = ("file", "row", "value", "reason")
MAX_TABLE_BYTES = 1_000_000_000  # CelebA's largest table is 27 MB; more than this is no table of ours
# Text that commas and blanks alone divide: no quotes, nothing beyond ASCII, no control characters.
_PLAIN = re.compile(r"[\t\n\r !#-~]*")


def find_form(table: Table, root: Path) -> Form | None:
    """Return the first form of the table that stands in `root`, or None."""
    return next((form for form in table.forms if (root / form.path).is_file()), None)


def read_rows(manifest: DatasetManifest, name: str, root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a published table as text.

    Values are not judged here, so that the caller can tell the user about each of them.

    Args:
        manifest: the dataset's manifest.
        name: the table's name in it.
        root: the dataset's folder.

    Returns:
        The rows (columns `file`, `row` (line in the file, from 1), then the table's columns, all text), and the lines
        that are no rows (columns `file`, `row`, `value`, `reason`).

    Raises:
        DataError: the table is missing, empty, unreadable, or its header is another one.
    """
    table = manifest.table(name)
    form = find_form(table, root)
    if form is None:
        names = " or ".join(form.path for form in table.forms)
        raise DataError(
            f"{root} holds no {names}",
            expected=f"the layout of {manifest.name}",
            mend=f"see `facekit data fetch {manifest.name}`, or name its folder",
        )
    columns = list(table.columns)
    text = _read_text(root / form.path)
    lines = _split_lines(text, root / form.path, form)
    _skip_header(lines, form, columns)
    rows, broken = [], []
    regular = _read_regular(text, form, columns)
    if regular is not None:
        return regular, pd.DataFrame(broken, columns=SET_ASIDE_COLUMNS)
    for number, cells in lines:
        if len(cells) == len(columns):
            rows.append([form.path, number, *cells])
        elif cells:
            reason = f"{len(cells)} values instead of {len(columns)}"
            broken.append([form.path, number, " ".join(cells)[:80], reason])
    if not rows:
        raise DataError(f"{root / form.path}: no row with {len(columns)} values", expected=", ".join(columns[:4]))
    return (
        pd.DataFrame(rows, columns=["file", "row", *columns]),
        pd.DataFrame(broken, columns=SET_ASIDE_COLUMNS),
    )


def list_pictures(table: Table, root: Path) -> tuple[str, frozenset[str]]:
    """Return the folder of the table's pictures (relative, "" for the root) and the file names in it.

    One listing is far quicker than asking for each of 200,000 files, and tells capital letters apart on every system.
    """
    for pattern in table.pictures:
        folder = pattern.rpartition("/")[0]
        ending = pattern.rpartition("}")[2].lower() or ".jpg"
        if not (root / folder).is_dir():
            continue
        tables = {form.path.rpartition("/")[2] for form in table.forms if form.path.rpartition("/")[0] == folder}
        with os.scandir(root / folder) as entries:
            files = [entry.name for entry in entries if not entry.is_dir()]
        names = frozenset(name for name in files if name[0] != "." and name not in tables)
        # A folder that also holds tables or other folders counts only where pictures stand in it.
        pictures = names if folder else frozenset(name for name in names if name.lower().endswith(ending))
        if pictures:
            return folder, pictures
    return table.pictures[0].rpartition("/")[0] if table.pictures else "", frozenset()


def name_pictures(table: Table, keys: pd.Series) -> pd.Series:
    """Return the pictures' file names, without folder, for the table's keys."""
    before, after = table.pictures[0].rpartition("/")[2].split(f"{{{table.key}}}")
    return before + keys + after


def judge_values(column: Column, values: pd.Series) -> tuple[pd.Series, str]:
    """Say which values are not what the manifest allows in a column.

    Args:
        column: the column of the manifest.
        values: text, shape (n,).

    Returns:
        bool of shape (n,), True where the value is wrong; and what is wrong with these, such as "is no number".
    """
    if column.values:
        return ~values.isin(column.values), "is none of " + ", ".join(column.values)
    if column.number:
        return pd.to_numeric(values, errors="coerce").isna(), "is no number"
    if column.pattern:
        return ~values.str.fullmatch(column.pattern), f"is not of the form {column.pattern}"
    return pd.Series(False, index=values.index), ""


def mark_wrong_values(rows: pd.DataFrame, table: Table) -> None:
    """Write value and reason beside every row, not marked yet, that holds a wrong value; the key is not judged.

    Args:
        rows: rows of the table with the columns `value` and `reason`, which is "" where a row is usable; changed in place.
        table: the manifest's table.
    """
    for name, column in table.columns.items():
        if name == table.key:
            continue
        wrong, problem = judge_values(column, rows[name])
        wrong &= rows["reason"] == ""
        if wrong.any():
            rows.loc[wrong, "value"] = rows.loc[wrong, name]
            rows.loc[wrong, "reason"] = f"{name} {problem}"


def mark_missing_pictures(rows: pd.DataFrame, table: Table, root: Path) -> None:
    """Write every row's `path`, relative to `root`, and the reason beside each, not marked yet, whose picture is missing.

    Args:
        rows: rows of the table with the column `reason`, which is "" where a row is usable; changed in place.
        table: the manifest's table.
        root: the dataset's folder.
    """
    folder, names = list_pictures(table, root)
    pictures = name_pictures(table, rows[table.key])
    rows["path"] = f"{folder}/" * bool(folder) + pictures
    missing = ~pictures.isin(names) & (rows["reason"] == "")
    rows.loc[missing, "reason"] = f"its picture is missing in {folder or root.name}"


def mark_repeated(rows: pd.DataFrame, key: str, targets: list[str]) -> None:
    """Write the reason beside every row that gives way to another of the same key.

    Where the rows of a key differ in a target, nobody knows which is right, and all of them go. Otherwise one stays: the
    first of the test set, which is to remain as published, or else the first.

    Args:
        rows: columns `file`, `row`, `split`, `reason` ("" where a row is usable), the key and the targets; changed in place.
        key: the column that should name each row once.
        targets: the columns that must agree.
    """
    usable = rows[rows["reason"] == ""]
    for value, same in usable[usable[key].duplicated(keep=False)].groupby(key):
        differing = [name for name in targets if same[name].nunique() > 1]
        if differing:
            values = ", ".join(sorted(map(str, same[differing[0]].unique())))
            rows.loc[same.index, "reason"] = f"{key} {value} has several values of {differing[0]}: {values}"
            continue
        tested = same.index[same["split"] == "test"]
        kept = tested[0] if len(tested) else same.index[0]
        where = f"{rows['file'][kept]} row {rows['row'][kept]}"
        rows.loc[same.index.drop(kept), "reason"] = f"{key} stands in {where} already"


def divide_rows(rows: pd.DataFrame, broken: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows without a reason against them, counted from 0, and all that is set aside, broken lines first."""
    marked = rows["reason"] != ""
    aside = [*broken, rows.loc[marked, list(SET_ASIDE_COLUMNS)]]
    return rows[~marked].reset_index(drop=True), pd.concat(aside, ignore_index=True)


def refuse_unusable(name: str, root: Path, table: pd.DataFrame, set_aside: pd.DataFrame) -> None:
    """Raise DataError where at least half of the rows cannot be used, naming the first of them."""
    if len(set_aside) < len(table):
        return
    first = set_aside.iloc[0]
    raise DataError(
        f"{root}: {len(set_aside):,} of {len(set_aside) + len(table):,} rows cannot be used, "
        f"the first in {first.file} row {first.row}: {first.value}: {first.reason}",
        expected=f"the whole of {name}",
        mend=f"`facekit data verify {name} --root {root}` lists them all",
    )


def read_kind(root: Path) -> str:
    """Return "photographs", or the kind that facekit.json in the folder states, such as "synthetic"."""
    path = root / "facekit.json"
    if not path.is_file():
        return "photographs"
    kinds = ("photographs", "synthetic", "planted")
    try:
        kind = json.loads(path.read_text(encoding="utf-8"))["kind"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: no kind in it", expected="a JSON object with kind " + ", ".join(kinds)) from error
    if kind not in kinds:
        raise DataError(f"{path}: kind {kind!r}", expected="one of " + ", ".join(kinds))
    return kind


def has_every_picture(name: str, root: Path) -> bool:
    """Tell quickly, without decoding, whether a folder holds every table of a dataset and a picture for every row."""
    manifest = load_manifest(name)
    if not (root.is_dir() and isinstance(manifest, DatasetManifest)):
        return False
    try:
        for table in manifest.tables:
            if table.optional and find_form(table, root) is None:
                continue
            rows, broken = read_rows(manifest, table.name, root)
            if len(broken):
                return False
            if table.pictures and not name_pictures(table, rows[table.key]).isin(list_pictures(table, root)[1]).all():
                return False
    except DataError:
        return False
    return True


def _read_regular(text: str, form: Form, columns: list[str]) -> pd.DataFrame | None:
    """Read a table without quotes, gaps and broken lines at once, or return None: line by line says what is wrong.

    CelebA's 202,599 rows of 41 values take half a second here and more than five line by line.
    """
    if not _PLAIN.fullmatch(text):
        return None
    skipped = {"none": 0, "names": 1, "count and names": 2}[form.header]
    layout = {"sep": r"\s+" if form.separator == "space" else ",", "quoting": csv.QUOTE_NONE, "skip_blank_lines": False}
    try:
        rows = pd.read_csv(io.BytesIO(text.encode()), header=None, skiprows=skipped, dtype=str, keep_default_na=False, **layout)
    except (pd.errors.ParserError, pd.errors.EmptyDataError):
        return None
    if len(rows.columns) != len(columns):
        return None
    if any(value != value.strip() or not value for name in rows for value in rows[name].unique()):
        return None
    rows.columns = columns
    rows.insert(0, "row", np.arange(len(rows)) + skipped + 1)
    rows.insert(0, "file", form.path)
    return rows


def _split_lines(text: str, path: Path, form: Form) -> Iterator[tuple[int, list[str]]]:
    if form.separator == "space":
        yield from ((number, line.split()) for number, line in enumerate(text.splitlines(), start=1))
        return
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            yield reader.line_num, list(map(str.strip, cells))
    except csv.Error as error:
        raise DataError(f"{path}: {error}", expected="comma-separated values") from error


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is no UTF-8", expected="a table in UTF-8") from error


def _read_bytes(path: Path) -> bytes:
    if path.suffix != ".zip":
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes", expected=f"at most {MAX_TABLE_BYTES:,}")
        return path.read_bytes()
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.filename.startswith("__MACOSX")]
            if len(members) != 1 or members[0].file_size > MAX_TABLE_BYTES:
                raise DataError(f"{path}: holds {len(members)} files", expected="one table of at most 1 GB")
            return archive.read(members[0])
    except (zipfile.BadZipFile, RuntimeError, EOFError) as error:
        raise DataError(f"{path}: no readable zip archive ({error})", mend="download it again") from error


def _skip_header(lines: Iterator[tuple[int, list[str]]], form: Form, columns: list[str]) -> None:
    if form.header == "none":
        return
    if form.header == "count and names":
        next(lines, None)
        columns = columns[1:]  # the key's column has no name there
    number, names = next(lines, (1, []))
    if names != columns:
        wrong = next((name for name, known in zip(names, columns, strict=False) if name != known), "")
        came = f"column {wrong!r}" if wrong else f"{len(names)} columns"
        listed = ", ".join(columns if len(columns) < 5 else [*columns[:3], f"... ({len(columns)} in all)"])
        raise DataError(f"{form.path} row {number}: {came} in the header", expected=listed)
