"""The command `facekit`: data, run, predict, site, demo.

What a command needs is imported when it runs, so that the help does not wait ten seconds for TensorFlow.
"""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from facekit import __version__
from facekit.errors import FacekitError, ParameterError
from facekit.paths import cache_folder, project_root, resolve

SHOWN_PROBLEMS = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, 1 after one line that says what to mend, 130 after Ctrl-C.

    Args:
        arguments: the words after `facekit`; those of the process if not given.
    """
    if arguments is None:  # a process that is ended tidies up as after Ctrl-C
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), lambda number, _: sys.exit(128 + number))
    for stream in (sys.stdout, sys.stderr):  # names of files need not be text
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    try:
        if not (project_root() / "notebooks").is_dir():
            raise FacekitError(f"no notebooks/ in {project_root()}", hint="run facekit from a checkout of the project")
        status = options.function(options) or 0
        sys.stdout.flush()
        return status
    except FacekitError as error:
        return _tell(error)
    except BrokenPipeError:  # whoever reads has enough, such as `| head`; nor must Python's last flush complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:
        return _tell(_explain(error, options))
    except KeyboardInterrupt:
        print("facekit: interrupted", file=sys.stderr)
        return 130


def _tell(error: FacekitError) -> int:
    print(f"facekit: {error}", file=sys.stderr)
    return 1


def _explain(error: OSError, options: argparse.Namespace) -> FacekitError:
    """Return a system's error as a line that names the path and the setting that moves it elsewhere."""
    path, cache = Path(os.fsdecode(error.filename or "")), resolve(".facekit")
    moving = {"root": "--root", "target": "--to", "out": "--out", "reports": "--reports", "csv": "--csv or --html"}
    setting = next((text for name, text in moving.items() if hasattr(options, name)), "")
    if not setting or error.filename and (path.is_relative_to(cache) or cache.is_relative_to(path)):
        setting = "the environment variable FACEKIT_CACHE"
    what = f"{path}: {error.strerror}" if error.filename else error.strerror or str(error)
    return FacekitError(what, hint=f"{setting} names another place")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `function`, which takes the parsed options."""
    parser = argparse.ArgumentParser(prog="facekit", description="Student reports on faces, reproduced as experiments.")
    parser.add_argument("--version", action="version", version=f"facekit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    data = commands.add_parser("data", help="list, download and check the datasets; make synthetic ones")
    _add_data_commands(data.add_subparsers(required=True, metavar="list|fetch|verify|sample|plant"))

    command = _add(commands, "run", _run, "run an experiment and write its report")
    command.add_argument("task", metavar="TASK", help="the experiment, such as smile")
    command.add_argument("--profile", default="sample", help="sample (default), laptop, report or full")
    command.add_argument("--data", help="the folder of the dataset")
    command.add_argument("--weights", help="initial weights: imagenet, none, sample, run:PROFILE/TASK or a file")
    command.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="other parameters")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where to write reports (default: the project's reports/)")
    command.add_argument("--strict", action="store_true", help="treat warnings of facekit and of the notebook as errors")

    command = _add(commands, "predict", _predict, "predict your own photos with the networks of a run")
    command.add_argument("photos", nargs="+", metavar="PHOTO", help="photos, or folders of them")
    command.add_argument("--run", default="celeba", help="a run's folder, or a task: its newest run (default: celeba)")
    command.add_argument("--csv", type=Path, metavar="FILE", help="write the predictions as a table")
    command.add_argument("--html", type=Path, metavar="FILE", help="write a page with the photos, probabilities and Grad-CAM")
    text = "show only photos that match, such as 'Eyeglasses and not (Male or Smiling > 0.8)'; quote names with spaces"
    command.add_argument("--where", default="", metavar="QUERY", help=text)

    command = _add(commands, "site", _site, "write reports/index.html, the page of all runs, and the pages of their notebooks")
    command.add_argument("--reports", type=Path, metavar="FOLDER", help="the folder of reports (default: the project's)")

    command = _add(commands, "demo", _demo, "open a page on this computer on which trained networks predict a photo")
    command.add_argument("runs", nargs="*", metavar="RUN", help="runs' folders, or tasks: their newest runs (default: all)")
    command.add_argument("--port", type=int, default=8000, help="port of 127.0.0.1 (default: 8000); 0: any free one")
    return parser


def _add(commands, name: str, function, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.set_defaults(function=function)
    return command


def _add_data_commands(commands) -> None:
    folder = "the dataset's folder (default: the environment variable FACEKIT_DATA, or .facekit/data/NAME)"
    _add(commands, "list", _list_datasets, "show every dataset, where it comes from and its terms")

    command = _add(commands, "fetch", _fetch, "download a dataset or weights, or show the steps to get them by hand")
    command.add_argument("name", help="a name shown by `facekit data list`")
    command.add_argument("--root", help=folder)
    command.add_argument("--file", action="append", default=[], help="weights: only this file; can be repeated")

    command = _add(commands, "verify", _verify, "decode every image, compare the counts, and list every problem")
    command.add_argument("name", help="a name shown by `facekit data list`")
    command.add_argument("--root", help=folder)
    command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="images decoded at the same time")
    command.add_argument("--report", type=Path, help="the JSON report to write (default: .facekit/verify/NAME.json)")

    command = _add(commands, "sample", _sample, "make synthetic faces in a dataset's own layout")
    command.add_argument("names", nargs="*", metavar="NAME", help="which datasets (default: all)")
    command.add_argument("--seed", type=int, default=0, help="another seed makes other faces (default: 0)")

    text = "write CelebA's images in UCF Selfie's layout, with a popularity made by a known formula"
    command = _add(commands, "plant", _plant, text)
    command.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER", help="CelebA's folder")
    command.add_argument("--to", dest="target", type=Path, required=True, metavar="FOLDER", help="the folder to make")
    command.add_argument("--seed", type=int, default=0, help="another seed makes other noise and names (default: 0)")
    command.add_argument("--ceiling", type=float, default=0.5, help="noise ceiling: the highest R2 to reach (default: 0.5)")


def _find_root(name: str, root: str | None) -> Path:
    if root:  # on the command line a path means what the shell means by it; in a parameter it starts at the project's root
        return Path(root).expanduser().absolute()
    named = os.environ.get("FACEKIT_DATA")
    return resolve(named) if named else cache_folder("data") / name


def _list_datasets(options: argparse.Namespace) -> None:
    from facekit.data.manifests import list_manifests, read_manifest

    for name in list_manifests():
        manifest = read_manifest(name)
        how = "download it, or see how, with:" if manifest.source.kind == "page" else "download it with:"
        print(f"{name}: {manifest.title}\n  {how} facekit data fetch {name}")
        print(f"  homepage: {manifest.homepage}\n  terms: {manifest.terms}\n  cite: {manifest.citation}\n")


def _fetch(options: argparse.Namespace) -> int:
    from facekit.data.download import describe_steps, fetch
    from facekit.data.manifests import read_manifest

    manifest, root = read_manifest(options.name), _find_root(options.name, options.root)
    if manifest.source.kind == "page":
        print(describe_steps(manifest, root))
        return 1  # nothing was downloaded
    if options.file and manifest.source.kind != "files":
        raise ParameterError(f"--file with {options.name}", expected="no --file: a dataset is downloaded whole")
    print(f"{manifest.title}\nTerms: {manifest.terms}", flush=True)
    for path in fetch(options.name, root, only=options.file):
        print(path)
    print(f"Check it: facekit data verify {options.name} --root {root}")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from facekit.data.verify import verify_dataset

    root = _find_root(options.name, options.root)
    report = options.report or cache_folder("verify") / f"{options.name}.json"
    if report.suffix != ".json":
        raise ParameterError(f"--report {report}", expected="a name that ends in .json")
    found = verify_dataset(options.name, root, workers=options.workers, report=report)
    print(f"{found.to_text(SHOWN_PROBLEMS)}\n  report: {report} and {report.with_suffix('.txt').name}")
    return int(bool(found.problems))


def _sample(options: argparse.Namespace) -> None:
    from facekit.data.manifests import DatasetManifest, list_manifests, read_manifest
    from facekit.synthetic.layouts import write_sample

    known = [name for name in list_manifests() if isinstance(read_manifest(name), DatasetManifest)]
    if unknown := [name for name in options.names if name not in known]:
        raise ParameterError(f"unknown dataset {unknown[0]!r}", expected=f"one of {', '.join(known)}")
    for name in options.names or known:
        print(write_sample(name, seed=options.seed))


def _plant(options: argparse.Namespace) -> None:
    from facekit.synthetic.semi_synthetic import plant_popularity

    source, target = options.source.expanduser(), options.target.expanduser().absolute()
    made = plant_popularity(source, target, seed=options.seed, ceiling=options.ceiling)
    print(
        f"{target}: {'written, its README.md says how' if made else 'there already, made with these settings; left as it is'}"
    )


def _run(options: argparse.Namespace) -> None:
    from facekit.reporting.runner import run

    given = {name: getattr(options, name) for name in ("data", "weights")}
    settings = [*options.set, *(f"{name}={value}" for name, value in given.items() if value is not None)]
    folder = run(options.task, options.profile, settings, out=options.out, strict=options.strict)
    print(f"{options.task} ({options.profile}): {os.path.relpath(folder)}/{options.task}.html")


def _predict(options: argparse.Namespace) -> int:
    with _hush():
        from facekit.predict import predict_photos

    return predict_photos(options.photos, options.run, csv=options.csv, html=options.html, where=options.where)


def _site(options: argparse.Namespace) -> None:
    from facekit.reporting.site import build_site

    index, count, problems = build_site(options.reports)
    for problem in problems:
        print(f"facekit: {problem}", file=sys.stderr)
    print(f"{count} run{'' if count == 1 else 's'}: {os.path.relpath(index)}")


def _demo(options: argparse.Namespace) -> None:
    with _hush():
        from facekit.demo import run_demo

    run_demo(options.runs, options.port)


@contextlib.contextmanager
def _hush() -> Iterator[None]:
    """Keep TensorFlow's notes on the processor, which no setting stops, off the terminal while it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


if __name__ == "__main__":
    sys.exit(main())
