"""The order of the house: what may import what, how large a room is, how light the door."""

import ast
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from facekit import checks
from facekit.folders import project_root

PACKAGE = project_root() / "facekit"
# A room imports only rooms above it.
ROOMS = """errors folders manifests fetch images tables verify datasets synthetic plant audit splits selfies balance augment
batches smallnets torchfiles weights backbones models features losses training bootstrap measured bootstrap_ranks metrics
multilabel averaging queries labelnoise regression ordinal ranking explain plots attribute_plots published machine
record pretrain pages parameters executed runner checks readme_table predict site demo data_commands cli""".split()
MAXIMUM_LINES = 400


def list_modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_room(path: Path) -> str:
    """Return the room of a module: the name right below facekit; a folder is one room."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


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
def test_imports_point_upwards_only(path):
    room = name_room(path)
    if room == "__init__":
        assert not [name for name in list_imports(path) if name.startswith("facekit")]
        return
    assert room in ROOMS, f"{room} has no place in the order of the house"
    below = ROOMS[ROOMS.index(room) + 1 :]
    wrong = [name for name in list_imports(path) if name.startswith("facekit.") and name.split(".")[1] in below]
    assert not wrong, f"{room} imports what stands below it"


@pytest.mark.parametrize("path", list_modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_a_module_is_one_room(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAXIMUM_LINES, f"{lines} lines hold two rooms"


def test_importing_facekit_loads_nothing_heavy():
    code = "import sys, facekit; print(sorted({'tensorflow', 'keras', 'pandas', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root(), check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("given", "found"), [({}, "1"), ({"TF_ENABLE_ONEDNN_OPTS": "0"}, "0")])
def test_tensorflow_sums_in_one_way_on_all_processors_unless_told_otherwise(given, found):
    kept = {name: value for name, value in os.environ.items() if name != "TF_ENABLE_ONEDNN_OPTS"}
    code = "import os, facekit; print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=kept | given, check=True)
    assert done.stdout.strip() == found


def test_everything_imported_is_pinned():
    pinned = {
        line.split("==")[0].strip().lower().replace("_", "-")
        for file in project_root().glob("requirements*.txt")
        for line in file.read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    optional = {"torch"}  # the test that compares with it is skipped where it is missing
    distributions = packages_distributions()
    missing = set()
    for path in [*list_modules(), *project_root().glob("tests/*.py"), *project_root().glob("benchmarks/*.py")]:
        for name in {name.split(".")[0] for name in list_imports(path)} - set(sys.stdlib_module_names) - optional:
            owners = {owner.lower().replace("_", "-") for owner in distributions.get(name, [])}
            local = (path.parent / f"{name}.py").is_file() or name == "facekit"
            if not local and not owners & pinned:
                missing.add(f"{path.name} imports {name}")
    assert not missing


def test_source_notebooks_keep_the_rules():
    assert checks.check_notebooks() == []


def test_sample_references_are_executed_and_compare_something():
    assert checks.check_references() == []


def test_committed_runs_reach_what_is_expected():
    assert checks.check_expected() == []
