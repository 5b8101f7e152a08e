"""The command `facekit`: data, run, check, predict, site, demo.

The trap this prevents: a help text that takes ten seconds, because TensorFlow was loaded for it. What a command needs
is imported when that command runs.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from facekit import __version__
from facekit.data_commands import add_data_parser
from facekit.errors import FacekitError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status: 0, or 1 after one line that says what to mend.

    Args:
        arguments: the words after `facekit`; those of the process if not given.
    """
    options = build_parser().parse_args(arguments)
    try:
        return options.function(options) or 0
    except FacekitError as error:
        print(f"facekit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("facekit: interrupted", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each sets `function`, which takes the parsed options."""
    parser = argparse.ArgumentParser(prog="facekit", description="Five student reports on faces, as eight experiments.")
    parser.add_argument("--version", action="version", version=f"facekit {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_data_parser(commands)
    _add_run_parser(commands)
    _add_check_parser(commands)
    _add_predict_parser(commands)
    _add_site_parser(commands)
    _add_demo_parser(commands)
    return parser


def _add_run_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("run", help="run an experiment", description="Run an experiment's notebook.")
    parser.add_argument("task", metavar="TASK", help="the experiment, such as smile")
    parser.add_argument("--profile", default="sample", help="sample (default), laptop, report or full")
    parser.add_argument("--data", help="the folder of the dataset")
    parser.add_argument("--weights", help="imagenet, none, sample, run:PROFILE/TASK or a path")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="NAME=VALUE", help="other parameters")
    parser.add_argument("--out", type=Path, help="where reports are put (default: reports/ of the project)")
    parser.add_argument("--strict", action="store_true", help="warnings of facekit and of the notebook are errors")
    parser.set_defaults(function=_run)


def _run(options: argparse.Namespace) -> int:
    from facekit.runner import run_notebook

    given = {name: getattr(options, name) for name in ("data", "weights")}
    settings = [*options.set, *(f"{name}={value}" for name, value in given.items() if value is not None)]
    folder = run_notebook(options.task, options.profile, settings, reports=options.out, strict=options.strict)
    print(f"{options.task} ({options.profile}): {os.path.relpath(folder)}/{options.task}.html")
    return 0


def _add_check_parser(commands: argparse._SubParsersAction) -> None:
    text = "check notebooks, references, expected results and the register of claims"
    parser = commands.add_parser("check", help=text, description=text.capitalize() + ".")
    kinds = ("notebooks", "references", "expected", "published")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(kinds)}; all if none is given")
    parser.set_defaults(function=_check, known_kinds=kinds)


def _check(options: argparse.Namespace) -> int:
    from facekit import checks

    unknown = [kind for kind in options.kinds if kind not in options.known_kinds]
    if unknown:
        raise FacekitError(f"unknown check '{unknown[0]}'", expected=f"one of {', '.join(options.known_kinds)}")
    status = 0
    for kind in options.kinds or options.known_kinds:
        problems = getattr(checks, f"check_{kind}")()
        for problem in problems:
            print(f"facekit: {problem}", file=sys.stderr)
        print(f"{kind}: {len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}")
        status = status or int(bool(problems))
    return status


def _add_predict_parser(commands: argparse._SubParsersAction) -> None:
    text = "ask a run's networks about photographs of your own"
    parser = commands.add_parser("predict", help=text, description=text.capitalize() + ".")
    parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="photographs, or folders of them")
    parser.add_argument("--run", default="celeba", help="a run's folder, or a task: its newest run (default: celeba)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the answers as a table")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures and what spoke for each answer")
    parser.add_argument("--where", default="", metavar="QUERY", help="only what answers it, such as 'Eyeglasses and not Male'")
    parser.set_defaults(function=_predict)


def _predict(options: argparse.Namespace) -> int:
    with _hush():
        from facekit.predict import run_prediction

    return run_prediction(options.pictures, options.run, csv=options.csv, html=options.html, where=options.where)


@contextlib.contextmanager
def _hush() -> Iterator[None]:
    """Keep TensorFlow's notes on the processor, which no setting stops, off the terminal while it is imported."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:  # then they may say why
            notes.seek(0)
            os.write(terminal, notes.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _add_site_parser(commands: argparse._SubParsersAction) -> None:
    text = "write the page of all runs, reports/index.html, and what it links to"
    parser = commands.add_parser("site", help=text, description=text.capitalize() + ".")
    parser.add_argument("--reports", type=Path, metavar="FOLDER", help="where reports stand (default: reports/ of the project)")
    parser.set_defaults(function=_site)


def _site(options: argparse.Namespace) -> int:
    from facekit.site import build_site

    site = build_site(options.reports)
    for problem in site.problems:
        print(f"facekit: {problem}", file=sys.stderr)
    print(f"{len(site.runs)} run{'' if len(site.runs) == 1 else 's'}: {os.path.relpath(site.index)}")
    return 0


def _add_demo_parser(commands: argparse._SubParsersAction) -> None:
    text = "open a page on this machine on which trained networks answer for a photograph"
    parser = commands.add_parser("demo", help=text, description=text.capitalize() + ".")
    parser.add_argument("runs", nargs="*", metavar="RUN", help="runs' folders, or tasks: their newest runs (default: all)")
    parser.add_argument("--port", type=int, default=8000, help="of 127.0.0.1 (default: 8000); 0 takes a free one")
    parser.set_defaults(function=_demo)


def _demo(options: argparse.Namespace) -> None:
    with _hush():
        from facekit.demo import run_demo

    run_demo(options.runs, options.port)
