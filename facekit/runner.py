"""Runs one notebook from top to bottom and puts what it leaves behind in its place.

The trap this prevents: a report that is half of this run and half of an earlier one. A run is written in a hidden
folder beside its place and takes the place when it is done; a failed or interrupted run leaves the earlier one as is.
"""

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import papermill
import zmq
from filelock import FileLock, Timeout
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError
from rich.console import Console
from traitlets import default

from facekit.errors import FacekitError
from facekit.executed import clean_notebook, list_warnings
from facekit.folders import cache_folder, project_root
from facekit.pages.document import build_document, write_text
from facekit.parameters import find_notebook, merge_parameters, read_parameters, read_profile

POLL_SECONDS = 0.5


class _OwnKernelSpecs(KernelSpecManager):
    """Only this interpreter's kernel: one installed elsewhere under the name python3 lacks the pinned packages."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class _OwnKernel(AsyncKernelManager):
    """A kernel of this interpreter, remembered so that an interrupt can end it."""

    running: list["_OwnKernel"] = []

    @default("kernel_spec_manager")
    def _default_kernel_spec_manager(self) -> KernelSpecManager:
        return _OwnKernelSpecs(parent=self)

    @default("transport_encryption")
    def _default_transport_encryption(self) -> str:
        return "auto" if zmq.has("curve") else "disabled"  # else the kernel warns that others here could listen

    async def _async_post_start_kernel(self, **kwargs: Any) -> None:
        await super()._async_post_start_kernel(**kwargs)
        self.running.append(self)

    post_start_kernel = _async_post_start_kernel


@dataclass
class _Place:
    """Where in the notebook a run stands; the executing thread writes it, the main thread shows it."""

    total: int
    number: int = 0
    title: str = ""
    heading: str = ""
    first_line: str = ""
    error: BaseException | None = None
    notebook: Any = None

    def enter_cell(self, cell: Any, cell_index: int) -> None:
        if cell.cell_type == "markdown":
            headings = [line.lstrip("#").strip() for line in cell.source.splitlines() if line.startswith("#")]
            self.heading = headings[-1] if headings else self.heading
        elif cell.cell_type == "code":
            self.number, self.title = self.number + 1, self.heading
            self.first_line = next((line for line in cell.source.splitlines() if line.strip()), "")


@dataclass
class _Terminal:
    """Shows progress: one moving line on a terminal, plain lines in a log."""

    label: str
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    shown: str = ""

    def show(self, line: str, status: Any) -> None:
        if line == self.shown:
            return
        self.shown = line
        if self.console.is_terminal:
            status.update(f"{self.label}: {line}")
        else:
            self.say(line)

    def say(self, line: str) -> None:
        self.console.print(f"{self.label}: {line}", markup=False, soft_wrap=True)


def run_notebook(
    task: str,
    profile: str,
    settings: dict[str, Any] | Sequence[str] = (),
    *,
    reports: Path | None = None,
    notebooks: Path | None = None,
    strict: bool = False,
) -> Path:
    """Run a task's notebook on a profile and return the folder of its report.

    Args:
        task: the experiment's name, such as smile.
        profile: sample, laptop, report or full.
        settings: parameters that differ from the profile: name to value, or `name=value` words.
        reports: where reports stand; the project's reports/ if not given.
        notebooks: where notebooks stand; the project's notebooks/ if not given.
        strict: warnings raised by facekit or by the notebook itself are errors, as in the tests.

    Raises:
        ParameterError: an unknown task, profile, name or type; nothing was run.
        FacekitError: a cell failed; the message says which, and where the notebook so far is kept.
    """
    parameters = merge_parameters(task, profile, settings, notebooks)
    source = find_notebook(task, notebooks)
    target = Path(reports or project_root() / "reports").resolve() / profile / task
    target.parent.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(str(target).encode()).hexdigest()[:12]
    try:
        with FileLock(cache_folder("locks") / f"{task}-{key}.lock", timeout=0):
            return _run_locked(source, target, parameters, strict)
    except Timeout:
        raise FacekitError(f"{task} ({profile}) is running already", mend="wait until that run has ended") from None


def _run_locked(source: Path, target: Path, parameters: dict[str, Any], strict: bool) -> Path:
    task, profile = target.name, target.parent.name
    _sweep(target)
    folder = target.parent / f".{task}.{secrets.token_hex(4)}"
    folder.mkdir()
    # Only what differs is injected, so that a run on the defaults is the source notebook with outputs.
    known = read_parameters(source)
    changed = {name: value for name, value in parameters.items() if value != known[name].default}
    terminal = _Terminal(f"{task} ({profile})")
    minutes = [row.minutes for row in read_profile(task, profile, source.parent).expected if row.minutes]
    terminal.say("starting" + (f", about {max(minutes):g} min where it was measured" if minutes else ""))
    output = folder / f"{task}.ipynb"
    try:
        place = _execute(source, output, changed, terminal=terminal, strict=strict)
        if place.error is not None:
            raise _explain_failure(place, task, profile) from place.error
        replacements = {str(folder): f"reports/{profile}/{task}", f"{project_root()}/": "", str(project_root()): "."}
        notebook = clean_notebook(place.notebook, replacements)
        nbformat.write(notebook, output)
        home = "../../index.html" if (target.parents[1] / "index.html").is_file() else ""
        write_text(output.with_suffix(".html"), build_document(notebook, task=task, profile=profile, home=home))
    except BaseException:
        if output.exists():
            shutil.move(output, _failed_path(task, profile))
        shutil.rmtree(folder, ignore_errors=True)
        raise
    for line in list_warnings(notebook):
        terminal.say(line)
    _swap(folder, target)
    return target


def _sweep(target: Path) -> None:
    """Remove what killed runs left, and put an earlier run back that was moved aside but never replaced."""
    aside = target.parent / f".{target.name}.aside"
    if aside.exists() and not target.exists():
        aside.rename(target)
    for stale in target.parent.glob(f".{target.name}.*"):
        shutil.rmtree(stale, ignore_errors=True)


def _swap(folder: Path, target: Path) -> None:
    """Put a finished run in its place; the earlier one stands aside until then and is removed last."""
    aside = target.parent / f".{target.name}.aside"
    if target.exists():
        target.rename(aside)
    folder.rename(target)
    shutil.rmtree(aside, ignore_errors=True)


def _failed_path(task: str, profile: str) -> Path:
    return cache_folder("failed", profile) / f"{task}.ipynb"


def _execute(source: Path, output: Path, changed: dict[str, Any], *, terminal: "_Terminal", strict: bool) -> _Place:
    """Run the notebook in a thread and show its progress from this one, which an interrupt reaches at once."""
    code_cells = [cell for cell in nbformat.read(source, as_version=4).cells if cell.cell_type == "code"]
    place = _Place(total=len(code_cells) + bool(changed))
    progress = output.parent / ".progress.json"
    _OwnKernel.running.clear()

    def work() -> None:
        try:
            place.notebook = papermill.execute_notebook(
                source,
                output,
                parameters=changed,
                kernel_name="python3",
                progress_bar=False,
                cwd=project_root(),
                kernel_manager_class=_OwnKernel,
                on_cell_start=place.enter_cell,
            )
        except BaseException as error:  # handed to the main thread, which tells it
            place.error = error
        finally:
            ensure_event_loop().close()  # nbclient opens one for this thread and leaves it open

    worker = threading.Thread(target=work, daemon=True)
    with _environment(output.parent, progress, strict), terminal.console.status(terminal.label) as status:
        worker.start()
        try:
            while worker.is_alive():
                worker.join(POLL_SECONDS)
                terminal.show(_describe(place, progress), status)
        except BaseException:
            _end_kernels()
            worker.join(10)
            raise
    progress.unlink(missing_ok=True)
    return place


def _end_kernels() -> None:
    """End the kernel and its worker processes, which stand in a process group of their own."""
    for manager in _OwnKernel.running:
        with contextlib.suppress(ProcessLookupError, AttributeError, TypeError):
            os.killpg(manager.provisioner.pid, signal.SIGKILL)


@contextlib.contextmanager
def _environment(folder: Path, progress: Path, strict: bool) -> Iterator[None]:
    """Set what the kernel inherits, and put the environment back."""
    values = {"FACEKIT_RUN_FOLDER": str(folder), "FACEKIT_PROGRESS": str(progress)}
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        values["TF_CPP_MIN_LOG_LEVEL"] = "2"  # TensorFlow's notes on the processor are no part of a report
    if strict:
        package = project_root() / "facekit"
        modules = [".".join(path.relative_to(package.parent).with_suffix("").parts) for path in package.rglob("*.py")]
        names = ["__main__", *(name.removesuffix(".__init__") for name in sorted(modules))]
        values["PYTHONWARNINGS"] = ",".join(f"error:::{name}" for name in names)
    earlier = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in earlier.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _describe(place: _Place, progress: Path) -> str:
    """Return one line: the cell, its section, and where training stands."""
    line = f"cell {max(place.number, 1)} of {place.total}" + (f", {place.title}" if place.title else "")
    try:
        report = json.loads(progress.read_text(encoding="utf-8"))
        if time.time() - progress.stat().st_mtime > 600 or report["epoch"] >= report["epochs"]:
            return line
        line += f": {report['stage']}, epoch {report['epoch']} of {report['epochs']}"
        seconds = report.get("seconds_left")
        return line if seconds is None else f"{line}, {_format_seconds(seconds)} left"
    except (OSError, ValueError, KeyError, TypeError):
        return line  # not there yet, or caught while it was written


def _format_seconds(seconds: float) -> str:
    """Return a duration for the terminal.

    >>> _format_seconds(42.3), _format_seconds(600)
    ('42 s', '10 min')
    """
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _explain_failure(place: _Place, task: str, profile: str) -> FacekitError:
    """Return the one line for a failed cell."""
    error = place.error
    first = place.first_line.strip()
    if isinstance(error, PapermillExecutionError):
        reason = error.evalue.strip().splitlines()[0] if error.evalue.strip() else error.ename
        if error.ename not in _own_errors() and error.evalue.strip():
            reason = f"{error.ename}: {reason}"
    elif isinstance(error, DeadKernelError):
        reason = "the kernel died, often for want of memory"
    else:
        reason = f"{type(error).__name__}: {error}"
    kept = os.path.relpath(_failed_path(task, profile), project_root())
    return FacekitError(
        f"{task} ({profile}): cell {place.number} of {place.total} ({first}) failed: {reason}",
        mend=f"the notebook so far: {kept}",
    )


def _own_errors() -> set[str]:
    kinds, names = [FacekitError], set()
    while kinds:
        kind = kinds.pop()
        names.add(kind.__name__)
        kinds += kind.__subclasses__()
    return names
