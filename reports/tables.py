"""Writes what the committed runs say into README.md's table and CLAIMS.md (`make table`); --check: are they stale?"""

import re
import sys
from pathlib import Path
from typing import Any

import nbformat

from facekit.errors import DataError, FacekitError
from facekit.paths import project_root, write_text
from facekit.reporting import claims
from facekit.reporting.parameters import PROFILES
from facekit.reporting.runner import SUMMARY, SUMMARY_END
from facekit.reporting.site import find_highlights, render

BEGIN, END = "<!-- published: begin, written by make table -->", "<!-- published: end -->"


def write_tables(root: Path | None = None, *, check: bool = False) -> list[Path]:
    """Write README.md's short table and reports/CLAIMS.md, and return the files that were not what the runs say.

    Of an experiment's runs the one on photographs is taken, and the largest profile. With `check` nothing is written.
    DataError: a record that cannot be read, or a README.md without the markers.
    """
    root = root or project_root()
    paths = [path for name in PROFILES for path in (root / "reports" / name).glob("[!.]*/metrics.json")]
    records = sorted(map(claims.read_record, paths), key=lambda record: list(claims.KINDS).index(record.kind), reverse=True)
    last = {record.task: record for record in records}
    parts = [_describe_run(root, last[task]) for task in claims.read_register() if task in last]
    readme = root / "README.md"
    before, _, tail = readme.read_text(encoding="utf-8").partition(BEGIN) if readme.is_file() else ("", "", "")
    _, end, after = tail.partition(END)
    if not end:
        raise DataError(f"{readme}: no place for the table", expected=f"{BEGIN} and then {END}")
    wanted = {readme: f"{before}{BEGIN}\n{render('readme.md.j2', parts=parts)}{END}{after}"}
    wanted[root / "reports" / "CLAIMS.md"] = render("claims.md.j2", parts=parts)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in [] if check else stale:
        write_text(path, wanted[path])
    return stale


def _describe_run(root: Path, record: claims.Record) -> dict[str, Any]:
    """Return what the two tables say of an experiment; each reason of a verdict is a note, numbered where it is met first."""
    verdicts, table = claims.judge_all(record)  # by the rules of today
    told = {row.claim: (row.why or "").split("; ") for row in record.published}  # what the run says of its method as well
    notes, rows, rest = {}, [], {}
    for row, cells in zip(verdicts, table.itertuples(index=False), strict=True):
        if row.verdict == "not comparable":
            rest.setdefault(row.why, []).append(cells.claim)
        else:
            reasons = filter(None, dict.fromkeys([*(row.why or "").split("; "), *told.get(row.claim, ())]))
            numbers = [notes.setdefault(reason, len(notes) + 1) for reason in reasons]
            rows.append((*cells[:5], ", ".join(map(str, sorted(numbers)))))
    headline, published, unit = claims.find_headline(record, verdicts)
    part = {"record": record, "headline": headline, "published": published, "unit": unit, "judged": len(verdicts)}
    part |= {"question": claims.read_experiment(record.task).question, "rows": rows, "notes": notes, "rest": rest}
    place = f"{record.profile}/{record.task}/{record.task}.ipynb"
    notebook = root / "reports" / place
    stale = list_stale_cells(root / "notebooks" / f"{record.task}.ipynb", notebook)
    current = notebook.is_file() and not stale  # the words of an earlier notebook may claim what no longer holds
    answer = find_highlights(nbformat.read(notebook, as_version=4))["answer"] if current else ""
    return part | {"place": place, "answer": " ".join(answer.split()), "stale": stale}


def list_stale_cells(source: Path, report: Path) -> list[str]:
    """Return the first lines of cells that a report and its notebook do not share; what a run puts in is left aside."""
    if not (source.is_file() and report.is_file()):
        return []
    box, texts = re.compile(f"{SUMMARY}.*{SUMMARY_END}", re.DOTALL), []
    for path in (source, report):
        cells = nbformat.read(path, as_version=4).cells
        cells = [cell for cell in cells if "injected-parameters" not in cell.metadata.get("tags", [])]
        texts.append([box.sub(SUMMARY, cell.source) for cell in cells])
    differing = [text.partition("\n")[0] for a, b in (texts, texts[::-1]) for text in a if text not in b]
    return differing or ["the order of the cells"] * (texts[0] != texts[1])


if __name__ == "__main__":
    only_check = "--check" in sys.argv[1:]
    try:
        stale = write_tables(check=only_check)
    except FacekitError as error:
        sys.exit(f"facekit: {error}")
    for path in stale:
        print(f"{path.name}: {'stale, make table writes it' if only_check else 'written'}")
    sys.exit(int(only_check and bool(stale)))
