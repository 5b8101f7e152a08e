"""The project's own habits: what may import what, how large a room is, how a notebook looks, what a report holds."""

import ast
import io
import json
import os
import re
import subprocess
import sys
import tokenize
from importlib.metadata import packages_distributions
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import nbformat
import pytest

from facekit.paths import project_root
from facekit.reporting import claims, parameters

ROOT = project_root()
spec = spec_from_file_location("tables", ROOT / "reports" / "tables.py")
spec.loader.exec_module(tables := module_from_spec(spec))
PACKAGE = ROOT / "facekit"
# A room imports only from itself and from rooms behind it; synthetic is a leaf that the command line alone imports.
ORDER = "cli demo predict synthetic reporting evaluation models cluster data progress paths errors".split()
ROOMS = ("data", "models", "evaluation", "reporting", "synthetic")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
REFERENCES = sorted((ROOT / "reports" / "sample").glob("[!.]*/*.ipynb"))
CHECKED = "nbval-check-output"
HOME = re.compile(r"/(?:home|Users|root|work)/\w|[A-Z]:\\\\Users")


def list_modules(folder: Path = PACKAGE) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def name_room(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def count_lines(paths) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in paths)


def list_imports(path: Path) -> list[str]:
    """Return the dotted names that a file imports anywhere, also within functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} line {node.lineno}: a relative import; write facekit.{node.module}"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", list_modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_one_way_and_a_module_fits_a_screenful_of_pages(path):
    room, imported = name_room(path), {name.split(".")[1] for name in list_imports(path) if name.startswith("facekit.")}
    if path.name == "__init__.py":
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert path.parent == PACKAGE or len(body) <= 1, "a room's __init__ holds no code"
        return
    assert count_lines([path]) <= 300
    if room == "__main__":
        return
    allowed = {room, *ORDER[ORDER.index(room) + 1 :], "__version__"}
    if room != "cli":
        allowed.discard("synthetic")
    if room == "synthetic":
        allowed = {"synthetic", "data", "models", "progress", "paths", "errors"}
    assert imported <= allowed, f"{room} imports {sorted(imported - allowed)}"


def test_the_rooms_stay_small():
    outside = [path for path in list_modules() if name_room(path) != "synthetic"]
    assert count_lines(outside) <= 6000
    assert count_lines(list_modules(PACKAGE / "synthetic")) <= 2400
    for room in ROOMS[:-1]:
        modules = [path.stem for path in (PACKAGE / room).glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= 10, f"{room} holds {len(modules)} modules"


def test_importing_facekit_and_its_help_load_nothing_heavy():
    code = (
        "import sys, facekit, facekit.cli; facekit.cli.build_parser().format_help();"
        "print(sorted({'tensorflow', 'keras', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_evaluation_and_reporting_load_no_tensorflow():
    paths = [path.relative_to(ROOT) for room in ("evaluation", "reporting") for path in list_modules(PACKAGE / room)]
    names = ", ".join(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)
    code = f"import sys, {names}; print({{'tensorflow', 'keras'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("given", "found"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_tensorflow_sums_in_one_way_on_all_processors_unless_told_otherwise(given, found):
    environment = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"} | given
    code = "import os, facekit; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == found


def test_everything_imported_is_pinned():
    pinned = {
        line.split("==")[0].split("[")[0].strip().lower().replace("_", "-")
        for file in ROOT.glob("requirements*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    optional = {"torch"}  # the test that compares with it is skipped where it is missing
    distributions, missing = packages_distributions(), set()
    for path in [*list_modules(), *list_modules(ROOT / "tests"), *list_modules(ROOT / "benchmarks")]:
        for name in {name.split(".")[0] for name in list_imports(path)} - set(sys.stdlib_module_names) - optional:
            owners = {owner.lower().replace("_", "-") for owner in distributions.get(name, [])} or {name}
            local = name in ("facekit", "tests", "raw_files", "saved_runs") or (path.parent / f"{name}.py").is_file()
            if not local and not owners & pinned:
                missing.add(f"{path.name} imports {name}")
    assert not missing


def read_cells(path: Path) -> list:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.source.strip()]


def is_tagged(cell, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def strip_strings_and_comments(source: str) -> list[str]:
    """Return the code's words, without strings and comments."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [token.string for token in tokens if token.type not in (tokenize.STRING, tokenize.COMMENT)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_looks_like_the_others(path):
    cells = read_cells(path)
    code = [cell for cell in cells if cell.cell_type == "code"]
    problems, before = [], None
    for cell in cells:
        lines = cell.source.splitlines()
        number = code.index(cell) + 1 if cell.cell_type == "code" else 0
        if number:
            tree = ast.parse(cell.source)
            only_imports = any(isinstance(node, ast.ImportFrom) for node in tree.body) and len(lines) > 15
            if len(lines) > 15 and not is_tagged(cell, "parameters") and not only_imports:
                problems.append(f"code cell {number} has {len(lines)} lines")
            if cell.outputs or cell.execution_count is not None:
                problems.append(f"code cell {number} holds outputs")
            if before is None or before.cell_type != "markdown":
                problems.append(f"code cell {number} has no sentence before it")
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef) and node.end_lineno - node.body[0].lineno + 1 > 5:
                    problems.append(f"code cell {number}: {node.name} has more than five lines")
            if re.search(r"\.choice\(len\(\w+\), \d", cell.source):
                problems.append(f"code cell {number} draws so many rows, whether they are there or not")
            if any(line.startswith(("!", "%")) for line in lines):
                problems.append(f"code cell {number} calls the shell or a magic")
        before = cell
    text = "\n".join(cell.source for cell in code if not is_tagged(cell, "parameters"))
    if (length := len([line for line in text.splitlines() if line.strip()])) > 300:
        problems.append(f"{length} lines of code besides the parameters")
    images = next((n for n, cell in enumerate(code, 1) if "plot_images" in cell.source), None)
    if path.stem != "selfie-ranking" and (images or 99) > 3:
        problems.append(f"the first image is in code cell {images}")
    layers = next((n for n, cell in enumerate(code, 1) if re.search(r"backbones\.build\(|layers\.\w+\(", cell.source)), None)
    if path.stem != "selfie-ranking" and (layers or 99) > 12:
        problems.append(f"the first model is in code cell {layers}")
    assert not problems


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_has_its_twelve_sections_and_its_parameters(path):
    prose = "\n".join(cell.source for cell in read_cells(path) if cell.cell_type == "markdown")
    sections = re.findall(r"^## (\d+) ", prose, flags=re.MULTILINE)
    assert sections == [str(number) for number in range(1, 13)]
    assert "<!-- summary -->" in prose and "You will" in prose and "**Exercises**" in prose
    assert any(is_tagged(cell, CHECKED) for cell in read_cells(path))
    cell = next(cell for cell in read_cells(path) if is_tagged(cell, "parameters"))
    lines = cell.source.splitlines()
    assert len(lines) <= 25
    assert all(re.fullmatch(r"\w+ = [^=#]+  # .+", line) for line in lines)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_of_a_notebook_is_used_and_every_profile_is_valid(path):
    cells = [cell.source for cell in read_cells(path) if cell.cell_type == "code"]
    used = " ".join(cells[1:])
    names = set(parameters.read_parameters(path.stem))
    assert {name for name in names if not re.search(rf"\b{name}\b", used)} <= {"profile", "show_faces"}
    for profile in ("sample", "laptop", "report", "full"):
        assert parameters.read_profile(path.stem, profile).expected


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_sample_report_is_executed_compares_something_and_is_of_the_notebook_as_it_is(path):
    reference = ROOT / "reports" / "sample" / path.stem / path.name
    assert reference.is_file(), f"run it: make {path.stem}"
    executed = [cell for cell in read_cells(reference) if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in executed)
    assert any(is_tagged(cell, CHECKED) and cell.outputs for cell in executed)
    assert not [cell.source for cell in executed if HOME.search(json.dumps(cell.outputs))]
    assert not [cell.source for cell in executed if "WARNING:" in json.dumps(cell.outputs)]
    errors = [output for cell in executed for output in cell.outputs if output.get("name") == "stderr"]
    assert not errors
    assert not tables.list_stale_cells(path, reference), f"make {path.stem} runs it again"


@pytest.mark.parametrize("path", sorted((ROOT / "reports" / "laptop").glob("[!.]*/*.ipynb")), ids=lambda path: path.stem)
def test_a_laptop_report_is_of_the_notebook_as_it_is(path):
    assert not tables.list_stale_cells(ROOT / "notebooks" / path.name, path), f"make {path.stem} PROFILE=laptop"


def test_the_register_of_claims_is_complete():
    assert {path.stem for path in NOTEBOOKS} == set(claims.read_register())


@pytest.mark.parametrize("path", sorted((ROOT / "reports").glob("[!.]*/[!.]*/metrics.json")), ids=str)
def test_committed_runs_reach_what_is_expected(path):
    run = claims.read_record(path)
    found = {metric.name: metric.value for metric in run.metrics}
    for row in parameters.read_profile(run.task, run.profile).expected:
        assert row.includes(found.get(row.metric)), f"{row.metric} is {found.get(row.metric)}"


SAMPLES = sorted((ROOT / "reports" / "sample").glob("[!.]*/metrics.json"))
# By how much a metric of a sample report exceeds its baseline, at least.
AT_LEAST = {
    "gender": ("test/natural/accuracy", 0.05),
    "age": ("test/cnn/accuracy", 0.1),
    "celeba": ("test/attributes/accuracy", 0.06),
}
# Effects that the synthetic data holds: a sample report that does not show them teaches nothing.
EFFECTS = {"selfie-auxiliary": ("true", "shuffled"), "selfie-task2": ("oracle", "network")}


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.parent.name)
def test_a_sample_report_shows_that_something_is_learnt(path):
    run = claims.read_record(path)
    found = {metric.name: metric for metric in run.metrics}
    headline = claims.find_headline(run, run.published)[0]
    if run.task == "selfie-ranking":  # its headline is a proportion of effects found; the model's is this
        headline = found["test/great_or_poor/accuracy"]
    assert headline.interval[0] > headline.baseline
    if run.task in AT_LEAST:
        name, margin = AT_LEAST[run.task]
        assert found[name].value >= found[name].baseline + margin
        assert found[name].n >= 300
    if run.task in EFFECTS:
        shown = next(each for each in run.comparisons if (each.a, each.b) == EFFECTS[run.task])
        assert shown.interval[0] > 0
    if run.task != "selfie-ranking":
        assert headline.value < 0.99
    if run.task == "gender":
        assert found["test/natural/accuracy"].value >= 0.9
    if run.task == "age":
        assert found["test/transfer/accuracy"].value > found["test/cnn/accuracy"].value
