"""Runs one notebook from top to bottom and puts what it leaves behind in its place.

A run is written into a hidden folder beside its place and takes the place when it is done; a failed or interrupted run leaves
the earlier one as it is.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import nbformat
import papermill
import psutil
import zmq
from filelock import FileLock, Timeout
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from rich.console import Console

from facekit import errors
from facekit.paths import build_key, cache_folder, project_root, read_file, read_json, write_text
from facekit.progress import CHANNEL
from facekit.reporting import site
from facekit.reporting.claims import read_record
from facekit.reporting.parameters import NOTEBOOKS, merge, read_parameters, read_profile

LOG_SECONDS = 30  # between two lines of one section where nobody watches a terminal
SUMMARY, SUMMARY_END = "<!-- summary -->", "<!-- summary: end -->"
# Lines on stderr that say nothing about the experiment: logs of Dask and TensorFlow (processor, CUDA), the same before its log
# is set up, and bars of tqdm; whatever else is there is kept and shown.
NOISE = re.compile(
    r"20\d\d-[\d-]+ [\d:.,]+(?:: [IWEF]| - distributed)|[IWEF]\d{4} [\d:]+|WARNING: All log|To enable the|.*\d%\|.*\||\s*$"
)


class _Kernel(AsyncKernelManager):
    """A kernel of this interpreter: one installed elsewhere under the name python3 lacks the pinned packages."""

    options: dict[str, Any] = {}

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())

    async def _async_start_kernel(self, **options: Any) -> None:
        encryption = "auto" if zmq.has("curve") else "disabled"  # else the kernel warns that others here could listen
        await super()._async_start_kernel(transport_encryption=encryption, **options, **self.options)

    start_kernel = _async_start_kernel


class _Progress:
    """Where a run is: one moving line on a terminal; elsewhere a line for each section, and one now and then."""

    def __init__(self, label: str, channel: Path):
        self.label, self.channel, self.console = label, channel, Console(stderr=True, highlight=False)
        self.number, self.total, self.first_line, self.heading, self.shown, self.said = 0, 0, "", "", "", 0.0

    def enter(self, cell: Any, cell_index: int) -> None:
        lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
        if cell.cell_type == "code":
            self.number, self.first_line = self.number + 1, lines[0] if lines else ""
            self.channel.write_text("")  # what the cell before told is over
        elif headings := [line.lstrip("# ") for line in lines if line.startswith("#")]:
            self.heading = headings[-1]

    def show(self, status: Any) -> None:
        told = self.channel.read_text(encoding="utf-8", errors="replace") if self.channel.is_file() else ""
        place = ", ".join(filter(None, [f"cell {max(self.number, 1)} of {self.total}", self.heading]))
        line = ": ".join(filter(None, [place, told]))
        if self.console.is_terminal:
            status.update(f"{self.label}: {line}")
        elif self.heading != self.shown or time.monotonic() - self.said > LOG_SECONDS:
            self.shown, self.said = self.heading, time.monotonic()
            self.say(line)

    def say(self, line: str) -> None:
        self.console.print(f"{self.label}: {line}", markup=False, soft_wrap=True)


def run(task: str, profile: str, settings: dict[str, Any] | Sequence[str] = (), out: Path | None = None) -> Path:
    """Run a task's notebook on a profile and return the folder of its report.

    FacekitError: what `merge` refuses, before anything is run; the task runs already; or a cell failed: the message says which,
    and where the notebook so far is kept.

    `settings` are parameters that differ from the profile, as `merge` takes them; `out` is where reports go, the project's
    reports/ if not given.
    """
    parameters = merge(task, profile, settings)
    target = Path(out or project_root() / "reports").absolute() / profile / task
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(cache_folder("locks") / f"{task}-{build_key(target=str(target))}.lock", timeout=0).acquire()
    except Timeout:
        raise errors.FacekitError(f"{task} ({profile}) is running already", hint="wait until that run has ended") from None
    with lock:
        aside = target.parent / f".{task}.aside"
        if aside.exists() and not target.exists():
            aside.rename(target)  # a run was killed between the two renames below
        for stale in target.parent.glob(f".{task}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = target.parent / f".{task}.{secrets.token_hex(4)}"
        folder.mkdir()
        try:
            _fill(folder, target, parameters)
        except BaseException as error:
            notebook, hint = folder / f"{task}.ipynb", "the notebook so far could not be kept"
            with contextlib.suppress(OSError, errors.FacekitError):  # a full disk holds half of it, or has no room for it
                read_json(notebook)
                kept = write_text(cache_folder("failed", profile) / notebook.name, read_file(notebook))
                hint = f"the notebook so far: {os.path.relpath(kept, project_root())}"
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, errors.FacekitError):
                raise errors.FacekitError(str(error), hint=hint) from error
            raise
        if target.exists():
            target.rename(aside)
        folder.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _fill(folder: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Run the notebook, and leave it and its page in `folder`, which becomes `target`."""
    task, profile, root, home = target.name, target.parent.name, project_root(), Path.home()
    output, progress = folder / f"{task}.ipynb", _Progress(f"{task} ({profile})", folder / ".progress")
    minutes = [row.minutes for row in read_profile(task, profile).expected if row.minutes]
    progress.say("starting" + (f", about {max(minutes):g} min where it was measured" if minutes else ""))
    # Only what differs is injected, so that a run on the defaults is the source notebook with outputs.
    changed = {name: parameters[name] for name, known in read_parameters(task).items() if parameters[name] != known.default}
    try:
        notebook = _execute(NOTEBOOKS / f"{task}.ipynb", output, changed, progress)
    except OSError as error:  # papermill's own, which does not say where; what a cell raises is a PapermillExecutionError
        error.filename = error.filename or str(target.parent)
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, DeadKernelError):
            reason = "the kernel died, often for want of memory"
        elif isinstance(error, PapermillExecutionError):
            told = f"{error.evalue.strip()}\n".splitlines()[0]
            reason = told if hasattr(errors, error.ename) else f"{error.ename}: {told}"
        place = f"{progress.label}: cell {progress.number} of {progress.total} ({progress.first_line})"
        raise errors.FacekitError(f"{place} failed: {reason}") from error
    folders = {str(folder): f"reports/{profile}/{task}", f"{root}/": "", str(root): ".", f"{cache_folder()}/": ".facekit/"}
    clean_notebook(notebook, folders | ({f"{home}/": "~/"} if len(home.parts) > 1 else {}))
    if (folder / "metrics.json").is_file():
        box = site.summarise(read_record(folder / "metrics.json"), site.find_highlights(notebook)["answer"])
        notebook.cells[0].source = notebook.cells[0].source.replace(SUMMARY, f"{SUMMARY}\n\n{box}\n\n{SUMMARY_END}")
    nbformat.write(notebook, output)
    index = "../../index.html" if (target.parents[1] / "index.html").is_file() else ""
    write_text(output.with_suffix(".html"), site.build_page(notebook, profile, index))
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        for text in [output.text for output in cell.outputs if output.get("name") == "stderr"]:
            progress.say(f"cell {number} wrote: {text.strip().splitlines()[0]}")


def _execute(source: Path, output: Path, changed: dict[str, Any], progress: _Progress) -> Any:
    """Run the notebook in a thread, show its progress from this one, which an interrupt reaches at once, and return it."""
    progress.total = sum(cell.cell_type == "code" for cell in nbformat.read(source, as_version=4).cells) + bool(changed)
    # OpenBLAS's threads wait busily for each other: for matrices as small as ours one thread takes a third less time.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "OPENBLAS_NUM_THREADS": "1"}
    if output.parents[1].name == "sample":  # as in the Makefile, which says why
        environment["TF_NUM_INTRAOP_THREADS"] = "1"
    environment |= os.environ | {"FACEKIT_RUN_FOLDER": str(output.parent), CHANNEL: str(progress.channel)}
    log, others = output.with_name(".log"), psutil.Process().children()

    def work() -> Any:
        options = {"kernel_manager_class": _Kernel, "on_cell_start": progress.enter, "coalesce_streams": True}
        options |= {"kernel_name": "python3", "progress_bar": False, "cwd": project_root()}
        try:
            return papermill.execute_notebook(source, output, changed, **options)
        finally:
            ensure_event_loop().close()  # nbclient opens one for this thread and leaves it open

    with log.open("wb") as file, progress.console.status(progress.label) as status:
        # The notebook holds what cells write. The kernel repeats it, with TensorFlow's notes on the processor.
        _Kernel.options = {"env": environment, "stdout": file, "stderr": file}
        outcome = ThreadPoolExecutor(1).submit(work)
        try:
            while wait([outcome], 0.5).not_done:
                progress.show(status)
        except BaseException:
            for kernel in set(psutil.Process().children()) - set(others):
                for process in (*kernel.children(recursive=True), kernel):  # its worker processes, which would outlive it
                    with contextlib.suppress(psutil.Error):
                        process.kill()
            wait([outcome], 10)
            raise
    if outcome.exception() and not isinstance(outcome.exception(), PapermillExecutionError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()  # why a kernel died is written nowhere else
        for line in [line for line in lines if not NOISE.match(line)][-20:]:
            progress.say(line)
    for path in (progress.channel, log):
        path.unlink(missing_ok=True)
    return outcome.result()


def clean_notebook(notebook: Any, replacements: dict[str, str]) -> None:
    """Take times, log lines and folders (`replacements`, longest first) out of a notebook, in place: equal runs, same bytes."""
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        if "injected-parameters" in tags:
            cell.id = "injected-parameters"  # papermill draws a new one each time
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                output.text = "".join(line for line in output.text.splitlines(keepends=True) if not NOISE.match(line))
        if cell.cell_type == "code":
            text = json.dumps([o for o in cell.outputs if o.output_type != "stream" or o.text], ensure_ascii=False)
            for old, new in replacements.items():
                text = text.replace(old, new)
            cell.outputs = nbformat.from_dict(json.loads(text))
