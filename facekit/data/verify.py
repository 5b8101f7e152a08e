"""Verification: what is wrong with a folder, as its reader judges it, with every image decoded and every count compared."""

import importlib
import json
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd

from facekit.data import download, images, tables
from facekit.data.manifests import DatasetManifest, Manifest, Table, read_manifest
from facekit.data.readers.image_files import take_apart
from facekit.data.readers.text import find_form
from facekit.errors import DataError, ImageError, ParameterError, show
from facekit.paths import resolve, write_text

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

    def add(self, file: str, reason: str, value: str = "", *, problem: bool = False) -> None:
        """Add a finding, or a problem, about a whole file."""
        entry = {"file": file, "row": None, "value": value or file.rpartition("/")[2], "reason": reason}
        (self.problems if problem else self.findings).append(entry)

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
        return "\n".join(map(show, lines))


def verify_dataset(name: str, root: Path, *, workers: int = 2, report: Path | None = None) -> Report:
    """Check a folder against its manifest; whatever can be wrong with it is in the report.

    `workers` images, 1 or more, are decoded at the same time. The report is written to the file `report` as JSON, and as text
    beside it as .txt. ParameterError: there is no such dataset, no worker, or the report can't be written.
    """
    if workers < 1:
        raise ParameterError(f"workers {workers}", expected="1 or more")
    if report is not None:
        try:  # before minutes are spent on what it would hold
            report.parent.mkdir(parents=True, exist_ok=True)
            tempfile.NamedTemporaryFile(dir=report.parent, prefix=report.name).close()
            if report.is_dir():
                raise OSError(0, "is a folder")
        except OSError as error:
            raise ParameterError(f"--report {report}: {error.strerror}", expected="a file that can be written") from error
    root, manifest = resolve(root), read_manifest(name)
    found = Report(name, str(root))
    try:
        if isinstance(manifest, DatasetManifest):
            _verify_dataset(manifest, root, found, workers)
        _check_files(manifest, root, found)
    except DataError as error:
        found.add(root.name, str(error), problem=True)
    if report is not None:
        write_text(report, json.dumps(asdict(found), indent=2) + "\n")
        write_text(report.with_suffix(".txt"), found.to_text() + "\n")
    return found


def _verify_dataset(manifest: DatasetManifest, root: Path, found: Report, workers: int) -> None:
    dataset = tables.read_every_row(manifest.name, root)
    found.state = f"{dataset.kind} data"
    excluded, named, folders = [dataset.excluded], set(), set()
    there = {name: table for name, table in manifest.tables.items() if find_form(table, root)}
    found.notes += [f"{table.forms[0].path} is not there" for name, table in manifest.tables.items() if name not in there]
    for name, table in there.items():
        rows = tables.read_rows(manifest, name, root)
        excluded.append(tables.divide(rows)[1])
        if dataset.kind == "photographs":
            _compare_counts(table, rows[rows[table.key].notna()], found)
        if table.images:
            folders.add(rows["folder"].iloc[0])
            named.update(rows.loc[rows["found"], "path"])
    found.findings += pd.concat(excluded).drop_duplicates(["file", "row"]).to_dict("records")
    for folder in filter(lambda folder: (root / folder).is_dir(), sorted(folders)):
        files, others = tables.list_files(root / folder)
        strays = {name: "no row names this file" for name in files if folder or tables.is_image(name)}
        strays |= {name: "is not a regular file" for name in others if tables.is_image(name)}
        for name, reason in strays.items():
            if (path := f"{folder}/" * bool(folder) + name) not in named:
                found.add(path, reason)
    judged = images.map_threads(lambda path: _judge_image(root / path), sorted(named), "decoding images", workers)
    for path, (reason, broken) in zip(sorted(named), judged, strict=True):
        if reason:
            found.add(path, reason, problem=broken)
    found.counts["images"] = (len(named) - len(found.problems), manifest.images.count)
    if dataset.kind == "photographs":
        count, published = map(sum, zip(*found.counts.values(), strict=True))
        found.state = "a subset" if count < published else "complete"
    found.notes += filter(None, [tables.complete_splits(dataset).note])
    reader = importlib.import_module(f"facekit.data.readers.{manifest.name}")
    if hasattr(reader, "read_unlabelled") and there == manifest.tables:
        reader.read_unlabelled(root)


def _compare_counts(table: Table, rows: pd.DataFrame, found: Report) -> None:
    found.counts[file := rows["file"].iloc[0]] = (len(rows), table.rows)
    for name, column in table.columns.items():
        for value, published in column.counts.items() if len(rows) >= table.rows else ():
            if (count := int((rows[name] == value).sum())) != published:
                found.add(file, f"{count:,} rows, published {published:,}", f"{name} {value}")


def _judge_image(path: Path) -> tuple[str, bool]:
    """Return what is wrong with an image, or "", and whether it can't be decoded."""
    try:
        image = images.decode_image(content := images.read_bytes(path), path)
    except ImageError as error:
        return str(error), True
    end = image[-max(1, len(image) // 4) :]
    if content.startswith(b"\xff\xd8") and bytes(HOLE) in take_apart(content)[0]:
        return f"{HOLE} or more zero bytes in a row within its pixels: perhaps damaged", False
    return "its lowest quarter is of one colour: perhaps damaged" if (end == end[0, 0]).all() else "", False


def _check_files(manifest: Manifest, root: Path, found: Report) -> None:
    """Compare the files whose bytes are known: weights must be these; of a dataset a part is no fault."""
    weights, here = manifest.kind == "weights", [file for file in manifest.files if (root / file.path).is_file()]
    if weights and not here:
        raise DataError(f"{root} holds none of the files of {manifest.name}", hint=f"see `facekit data fetch {manifest.name}`")
    found.notes += [f"{file.path} is not there" for file in manifest.files if weights and file not in here]
    for file in here if weights or found.state in ("complete", "a subset") else ():
        try:
            download.check_file(root / file.path, file)
        except DataError as error:
            found.add(file.path, str(error), problem=weights)
