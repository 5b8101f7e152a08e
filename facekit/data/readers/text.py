"""A published table as text, with the file and line of every row; nothing is judged but the number of values in a line."""

import csv
import gzip
import io
import re
import zipfile
from itertools import zip_longest
from pathlib import Path

import pandas as pd

from facekit.data.manifests import DatasetManifest, Form, Table
from facekit.errors import DataError

EXCLUDED = ["file", "row", "value", "reason"]
_MAX_BYTES = 500_000_000  # CelebA's largest table is 27 MB
_JUNK = re.compile(
    r"\..+|~\$.*|(eh)?thumbs(_vista)?\.db|desktop\.ini|icon\r|__macosx|@eadir|\$recycle\.bin|system volume information"
    r"|.*(:encryptable|zone\.identifier)",
    re.IGNORECASE | re.DOTALL,
)


def is_junk(path: str) -> bool:
    """Tell whether a part of a path is what Windows, macOS, Synology, Kaggle or Office leave in folders and archives."""
    return any(map(_JUNK.fullmatch, path.split("/")))


def find_form(table: Table, root: Path) -> Form | None:
    """Return the first form of the table that is a regular file in `root`, as it is or packed, or None."""
    forms = (form.model_copy(update={"path": form.path + packed}) for packed in ("", ".zip", ".gz") for form in table.forms)
    return next((form for form in forms if (root / form.path).is_file()), None)


def read_text(manifest: DatasetManifest, table: Table, root: Path) -> pd.DataFrame:
    """Read a published table as it is; DataError: it is missing, unreadable or without a row, or its header is another one.

    Each line but the header and blank ones becomes a row: `file`, `row` (line, from 1), the table's columns as text, `value`
    (of the key) and `reason`, which is "" where the line has as many values as the table columns.
    """
    form, columns = find_form(table, root), list(table.columns)
    if form is None:
        received = f"{root} holds no {' or '.join(form.path for form in table.forms)} that is a file"
        hint = f"see `facekit data fetch {manifest.name}`, or name its folder"
        raise DataError(received, expected=f"the layout of {manifest.name}", hint=hint)
    rows, broken, lines = {}, [], _read_lines(root / form.path)
    # Excel writes semicolons where the comma is the decimal sign, and tabs as "Unicode text".
    separators = (None if form.separator == "space" else ",", ",", ";", "\t")
    separator = max(separators, key=lambda each: sum(len(_split(line, each)) == len(columns) for line in lines[:1000]))
    first = _check_header(lines, form, columns, separator)
    for number, line in enumerate(lines[first:], start=first + 1):
        cells = _split(line, separator)
        if line.strip() and len(cells) == len(columns):
            rows[number] = "\x1f".join(cells)
        elif line.strip():
            broken.append([form.path, number, " ".join(cells)[:80], f"{len(cells)} values instead of {len(columns)}"])
    if not rows:
        expected = f"{', '.join(columns[:4])}, separated by {form.separator}s (or semicolons or tabs)"
        raise DataError(f"{root / form.path}: no row with {len(columns)} values", expected=expected)
    announced, count = lines[0].strip(" \t,;"), len(rows) + len(broken)
    if form.header == "count and names" and announced != str(count):
        broken.append([form.path, 1, announced[:80], f"is to be the number of rows, which is {count:,}"])
    # pandas holds equal strings once: 330 MB for CelebA's eight million values in place of 650 MB.
    layout = {"sep": "\x1f", "quoting": csv.QUOTE_NONE, "header": None, "names": columns, "skip_blank_lines": False}
    frame = pd.read_csv(io.StringIO("\n".join(rows.values())), dtype=str, keep_default_na=False, **layout)
    frame = frame.assign(file=form.path, row=list(rows), value=frame[table.key], reason="")
    if broken:
        frame = pd.concat([frame, pd.DataFrame(broken, columns=EXCLUDED)]).sort_values("row", ignore_index=True)
    return frame


def _split(line: str, separator: str | None) -> list[str]:
    """Return the line's values; without a separator, blanks are one."""
    if separator and ('"' in line or " " in line or "\t" in line):
        return [cell.strip() for cell in next(csv.reader([line[:100_000]], delimiter=separator))]  # csv refuses longer values
    return line.split(separator)


def _read_lines(path: Path) -> list[str]:
    """Return the lines of a table, unpacked where it is a zip archive or gzipped, whatever it is called."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if content.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                members = [m for m in archive.infolist() if not (m.is_dir() or is_junk(m.filename))]
                if len(members) != 1:
                    raise ValueError(f"{len(members)} files in the archive")
                content = archive.open(members[0]).read(_MAX_BYTES + 1)
        elif content.startswith(b"\x1f\x8b"):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except Exception as error:  # on broken archives zipfile and gzip raise BadZipFile, EOFError, zlib.error and more
        received = f"{path}: {getattr(error, 'strerror', None) or error}"
        expected = f"a table in UTF-8 of at most {_MAX_BYTES:,} bytes, as it is or alone in a zip or gzip archive"
        raise DataError(received, expected=expected, hint="download it again, or export it as text (CSV)") from error
    return re.sub("[\0\x1f]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")).split("\n")


def _check_header(lines: list[str], form: Form, columns: list[str], separator: str | None) -> int:
    """Return how many lines the header has, and refuse another one than the manifest's."""
    number = {"none": 0, "names": 1, "count and names": 2}[form.header]
    names = _split(lines[number - 1], separator) if 0 < number <= len(lines) else []
    expected = columns[number - 1 :] if number else []  # below a count the key's column has no name
    for name, known in zip_longest(names, expected, fillvalue="nothing"):
        if name != known:
            raise DataError(f"{form.path} row {number}: column '{name}' in the header", expected=known)
    return number
