"""The README's table of published against reproduced, written from the committed runs.

The trap this prevents: a table typed by hand, which goes on saying what an earlier run said. `python -m
facekit.readme_table` rewrites the part of README.md between two markers, with `--check` it only says whether that part
is what the runs say.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from facekit.errors import DataError, FacekitError
from facekit.folders import project_root
from facekit.published import TASKS, format_measured, format_value, index_measured, load_published
from facekit.record import read_record

BEGIN = "<!-- published: begin, written by python -m facekit.readme_table -->"
END = "<!-- published: end -->"
HEAD = ("Experiment", "Profile, data", "Claim", "Published", "Ours, 95 % interval", "Verdict")


def build_table(reports: Path) -> str:
    """Return the table in Markdown: each claim that a run on real data was judged by, experiments in the order of TASKS.

    The others are counted below the table, so that nothing is left out in silence; drawn and planted data is not the reports'.

    Args:
        reports: the folder that holds PROFILE/TASK/metrics.json.

    Returns:
        Markdown, with an end of line.

    Raises:
        DataError: a record that cannot be read.
    """
    records = [read_record(path) for path in sorted(reports.glob("[!.]*/[!.]*/metrics.json"))]
    records.sort(key=lambda record: (TASKS.index(record["task"]), record["data"]["kind"] == "synthetic"))
    lines = ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    rest = []
    for record in records:
        rows = [row for row in record["published"] if row["verdict"] != "not comparable"]
        lines += [_format_row(record, row) for row in rows]
        rest.append(f"{record['task']} ({record['profile']}): {len(record['published']) - len(rows)}")
    lines += [
        "",
        f"Claims that cannot be compared, each with its reason in metrics.json: {'; '.join(rest)}.",
    ]
    return "\n".join(lines if records else ["No run is committed yet."]) + "\n"


def _format_row(record: dict, row: dict) -> str:
    (claim,) = [claim for claim in load_published(record["task"]) if claim.id == row["claim"]]
    measured = index_measured(record["metrics"], record["comparisons"])[row["reproduced"]]
    verdict = f"**{row['verdict']}**" + (f": {row['why']}" if row["why"] else "")
    n = f", n = {measured['n']:,}"
    cells = (
        record["task"],
        f"{record['profile']}, {record['data']['kind']}",
        claim.text,
        format_value(row["value"]),
        format_measured(measured) + n,
        verdict,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def replace_part(text: str, table: str) -> str:
    """Return `text` with the part between the markers replaced by `table`.

    Args:
        text: of README.md.
        table: of `build_table`.

    Raises:
        DataError: the markers are not there, once each and in their order.
    """
    before, begin, tail = text.partition(BEGIN)
    _, end, after = tail.partition(END)
    if not (begin and end) or BEGIN in tail or END in before + after:
        raise DataError("README.md has not both markers", expected=f"{BEGIN} and then {END}, once each")
    return f"{before}{BEGIN}\n{table}{END}{after}"


def main(arguments: Sequence[str] | None = None, root: Path | None = None) -> int:
    """Rewrite README.md's table, or check it; return the exit status.

    Args:
        arguments: of the command line; those of the process if not given.
        root: the project's folder, if another one.
    """
    parser = argparse.ArgumentParser(prog="python -m facekit.readme_table", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 where the table is stale")
    options = parser.parse_args(arguments)
    root = root or project_root()
    readme = root / "README.md"
    try:
        if not readme.is_file():
            raise DataError(f"{readme} is not there")
        text = readme.read_text(encoding="utf-8")
        wanted = replace_part(text, build_table(root / "reports"))
        if wanted != text and options.check:
            raise DataError("README.md's table is not what reports/ says", mend="run python -m facekit.readme_table")
    except FacekitError as error:
        print(f"facekit: {error}", file=sys.stderr)
        return 1
    if wanted != text:
        readme.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
