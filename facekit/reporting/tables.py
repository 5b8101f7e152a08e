"""What runs say in short: README.md's table and reports/CLAIMS.md (`make table`), and the box on top of a report."""

import sys
from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path

from facekit.errors import DataError, FacekitError
from facekit.evaluation.metric import Metric
from facekit.paths import project_root, write_text
from facekit.reporting import claims
from facekit.reporting.parameters import PROFILES
from facekit.reporting.schema import Record, read_record
from facekit.reporting.site import format_duration

BEGIN, END = "<!-- published: begin, written by make table -->", "<!-- published: end -->"
README_HEAD = ("Experiment", "Question", "Metric", "Published", "Ours, 95 % interval", "Data", "Verdict")
BOX_HEAD = ("", "Published", "Ours", "95 % interval", "Baseline")
CLAIMS_HEAD = ("Claim", "Published", "Ours, 95 % interval", "n", "Verdict", "Notes")
INTRODUCTION = """# Published claims and our values

`make table` writes this page from `published.yaml` and the runs. *above* / *below*: our whole 95 % interval is better / worse
than the published value (for a loss, lower is better); *within*: it contains it. A difference is judged against 0. A count is
*equal* or *differs*. A value without an interval gets *no verdict*. *report error*: the report's own numbers, or its dataset,
contradict it."""
# Parts of metrics' names in words; what is not here is shown in quotes.
WHAT = {"r2": "R²", "mse": "mean squared error", "mae": "mean absolute error", "found": "share of the true effects found"}
WHAT |= {"macro_f1": "macro F1", "spearman_published": "rank correlation with the report's values"}
WHOSE = {"cascade": "the cascade", "transfer": "the transfer model", "attributes": "the attribute network", "": ""}
WHOSE |= {"alone/popularity": "the popularity from the image alone", "A/popularity": "the popularity by network A"}
VERDICTS = {
    "above": "ours is significantly better",
    "within": "our interval contains it",
    "below": "ours is significantly worse",
}


def answer(record: Record) -> str:
    """Return the answer of a run in words, in Markdown: its headline with interval, baseline and published value."""
    headline, kind = claims.find_headline(record), record.data["kind"]
    if headline is None or headline.value is None:
        return "The profile names no headline metric, or it was not measured."
    value, interval, baseline, published, verdict = _format_headline(record, headline)
    text = f"The {name_metric(headline)} is **{value}**" + (f" (95 % interval: {interval})." if headline.interval else ".")
    if headline.baseline is not None:
        low, high = headline.interval or (headline.value, headline.value)
        better = low > headline.baseline if headline.higher_is_better else high < headline.baseline
        last = headline.name.split("/")[-1]
        constant = "predicts the mean" if last in ("r2", "mse", "mae") else "answers with the most frequent class"
        text += f" That is {'' if better else 'not '}significantly better than a model that always {constant} ({baseline})."
    if kind != "photographs":
        text += f" This run used {claims.KINDS[kind]}, so its numbers cannot be compared with the report's."
    elif published != "–":
        text += f" The report says {published}: {VERDICTS.get(verdict, verdict or 'our value has no interval')}."
    return text


def summarise(record: Record) -> str:
    """Return the box on top of a report in Markdown: question, answer, published / ours / baseline, time."""
    headline, lines = claims.find_headline(record), [f"**Question.** {record.question}"]
    if headline is None or headline.value is None:
        return lines[0]
    value, interval, baseline, published, _ = _format_headline(record, headline)
    seconds = record.run["seconds"].get("whole run", sum(record.run["seconds"].values()))
    published = published if record.data["kind"] == "photographs" else "–"
    cells = (f"{name_metric(headline)}, n = {headline.n:,}", published, value, interval, baseline)
    table = "\n".join(_write_table(BOX_HEAD, [cells]))
    lines += [f"**Answer.** {answer(record)}", table, f"Profile {record.profile}, {format_duration(seconds)}."]
    return "\n\n".join(lines)


def _format_headline(record: Record, headline: Metric) -> tuple[str, str, str, str, str | None]:
    """Return value, interval, baseline, published value (– where there is none) and verdict."""
    row = next((row for row in record.published if row.reproduced == headline.name), None)
    share = headline.name.split("/")[-1] in ("accuracy", "balanced_accuracy", "macro_f1", "found")
    value, *bounds, baseline, published = [
        "–" if number is None else f"{number:.1%}" if share else f"{number:.3f}"
        for number in (headline.value, *(headline.interval or ()), headline.baseline, row.value if row else None)
    ]
    return value, f"{bounds[0]} to {bounds[1]}" if bounds else "–", baseline, published, row.verdict if row else None


def name_metric(metric: Metric) -> str:
    """Return a metric's name in words.

    >>> name_metric(Metric("test/cascade/accuracy", 0.8, None, 9)), name_metric(Metric("truth/order", 0.9, None, 9))
    ('accuracy of the cascade on the test images', 'order')
    """
    split, *of, what = metric.name.split("/")
    whose = WHOSE.get("/".join(of), f"the network “{', '.join(of)}”")
    where = f" on the {split} images" if split in ("train", "validation", "test") else ""
    return WHAT.get(what, what.replace("_", " ")) + (f" of {whose}" if whose else "") + where


def write_tables(root: Path | None = None, *, check: bool = False) -> list[Path]:
    """Write README.md's short table and reports/CLAIMS.md, and return the files that were not what the runs say.

    Of an experiment's runs the one on photographs is taken, and the largest profile. With `check` nothing is written.

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
    before, _, tail = readme.read_text(encoding="utf-8").partition(BEGIN) if readme.is_file() else ("", "", "")
    _, end, after = tail.partition(END)
    if not end:
        raise DataError(f"{readme}: no place for the table", expected=f"{BEGIN} and then {END}")
    long = "\n".join([INTRODUCTION, *(line for _, lines in parts for line in lines)])
    wanted = {readme: f"{before}{BEGIN}\n{short}\n{END}{after}", root / "reports" / "CLAIMS.md": f"{long}\n"}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    for path in [] if check else stale:
        write_text(path, wanted[path])
    return stale


def _describe(record: Record) -> tuple[tuple, list[str]]:
    """Return an experiment's row of README.md and its part of CLAIMS.md, where each reason is written once."""
    experiment, values = claims.read_experiment(record.task), claims.index_values(record.metrics, record.comparisons)
    kind, headline = record.data["kind"], claims.find_headline(record)
    # The remark is what the reasons of all verdicts end in.
    judged = [row for row in record.published if row.why and row.reproduced and row.verdict != "not comparable"]
    remark = "; ".join(commonprefix([row.why.split("; ")[::-1] for row in judged])[::-1])
    verdicts = claims.judge_all(record.task, values, kind=kind, remark=remark)
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
    claim = next((c for c in experiment.claims if headline and c.reproduced == headline.name), None)
    verdict = next((row.verdict or "no verdict" for row in verdicts if claim and row.claim == claim.id), "")
    unit = claim.unit if claim else "share" if headline and headline.name.endswith("accuracy") else None
    published = claims.format_value(claim.value, unit) if claim else "none"
    ours = (headline.name if headline else "none", published, claims.format_measured(headline, unit))
    return (f"[{record.task}](reports/{place})", experiment.question, *ours, claims.KINDS[kind], verdict), lines


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
