"""A published table as text, with the file and line of every row; nothing is judged but the number of values in a line."""

import csv
import gzip
import io
import os
import re
import zipfile
from pathlib import Path

import pandas as pd

from facekit.data.manifests import DatasetManifest, Form, Table
from facekit.errors import DataError

EXCLUDED = ["file", "row", "value", "reason"]
# What a table is sometimes given as and can't be read from: named by its first bytes.
_KINDS = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7z", b"Rar!": "RAR", b"\xd0\xcf\x11\xe0": "Excel 97"}
_MAX_BYTES = 500_000_000  # CelebA's largest table is 27 MB


def find_form(table: Table, root: Path) -> Form | None:
    """Return the first form of the table that is a regular file in `root`, as it is or packed, or None."""
    forms = (form.model_copy(update={"path": form.path + packed}) for packed in ("", ".zip", ".gz") for form in table.forms)
    return next((form for form in forms if (root / form.path).is_file()), None)


def read_text(manifest: DatasetManifest, table: Table, root: Path) -> pd.DataFrame:
    """Read a published table as it is.

    Returns:
        A row for each line but the header and blank ones: `file`, `row` (line, from 1), the table's columns as text, `value`
        (of the key) and `reason`, which is "" where the line has as many values as the table columns.

    Raises:
        DataError: the table is missing, unreadable or without a row, or its header is another one.
    """
    form, columns = find_form(table, root), list(table.columns)
    if form is None:
        paths = [form.path for form in table.forms]
        odd = [f"{root / path} is not a regular file" for path in paths if os.path.lexists(root / path)]
        received = odd[0] if odd else f"{root} holds no {' or '.join(paths)}"
        hint = f"see `facekit data fetch {manifest.name}`, or name its folder"
        raise DataError(received, expected=f"the layout of {manifest.name}", hint=hint)
    rows, numbers, broken = [], [], []
    lines = _read_lines(root / form.path)
    first = _check_header(lines, form, columns)
    for number, line in enumerate(lines[first:], start=first + 1):
        cells = _split(line, form)
        if (width := cells.count("\x1f") + 1) == len(columns) and cells:
            rows.append(cells)
            numbers.append(number)
        elif cells:
            broken.append([form.path, number, cells.replace("\x1f", " ")[:80], f"{width} values instead of {len(columns)}"])
    if not rows:
        raise DataError(f"{root / form.path}: no row with {len(columns)} values", expected=", ".join(columns[:4]))
    if form.header == "count and names" and lines[0].strip() != str(count := len(rows) + len(broken)):
        broken.append([form.path, 1, lines[0].strip()[:80], f"is to be the number of rows, which is {count:,}"])
    # pandas holds equal strings once: 330 MB for CelebA's eight million values in place of 650 MB.
    layout = {"sep": "\x1f", "quoting": csv.QUOTE_NONE, "header": None, "names": columns, "skip_blank_lines": False}
    frame = pd.read_csv(io.StringIO("\n".join(rows)), dtype=str, keep_default_na=False, **layout)
    frame = frame.assign(file=form.path, row=numbers, value=frame[table.key], reason="")
    if broken:
        frame = pd.concat([frame, pd.DataFrame(broken, columns=EXCLUDED)]).sort_values("row", ignore_index=True)
    return frame


def _split(line: str, form: Form) -> str:
    """Return the line's values, separated by the character that is there for it."""
    if form.separator == "space":
        return "\x1f".join(line.split())
    if '"' in line or " " in line or "\t" in line:
        delimiter = "\t" if "\t" in line and "," not in line else ","  # Excel's "Unicode text" has tabs
        cells = next(csv.reader([line[:100_000]], delimiter=delimiter))  # csv refuses longer values
        return "\x1f".join(cell.strip() for cell in cells)
    return line.replace(",", "\x1f")


def _read_lines(path: Path) -> list[str]:
    try:
        content = _read_bytes(path)
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        kind = next((f" ({name})" for start, name in _KINDS.items() if content.startswith(start)), "")
        received = f"{path}: byte {error.start} is not {error.encoding.upper()}{kind}"
        raise DataError(received, expected="a table in UTF-8", hint="export it as text" * bool(kind)) from error
    return re.sub("[\0\x1f]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")


def _read_bytes(path: Path) -> bytes:
    """Return a table's bytes, unpacked where it is a zip archive or gzipped, whatever it is called."""
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    received = f"{_MAX_BYTES:,} bytes or more"
    try:
        if content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX")]
                received = f"{len(members)} files of {sum(member.file_size for member in members):,} bytes"
                content = archive.read(members[0]) if len(members) == 1 and members[0].file_size <= _MAX_BYTES else None
        elif content.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(content)) as packed:
                content = packed.read(_MAX_BYTES + 1)
    except Exception as error:  # on broken archives zipfile and gzip raise BadZipFile, EOFError, zlib.error and more
        raise DataError(f"{path}: not a readable zip or gzip archive ({error})", hint="download it again") from error
    if content is None or len(content) > _MAX_BYTES:
        raise DataError(f"{path}: {received}", expected=f"one table of at most {_MAX_BYTES:,} bytes")
    if content[257:262] == b"ustar":
        raise DataError(f"{path} is a tar archive", expected="a table", hint="unpack it")
    return content


def _check_header(lines: list[str], form: Form, columns: list[str]) -> int:
    """Return how many lines the header has, and refuse another one than the manifest's."""
    number = {"none": 0, "names": 1, "count and names": 2}[form.header]
    expected = columns[1:] if number == 2 else columns  # the key's column has no name below a count
    names = _split(lines[number - 1], form).split("\x1f") if number <= len(lines) else []
    if number and names != expected:
        wrong = [f"column {name!r}" for name, known in zip(names, expected, strict=False) if name != known]
        received = (wrong or [f"{len(names)} columns"])[0]
        listed = ", ".join(expected[:3]) + (f", ... ({len(expected)} in all)" if len(expected) > 3 else "")
        raise DataError(f"{form.path} row {number}: {received} in the header", expected=listed)
    return number
