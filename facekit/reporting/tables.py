"""What runs say in short: README.md's table and reports/CLAIMS.md (`make table`), and the box on top of a report."""

import sys
from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path

from facekit.errors import DataError, FacekitError
from facekit.paths import project_root, write_text
from facekit.reporting import claims
from facekit.reporting.parameters import PROFILES
from facekit.reporting.schema import Record, read_record

BEGIN, END = "<!-- published: begin, written by make table -->", "<!-- published: end -->"
README_HEAD = ("Experiment", "Question", "Metric", "Published", "Ours, 95 % interval", "Data", "Verdict")
BOX_HEAD = ("Published", "Ours, 95 % interval", "Baseline", "Profile, data", "Time")
CLAIMS_HEAD = ("Claim", "Published", "Ours, 95 % interval", "n", "Verdict", "Notes")
INTRODUCTION = """# Published claims and our values

`make table` writes this page from `published.yaml` and the runs. *above* / *below*: our whole 95 % interval is better / worse
than the published value (for a loss, lower is better); *within*: it contains it. A difference is judged against 0. A count is
*equal* or *differs*. A value without an interval gets *no verdict*. *report error*: the report's own numbers, or its dataset,
contradict it."""


def summarise(record: Record) -> str:
    """Return the box on top of a report in Markdown: question, answer, published / ours / baseline, time."""
    headline = claims.find_headline(record)
    lines = [f"**Question.** {record.question}"]
    if headline and headline.value is not None:
        last, row = headline.name.split("/")[-1], next((r for r in record.published if r.reproduced == headline.name), None)
        form = ".1%" if last in ("accuracy", "balanced_accuracy", "macro_f1") else ".3f"
        published = f"{row.value:{form}}" if row and row.value is not None else ""
        baseline = "" if headline.baseline is None else f"{headline.baseline:{form}}"
        answer = f"**Answer.** `{headline.name}` is **{headline:{form}}** on {headline.n:,} images"
        if baseline:
            low, high = headline.interval or (headline.value, headline.value)
            beats = low > headline.baseline if headline.higher_is_better else high < headline.baseline
            constant = "predicting the mean" if last in ("r2", "mse", "mae") else "the majority-class baseline"
            answer += f", {'significantly better than' if beats else 'not shown to be better than'} {constant} ({baseline})"
        verdict = f" The report's value is {published}: {row.verdict or 'no verdict'}." if published else ""
        seconds = record.run["seconds"] if record.run else {}
        minutes = f"{seconds.get('whole run', sum(seconds.values())) / 60:.1f} min"
        data = f"{record.profile}, {claims.KINDS[record.data['kind']]}"
        cells = (published or "none", f"{headline:{form}}", baseline or "none", data, minutes)
        lines += ["", f"{answer}.{verdict}", "", *_write_table(BOX_HEAD, [cells])]
    return "\n".join(f"> {line}".rstrip() for line in lines)


def write_tables(root: Path | None = None, *, check: bool = False) -> list[Path]:
    """Write README.md's short table and reports/CLAIMS.md, and return the files that were not what the runs say.

    Of an experiment's runs the one on photographs is taken, and the largest profile.

    Args:
        root: the project's folder, if another one.
        check: write nothing.

    Raises:
        DataError: a record that cannot be read, or a README.md without the markers.
    """
    root = root or project_root()
    order = [(kind, profile) for kind in reversed(claims.KINDS) for profile in ("", *PROFILES)]
    records = [read_record(path) for path in sorted((root / "reports").glob("[!.]*/[!.]*/metrics.json"))]
    records.sort(key=lambda r: order.index((r.data["kind"], r.profile if r.profile in PROFILES else "")))
    last = {record.task: record for record in records}
    parts = [_describe(last[task]) for task in claims.read_register() if task in last]
    short = "\n".join(_write_table(README_HEAD, [row for row, _ in parts])) if parts else "No run is there yet."
    readme = root / "README.md"
    before, begin, tail = readme.read_text(encoding="utf-8").partition(BEGIN) if readme.is_file() else ("", "", "")
    _, end, after = tail.partition(END)
    if not (begin and end) or BEGIN in tail or END in before + after:
        raise DataError(f"{readme}: no place for the table", expected=f"{BEGIN} and then {END}, once each")
    long = "\n".join([INTRODUCTION, *(line for _, lines in parts for line in lines)])
    wanted = {readme: f"{before}{BEGIN}\n{short}\n{END}{after}", root / "reports" / "CLAIMS.md": f"{long}\n"}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in [] if check else stale:
        write_text(path, wanted[path])
    return stale


def _describe(record: Record) -> tuple[tuple, list[str]]:
    """Return an experiment's row of README.md and its part of CLAIMS.md, where each reason is written once."""
    experiment, values = claims.read_experiment(record.task), claims.index_values(record.metrics, record.comparisons)
    kind = record.data["kind"]
    verdicts = claims.judge_all(record.task, values, kind=kind, remark=_find_remark(record.published))
    notes, rows, rest = {}, [], {}
    for row, cells in zip(verdicts, claims.tabulate(record.task, verdicts, values).itertuples(index=False), strict=True):
        if row.verdict == "not comparable":
            rest.setdefault(row.why, []).append(cells.claim)
        else:
            numbers = [str(notes.setdefault(reason, len(notes) + 1)) for reason in (row.why or "").split("; ") if reason]
            rows.append((*cells[:5], ", ".join(sorted(numbers, key=int))))
    place = f"{record.profile}/{record.task}/{record.task}.ipynb"
    lines = ["", f"## {record.task}", "", f"{experiment.question} Run: [{record.profile}]({place}), {claims.KINDS[kind]}."]
    lines += ["", *_write_table(CLAIMS_HEAD, rows)] if rows else []
    lines += ["", *(f"{number}. {reason}" for reason, number in notes.items())] if notes else []
    lines += ["", "Not comparable:", ""] if rest else []
    for reason, texts in rest.items():
        lines.append(f"- {reason}: {'; '.join(texts) if len(texts) < len(verdicts) else 'all claims'}")
    headline = claims.find_headline(record)
    claim = next((c for c in experiment.claims if headline and c.reproduced == headline.name), None)
    verdict = next((row.verdict or "no verdict" for row in verdicts if claim and row.claim == claim.id), "")
    unit = claim.unit if claim else "share" if headline and headline.name.endswith("accuracy") else None
    published = claims.format_value(claim.value, unit) if claim else "none"
    ours = (headline.name if headline else "none", published, claims.format_measured(headline, unit))
    return (f"[{record.task}](reports/{place})", experiment.question, *ours, claims.KINDS[kind], verdict), lines


def _find_remark(verdicts: Sequence[claims.Verdict]) -> str:
    """Return the remark that a run's verdicts share: what all their reasons end in."""
    reasons = [row.why.split("; ")[::-1] for row in verdicts if row.why and row.reproduced and row.verdict != "not comparable"]
    return "; ".join(commonprefix(reasons)[::-1])


def _write_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    lines = [" | ".join(cell.replace("|", "\\|") for cell in cells) for cells in (head, *rows)]
    return [f"| {lines[0]} |", "|" + " --- |" * len(head), *(f"| {line} |" for line in lines[1:])]


if __name__ == "__main__":
    only_check = "--check" in sys.argv[1:]
    try:
        found = write_tables(check=only_check)
    except FacekitError as error:
        sys.exit(f"facekit: {error}")
    for path in found:
        print(f"{path.name}: {'stale, make table writes it' if only_check else 'written'}")
    sys.exit(int(only_check and bool(found)))
