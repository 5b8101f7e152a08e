"""A dataset's published table, as text with the file and line of every row.

The trap this prevents: a reader that loses the first row of a csv without header, shifts columns where a name holds a
blank, or reports a bad label without saying where it stands. The manifest says which forms a table comes in; all of
them end here in the same data frame of strings.
"""

import csv
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from facekit.errors import DataError
from facekit.manifests import DatasetManifest, Form, Table, load_manifest

MAX_TABLE_BYTES = 1_000_000_000  # CelebA's largest table is 27 MB; more than this is no table of ours


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
    lines = _read_lines(root / form.path, form)
    _skip_header(lines, form, columns)
    rows, broken = [], []
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
        pd.DataFrame(broken, columns=["file", "row", "value", "reason"]),
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
        with os.scandir(root / folder) as entries:
            names = frozenset(entry.name for entry in entries if not entry.is_dir() and entry.name[0] != ".")
        # A folder that also holds tables or other folders counts only where pictures stand in it.
        pictures = names if folder else frozenset(name for name in names if name.lower().endswith(ending))
        if pictures:
            return folder, pictures
    return table.pictures[0].rpartition("/")[0] if table.pictures else "", frozenset()


def name_pictures(table: Table, keys: pd.Series) -> pd.Series:
    """Return the pictures' file names, without folder, for the table's keys."""
    before, after = table.pictures[0].rpartition("/")[2].split(f"{{{table.key}}}")
    return before + keys + after


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


def _read_lines(path: Path, form: Form) -> Iterator[tuple[int, list[str]]]:
    try:
        text = io.StringIO(_read_bytes(path).decode("utf-8-sig"), newline="")
        if form.separator == "space":
            yield from ((number, line.split()) for number, line in enumerate(text.read().splitlines(), start=1))
        else:
            reader = csv.reader(text, strict=True)
            for cells in reader:
                yield reader.line_num, list(map(str.strip, cells))
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is no UTF-8", expected="a table in UTF-8") from error
    except csv.Error as error:
        raise DataError(f"{path}: {error}", expected="comma-separated values") from error


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
