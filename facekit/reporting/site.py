"""The static pages of all runs: reports/index.html, which shows an experiment's profiles together, and every notebook as HTML.

Pages hold everything they show and load nothing from elsewhere. A run that cannot be read is named on the index.
"""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from facekit.errors import DataError, FacekitError
from facekit.evaluation.metric import Metric
from facekit.paths import project_root, write_text
from facekit.reporting import claims
from facekit.reporting.claims import Claim, Verdict
from facekit.reporting.parameters import PROFILES
from facekit.reporting.schema import Record, read_record

TEMPLATES = Path(__file__).parent / "templates"
RESULTS = "8-"  # figures of the section whose first stands for a run
SYMBOLS = {"above": "▲", "within": "●", "below": "▼", "equal": "=", "differs": "≠", "report error": "!", "not comparable": "○"}
TITLE = re.compile(r"^# +(.+)$", re.MULTILINE)
SECTION = re.compile(r'<h2 id="([^"]*)"[^>]*>(.*?)</h2>', re.DOTALL)


@dataclass
class Shown:
    """One run, as the index shows it."""

    folder: Path
    record: Record
    title: str
    answer: str  # HTML
    figure: dict[str, str]  # source and alt, or empty
    values: dict[str, Metric]
    headline: Metric | None
    claim: Claim | None  # the published value that the headline is compared with
    verdicts: dict[str, Verdict]  # by claim
    facts: dict[str, str]

    @property
    def place(self) -> str:
        """The folder as seen from the index."""
        return f"{self.record.profile}/{self.record.task}"

    @property
    def unit(self) -> str | None:
        """How the headline is written."""
        accuracy = self.headline is not None and self.headline.name.endswith(("accuracy", "f1"))
        return self.claim.unit if self.claim else "share" if accuracy else None

    @property
    def files(self) -> list[str]:
        """Names of what can be opened besides the notebook's page."""
        found = [path.name for pattern in ("*.ipynb", "*.json", "*.csv") for path in sorted(self.folder.glob(pattern))]
        return [name for name in found if not name.startswith(".")]


def build_site(reports: Path | None = None) -> tuple[Path, int, list[str]]:
    """Write reports/index.html and the pages that it links to.

    Args:
        reports: the folder of PROFILE/TASK; the project's if not given. A published.yaml in it is taken before the project's.

    Returns:
        The index, the number of runs on it, and one line for each run that cannot be read.

    Raises:
        DataError: no such folder, or a published.yaml that cannot be read.
    """
    reports = Path(reports or project_root() / "reports").resolve()
    if not reports.is_dir():
        raise DataError(f"{reports}: no such folder", expected="the folder of reports", hint="make reports")
    register = claims.read_register(path if (path := reports / "published.yaml").is_file() else None)
    runs, problems = [], []
    for folder in [path for name in PROFILES for path in sorted((reports / name).glob("[!.]*")) if path.is_dir()]:
        try:
            runs.append(_read_run(folder, register[folder.name].claims if folder.name in register else ()))
        except FacekitError as error:
            problems.append(f"{folder.parent.name}/{folder.name}: {error}".replace(f"{folder}/", ""))
    order = [*register, *sorted({run.record.task for run in runs} - set(register))]
    sections = {task: [run for run in runs if run.record.task == task] for task in order}
    for section in sections.values():
        section.sort(key=lambda run: run.record.data["kind"] == "synthetic")  # real images first
    page = render(
        "index.html.j2", sections=sections, register=register, problems=problems, profiles=PROFILES, kinds=claims.KINDS
    )
    write_text(reports / "index.html", page)
    return reports / "index.html", len(runs), problems


def _read_run(folder: Path, known: Sequence[Claim]) -> Shown:
    """Read one run and write its notebook's page."""
    import nbformat

    task, record = folder.name, read_record(folder / "metrics.json")
    if (record.profile, record.task) != (folder.parent.name, task):
        raise DataError(f"metrics.json is of {record.profile}/{record.task}", expected=f"{folder.parent.name}/{task}")
    try:
        notebook = nbformat.read(folder / f"{task}.ipynb", as_version=4)
        page = build_page(notebook, title=f"{task} ({record.profile})", profile=record.profile, home="../../index.html")
        title, answer, figure = _find_title(notebook) or task, _find_answer(notebook), _find_figure(folder, notebook)
        facts = _list_facts(record)
    except Exception as error:  # a damaged run makes nbformat, nbconvert and formats raise whatever they meet
        reason = f"{task}: {type(error).__name__}: {error}".splitlines()[0][:200]
        raise DataError(reason, expected="the notebook and record of a run", hint="run the experiment again") from error
    write_text(folder / f"{task}.html", page)
    tested = [metric for metric in record.metrics if metric.name.startswith("test/")]
    headline = claims.find_headline(record) or next(iter([*tested, *record.metrics]), None)
    compared = [each for each in known if headline and each.reproduced == headline.name and each.value is not None]
    values, verdicts = claims.index_values(record.metrics, record.comparisons), {row.claim: row for row in record.published}
    return Shown(folder, record, title, answer, figure, values, headline, next(iter(compared), None), verdicts, facts)


def _list_facts(record: Record) -> dict[str, str]:
    """Return what the index says about a run's data, network, time and machine."""
    data, backbone, run = record.data, record.backbone, record.run
    images = sum(n for split in data.get("counts", {}).values() for n in split.values())
    rows = data.get("excluded", {}).get("rows", 0)
    excluded = f"; {rows:,} rows excluded" if rows else ""
    facts = {"Data": f"{data.get('dataset', '?')}{f', {images:,} images' if images else ''}{excluded}"}
    if (near := data.get("audit", {}).get("cross_split_near_duplicates")) is not None:
        facts["Leak check"] = f"{near:,} near-duplicate images across splits"
    if backbone.get("network"):
        size = f" at {' × '.join(map(str, backbone['input_size']))}" if backbone.get("input_size") else ""
        parameters = f", {backbone['parameters']:,} parameters" if backbone.get("parameters") else ""
        facts["Network"] = f"{backbone['network']}{size}{parameters}"
    seconds = run["seconds"].get("whole run", sum(run["seconds"].values()))
    memory = f"; at most {run['peak_memory_mb'] / 1024:.1f} GB of memory" if run["peak_memory_mb"] else ""
    machine = f"{run['machine'].get('cores', '?')} cores, {run['device']}{memory}"
    facts["Run time"] = f"{format_duration(seconds)} on {machine}; facekit {run['versions'].get('facekit', '?')}"
    return facts


def build_page(notebook: Any, *, title: str, profile: str, home: str = "") -> str:
    """Return an executed notebook as one page without scripts: contents, captions, long logs folded, light and dark.

    Args:
        notebook: of nbformat.
        title: where the notebook has none.
        profile: of the run.
        home: the link to the index, if there is one.
    """
    from nbconvert import HTMLExporter

    template = (TEMPLATES / "cells.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(raw_template=template, exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True)
    for name in [name for name in exporter.traits() if name.endswith("_url")]:
        setattr(exporter, name, "")
    exporter.register_filter("demote_headings", _demote_headings)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'<a class="anchor-link" href="[^"]*">[^<]*</a>', "", body)  # a heading gets its id only with such a link
    title = f"{_find_title(notebook)} ({profile})" if _find_title(notebook) else title
    return render("notebook.html.j2", title=title, profile=profile, home=home, contents=SECTION.findall(body), body=body)


def _demote_headings(text: str) -> str:
    """Return what a cell has written with its headings two levels lower: sections are the notebook's own."""
    return re.sub(r"<(/?)h([1-4])\b", lambda match: f"<{match[1]}h{int(match[2]) + 2}", text)


def _find_title(notebook: Any) -> str:
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return next((match[1].strip() for text in texts for match in TITLE.finditer(text)), "")


def _find_answer(notebook: Any) -> str:
    """Return the first paragraph that section `Answer` wrote, as HTML."""
    from nbconvert.filters import markdown2html

    within = False
    for cell in notebook.cells:
        headings = re.findall(r"^## +(?:\d+ +)?(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
        within = headings[-1].startswith("Answer") if headings else within
        for output in cell.get("outputs", []) if within else ():
            if text := output.get("data", {}).get("text/markdown"):
                return markdown2html("".join(text).split("\n\n")[0])
    return ""


def _find_figure(folder: Path, notebook: Any) -> dict[str, str]:
    """Return the first figure that the notebook shows among its results, else its first of all, with its text."""
    names, shown = {path.read_bytes(): path.name for path in sorted((folder / "figures").glob("*.png"))}, {}
    for output in [output for cell in notebook.cells for output in cell.get("outputs", [])]:
        source = "".join(output.get("data", {}).get("image/png", "")).replace("\n", "")
        if source and (name := names.get(base64.b64decode(source))):
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", name)
            shown.setdefault(name, {"source": f"data:image/png;base64,{source}", "alt": alt, "name": name})
    return next((figure for name, figure in shown.items() if name.startswith(RESULTS)), next(iter(shown.values()), {}))


def render(template: str, **values: Any) -> str:
    """Return a page from a template of templates/; a name that the template knows and `values` lacks is an error."""
    return _load_environment().get_template(template).render(values)


@cache
def _load_environment():
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    look = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), **look)
    environment.filters |= {"value": claims.format_value, "measured": claims.format_measured}
    environment.filters |= {"duration": format_duration, "place": place_marks}
    environment.globals["symbols"] = SYMBOLS
    return environment


def place_marks(metric: Metric, published: float | None = None) -> dict[str, float]:
    """Return where a metric's value, interval, baseline and published value are on a line, in percent of its width.

    A proportion's line goes from 0 to 1, so that one can be compared with the next; others are as long as what is on them.

    >>> place_marks(Metric("test/mse", 2.0, (1.0, 3.0), 9), 3.0)
    {'value': 50.0, 'low': 8.33, 'high': 91.67, 'published': 91.67, 'start': 0.8, 'end': 3.2}
    """
    low, high = metric.interval or (None, None)
    marks = {"value": metric.value, "low": low, "high": high, "baseline": metric.baseline, "published": published}
    marks = {name: value for name, value in marks.items() if value is not None}
    start, end = min(marks.values()), max(marks.values())
    margin = (end - start) * 0.1 or abs(end) * 0.1 or 1.0
    start, end = (0.0, 1.0) if start >= 0 and end <= 1 else (start - margin, end + margin)
    places = {name: round(100 * (value - start) / (end - start), 2) for name, value in marks.items()}
    return places | {"start": start, "end": end}


def format_duration(seconds: float) -> str:
    """Return a duration in words.

    >>> format_duration(39.4), format_duration(2066), format_duration(4500)
    ('39 s', '34 min', '1 h 15 min')
    """
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
