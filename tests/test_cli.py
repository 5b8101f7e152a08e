"""The command line: light help, one line for a mistake, the exit status."""

import subprocess
import sys

import pytest

from facekit import cli, runner
from facekit.folders import project_root


def test_help_loads_no_tensorflow():
    code = (
        "import sys; from facekit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'tensorflow', 'keras', 'pandas', 'papermill', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(command in done.stdout for command in ("data", "run", "check", "predict", "site", "demo"))


def test_a_mistake_is_one_line_and_status_1(capsys):
    assert cli.main(["run", "smiles"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("facekit: unknown task 'smiles'; expected one of")
    assert told.count("\n") == 1


def test_an_unknown_check_lists_the_known(capsys):
    assert cli.main(["check", "everything"]) == 1
    assert capsys.readouterr().err == (
        "facekit: unknown check 'everything'; expected one of notebooks, references, expected, published\n"
    )


def test_run_hands_its_words_on(monkeypatch, capsys, tmp_path):
    given = {}

    def record_call(task, profile, settings, **options):
        given.update(options, task=task, profile=profile, settings=settings)
        return tmp_path / "laptop" / "smile"

    monkeypatch.setattr(runner, "run_notebook", record_call)
    words = "run smile --profile laptop --set a=1 b=2 --set c=x=y --data ../faces --weights none --strict".split()
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    assert given == {
        "task": "smile",
        "profile": "laptop",
        "settings": ["a=1", "b=2", "c=x=y", "data=../faces", "weights=none"],
        "reports": tmp_path,
        "strict": True,
    }
    assert capsys.readouterr().out.rstrip().endswith("laptop/smile/smile.html")


def test_an_interrupt_is_status_130(monkeypatch, capsys):
    def interrupt(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_notebook", interrupt)
    assert cli.main(["run", "smile"]) == 130
    assert capsys.readouterr().err == "facekit: interrupted\n"


@pytest.mark.parametrize("problems", [[], ["smile.ipynb: cell 1 holds outputs"]])
def test_check_fails_when_there_is_a_problem(monkeypatch, capsys, problems):
    monkeypatch.setattr("facekit.checks.check_notebooks", lambda: problems)
    assert cli.main(["check", "notebooks"]) == len(problems)
    assert capsys.readouterr().err == "".join(f"facekit: {problem}\n" for problem in problems)
