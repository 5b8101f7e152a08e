"""What nbval checks of the committed sample runs besides their cells: strict warnings, and what a run leaves behind.

nbval runs each notebook whole, so nothing needs to run it a second time to see its run folder.
"""

import inspect
import json
import os
from collections import defaultdict

from facekit.paths import project_root


def pytest_configure():
    """Run kernels as `facekit run --strict` does: our own warnings are errors, OpenBLAS has one thread."""
    modules = (path.relative_to(project_root()).with_suffix("") for path in (project_root() / "facekit").rglob("*.py"))
    names = ["__main__", *sorted(".".join(module.parts).removesuffix(".__init__") for module in modules)]
    os.environ["PYTHONWARNINGS"] = ",".join(f"error:::{name}" for name in names)
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "2", "OPENBLAS_NUM_THREADS": "1"}


def pytest_collection_modifyitems(items):
    """Put a last cell behind each notebook, and the notebooks that take longest first (with --no-loadscope-reorder)."""
    from nbformat.v4 import new_code_cell
    from nbval.plugin import IPyNbCell

    notebooks = {}
    for item in items:
        notebooks.setdefault(item.parent, []).append(item)
    source = f"{inspect.getsource(check_what_is_left)}\ncheck_what_is_left(run)"
    for notebook, cells in notebooks.items():
        last = {"cell_num": len(cells), "cell": new_code_cell(source), "options": defaultdict(bool)}
        cells.append(IPyNbCell.from_parent(notebook, name="what is left", **last))
    items[:] = [cell for notebook in sorted(notebooks, key=read_seconds, reverse=True) for cell in notebooks[notebook]]


def read_seconds(notebook) -> float:
    """Return how long the committed run took."""
    return json.loads((notebook.path.parent / "metrics.json").read_text(encoding="utf-8"))["run"]["seconds"]["whole run"]


def check_what_is_left(run):
    """Run in the notebook's kernel, behind its last cell: the run's folder holds what the committed one does, and its model."""
    import sys

    from facekit.paths import project_root
    from facekit.reporting.claims import read_record

    def list_files(folder):
        return {path.relative_to(folder).as_posix() for path in folder.glob("[!.]*")} - {"model", f"{run.task}.ipynb", f"{run.task}.html"}

    committed = project_root() / "reports" / "sample" / run.task
    for folder in ("", "figures"):
        left, wanted = list_files(run.folder / folder), list_files(committed / folder)
        assert left == wanted, f"{run.folder / folder} holds {sorted(left)}; expected {sorted(wanted)}"
    found, expected = (read_record(folder / "metrics.json") for folder in (run.folder, committed))
    assert found.parameters == expected.parameters
    assert found.data["counts"] == expected.data["counts"]
    for rows in ("metrics", "published"):
        names = [[getattr(row, "name", None) or row.claim for row in getattr(record, rows)] for record in (found, expected)]
        assert names[0] == names[1], f"{rows} {sorted(set(names[0]) ^ set(names[1]))} are not in both runs"
    if "tensorflow" in sys.modules:
        from facekit.models.saved import Predictor

        assert Predictor(run.folder).outputs, "facekit predict finds no output"
