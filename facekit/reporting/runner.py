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
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
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
from facekit.errors import FacekitError
from facekit.paths import build_key, cache_folder, project_root, write_text
from facekit.progress import CHANNEL
from facekit.reporting import site, tables
from facekit.reporting.claims import read_record
from facekit.reporting.parameters import find_notebook, merge, read_parameters, read_profile

LOG_SECONDS = 30  # between two lines of one section where nobody watches a terminal
SUMMARY, SUMMARY_END = "<!-- summary -->", "<!-- summary: end -->"
# Lines on stderr that say nothing about the experiment; whatever else is there is kept and shown.
NOISE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IWEF] "  # TensorFlow's C++ log: processor, CUDA
    r"|[IWEF]\d{4} \d\d:\d\d:\d\d"  # the same before its log is set up
    r"|WARNING: All log messages before absl::InitializeLog"
    r"|To enable the following instructions:"
    r"|.*\d+%\|.*\|"  # a tqdm progress bar
    r"|\s*$)"
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

    def __init__(self, label: str, channel: Path, failed: Path):
        self.label, self.channel, self.failed, self.console = label, channel, failed, Console(stderr=True, highlight=False)
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
        place = f"cell {max(self.number, 1)} of {self.total}"
        line = ": ".join(filter(None, [", ".join(filter(None, [place, self.heading])), told]))
        if self.console.is_terminal:
            status.update(f"{self.label}: {line}")
        elif self.heading != self.shown or time.monotonic() - self.said > LOG_SECONDS:
            self.shown, self.said = self.heading, time.monotonic()
            self.say(line)

    def say(self, line: str) -> None:
        self.console.print(f"{self.label}: {line}", markup=False, soft_wrap=True)


def run(
    task: str, profile: str, settings: dict[str, Any] | Sequence[str] = (), out: Path | None = None, strict: bool = False
) -> Path:
    """Run a task's notebook on a profile and return the folder of its report.

    Args:
        settings: parameters that differ from the profile: name to value, or `name=value` words.
        out: where reports go; the project's reports/ if not given.
        strict: warnings raised by facekit or by the notebook itself are errors, as in the tests.

    Raises:
        ParameterError: an unknown task, profile or name, a wrong type, value or path; nothing was run.
        FacekitError: a cell failed (the message says which, and where the notebook so far is kept), or the task runs already.
    """
    parameters = merge(task, profile, settings)
    target = Path(out or project_root() / "reports").absolute() / profile / task
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(cache_folder("locks") / f"{task}-{build_key(target=str(target))}.lock", timeout=0).acquire()
    except Timeout:
        raise FacekitError(f"{task} ({profile}) is running already", hint="wait until that run has ended") from None
    with lock:
        aside = target.parent / f".{task}.aside"
        if aside.exists() and not target.exists():
            aside.rename(target)  # a run was killed between the two renames below
        for stale in target.parent.glob(f".{task}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        folder = target.parent / f".{task}.{secrets.token_hex(4)}"
        folder.mkdir()
        failed = cache_folder("failed", profile) / f"{task}.ipynb"
        try:
            _fill(folder, target, parameters, _Progress(f"{task} ({profile})", folder / ".progress", failed), strict)
        except BaseException:
            with contextlib.suppress(OSError):  # a full disk must not hide the reason
                shutil.move(folder / f"{task}.ipynb", failed)
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if target.exists():
            target.rename(aside)
        folder.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    return target


def _fill(folder: Path, target: Path, parameters: dict[str, Any], progress: _Progress, strict: bool) -> None:
    """Run the notebook, and leave it and its page in `folder`, which becomes `target`."""
    task, profile, root, home = target.name, target.parent.name, project_root(), Path.home()
    output = folder / f"{task}.ipynb"
    minutes = [row.minutes for row in read_profile(task, profile).expected if row.minutes]
    progress.say("starting" + (f", about {max(minutes):g} min where it was measured" if minutes else ""))
    # Only what differs is injected, so that a run on the defaults is the source notebook with outputs.
    changed = {name: parameters[name] for name, known in read_parameters(task).items() if parameters[name] != known.default}
    try:
        notebook = _execute(find_notebook(task), output, changed, progress=progress, strict=strict)
    except Exception as error:
        raise _explain(error, progress) from error
    folders = {str(folder): f"reports/{profile}/{task}", f"{root}/": "", str(root): ".", f"{cache_folder()}/": ".facekit/"}
    clean_notebook(notebook, folders | ({f"{home}/": "~/"} if len(home.parts) > 1 else {}))
    if (folder / "metrics.json").is_file():
        text = f"{SUMMARY}\n\n{tables.summarise(read_record(folder / 'metrics.json'))}\n\n{SUMMARY_END}"
        notebook.cells[0].source = notebook.cells[0].source.replace(SUMMARY, text)
    nbformat.write(notebook, output)
    index = "../../index.html" if (target.parents[1] / "index.html").is_file() else ""
    write_text(output.with_suffix(".html"), site.build_page(notebook, title=task, profile=profile, home=index))
    for number, cell in enumerate((cell for cell in notebook.cells if cell.cell_type == "code"), start=1):
        for text in [output.text for output in cell.outputs if output.get("name") == "stderr"]:
            progress.say(f"cell {number} wrote: {text.strip().splitlines()[0]}")


def _execute(source: Path, output: Path, changed: dict[str, Any], *, progress: _Progress, strict: bool) -> Any:
    """Run the notebook in a thread, show its progress from this one, which an interrupt reaches at once, and return it."""
    cells = nbformat.read(source, as_version=4).cells
    progress.total = sum(cell.cell_type == "code" for cell in cells) + bool(changed)
    # OpenBLAS's threads wait busily for each other: for matrices as small as ours one thread takes a third less time.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", "OPENBLAS_NUM_THREADS": "1"}
    if output.parents[1].name == "sample":  # as in the Makefile, which says why
        environment["TF_NUM_INTRAOP_THREADS"] = "1"
    environment |= os.environ
    environment |= {"FACEKIT_RUN_FOLDER": str(output.parent), CHANNEL: str(progress.channel)}
    if strict:
        modules = (path.relative_to(project_root()).with_suffix("") for path in (project_root() / "facekit").rglob("*.py"))
        names = ["__main__", *sorted(".".join(module.parts).removesuffix(".__init__") for module in modules)]
        environment["PYTHONWARNINGS"] = ",".join(f"error:::{name}" for name in names)
    outcome, log, others = Future(), output.with_name(".log"), psutil.Process().children()

    def work() -> None:
        options = {"kernel_manager_class": _Kernel, "on_cell_start": progress.enter, "coalesce_streams": True}
        options |= {"kernel_name": "python3", "progress_bar": False, "cwd": project_root()}
        try:
            outcome.set_result(papermill.execute_notebook(source, output, changed, **options))
        except BaseException as error:
            outcome.set_exception(error)
        finally:
            ensure_event_loop().close()  # nbclient opens one for this thread and leaves it open

    worker = Thread(target=work, daemon=True)
    try:
        with progress.console.status(progress.label) as status, log.open("wb") as file:
            # The notebook holds what cells write. The kernel repeats it, with TensorFlow's notes on the processor.
            _Kernel.options = {"env": environment, "stdout": file, "stderr": file}
            worker.start()
            while worker.is_alive():
                worker.join(0.5)
                progress.show(status)
    except BaseException:
        for kernel in set(psutil.Process().children()) - set(others):
            for process in (*kernel.children(recursive=True), kernel):  # its worker processes, which would outlive it
                with contextlib.suppress(psutil.Error):
                    process.kill()
        worker.join(10)
        raise
    if outcome.exception() and not isinstance(outcome.exception(), PapermillExecutionError):
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()  # why a kernel died is written nowhere else
        for line in [line for line in lines if not NOISE.match(line)][-20:]:
            progress.say(line)
    for path in (progress.channel, log):
        path.unlink(missing_ok=True)
    return outcome.result()


def _explain(error: Exception, progress: _Progress) -> FacekitError:
    """Return the one line for a failed cell."""
    dead = isinstance(error, DeadKernelError)
    reason = "the kernel died, often for want of memory" if dead else f"{type(error).__name__}: {error}"
    if isinstance(error, PapermillExecutionError):
        told = error.evalue.strip().splitlines()[:1]
        reason = ": ".join([*([] if told and hasattr(errors, error.ename) else [error.ename]), *told])
    received = f"{progress.label}: cell {progress.number} of {progress.total} ({progress.first_line}) failed: {reason}"
    return FacekitError(received, hint=f"the notebook so far: {os.path.relpath(progress.failed, project_root())}")


def clean_notebook(notebook: Any, replacements: dict[str, str]) -> None:
    """Take times, paths and log lines out of an executed notebook, in place, so that two equal runs give equal files.

    Args:
        replacements: text in outputs to what replaces it, the longest first: folders of this machine.
    """
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        for key in ("papermill", "execution", *([] if tags else ["tags"])):
            cell.metadata.pop(key, None)
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
