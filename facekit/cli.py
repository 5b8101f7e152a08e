"""The command `facekit`. What each of its commands needs is imported when it runs: the help waits for no TensorFlow."""

import argparse
import importlib
import os
import signal
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from facekit import __version__
from facekit.errors import FacekitError, ParameterError
from facekit.paths import CACHE, cache_folder, expand, project_root, resolve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run these words, or the process's own, and return the status: 0, 1 after one line that says what to mend, 130: Ctrl-C."""
    if arguments is None:  # a process that is ended tidies up as after Ctrl-C
        for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # Windows has no SIGHUP
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")  # names of files need not be text
    options, status = build_parser().parse_args(arguments), 1
    try:
        if not (project_root() / "notebooks").is_dir():
            raise FacekitError(f"no notebooks/ in {project_root()}", hint="run facekit from a checkout of the project")
        status = options.function(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever reads has enough, such as `| head`; nor must Python's last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except FacekitError as error:
        told = error
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        settings = " or ".join([*options.writes, "the environment variable FACEKIT_CACHE"])
        told = FacekitError(what, hint=f"{settings} moves what facekit writes")
    except KeyboardInterrupt:
        told, status = "interrupted", 130
    print(f"facekit: {told}", file=sys.stderr)
    return status


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `function`, which takes the parsed options."""
    parser = argparse.ArgumentParser(prog="facekit", description="Student reports on faces, reproduced as experiments.")
    parser.add_argument("--version", action="version", version=f"facekit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    data = commands.add_parser("data", help="list, download and check the datasets; make synthetic ones")
    data = data.add_subparsers(required=True, metavar="list|fetch|verify|sample|plant")
    _add(data, "list", _list_datasets, "show every dataset, where it comes from and its terms")
    fetch = _add(data, "fetch", _fetch, "download a dataset or weights, or show the steps to get them by hand", "--root")
    fetch("--file", action="append", default=[], help="weights: only this file; can be repeated")
    verify = _add(data, "verify", _verify, "decode every image, compare the counts, and list every problem", "--report")
    verify("--workers", type=int, default=os.cpu_count() or 1, help="images decoded at the same time")
    verify("--report", type=_path, help="the JSON report to write (default: .facekit/verify/NAME.json)")
    for add in (fetch, verify):
        add("name", help="a name shown by `facekit data list`")
        add("--root", type=_path, help="its folder (default: the environment variable FACEKIT_DATA, or .facekit/data/NAME)")
    add = _add(data, "sample", _sample, "make synthetic faces in a dataset's own layout")
    add("names", nargs="*", metavar="NAME", help="which datasets (default: all)")
    add("--seed", type=int, default=0, help="another seed makes other faces (default: 0)")
    add = _add(data, "plant", _plant, "write CelebA's images as UCF Selfie's, with a popularity by a known formula", "--to")
    add("--from", dest="source", type=_path, required=True, metavar="FOLDER", help="CelebA's folder")
    add("--to", dest="target", type=_path, required=True, metavar="FOLDER", help="the folder to make")
    add("--seed", type=int, default=0, help="another seed makes other noise and names (default: 0)")
    add("--ceiling", type=float, default=0.5, help="noise ceiling: the highest R2 to reach (default: 0.5)")
    add = _add(commands, "run", _run, "run an experiment and write its report", "--out")
    add("task", metavar="TASK", help="the experiment, such as smile")
    add("--profile", default="sample", help="sample (default), laptop, report or full")
    add("--set", nargs="+", dest="settings", action="extend", default=[], metavar="NAME=VALUE", help="parameters")
    for name, text in {"data": "the dataset's folder", "weights": "imagenet, none, sample, run:PROFILE/TASK or a file"}.items():
        add(f"--{name}", dest="settings", action="append", type=f"{name}={{}}".format, metavar=name.upper(), help=text)
    add("--out", type=_path, metavar="FOLDER", help="where to write reports (default: the project's reports/)")
    add("--workers", metavar="N", help="train many networks at a time, in N processes")
    add("--scheduler", metavar="TCP", help="train many networks on the Dask cluster at this address, such as tcp://host:8786")
    add = _add(commands, "predict", _predict, "predict your own photos with the networks of a run", "--csv", "--html")
    add("photos", nargs="+", metavar="PHOTO", help="photos, or folders of them")
    add("--run", default="celeba", help="a run's folder, or a task: its newest run (default: celeba)")
    add("--csv", type=_path, metavar="FILE", help="write the predictions as a table")
    add("--html", type=_path, metavar="FILE", help="write a page with the photos, probabilities and Grad-CAM")
    text = "show only photos that match, such as 'Eyeglasses and not (Male or Smiling > 0.8)'; quote names with spaces"
    add("--where", default="", metavar="QUERY", help=text)
    add = _add(commands, "site", _site, "write reports/index.html, the page of all runs, and their own pages", "--reports")
    add("--reports", type=_path, metavar="FOLDER", help="the folder of reports (default: the project's)")
    add("--profile", help="also print the results of this profile's runs as a table")
    add = _add(commands, "demo", _demo, "open a page on this computer on which trained networks predict a photo")
    add("runs", nargs="*", metavar="RUN", help="runs' folders, or tasks: their newest runs (default: all)")
    add("--port", type=int, default=8000, help="port of 127.0.0.1 (default: 8000); 0: any free one")
    return parser


def _add(commands, name: str, function, text: str, *writes: str):
    """Add a command, and return what adds its options; `writes` are those that say where it writes."""
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(function=function, writes=writes)
    return command.add_argument


def _path(text: str) -> Path:
    return expand(text).absolute()  # as the shell means it; a parameter's path starts at the project's root


def _find_root(options: argparse.Namespace) -> Path:
    return options.root or resolve(os.environ.get("FACEKIT_DATA") or f"{CACHE}/data/{options.name}")


def _list_datasets(options: argparse.Namespace) -> None:
    from facekit.data.manifests import list_manifests, read_manifest

    for name, it in {name: read_manifest(name) for name in list_manifests()}.items():
        print(f"{name}: {it.title}\n  download it, or see how, with: facekit data fetch {name}")
        print(f"  homepage: {it.homepage}\n  terms: {it.terms}\n  cite: {it.citation}\n")


def _fetch(options: argparse.Namespace) -> int | None:
    from facekit.data.download import fetch
    from facekit.data.manifests import read_manifest

    manifest, root = read_manifest(options.name), _find_root(options)
    if manifest.source.kind == "page":
        print(f"{manifest.title} cannot be downloaded by a program. By hand:")
        for number, step in enumerate(manifest.source.steps, start=1):
            print(f"  {number}. {step.replace('{target}', str(root))}")
        print(f"Terms: {manifest.terms}")
        return 1  # nothing was downloaded
    if options.file and manifest.source.kind != "files":
        raise ParameterError(f"--file with {options.name}", expected="no --file: a dataset is downloaded whole")
    print(f"{manifest.title}\nTerms: {manifest.terms}", flush=True)
    print(*fetch(options.name, root, only=options.file), sep="\n")
    print(f"Check it: facekit data verify {options.name} --root {root}")


def _verify(options: argparse.Namespace) -> int:
    from facekit.data.verify import verify_dataset

    report = options.report or cache_folder("verify") / f"{options.name}.json"
    if report.suffix != ".json":
        raise ParameterError(f"--report {report}", expected="a name that ends in .json")
    found = verify_dataset(options.name, _find_root(options), workers=options.workers, report=report)
    print(f"{found.to_text(20)}\n  report: {report} and {report.with_suffix('.txt').name}")
    return int(bool(found.problems))


def _sample(options: argparse.Namespace) -> None:
    from facekit.synthetic.layouts import SAMPLE_COUNTS, write_sample

    if unknown := [name for name in options.names if name not in SAMPLE_COUNTS]:
        raise ParameterError(f"unknown dataset {unknown[0]!r}", expected=f"one of {', '.join(sorted(SAMPLE_COUNTS))}")
    for name in options.names or sorted(SAMPLE_COUNTS):
        print(write_sample(name, seed=options.seed))


def _plant(options: argparse.Namespace) -> None:
    from facekit.synthetic.semi_synthetic import plant_popularity

    made = plant_popularity(options.source, options.target, seed=options.seed, ceiling=options.ceiling)
    print(f"{options.target}:", "written, its README.md says how" if made else "there already, left as it is")


def _run(options: argparse.Namespace) -> None:
    import nbformat

    from facekit import cluster
    from facekit.reporting import claims, runner, site

    cluster.choose(options.workers, options.scheduler)
    folder = runner.run(options.task, options.profile, options.settings, out=options.out)
    answer = site.find_highlights(nbformat.read(folder / f"{options.task}.ipynb", as_version=4))["answer"].replace("*", "")
    title = f"{options.task} ({options.profile}, {claims.KINDS[claims.read_record(folder / 'metrics.json').kind]}):"
    print(title, *textwrap.wrap(answer, 100), f"{os.path.relpath(folder)}/{options.task}.html", sep="\n")


def _predict(options: argparse.Namespace) -> int:
    predict = _import_quietly("facekit.predict").predict_photos
    return predict(options.photos, options.run, csv=options.csv, html=options.html, where=options.where)


def _site(options: argparse.Namespace) -> None:
    from facekit.reporting.site import build_site, render

    index, runs, problems = build_site(options.reports)
    for problem in problems:
        print(f"facekit: {problem}", file=sys.stderr)
    if options.profile:
        shown = [run for run in runs if run["record"].profile == options.profile]
        print(render("runs.txt.j2", runs=shown, folder=os.path.relpath(index.parent)).rstrip())
    print(f"{len(runs)} run{'' if len(runs) == 1 else 's'}: open {os.path.relpath(index)} in a browser")


def _demo(options: argparse.Namespace) -> None:
    _import_quietly("facekit.demo").run_demo(options.runs, options.port)


def _import_quietly(name: str):
    """Import a module, and keep TensorFlow's notes on the processor, which no setting stops, off the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    terminal = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        return importlib.import_module(name)
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
