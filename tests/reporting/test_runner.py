"""The runner on tiny notebooks, each built for one behaviour."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import yaml

from facekit.errors import FacekitError, ParameterError
from facekit.paths import project_root
from facekit.reporting import parameters, runner
from facekit.reporting.runner import run

DEFAULTS = """weights = "none"  # where the weights come from
epochs = 2  # how often all images are seen [1..]
learning_rate = 0.001  # step of the optimiser
augment = True  # whether images are varied"""


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    for module in (parameters, runner):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path / "notebooks")


def write_notebook(folder: Path, *sources: str, defaults: str = DEFAULTS, title: str = "# Parameters") -> None:
    """Write notebooks/tiny.ipynb with its profiles."""
    notebooks = folder / "notebooks"
    (notebooks / "parameters").mkdir(parents=True, exist_ok=True)
    new = nbformat.v4
    cells = [new.new_markdown_cell(title), new.new_code_cell(defaults, metadata={"tags": ["parameters"]})]
    for number, source in enumerate(sources, start=1):
        cells += [new.new_markdown_cell(f"## Section {number}"), new.new_code_cell(source)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebooks / "tiny.ipynb")
    profiles = {name: {"parameters": {}, "expected": []} for name in parameters.PROFILES}
    (notebooks / "parameters" / "tiny.yaml").write_text(yaml.safe_dump(profiles))


def run_tiny(folder: Path, settings=(), **options) -> Path:
    return run("tiny", "sample", settings, out=folder / "reports", **options)


def read_text(folder: Path) -> str:
    """Return what the executed notebook printed to stdout."""
    cells = nbformat.read(folder / "tiny.ipynb", as_version=4).cells
    return "".join(output.text for cell in cells for output in cell.get("outputs", []) if output.name == "stdout")


def test_a_wrong_setting_starts_nothing(tmp_path):
    write_notebook(tmp_path)
    with pytest.raises(ParameterError, match="unknown parameter 'epoch'"):
        run_tiny(tmp_path, ["epoch=3"])
    assert not (tmp_path / "reports").exists()


def test_a_run_leaves_a_clean_notebook_and_its_page(tmp_path):
    write_notebook(
        tmp_path,
        "print(epochs, augment)",
        "import os, pathlib\nprint(pathlib.Path.cwd())\nprint(os.environ['FACEKIT_RUN_FOLDER'])",
        "import sys\nprint('2026-01-01 10:00:00.123456: I tensorflow/core: AVX2', file=sys.stderr)",
    )
    folder = run_tiny(tmp_path, ["epochs=3"])
    assert folder == tmp_path / "reports" / "sample" / "tiny"
    assert sorted(path.name for path in folder.iterdir()) == ["tiny.html", "tiny.ipynb"]
    assert read_text(folder) == "3 True\n.\nreports/sample/tiny\n"
    stored = (folder / "tiny.ipynb").read_text()
    assert '"name": "stderr"' not in stored
    assert "papermill" not in stored
    assert str(project_root()) not in stored
    assert [path.name for path in folder.parent.iterdir()] == ["tiny"]


def test_two_equal_runs_leave_the_same_bytes(tmp_path):
    write_notebook(tmp_path, "print(epochs)", "{'a': 1}")
    first = (run_tiny(tmp_path, {"epochs": 3}) / "tiny.ipynb").read_bytes()
    second = (run_tiny(tmp_path, {"epochs": 3}) / "tiny.ipynb").read_bytes()
    assert first == second


def test_the_kernel_is_this_interpreter(tmp_path, monkeypatch):
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write_notebook(tmp_path, f"import sys\nprint(sys.executable == {sys.executable!r})")
    assert read_text(run_tiny(tmp_path)) == "True\n"


def test_a_failing_cell_is_named_and_the_earlier_run_stays(tmp_path):
    write_notebook(tmp_path, "print('good')")
    good = (run_tiny(tmp_path) / "tiny.ipynb").read_bytes()
    failing = "from facekit.errors import DataError\nraise DataError('train.csv row 3', expected='a label')"
    write_notebook(tmp_path, "print('before')", failing)
    with pytest.raises(FacekitError) as caught:
        run_tiny(tmp_path)
    told = str(caught.value)
    assert "tiny (sample): cell 3 of 3 (from facekit.errors import DataError) failed: train.csv row 3; expected a label" in told
    assert "\n" not in told
    kept = tmp_path / "cache" / "failed" / "sample" / "tiny.ipynb"
    assert "before" in kept.read_text()
    assert (tmp_path / "reports" / "sample" / "tiny" / "tiny.ipynb").read_bytes() == good
    assert [path.name for path in (tmp_path / "reports" / "sample").iterdir()] == ["tiny"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is a full disk")
def test_a_full_disk_is_named_and_no_notebook_is_promised(tmp_path):
    full = "import os, pathlib\nnotebook = pathlib.Path(os.environ['FACEKIT_RUN_FOLDER'], 'tiny.ipynb')\n"
    write_notebook(tmp_path, f"{full}notebook.unlink()\nnotebook.symlink_to('/dev/full')", "print('after')")
    with pytest.raises(OSError, match="No space left on device: '.*reports/sample'"):
        run_tiny(tmp_path)
    assert not list((tmp_path / "cache").rglob("*.ipynb*")) and not list((tmp_path / "reports" / "sample").iterdir())
    (tmp_path / "cache" / "failed").touch()
    write_notebook(tmp_path, "1 / 0")
    with pytest.raises(
        FacekitError, match="failed: ZeroDivisionError: division by zero; the notebook so far could not be kept"
    ):
        run_tiny(tmp_path)


def test_a_dead_kernel_is_told_in_one_line(tmp_path):
    write_notebook(tmp_path, "import os\nos._exit(9)")
    with pytest.raises(FacekitError, match=r"cell 2 of 2 \(import os\) failed: the kernel died"):
        run_tiny(tmp_path)


def test_notes_of_tensorflow_do_not_reach_the_terminal_and_why_a_kernel_died_does(tmp_path, capfd):
    noise = "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n"
    write_notebook(tmp_path, f"import os\nos.write(2, b'{noise}')")
    folder = run_tiny(tmp_path)
    assert "absl" not in capfd.readouterr().err and '"name": "stderr"' not in (folder / "tiny.ipynb").read_text()
    reason = "Check failed: no more memory\\n"
    write_notebook(tmp_path, f"import os, time\nos.write(2, b'{noise}{reason}')\ntime.sleep(0.5)\nos._exit(9)")
    with pytest.raises(FacekitError, match="the kernel died"):
        run_tiny(tmp_path)
    told = capfd.readouterr().err
    assert "tiny (sample): Check failed: no more memory\n" in told and "absl" not in told


def test_a_warning_of_a_notebook_is_kept_in_its_report(tmp_path):
    write_notebook(tmp_path, "import warnings\nwarnings.warn('ours')")
    assert "UserWarning: ours" in (run_tiny(tmp_path) / "tiny.ipynb").read_text()


def start_run(folder: Path) -> subprocess.Popen:
    code = (
        "import signal, sys; from pathlib import Path\n"
        "from facekit import cli; from facekit.reporting import parameters, runner\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # where a shell's `&` has the tests ignore it
        "folder = Path(sys.argv[1]); parameters.NOTEBOOKS = runner.NOTEBOOKS = folder / 'notebooks'\n"
        "sys.argv = ['facekit', 'run', 'tiny', '--out', str(folder / 'reports')]\nsys.exit(cli.main())\n"
    )
    environment = os.environ | {"PYTHONPATH": str(project_root())}
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads process states from /proc")
# A hangup ends the command as a termination does: tests/test_cli.py.
@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_run_leaves_the_old_one_and_no_process(tmp_path, sent, status):
    reports, mark = tmp_path / "reports" / "sample", tmp_path / "pid"
    (reports / "tiny").mkdir(parents=True)
    (reports / "tiny" / "tiny.ipynb").write_text("good")
    slow = "import os, pathlib, subprocess, time\nworker = subprocess.Popen(['sleep', '60'])\n"
    slow += f"pathlib.Path({str(mark)!r}).write_text(f'{{os.getpid()}} {{worker.pid}} .')\ntime.sleep(60)"
    write_notebook(tmp_path, slow)
    process = start_run(tmp_path)
    wait_for(lambda: mark.exists() and mark.read_text().endswith("."))
    kernel, worker = (int(word) for word in mark.read_text().split()[:2])
    with pytest.raises(FacekitError, match=r"tiny \(sample\) is running already"):
        run_tiny(tmp_path)
    process.send_signal(sent)
    if sent == signal.SIGKILL:
        wait_for(lambda: not is_alive(kernel))  # it notices by itself that the runner is gone
        os.kill(worker, signal.SIGKILL)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == status, told
    wait_for(lambda: not is_alive(kernel) and not is_alive(worker))
    assert (reports / "tiny" / "tiny.ipynb").read_text() == "good"
    if sent == signal.SIGKILL:
        write_notebook(tmp_path, "print('good')")
        assert read_text(run_tiny(tmp_path)) == "good\n"  # and sweeps what the killed run left
    else:
        assert "Section 1" in (tmp_path / "cache" / "failed" / "sample" / "tiny.ipynb").read_text()
    assert [path.name for path in reports.iterdir()] == ["tiny"]


def test_a_run_killed_between_the_two_renames_is_put_back(tmp_path):
    write_notebook(tmp_path, "print('good')")
    folder = run_tiny(tmp_path)
    folder.rename(folder.with_name(".tiny.aside"))
    write_notebook(tmp_path, "1 / 0")
    with pytest.raises(FacekitError, match="ZeroDivisionError: division by zero"):
        run_tiny(tmp_path)
    assert read_text(folder) == "good\n"


def test_progress_is_told_by_cell_section_and_what_takes_long(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "LOG_SECONDS", 0.1)
    code = "import time\nfrom facekit.progress import track\nprogress = track(None, 'three classes', 8)\n"
    code += "progress.last_print_t -= 180\nprogress.set_postfix(loss=0.31234)\nprogress.update(3)\ntime.sleep(2)"
    write_notebook(tmp_path, code, "import time\ntime.sleep(1)")
    run_tiny(tmp_path)
    told = capsys.readouterr().err
    assert "tiny (sample): cell 2 of 3, Section 1: three classes, 3 of 8, loss=0.312, 05:00 left\n" in told
    assert "cell 3 of 3, Section 2\n" in told  # what the cell before told is over
    assert not list((tmp_path / "reports").rglob(".progress"))


def test_facekits_own_progress_is_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(runner, "LOG_SECONDS", 0.1)
    code = "import time\nfrom facekit.progress import track\nfor _ in track(range(5), 'reading images'):\n    time.sleep(0.5)"
    write_notebook(tmp_path, code)
    folder = run_tiny(tmp_path)
    assert re.search(r"Section 1: reading images, \d of 5, 00:0\d left\n", capsys.readouterr().err)
    assert "reading images," not in (folder / "tiny.ipynb").read_text()


def test_the_box_is_put_into_the_first_cell_and_can_be_taken_out(tmp_path, monkeypatch):
    title = "# Title\n\n<!-- summary -->\n\nThe rest."
    record = "import os, pathlib\npathlib.Path(os.environ['FACEKIT_RUN_FOLDER'], 'metrics.json').write_text('{}')"
    write_notebook(tmp_path, record, title=title)
    monkeypatch.setattr(runner, "read_record", lambda path: SimpleNamespace(path=path))
    monkeypatch.setattr(runner.site, "summarise", lambda record, answer: f"> The box.{answer}")
    source = nbformat.read(run_tiny(tmp_path) / "tiny.ipynb", as_version=4).cells[0].source
    assert "> The box." in source and source.startswith("# Title\n\n<!-- summary -->") and source.endswith("\n\nThe rest.")
    assert re.sub(f"{runner.SUMMARY}.*{runner.SUMMARY_END}", runner.SUMMARY, source, flags=re.DOTALL) == title
