"""Verification: does a folder hold the dataset that its manifest describes, and what is wrong with it, row by row.

Tables are judged by the readers themselves; besides, every image is decoded and every count compared with the published one.
"""

import hashlib
import importlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from facekit.data.download import check_file
from facekit.data.images import decode_image, read_bytes
from facekit.data.manifests import DatasetManifest, Manifest, Table, read_manifest
from facekit.data.readers.image_files import take_apart
from facekit.data.readers.text import find_form
from facekit.data.tables import complete_splits, divide, find_folder, is_image, read_dataset, read_rows, refuse_unusable
from facekit.errors import DataError, ImageError, ParameterError
from facekit.paths import hash_file, resolve, write_text
from facekit.progress import track

HOLE = 64  # zero bytes; the compressed pixels of 20,000 real JPEGs have at most 15 in a row


@dataclass
class Report:
    """What was found in a folder; a problem or finding has `file`, `row` (or None), `value` and `reason`."""

    dataset: str
    root: str
    state: str = "checked"  # complete, a subset, synthetic data, ...
    problems: list[dict] = field(default_factory=list)  # what stops a run: unreadable tables, broken images
    findings: list[dict] = field(default_factory=list)  # excluded rows, strays, other counts, images that may be damaged
    notes: list[str] = field(default_factory=list)
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)  # table or "images" -> how many, how many published
    seconds: float = 0.0

    def to_text(self, limit: int | None = None) -> str:
        """Return the report as text; with `limit`, only so many problems and findings are listed."""
        state = "cannot be used" if self.problems else self.state
        lines = [f"{self.dataset} in {self.root}: {state}, problems: {len(self.problems)}, findings: {len(self.findings)}"]
        lines += [f"  {name}: {count:,}, published {published:,}" for name, (count, published) in self.counts.items()]
        lines += [f"  note: {note}" for note in self.notes]
        for title, entries in (("problem", self.problems), ("finding", self.findings)):
            for entry in entries[:limit]:
                row = f" row {entry['row']}" if entry["row"] else ""
                lines.append(f"  {title}: {entry['file']}{row}: {entry['value']}: {entry['reason']}")
            if len(entries) > len(entries[:limit]):
                lines.append(f"  ... and {len(entries) - limit:,} more {title}s in the report")
        # Names of files need not be UTF-8.
        return "\n".join([*lines, f"  {self.seconds:.0f} s"]).encode("utf-8", "backslashreplace").decode()


def verify_dataset(name: str, root: Path, *, workers: int = 2, report: Path | None = None) -> Report:
    """Check a folder against its manifest; whatever can be wrong with it is in the report.

    Args:
        workers: images decoded at the same time.
        report: where to write the report as JSON; the same as text is beside it as .txt.

    Raises:
        ParameterError: there is no such dataset, or no worker.
    """
    if workers < 1:
        raise ParameterError(f"workers {workers}", expected="1 or more")
    started, root, manifest = time.monotonic(), resolve(root), read_manifest(name)
    found = Report(name, str(root))
    try:
        if isinstance(manifest, DatasetManifest):
            _verify_dataset(manifest, root, found, workers)
        _check_files(manifest, root, found)
    except DataError as error:
        found.problems.append(_describe(root.name, str(error)))
    found.seconds = round(time.monotonic() - started, 1)
    if report is not None:
        write_text(report, json.dumps(asdict(found), indent=2) + "\n")
        write_text(report.with_suffix(".txt"), found.to_text() + "\n")
    return found


def _verify_dataset(manifest: DatasetManifest, root: Path, found: Report, workers: int) -> None:
    dataset = read_dataset(manifest.name, root, every_row=True)
    found.state = f"{dataset.kind} data"
    excluded, named, folders = [dataset.excluded], set(), {}
    for table in manifest.tables:
        if find_form(table, root) is None:
            found.notes.append(f"{table.forms[0].path} is not there")
            continue
        rows = read_rows(manifest, table.name, root)
        excluded.append(divide(rows)[1])
        if dataset.kind == "photographs":
            _compare_counts(table, rows[rows[table.key].notna()], found)
        if table.images:
            folder, *folders[folder] = find_folder(table, root, rows[table.key])
            named.update(rows.loc[rows["found"].eq(True), "path"])
    found.findings += pd.concat(excluded).drop_duplicates(["file", "row"]).to_dict("records")
    for folder, (files, others) in folders.items():
        for name in (name for name in files + others if is_image(name) or (folder and name in files)):
            if (path := f"{folder}/{name}" if folder else name) not in named:
                found.findings.append(_describe(path, "no row names this file" if name in files else "is not a regular file"))
    sizes = _decode_images(root, sorted(named), found, workers)
    found.counts["images"] = (len(sizes), manifest.images.count)
    if dataset.kind == "photographs":
        count, published = np.sum(list(found.counts.values()), axis=0)
        found.state = "a subset" if count < published else "complete"
        if count == published and manifest.images.digest:
            lines = [f"{hash_file(root / path)}  {path.rpartition('/')[2]}\n" for path in sorted(named)]
            same = hashlib.sha256("".join(lines).encode()).hexdigest() == manifest.images.digest
            found.notes.append(f"the images are {'byte for byte' if same else 'not'} the published ones")
    refuse_unusable(manifest.name, root, dataset.table, dataset.excluded)
    found.notes += filter(None, [complete_splits(dataset).note])
    reader = importlib.import_module(f"facekit.data.readers.{manifest.name}")
    if hasattr(reader, "read_unlabelled") and len(folders) == len(manifest.tables):
        reader.read_unlabelled(root)


def _compare_counts(table: Table, rows: pd.DataFrame, found: Report) -> None:
    found.counts[file := rows["file"].iloc[0]] = (len(rows), table.rows)
    for name, column in table.columns.items():
        for value, published in column.counts.items() if len(rows) >= table.rows else ():
            if (count := int((rows[name] == value).sum())) != published:
                found.findings.append(_describe(file, f"{count:,} rows, published {published:,}", f"{name} {value}"))


def _decode_images(root: Path, paths: list[str], found: Report, workers: int) -> list[tuple[int, int]]:
    """Return height and width of every image that can be decoded."""
    sizes = []
    with ThreadPoolExecutor(workers) as pool:
        decoded = pool.map(lambda path: _decode(root / path), paths)
        for path, (size, reason) in zip(paths, track(decoded, "decoding images", len(paths)), strict=True):
            sizes += [size] if size else []
            if reason:
                (found.findings if size else found.problems).append(_describe(path, reason))
    if sizes:
        (low, narrow), (high, wide) = np.min(sizes, axis=0), np.max(sizes, axis=0)
        found.notes.append(f"images are {narrow} to {wide} pixels wide and {low} to {high} high")
    return sizes


def _decode(path: Path) -> tuple[tuple[int, int] | None, str]:
    """Return height and width, None where it can't be decoded, and what is wrong with an image."""
    try:
        image = decode_image(content := read_bytes(path), path)
    except ImageError as error:
        return None, str(error)
    end = image[-max(1, len(image) // 4) :]
    if content.startswith(b"\xff\xd8") and bytes(HOLE) in take_apart(content)[0]:
        return image.shape[:2], f"{HOLE} or more zero bytes in a row within its pixels: perhaps damaged"
    return image.shape[:2], "its lowest quarter is of one colour: perhaps damaged" if (end == end[0, 0]).all() else ""


def _check_files(manifest: Manifest, root: Path, found: Report) -> None:
    """Compare the files whose bytes are known: weights must be these; of a dataset a part is no fault."""
    weights, here = manifest.kind == "weights", [file for file in manifest.files if (root / file.path).is_file()]
    if weights and not here:
        raise DataError(f"{root} holds none of the files of {manifest.name}", hint=f"see `facekit data fetch {manifest.name}`")
    found.notes += [f"{file.path} is not there" for file in manifest.files if weights and file not in here]
    for file in here if weights or found.state in ("complete", "a subset") else ():
        try:
            check_file(root / file.path, file)
        except DataError as error:
            (found.problems if weights else found.findings).append(_describe(file.path, str(error)))


def _describe(file: str, reason: str, value: str = "") -> dict:
    return {"file": file, "row": None, "value": value or file.rpartition("/")[2], "reason": reason}
