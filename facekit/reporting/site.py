"""What runs say, by templates/: reports/index.html, notebooks as pages that load nothing, and the box on top of a report."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html

from facekit.errors import DataError, FacekitError
from facekit.evaluation.metric import Metric
from facekit.paths import project_root, write_text
from facekit.progress import format_duration
from facekit.reporting import claims
from facekit.reporting.parameters import PROFILES

TEMPLATES = Path(__file__).parent / "templates"
SECTION = re.compile(r'<h2 id="([^"]*)"[^>]*>(.*?)</h2>', re.DOTALL)


def build_site(reports: Path | None = None) -> tuple[Path, list[dict[str, Any]], list[str]]:
    """Write reports/index.html and the pages that it links to; DataError where there is no such folder.

    A published.yaml in `reports` (default: the project's folder of PROFILE/TASK) is taken before the project's. Returned are
    the index, the runs on it, as templates/runs.txt.j2 takes them, and one line for each run that cannot be read.
    """
    reports = Path(reports or project_root() / "reports").resolve()
    if not reports.is_dir():
        raise DataError(f"{reports}: no such folder", expected="the folder of reports", hint="make reports")
    register = claims.read_register(path if (path := reports / "published.yaml").is_file() else None)
    runs, problems = [], []
    for folder in [path for name in PROFILES for path in sorted((reports / name).glob("[!.]*")) if path.is_dir()]:
        try:
            runs.append(_read_run(folder))
        except FacekitError as error:
            problems.append(f"{folder.parent.name}/{folder.name}: {error}".replace(f"{folder}/", ""))
    runs.sort(key=lambda run: run["record"].data["kind"] == "synthetic")  # real images first
    order = [*register, *sorted({run["record"].task for run in runs} - set(register))]
    sections = {task: [run for run in runs if run["record"].task == task] for task in order}
    values = {"sections": sections, "register": register, "problems": problems, "profiles": PROFILES}
    return write_text(reports / "index.html", render("index.html.j2", **values)), runs, problems


def _read_run(folder: Path) -> dict[str, Any]:
    """Write the page of a run's notebook, and return the run as the index shows it."""
    task, record = folder.name, claims.read_record(folder / "metrics.json")
    if (record.profile, record.task) != (folder.parent.name, task):
        raise DataError(f"metrics.json is of {record.profile}/{record.task}", expected=f"{folder.parent.name}/{task}")
    try:
        notebook = nbformat.read(folder / f"{task}.ipynb", as_version=4)
        page = build_page(notebook, record.profile, "../../index.html")
        shown = {"title": _find_title(notebook) or task} | find_highlights(notebook)
        shown["facts"] = render("facts.html.j2", record=record)
    except Exception as error:  # a damaged run makes nbformat, nbconvert and formats raise whatever they meet
        reason = f"{task}: {type(error).__name__}: {error}".splitlines()[0][:200]
        raise DataError(reason, expected="the notebook and record of a run", hint="run the experiment again") from error
    write_text(folder / f"{task}.html", page)
    shown |= {"record": record, "place": f"{record.profile}/{task}", "values": claims.index_values(record)}
    shown["headline"], shown["published"], shown["unit"] = claims.find_headline(record, record.published)
    shown["verdicts"] = {row.claim: row for row in record.published}
    shown["files"] = [path.name for kind in ("ipynb", "json", "csv") for path in sorted(folder.glob(f"[!.]*.{kind}"))]
    return shown


def build_page(notebook: Any, profile: str, home: str = "") -> str:
    """Return an executed notebook as one page without scripts, with contents and captions; `home` is a link to the index."""
    template = (TEMPLATES / "cells.html.j2").read_text(encoding="utf-8")
    exporter = HTMLExporter(raw_template=template, exclude_input_prompt=True, exclude_output_prompt=True, embed_images=True)
    for name in [name for name in exporter.traits() if name.endswith("_url")]:
        setattr(exporter, name, "")
    # What a cell has written gets its headings two levels lower: sections are the notebook's own.
    demote = partial(re.sub, r"<(/?)h([1-4])\b", lambda found: f"<{found[1]}h{int(found[2]) + 2}")
    exporter.register_filter("demote_headings", demote)
    body, _ = exporter.from_notebook_node(notebook)
    body = re.sub(r'<a class="anchor-link" href="[^"]*">[^<]*</a>', "", body)  # a heading gets its id only with such a link
    values = {"title": f"{_find_title(notebook)} ({profile})", "profile": profile, "home": home, "body": body}
    return render("notebook.html.j2", contents=SECTION.findall(body), **values)


def _find_title(notebook: Any) -> str:
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return found[1].strip() if (found := re.search(r"^# +(.+)$", text, re.MULTILINE)) else ""


def find_highlights(notebook: Any) -> dict[str, Any]:
    """Return the first paragraph that section `Answer` wrote, Markdown, and the first figure of section 8, else of all."""
    section, answer, figures = "", "", []
    for cell in notebook.cells:
        headings = re.findall(r"^## +(.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else []
        section = headings[-1] if headings else section
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                alt = output.get("metadata", {}).get("image/png", {}).get("alt", "figure")
                source = "".join(data["image/png"]).replace("\n", "")
                figures.append({"source": f"data:image/png;base64,{source}", "alt": alt, "section": section})
            if "text/markdown" in data and "Answer" in section:
                answer = answer or "".join(data["text/markdown"]).split("\n\n")[0]
    figures.sort(key=lambda figure: not figure["section"].startswith("8 "))
    return {"answer": answer, "figure": next(iter(figures), None)}


def summarise(record: claims.Record, answer: str = "") -> str:
    """Return the box on top of a report, in Markdown: question, answer in the words of section 11, headline and time."""
    headline, row, unit = claims.find_headline(record, record.published)
    form = ("{:.1%}" if unit == "share" else "{:.3f}").format
    return render("box.md.j2", record=record, headline=headline, row=row, form=form, answer=answer)


def render(template: str, **values: Any) -> str:
    """Return a page from a template of templates/; a name that the template knows and `values` lacks is an error."""
    return _ENVIRONMENT.get_template(template).render(values)


def place_marks(metric: Metric, published: float | None = None) -> dict[str, float]:
    """Return where a metric's value, interval, baseline and published value are on a line, in percent of its width.

    A proportion's line goes from 0 to 1, so that one can be compared with the next; others are as long as what is on them.
    """
    low, high = metric.interval or (None, None)
    marks = {"value": metric.value, "low": low, "high": high, "baseline": metric.baseline, "published": published}
    marks = {name: value for name, value in marks.items() if value is not None}
    start, end = min(marks.values()), max(marks.values())
    margin = (end - start) * 0.1 or abs(end) * 0.1 or 1.0
    start, end = (0.0, 1.0) if start >= 0 and end <= 1 else (start - margin, end + margin)
    places = {name: round(100 * (value - start) / (end - start), 2) for name, value in marks.items()}
    return places | {"start": start, "end": end}


_OPTIONS = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
_ENVIRONMENT = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=lambda name: ".html." in name, **_OPTIONS)
_ENVIRONMENT.filters |= {"value": claims.format_value, "place": place_marks, "duration": format_duration}
_ENVIRONMENT.globals |= {"kinds": claims.KINDS, "markdown": markdown2html}
