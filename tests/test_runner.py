"""The runner on tiny notebooks, each built for one behaviour."""

import json
import os
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml

from facekit import parameters, runner
from facekit.errors import FacekitError, ParameterError
from facekit.folders import project_root
from facekit.runner import run_notebook

DEFAULTS = """data = ""  # folder of the dataset
weights = "none"  # where the weights come from
epochs = 2  # how often all pictures are seen
learning_rate = 0.001  # step of the optimiser
augment = True  # whether pictures are varied
sizes = [64, 64]  # height and width in pixels"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))


def write_notebook(folder: Path, *sources: str, defaults: str = DEFAULTS, laptop: dict | None = None) -> Path:
    """Write notebooks/tiny.ipynb with its profiles, and return the folder."""
    notebooks = folder / "notebooks"
    (notebooks / "parameters").mkdir(parents=True, exist_ok=True)
    new = nbformat.v4
    cells = [new.new_markdown_cell("# Parameters"), new.new_code_cell(defaults, metadata={"tags": ["parameters"]})]
    for number, source in enumerate(sources, start=1):
        cells += [new.new_markdown_cell(f"## Section {number}"), new.new_code_cell(source)]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new.new_notebook(cells=cells, metadata={"kernelspec": kernel}), notebooks / "tiny.ipynb")
    empty = {"parameters": {}, "expected": []}
    profiles = {"sample": empty, "laptop": {"parameters": laptop or {}, "expected": []}, "report": empty, "full": empty}
    (notebooks / "parameters" / "tiny.yaml").write_text(yaml.safe_dump(profiles))
    return notebooks


def run_tiny(folder: Path, *, profile: str = "sample", settings=(), **options) -> Path:
    return run_notebook("tiny", profile, settings, reports=folder / "reports", notebooks=folder / "notebooks", **options)


def read_text(folder: Path) -> str:
    """Return what the executed notebook printed to stdout."""
    cells = nbformat.read(folder / "tiny.ipynb", as_version=4).cells
    return "".join(output.text for cell in cells for output in cell.get("outputs", []) if output.name == "stdout")


def test_unknown_parameter_is_refused_and_the_known_are_listed(tmp_path):
    write_notebook(tmp_path)
    with pytest.raises(ParameterError, match="unknown parameter 'epoch'; expected one of data, weights, epochs"):
        run_tiny(tmp_path, settings=["epoch=3"])
    assert not list((tmp_path / "reports").glob("**/*.ipynb"))


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("epochs=2.5", "epochs = 2.5 is float; expected int, such as 2"),
        ("epochs=True", "epochs = True is bool; expected int"),
        ("epochs=many", "epochs = 'many' is str; expected int"),
        ("learning_rate=high", "learning_rate = 'high' is str; expected float, such as 0.001"),
        ("learning_rate=.nan", "learning_rate = nan is float; expected float"),
        ("augment=1", "augment = 1 is int; expected bool"),
        ("sizes=[64,wide]", r"sizes = \[64, 'wide'\] is list; expected list\[int\]"),
        ("epochs", "setting 'epochs'; expected name=value"),
    ],
)
def test_wrong_type_names_value_and_expected_type(tmp_path, setting, told):
    write_notebook(tmp_path)
    with pytest.raises(ParameterError, match=told):
        run_tiny(tmp_path, settings=[setting])


def test_settings_stand_over_the_profile_and_the_profile_over_defaults(tmp_path):
    notebooks = write_notebook(tmp_path, laptop={"epochs": 7, "learning_rate": 1})
    merged = parameters.merge_parameters("tiny", "laptop", ["learning_rate=1e-4", "sizes=[96,80]"], notebooks)
    assert merged == {
        "data": "",
        "weights": "none",
        "epochs": 7,
        "learning_rate": 0.0001,
        "augment": True,
        "sizes": [96, 80],
    }


def test_a_word_for_a_text_parameter_is_never_read_as_yaml(tmp_path):
    notebooks = write_notebook(tmp_path, defaults='note = "a"  # a word')
    assert parameters.merge_parameters("tiny", "sample", ["note=no"], notebooks) == {"note": "no"}


def test_the_parameter_profile_is_set_to_the_profile(tmp_path):
    notebooks = write_notebook(tmp_path, defaults='profile = "sample"  # which profile')
    assert parameters.merge_parameters("tiny", "full", [], notebooks) == {"profile": "full"}


def test_unknown_profile_and_task_list_the_known(tmp_path):
    notebooks = write_notebook(tmp_path)
    with pytest.raises(ParameterError, match="unknown profile 'desktop'; expected one of sample, laptop, report, full"):
        run_tiny(tmp_path, profile="desktop")
    with pytest.raises(ParameterError, match="unknown task 'smiles'; expected one of tiny"):
        run_notebook("smiles", "sample", notebooks=notebooks)


@pytest.mark.parametrize("line", ["epochs = 2", "a = 1  # with a = sign", "a = None  # nothing", "a = b  # a name"])
def test_a_line_that_papermill_would_drop_is_refused(tmp_path, line):
    notebooks = write_notebook(tmp_path, defaults=f"good = 1  # help\n{line}")
    with pytest.raises(ParameterError, match="line 2 of the parameters cell"):
        parameters.read_parameters(notebooks / "tiny.ipynb")


def test_paths_start_at_the_root_wherever_the_command_was_given(tmp_path, monkeypatch):
    root = project_root()
    monkeypatch.chdir(root)
    assert parameters.relate_path("../pictures") == "../pictures"
    assert parameters.relate_path(str(root / "tests")) == "tests"
    monkeypatch.chdir(root / "tests")
    assert parameters.relate_path("../notebooks") == "notebooks"
    assert parameters.relate_weights("run:laptop/celeba") == "run:laptop/celeba"
    assert parameters.relate_weights("imagenet") == "imagenet"
    with pytest.raises(ParameterError, match="weights 'nothing.h5' is no file"):
        parameters.relate_weights("nothing.h5")
    with pytest.raises(ParameterError, match="'nowhere' is no folder"):
        parameters.relate_data("nowhere")


def test_a_run_leaves_a_clean_notebook_and_its_page(tmp_path):
    write_notebook(
        tmp_path,
        "print(epochs, augment)",
        "import os, pathlib\nprint(pathlib.Path.cwd())\nprint(os.environ['FACEKIT_RUN_FOLDER'])",
        "import sys\nprint('2026-01-01 10:00:00.123456: I tensorflow/core: AVX2', file=sys.stderr)",
    )
    folder = run_tiny(tmp_path, settings=["epochs=3"])
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
    first = (run_tiny(tmp_path, settings={"epochs": 3}) / "tiny.ipynb").read_bytes()
    second = (run_tiny(tmp_path, settings={"epochs": 3}) / "tiny.ipynb").read_bytes()
    assert first == second


def test_the_kernel_is_this_interpreter(tmp_path, monkeypatch):
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text(json.dumps({"argv": ["/nowhere/python"], "display_name": "x", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    write_notebook(tmp_path, f"import sys\nprint(sys.executable == {sys.executable!r})")
    assert read_text(run_tiny(tmp_path)) == "True\n"


class OutsideRequests(HTMLParser):
    """Collects what a browser would fetch by itself; a link that is only followed on a click is none."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in {"src", "srcset", "data", "poster"} or (name == "href" and tag != "a"):
                self.found += [value] if value and not value.startswith(("data:", "#")) else []
        self.found += ["script"] if tag == "script" else []


def test_the_page_asks_for_nothing_outside_itself(tmp_path):
    write_notebook(
        tmp_path,
        "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()",
        "import pandas as pd\npd.DataFrame({'a': [1]})",
    )
    page = (run_tiny(tmp_path) / "tiny.html").read_text()
    parser = OutsideRequests()
    parser.feed(page)
    assert parser.found == []
    assert "data:image/png;base64" in page
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert "cdnjs" not in page


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


def test_a_dead_kernel_is_told_in_one_line(tmp_path):
    write_notebook(tmp_path, "import os\nos._exit(9)")
    with pytest.raises(FacekitError, match=r"cell 2 of 2 \(import os\) failed: the kernel died"):
        run_tiny(tmp_path)


def test_strict_makes_warnings_of_our_code_errors_and_leaves_those_of_others(tmp_path):
    other = "import warnings\nexec('warnings.warn(str(1))', {'warnings': warnings, '__name__': 'other'})"
    write_notebook(tmp_path, other)
    run_tiny(tmp_path, strict=True)
    write_notebook(tmp_path, "import warnings\nwarnings.warn('ours')")
    with pytest.raises(FacekitError, match="UserWarning: ours"):
        run_tiny(tmp_path, strict=True)
    assert "UserWarning: ours" in (run_tiny(tmp_path) / "tiny.ipynb").read_text()


def start_run(folder: Path) -> subprocess.Popen:
    code = (
        "import functools, signal, sys; from pathlib import Path; from facekit import cli, runner\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # where a shell's `&` has the tests ignore it
        "folder = Path(sys.argv[1])\n"
        "runner.run_notebook = functools.partial(runner.run_notebook, notebooks=folder / 'notebooks')\n"
        "sys.exit(cli.main(['run', 'tiny', '--out', str(folder / 'reports')]))"
    )
    environment = os.environ | {"PYTHONPATH": str(project_root())}
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


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
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_leaves_the_old_one_and_no_kernel(tmp_path, sent):
    write_notebook(tmp_path, "print('good')")
    good = (run_tiny(tmp_path) / "tiny.ipynb").read_bytes()
    mark = tmp_path / "pid"
    slow = f"import os, time, pathlib\npathlib.Path({str(mark)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    write_notebook(tmp_path, slow)
    process = start_run(tmp_path)
    wait_for(lambda: mark.exists() and mark.read_text())
    kernel = int(mark.read_text())
    with pytest.raises(FacekitError, match=r"tiny \(sample\) is running already"):
        run_tiny(tmp_path)
    process.send_signal(sent)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == (130 if sent == signal.SIGINT else -9), told
    wait_for(lambda: not is_alive(kernel))
    assert (tmp_path / "reports" / "sample" / "tiny" / "tiny.ipynb").read_bytes() == good
    write_notebook(tmp_path, "print('good')")
    assert (run_tiny(tmp_path) / "tiny.ipynb").read_bytes() == good
    assert [path.name for path in (tmp_path / "reports" / "sample").iterdir()] == ["tiny"]


def test_a_run_killed_between_the_two_renames_is_put_back(tmp_path):
    write_notebook(tmp_path, "print('good')")
    folder = run_tiny(tmp_path)
    folder.rename(folder.with_name(".tiny.aside"))
    write_notebook(tmp_path, "1 / 0")
    with pytest.raises(FacekitError, match="ZeroDivisionError: division by zero"):
        run_tiny(tmp_path)
    assert read_text(folder) == "good\n"


def test_progress_is_told_by_cell_section_and_epoch(tmp_path, capsys):
    progress = '{"stage": "single", "epoch": 3, "epochs": 8, "seconds_left": 300.0}'
    code = f"pathlib.Path(os.environ['FACEKIT_PROGRESS']).write_text({progress!r})"
    write_notebook(tmp_path, f"import os, pathlib, time\n{code}\ntime.sleep(2)")
    run_tiny(tmp_path)
    told = capsys.readouterr().err
    assert "tiny (sample): cell 2 of 2, Section 1: single, epoch 3 of 8, 5 min left" in told


def test_a_half_written_progress_file_is_passed_over(tmp_path):
    progress = tmp_path / "progress.json"
    progress.write_text('{"stage": "sing')
    assert runner._describe(runner._Place(total=4, number=2, title="Training"), progress) == "cell 2 of 4, Training"
