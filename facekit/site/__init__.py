"""The static pages of all runs, from reports/ alone: index.html, every notebook, and each two runs of one experiment.

The trap this prevents: a page that says what an earlier run said. Everything is written anew, the index last, so that
it never links to a page that is not there; a run that cannot be read is named on the page.
"""

from dataclasses import dataclass
from pathlib import Path

from facekit.errors import DataError, FacekitError
from facekit.folders import project_root
from facekit.pages import render_page
from facekit.pages.document import build_document, write_text
from facekit.parameters import PROFILES
from facekit.published import TASKS, Experiment, load_experiments
from facekit.site.comparison import Comparison, pair_runs
from facekit.site.marks import place_marks
from facekit.site.runs import Run, read_run

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Section:
    """One experiment on the index: its runs and their comparisons, and what the reports ask."""

    task: str
    title: str
    question: str
    runs: tuple[Run, ...]
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Site:
    """What was built: the index, the runs on it, and one line for each run that could not be read."""

    index: Path
    runs: tuple[Run, ...]
    problems: tuple[str, ...]


def build_site(reports: Path | None = None, notebooks: Path | None = None) -> Site:
    """Write reports/index.html and every page that it links to.

    Args:
        reports: the folder of PROFILE/TASK; the project's if not given. A published.yaml in it is taken before the
            project's.
        notebooks: the folder of notebooks with its parameters/, where it is not the project's own.

    Returns:
        What was built.

    Raises:
        DataError: the folder is not there, or published.yaml does not hold what it must.
    """
    reports = Path(reports or project_root() / "reports").resolve()
    if not reports.is_dir():
        raise DataError(f"{reports} is no folder", expected="the folder of reports", mend="make reports")
    register = reports / "published.yaml"
    experiments = load_experiments(register if register.is_file() else project_root() / "reports" / "published.yaml")
    runs, problems = [], []
    for folder in list_folders(reports):
        try:
            run = _read_and_write(folder, experiments.get(folder.name), notebooks)
        except FacekitError as error:
            problems.append(f"{folder.parent.name}/{folder.name}: {error}")
        else:
            runs.append(run)
    sections = build_sections(runs)
    comparisons = [comparison for section in sections for comparison in section.comparisons]
    _write_comparisons(reports, comparisons)
    done = {section.task for section in sections}
    page = render_page(
        TEMPLATES / "index.html.j2",
        sections=sections,
        profiles=[name for name in PROFILES if any(run.record.profile == name for run in runs)],
        runs=[run for section in sections for run in section.runs],
        waiting=[experiments[task] for task in TASKS if task not in done],
        problems=problems,
        place_marks=place_marks,
    )
    write_text(reports / "index.html", page)
    return Site(reports / "index.html", tuple(runs), tuple(problems))


def list_folders(reports: Path) -> list[Path]:
    """Return the folders of runs, profile by profile; what is hidden is being written and is left out."""
    return [
        folder
        for profile in PROFILES
        for folder in sorted((reports / profile).glob("[!.]*"))
        if folder.is_dir() and any(folder.iterdir())
    ]


def build_sections(runs: list[Run]) -> list[Section]:
    """Return the runs by experiment, in the order of TASKS, unknown ones after them; drawn faces follow real ones."""
    tasks = {run.record.task for run in runs}
    ordered = [*(task for task in TASKS if task in tasks), *sorted(tasks - set(TASKS))]
    sections = []
    for task in ordered:
        own = sorted((run for run in runs if run.record.task == task), key=lambda run: run.record.data.kind == "synthetic")
        sections.append(Section(task, own[0].title, own[0].record.question, tuple(own), tuple(pair_runs(own))))
    return sections


def _read_and_write(folder: Path, experiment: Experiment | None, notebooks: Path | None) -> Run:
    """Read one run and write its notebook's page; DataError whatever a damaged notebook makes nbconvert raise."""
    run = read_run(folder, experiment.claims if experiment else (), notebooks)
    try:
        page = build_document(run.notebook, task=folder.name, profile=run.record.profile, home="../../index.html")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise DataError(f"the notebook cannot be written as a page: {reason[:200]}") from error
    write_text(folder / f"{folder.name}.html", page)
    return run


def _write_comparisons(reports: Path, comparisons: list[Comparison]) -> None:
    """Write a page for each two runs and remove those of pairs that are no more."""
    folder = reports / "compare"
    for comparison in comparisons:
        folder.mkdir(exist_ok=True)
        write_text(reports / comparison.path, render_page(TEMPLATES / "comparison.html.j2", comparison=comparison))
    kept = {Path(comparison.path).name for comparison in comparisons}
    for path in folder.glob("*.html"):
        if path.name not in kept:
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
