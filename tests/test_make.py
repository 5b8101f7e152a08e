"""`make reports` runs what is not up to date, by the Makefile itself; only the command that runs a notebook is another."""

import os
import shutil
import subprocess
import time

import pytest

from facekit.paths import project_root

RUN = """#!/bin/sh
if [ "$1" != run ]; then exit 0; fi
mkdir -p reports/sample/$2 && date +%N > reports/sample/$2/metrics.json && echo "ran $2"
"""


@pytest.fixture
def make(tmp_path):
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt", "constraints.txt", "pyproject.toml"):
        shutil.copy(project_root() / name, tmp_path)
    for name in ("notebooks", "facekit"):
        shutil.copytree(
            project_root() / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    for name in (".venv", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / ".venv/ready").touch()
    (tmp_path / "bin/facekit").write_text(RUN)
    (tmp_path / "bin/facekit").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "FACEKIT_"))}

    def run(*words):
        done = subprocess.run(["make", "BIN=bin", *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return [line[4:] for line in done.stdout.splitlines() if line.startswith("ran ")]

    return run


def test_reports_runs_what_changed(make, tmp_path):
    every = sorted(path.stem for path in (tmp_path / "notebooks").glob("*.ipynb"))
    assert sorted(make("reports")) == every
    assert make("reports") == []
    (tmp_path / "notebooks/smile.ipynb").touch()
    (tmp_path / "notebooks/parameters/gender.yaml").touch()
    assert sorted(make("reports")) == ["gender", "smile"]
    time.sleep(0.1)  # a file's time may be counted in steps as long as a run takes here
    (tmp_path / "facekit/data/splits.py").touch()
    assert sorted(make("reports")) == every


def test_reports_runs_what_was_lost_or_run_otherwise(make, tmp_path):
    make("reports")
    shutil.rmtree(tmp_path / "reports/sample/celeba")
    assert make("reports") == ["celeba"]
    assert make("age", "SET=epochs=1") == make("age", "SET=epochs=1") == ["age"]
    assert make("reports") == ["age"]
