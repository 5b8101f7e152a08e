"""Verification: does a folder hold the dataset that its manifest describes, and what is wrong with it, row by row.

The trap this prevents: a training run that dies on picture 17,312, or, worse, one that trains on half of the data
without saying so. Every table is read, every picture decoded, every count set against the published one; a subset is
named as a subset, a fault is named with its file and row.
"""

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from facekit.errors import DataError, ParameterError, PictureError
from facekit.fetch import check_file
from facekit.images import read_picture
from facekit.manifests import DatasetManifest, Manifest, Table, load_manifest
from facekit.tables import find_form, judge_values, list_pictures, name_pictures, read_kind, read_rows

Problem = dict[str, str | int | None]


@dataclass
class VerifyReport:
    """What was found in a folder.

    `whole` says that rows and pictures are as many as published; `problems` are the faults, each with file, row (line
    in the file, or None), value and problem; `notes` say what is worth knowing and no fault, a subset above all.
    """

    dataset: str
    root: str
    kind: str = "photographs"
    whole: bool = False
    tables: list[dict] = field(default_factory=list)
    pictures: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seconds: float = 0.0

    def add_problem(self, file: str, row: int | None, value: str, problem: str) -> None:
        """Note a fault."""
        self.problems.append({"file": file, "row": row, "value": str(value), "problem": problem})

    def to_text(self, limit: int | None = None) -> str:
        """Return the report as text; with `limit`, only so many problems are listed."""
        state = "whole" if self.whole else "not whole" if self.problems else "a subset"
        state = state if self.kind == "photographs" else f"{self.kind} data"
        lines = [f"{self.dataset} in {self.root}: {state}, problems: {len(self.problems)}"]
        lines += [f"  {table['file']}: {_describe_table(table)}" for table in self.tables]
        if self.pictures:
            lines.append("  pictures: {decoded:,} decoded of {found:,}, published {published:,}".format(**self.pictures))
        lines += [f"  note: {note}" for note in self.notes]
        shown = self.problems[:limit]
        lines += [
            f"  {entry['file']}{'' if entry['row'] is None else ' row ' + str(entry['row'])}: {entry['value']}: "
            f"{entry['problem']}"
            for entry in shown
        ]
        if len(shown) < len(self.problems):
            lines.append(f"  ... and {len(self.problems) - len(shown):,} more problems in the report")
        return "\n".join([*lines, f"  {self.seconds:.0f} s"])


def verify_dataset(
    name: str, root: Path, *, workers: int = 2, report: Path | None = None, progress: bool = True
) -> VerifyReport:
    """Check a folder against its manifest.

    Args:
        name: the manifest's name.
        root: the folder that holds the tables and the picture folders.
        workers: pictures decoded at the same time.
        report: where to write the report as json; the same as text stands beside it as .txt.
        progress: whether to show a progress bar.

    Returns:
        What was found; `problems` is empty where nothing is wrong.

    Raises:
        DataError: the folder is missing or holds nothing of the dataset.
    """
    started = time.monotonic()
    manifest = load_manifest(name)
    if not root.is_dir():
        raise DataError(f"{root} is no folder", expected=f"the folder of {name}", mend="name it with --root")
    if workers < 1:
        raise ParameterError(f"workers {workers}", expected="1 or more")
    found = VerifyReport(dataset=name, root=str(root), kind=read_kind(root))
    if isinstance(manifest, DatasetManifest):
        _verify_tables_and_pictures(manifest, root, found, workers, progress)
    published = found.kind == "photographs"
    present = _check_files(manifest, root, found) if published else 0
    if not isinstance(manifest, DatasetManifest):
        if not present:
            raise DataError(f"{root} holds none of the files of {name}", mend=f"see `facekit data fetch {name}`")
        found.whole = present == len(manifest.files) and not found.problems
    found.seconds = round(time.monotonic() - started, 1)
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        report.with_suffix(".txt").write_text(found.to_text() + "\n", encoding="utf-8")
    return found


def _verify_tables_and_pictures(
    manifest: DatasetManifest, root: Path, found: VerifyReport, workers: int, progress: bool
) -> None:
    tables = {table.name: _read_table(manifest, table, root, found) for table in manifest.tables}
    holders = [table for table in manifest.tables if table.pictures]
    pictures = {table.name: list_pictures(table, root) for table in holders}
    if all(rows is None for rows in tables.values()) and not any(names for _, names in pictures.values()):
        raise DataError(
            f"{root} holds no table and no picture of {manifest.name}",
            expected=", ".join([*(table.forms[0].path for table in manifest.tables), *_name_folders(holders)]),
            mend=f"see `facekit data fetch {manifest.name}`, or name its folder with --root",
        )
    for table in manifest.tables:
        if tables[table.name] is not None:
            _check_values(table, tables[table.name], found)
    _check_duplicates(manifest, tables, found)
    _check_joins(manifest, tables, found)
    _compare_counts(manifest, tables, found)
    _match_pictures(manifest, tables, pictures, found)
    _decode_pictures(manifest, root, pictures, found, workers, progress)
    complete = all(entry["rows"] == entry["published"] for entry in found.tables if entry["rows"] or entry["needed"])
    found.whole = complete and found.pictures["decoded"] == manifest.pictures.count


def _read_table(manifest: DatasetManifest, table: Table, root: Path, found: VerifyReport) -> pd.DataFrame | None:
    form = find_form(table, root)
    entry = {"table": table.name, "file": (form or table.forms[0]).path, "rows": 0, "published": table.rows}
    found.tables.append(entry | {"needed": not table.optional})
    if form is None:
        if table.optional:
            found.notes.append(f"{table.forms[0].path} is not there; it is optional")
        else:
            found.add_problem(" or ".join(form.path for form in table.forms), None, table.name, "the table is missing")
        return None
    try:
        rows, broken = read_rows(manifest, table.name, root)
    except DataError as error:
        found.add_problem(form.path, None, table.name, str(error))
        return None
    for line in broken.to_dict("records"):
        found.add_problem(line["file"], line["row"], line["value"], line["reason"])
    found.tables[-1]["rows"] = len(rows)
    return rows


def _check_values(table: Table, rows: pd.DataFrame, found: VerifyReport) -> None:
    counts = {}
    for name, column in table.columns.items():
        values = rows[name]
        if column.values:
            numbers = values.value_counts()
            counts[name] = {value: int(numbers.get(value, 0)) for value in column.values}
        wrong, problem = judge_values(column, values)
        for index in values.index[wrong]:
            found.add_problem(rows["file"][index], int(rows["row"][index]), values[index], f"{name} {problem}")
    next(entry for entry in found.tables if entry["table"] == table.name)["counts"] = counts


def _check_duplicates(manifest: DatasetManifest, tables: dict, found: VerifyReport) -> None:
    """Name every row whose key stands in an earlier row; tables that share a picture folder share their keys."""
    groups: dict[tuple, list[Table]] = {}
    for table in manifest.tables:
        if tables[table.name] is not None:
            groups.setdefault(table.pictures or (table.name,), []).append(table)
    for group in groups.values():
        rows = pd.concat([tables[table.name] for table in group], ignore_index=True)
        keys = rows[group[0].key]
        repeated = rows[keys.duplicated(keep=False)]
        content = repeated[[name for name in group[0].columns if name != group[0].key]]
        for _, same in content.groupby(keys[repeated.index], sort=False):
            first = rows.loc[same.index[0]]
            for index in same.index[1:]:
                values = "the same values" if same.loc[index].equals(same.iloc[0]) else "other values"
                problem = f"stands in {first['file']} row {first['row']} already, with {values}"
                found.add_problem(rows["file"][index], int(rows["row"][index]), keys[index], problem)


def _check_joins(manifest: DatasetManifest, tables: dict, found: VerifyReport) -> None:
    """Name rows of a table without pictures (partition, identities) that the first table lacks, and the reverse."""
    main = manifest.tables[0]
    if tables[main.name] is None:
        return
    for table in manifest.tables[1:]:
        if table.pictures or tables[table.name] is None:
            continue
        for one, other in ((table, main), (main, table)):
            rows, known = tables[one.name], tables[other.name]
            other_file = known["file"].iloc[0]
            for line in rows[~rows[one.key].isin(known[other.key])].itertuples():
                value = rows[one.key][line.Index]
                found.add_problem(line.file, int(line.row), value, f"has no row in {other_file}")


def _compare_counts(manifest: DatasetManifest, tables: dict, found: VerifyReport) -> None:
    if found.kind != "photographs":
        found.notes.append(f"{found.kind} data: counts are not compared with the published ones")
        return
    # Rows may be divided otherwise between tables than published, as long as they are the same in all.
    total = sum(entry["rows"] for entry in found.tables)
    total_published = sum(table.rows for table in manifest.tables)
    for table, entry in zip(manifest.tables, found.tables, strict=True):
        if tables[table.name] is None:
            continue
        if entry["rows"] > table.rows and total > total_published:
            found.add_problem(entry["file"], None, f"{entry['rows']:,} rows", f"published are {table.rows:,}")
        elif entry["rows"] > table.rows:
            text = f"{entry['file']}: {entry['rows']:,} rows, published {table.rows:,}: rows are divided otherwise"
            found.notes.append(f"{text}; {total:,} in all tables, published {total_published:,}")
        elif entry["rows"] < table.rows:
            found.notes.append(f"{entry['file']}: a subset, {entry['rows']:,} of {table.rows:,} published rows")
        for name, column in table.columns.items():
            for value, published in column.counts.items():
                count = entry["counts"][name].get(value, 0)
                if count > published or (entry["rows"] == table.rows and count != published):
                    problem = f"{count:,} rows, published {published:,}"
                    found.add_problem(entry["file"], None, f"{name} {value}", problem)


def _match_pictures(manifest: DatasetManifest, tables: dict, pictures: dict, found: VerifyReport) -> None:
    """Name rows without picture and pictures without row."""
    listed: dict[str, set[str]] = {}
    missing = 0
    for table in manifest.tables:
        rows = tables[table.name]
        if not table.pictures or rows is None:
            continue
        folder, names = pictures[table.name]
        wanted = name_pictures(table, rows[table.key])
        listed.setdefault(folder, set()).update(wanted)
        absent = wanted[~wanted.isin(names)]
        missing += len(absent)
        if not manifest.pictures.subset_allowed:
            for index, name in absent.items():
                place = f"{folder}/{name}" if folder else name
                found.add_problem(rows["file"][index], int(rows["row"][index]), place, "the row's picture is missing")
    if missing and manifest.pictures.subset_allowed:
        count = len(set().union(*(names for _, names in pictures.values())))
        found.notes.append(f"a subset: {count:,} pictures; {missing:,} rows have none here")
    for folder, names in set(pictures.values()):
        if folder not in listed:
            continue
        for name in sorted(names - listed[folder]):
            found.add_problem(f"{folder}/{name}" if folder else name, None, name, "no row names this picture")


def _decode_pictures(
    manifest: DatasetManifest, root: Path, pictures: dict, found: VerifyReport, workers: int, progress: bool
) -> None:
    folders = sorted(set(pictures.values()), key=lambda pair: pair[0])
    paths = [f"{folder}/{name}" if folder else name for folder, names in folders for name in sorted(names)]
    digest = hashlib.sha256()
    sizes: dict[tuple[int, int], int] = {}

    def decode(path: str) -> tuple[str, tuple[int, int] | str]:
        content = ""
        try:
            with (root / path).open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            return content, read_picture(root / path).shape[:2]
        except (PictureError, OSError) as error:
            return content, str(error)

    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(decode, paths)
        bar = tqdm(results, total=len(paths), desc=f"{manifest.name}: pictures", unit="", disable=not progress)
        for path, (content, result) in zip(paths, bar, strict=True):
            digest.update(f"{content}  {path.rpartition('/')[2]}\n".encode())
            if isinstance(result, str):
                found.add_problem(path, None, path.rpartition("/")[2], result)
            else:
                sizes[result] = sizes.get(result, 0) + 1
    decoded = sum(sizes.values())
    found.pictures = {"found": len(paths), "decoded": decoded, "published": manifest.pictures.count}
    if sizes:
        found.notes.append(_describe_sizes(sizes))
    expected = manifest.pictures.digest
    if expected and found.kind == "photographs" and len(paths) == manifest.pictures.count:
        if digest.hexdigest() == expected:
            found.notes.append("all pictures are byte for byte the published ones")
        else:
            found.add_problem("pictures", None, digest.hexdigest(), f"the digest of all pictures should be {expected}")


def _name_folders(tables: list[Table]) -> list[str]:
    return sorted({table.pictures[0].rpartition("/")[0] + "/" for table in tables})


def _describe_sizes(sizes: dict[tuple[int, int], int]) -> str:
    heights, widths = zip(*sizes, strict=True)
    if len(sizes) == 1:
        return f"pictures are {widths[0]} wide and {heights[0]} high"
    return f"pictures are {min(widths)} to {max(widths)} wide and {min(heights)} to {max(heights)} high"


def _describe_table(table: dict) -> str:
    rows = f"{table['rows']:,} rows, published {table['published']:,}" if table["rows"] else "not there"
    # Forty attributes are for the json file; one column of classes is for the eye.
    counts = [column for column in table.get("counts", {}).values() if column]
    classes = ", ".join(f"{value} {count:,}" for value, count in counts[0].items()) if len(counts) == 1 else ""
    return f"{rows} ({classes})" if classes else rows


def _check_files(manifest: Manifest, root: Path, found: VerifyReport) -> int:
    present = 0
    for file in manifest.files:
        if not (root / file.path).is_file():
            if not isinstance(manifest, DatasetManifest):
                found.notes.append(f"{file.path} is not there")
            continue
        present += 1
        try:
            check_file(root / file.path, file)
        except DataError as error:
            found.add_problem(file.path, None, file.path, str(error))
    return present
