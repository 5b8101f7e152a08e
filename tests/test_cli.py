"""The command line: light help, one line for a mistake or a system's error, the exit status."""

import os
import signal
import subprocess
import sys
import time

import pytest

from facekit import cli
from facekit.data import manifests
from facekit.paths import project_root
from facekit.reporting import runner, site

COMMAND = [sys.executable, "-m", "facekit"]


def start(*words, **options):
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=project_root(), **options)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from facekit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "print(sorted({'tensorflow', 'keras', 'pandas', 'papermill', 'cv2', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=project_root(), check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(command in done.stdout for command in ("data", "run", "predict", "site", "demo"))


@pytest.mark.parametrize("words", ["", "data", "data list", "data fetch", "run", "predict", "site", "demo"])
def test_every_command_has_help(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([*words.split(), "--help"])
    assert end.value.code == 0
    assert "usage: facekit" in capsys.readouterr().out


def test_the_package_runs_the_command():
    done = start("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "facekit")


def test_outside_a_checkout_it_is_said(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(cli, "project_root", lambda: tmp_path)
    assert cli.main(["data", "list"]) == 1
    assert capsys.readouterr().err == f"facekit: no notebooks/ in {tmp_path}; run facekit from a checkout of the project\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run smiles", "unknown task 'smiles'; expected one of"),
        ("data sample faces", "unknown dataset 'faces'; expected one of"),
        ("data fetch faces", "faces"),
        ("data fetch facehack --file a", "--file with facehack; expected no --file: a dataset is downloaded whole"),
        ("data sample facehack --seed -1", "seed -1; expected 0 to 4,294,967,295"),
        ("data verify facehack --report a.txt", "a.txt; expected a name that ends in .json"),
        ("site --reports nowhere", "nowhere: no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_status_1(words, message, capsys):
    assert cli.main(words.split()) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("facekit: ")
    assert message in shown
    assert shown.count("\n") == 1


def test_run_passes_its_options_on(monkeypatch, capsys, tmp_path):
    given = {}

    def record_call(task, profile, settings, **options):
        given.update(options, task=task, profile=profile, settings=settings)
        return project_root() / "reports" / "laptop" / "smile"

    monkeypatch.setattr(runner, "run", record_call)
    words = "run smile --profile laptop --set a=1 b=2 --set c=x=y --data ../faces --weights none".split()
    assert cli.main([*words, "--out", str(tmp_path)]) == 0
    assert given == {
        "task": "smile",
        "profile": "laptop",
        "settings": ["a=1", "b=2", "c=x=y", "data=../faces", "weights=none"],
        "out": tmp_path,
    }
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "smile (laptop, real photographs):"
    assert shown[1].startswith("By accuracy, telling a positive from a negative smile ") and "*" not in "".join(shown[1:-1])
    assert max(map(len, shown[1:-1])) <= 100 and shown[-1].endswith("reports/laptop/smile/smile.html")


def test_every_dataset_and_its_terms_are_listed(capsys):
    assert cli.main(["data", "list"]) == 0
    shown = capsys.readouterr().out
    for name in manifests.list_manifests():
        assert f"{name}: " in shown
    assert shown.count("terms: ") == len(manifests.list_manifests())


def test_steps_are_status_1_as_nothing_was_downloaded(capsys, tmp_path):
    assert cli.main(["data", "fetch", "celeba", "--root", str(tmp_path / "celeba")]) == 1
    assert f"{tmp_path}/celeba" in capsys.readouterr().out


def raise_it(error):
    def fail(*words, **options):
        raise error

    return fail


@pytest.mark.parametrize(
    ("words", "error", "setting"),
    [
        ("run smile --out {place}", PermissionError(13, "Permission denied", "{place}/smile"), "--out"),
        ("run smile", PermissionError(13, "Permission denied", "{cache}/runs"), "FACEKIT_CACHE"),
        ("run smile", NotADirectoryError(20, "Not a directory", "{cache}"), "FACEKIT_CACHE"),
        ("site", OSError(28, "No space left on device", "{place}/index.html"), "--reports"),
        ("site", OSError(5, "Input/output error"), "--reports"),
    ],
)
def test_a_systems_error_names_path_and_setting(monkeypatch, capsys, tmp_path, words, error, setting):
    names = {"place": tmp_path / "place", "cache": tmp_path / "cache"}
    monkeypatch.setenv("FACEKIT_CACHE", str(names["cache"]))
    path = error.filename and error.filename.format(**names)
    failing = raise_it(OSError(error.errno, error.strerror, path) if path else error)
    monkeypatch.setattr(runner, "run", failing)
    monkeypatch.setattr(site, "build_site", failing)
    assert cli.main(words.format(**names).split()) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"facekit: {path}: {error.strerror}; " if path else f"facekit: {error.strerror}; ")
    assert setting in shown
    assert shown.count("\n") == 1


def test_only_options_that_say_where_facekit_writes_are_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["data", "verify", "facehack", "--root", str(tmp_path), "--report", str(tmp_path / "file" / "a.json")]) == 1
    told = f"facekit: --report {tmp_path}/file/a.json: File exists; expected a file that can be written\n"
    assert capsys.readouterr().err == told


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_cache_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o500)
    done = start("data", "sample", "facehack", env=os.environ | {"FACEKIT_CACHE": str(tmp_path / "cache")})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "FACEKIT_CACHE" in done.stderr


def test_a_cache_that_is_a_file(tmp_path):
    (tmp_path / "cache").touch()
    done = start("data", "sample", "facehack", env=os.environ | {"FACEKIT_CACHE": str(tmp_path / "cache")})
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert str(tmp_path / "cache") in done.stderr
    assert "FACEKIT_CACHE" in done.stderr


def test_silence_on_a_closed_pipe():
    code = f"{sys.executable} -m facekit data list | head -n 1; exit ${{PIPESTATUS[0]}}"
    for _ in range(3):
        done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=project_root())
        assert done.stderr == ""
        assert done.returncode in (0, 1)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*COMMAND, "data", "list"], stdout=writer, stderr=subprocess.PIPE, cwd=project_root())
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_stream_is_no_error(closed):
    code = f"{sys.executable} -m facekit data list {closed}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=project_root())
    assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", closed == "2>&-")


def test_an_interrupt_is_status_130(monkeypatch, capsys):
    monkeypatch.setattr(runner, "run", raise_it(KeyboardInterrupt()))
    assert cli.main(["run", "smile"]) == 130
    assert capsys.readouterr().err == "facekit: interrupted\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_tidies_up(tmp_path, number):
    code = (
        "import sys, time, facekit.cli as cli, facekit.reporting.site as site\n"
        "def build(*words):\n"
        "    try:\n        print('ready', flush=True); time.sleep(60)\n"
        "    finally:\n        print('tidied up', flush=True)\n"
        "site.build_site = build\nsys.argv = ['facekit', 'site']\nsys.exit(cli.main())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=project_root()) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(number)
        assert process.stdout.read() == "tidied up\n"
    assert process.returncode == 128 + number
