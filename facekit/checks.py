"""What must hold of notebooks, their profiles and the committed reports; `make check` asks here.

The trap this prevents: a reference that compares nothing. nbval passes a cell that was stored without being executed,
and a notebook in which no cell is marked for comparison.
"""

import json
import re
from pathlib import Path
from typing import Any

import nbformat

from facekit.errors import FacekitError
from facekit.executed import list_warnings
from facekit.folders import project_root
from facekit.parameters import (
    PROFILES,
    Expected,
    check_values,
    list_tasks,
    notebooks_folder,
    read_parameters,
    read_profile,
)
from facekit.published import load_experiments

MAXIMUM_LINES = 25
CHECKED_TAG = "nbval-check-output"
HOME = re.compile(r"(/home/|/root/|/Users/|[A-Z]:\\\\Users)")


def check_notebooks(notebooks: Path | None = None) -> list[str]:
    """Return what is wrong with the source notebooks and their profiles, one line each; empty if nothing is."""
    folder = notebooks or notebooks_folder()
    problems = []
    for task in list_tasks(folder):
        path = folder / f"{task}.ipynb"
        problems += [f"{path.name}: {problem}" for problem in _check_source(nbformat.read(path, as_version=4))]
        try:
            known = read_parameters(path)
            defaults = {name: parameter.default for name, parameter in known.items()}
            for profile in PROFILES:
                values = check_values(read_profile(task, profile, folder).parameters, known, f"{task}.yaml, {profile}")
                if profile == "sample" and values != {name: defaults[name] for name in values}:
                    problems.append(f"{task}.yaml: sample differs from the notebook's defaults, which are that profile")
        except FacekitError as error:
            problems.append(str(error))
    extra = {path.stem for path in (folder / "parameters").glob("*.yaml")} - set(list_tasks(folder))
    return problems + [f"parameters/{task}.yaml: there is no notebook {task}.ipynb" for task in sorted(extra)]


def _check_source(notebook: Any) -> list[str]:
    problems, number, explained = [], 0, False
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        problems.append("the kernel is not python3")
    if not any(CHECKED_TAG in cell.metadata.get("tags", []) for cell in notebook.cells):
        problems.append(f"no cell is tagged {CHECKED_TAG}")
    for cell in notebook.cells:
        if cell.cell_type != "code":
            explained = bool(cell.source.strip())
            continue
        number += 1
        lines = cell.source.splitlines()
        if cell.outputs or cell.execution_count is not None:
            problems.append(f"cell {number} holds outputs; source notebooks are kept without")
        if len(lines) > MAXIMUM_LINES and "parameters" not in cell.metadata.get("tags", []):
            problems.append(f"cell {number} has {len(lines)} lines, {MAXIMUM_LINES} is the maximum")
        if any(line.startswith(("!", "%")) for line in lines):
            problems.append(f"cell {number} calls the shell or a magic; a notebook holds plain Python")
        if not explained:
            problems.append(f"cell {number} has no sentence before it that says what to look for")
        explained = False
    return problems


def check_references(reports: Path | None = None, notebooks: Path | None = None) -> list[str]:
    """Return what is wrong with the executed notebooks of profile sample, which nbval compares; one line each."""
    folder = (reports or project_root() / "reports") / "sample"
    missing = [task for task in list_tasks(notebooks) if not (folder / task / f"{task}.ipynb").is_file()]
    problems = [f"reports/sample/{task}: no executed notebook to compare with; run make {task}" for task in missing]
    for path in sorted(folder.glob("[!.]*/*.ipynb")):
        source = (notebooks or notebooks_folder()) / path.name
        notebook = nbformat.read(path, as_version=4)
        place = f"reports/sample/{path.parent.name}/{path.name}"
        problems += [f"{place}: {problem}" for problem in _check_executed(notebook)]
        if not source.is_file():
            problems.append(f"{place}: there is no notebooks/{path.name}")
        elif _sources(notebook) != _sources(nbformat.read(source, as_version=4)):
            problems.append(f"{place}: its cells differ from notebooks/{path.name}; make {path.stem} runs it again")
    return problems


def _sources(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook.cells]


def _check_executed(notebook: Any) -> list[str]:
    problems = list_warnings(notebook)
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    problems += [
        f"code cell {number} was not executed"
        for number, cell in enumerate(code_cells, start=1)
        if cell.execution_count is None
    ]
    if not any(CHECKED_TAG in cell.metadata.get("tags", []) and cell.outputs for cell in code_cells):
        problems.append(f"no cell tagged {CHECKED_TAG} has an output, so nothing would be compared")
    for number, cell in enumerate(code_cells, start=1):
        if HOME.search(json.dumps(cell.outputs)):
            problems.append(f"code cell {number} shows a folder of somebody's machine")
    return problems


def check_expected(reports: Path | None = None, notebooks: Path | None = None) -> list[str]:
    """Return which reports do not reach what their profile expects, one line each; a missing run is no fault."""
    problems = []
    for task in list_tasks(notebooks):
        for profile in PROFILES:
            try:
                rows = read_profile(task, profile, notebooks).expected
            except FacekitError as error:
                problems.append(str(error))
                continue
            path = (reports or project_root() / "reports") / profile / task / "metrics.json"
            if not path.is_file():
                continue
            found = {metric["name"]: metric["value"] for metric in json.loads(path.read_bytes())["metrics"]}
            place = f"reports/{profile}/{task}"
            if not rows:
                problems.append(f"{place}: {task}.yaml expects nothing of profile {profile}")
            problems += [f"{place}: {problem}" for row in rows if (problem := _compare(row, found))]
    return problems


def _compare(row: Expected, found: dict[str, float | None]) -> str:
    if row.metric not in found:
        return f"expected {row.metric}, which metrics.json does not hold"
    if row.value is None or row.low is None or row.high is None:
        return f"{row.metric} is {found[row.metric]}, but what to expect was left at null"
    if not row.low <= row.value <= row.high:
        return f"{row.metric}: expected {row.value} stands outside its own range {row.low} to {row.high}"
    value = found[row.metric]
    if value is None or not row.low <= value <= row.high:
        return f"{row.metric} is {value}, expected {row.low} to {row.high}"
    return ""


def compare_expected(run: Any) -> dict[str, str]:
    """Return, for each metric that a run's profile expects, yes or no: whether the run lies within its range.

    Args:
        run: a record.Run with its metrics.

    Returns:
        Metric -> "yes", "no", or "not known, never measured".
    """
    found = {metric.name: metric.value for metric in run.metrics}
    rows = read_profile(run.task, run.profile).expected
    return {row.metric: "not known, never measured" if row.value is None else _say(row, found) for row in rows}


def _say(row: Expected, found: dict[str, float | None]) -> str:
    return "no" if _compare(row, found) else "yes"


def check_published() -> list[str]:
    """Return what is wrong with the register of the reports' claims, one line; empty if it is complete."""
    try:
        load_experiments(project_root() / "reports" / "published.yaml")
    except FacekitError as error:
        return [str(error)]
    return []
