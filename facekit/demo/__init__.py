"""`facekit demo`: a page on this machine on which every trained network answers for one photograph.

The page is plain: Python's own server, a template, and a script of a few dozen lines. Gradio would bring some forty packages,
fonts from elsewhere, and telemetry and shared links to be switched off, for a drop area and a camera that browsers have.

The traps this prevents: a run without its networks that is left out without a word, and a photograph that takes another way
than those of `facekit predict`. It is never written to disk: not by the page, not by the server.
"""

import contextlib
import io
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console

from facekit import parameters
from facekit.demo.server import HOST, MAXIMUM_BYTES, DemoServer
from facekit.errors import FacekitError, PictureError, WeightsError

# The steps of read_picture, which takes a file's path only.
from facekit.images import FORMATS, MAXIMUM_PIXELS, _check_pixels, _convert_to_rgb, resize_picture
from facekit.pages import render_page
from facekit.predict import shrink_picture
from facekit.predict.networks import Predictor, find_run, load_predictor
from facekit.predict.outputs import LONGEST, describe_labels, draw_heads
from facekit.record import read_record

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """A run that answers on the page.

    Args:
        predictor: its networks.
        question: of its experiment; "" where the run does not say.
        labels: whose labels its answers are.
    """

    predictor: Predictor
    question: str
    labels: str


def run_demo(given: Sequence[str] = (), port: int = 8000, *, reports: Path | None = None) -> None:
    """Serve the page until Ctrl-C.

    Args:
        given: runs' folders or tasks; the newest run of every task if none is given.
        port: to listen on, of this machine alone; 0 takes a free one.
        reports: where runs lie; reports/ of the project if not given.

    Raises:
        FacekitError: no run that predicts, a given one that does not, or a port that is taken.
    """
    # Every network is traced once, at which TensorFlow warns from the fifth on.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with DemoServer(port) as server:
        runs, problems = load_runs(given, reports)
        for line in problems:
            print(f"facekit: left out {line}", file=sys.stderr)
        address = f"http://{HOST}:{server.server_port}/"
        print(f"{len(runs)} run{'' if len(runs) == 1 else 's'}: {address} (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # that is how it ends
            server.serve(build_page(runs, problems), [partial(answer_photograph, run) for run in runs])


def load_runs(given: Sequence[str], reports: Path | None = None) -> tuple[list[Run], list[str]]:
    """Load the networks of runs.

    Args:
        given: runs' folders or tasks; every task if none is given.
        reports: where runs lie.

    Returns:
        The runs, and a line for each task without one that predicts.

    Raises:
        FacekitError: a given run does not predict, or none does.
    """
    console, runs, problems = Console(stderr=True), [], []
    for word in given or parameters.list_tasks():
        try:
            with console.status(f"loading {word}"):
                runs.append(_load_run(find_run(word, reports)))
        except FacekitError as error:
            if given:
                raise
            problems.append(str(error))
    if not runs:
        raise WeightsError("no run holds a model that predicts (committed runs leave it out)", mend="make one: make smile")
    return runs, problems


def _load_run(folder: Path) -> Run:
    record = folder / "metrics.json"
    question = read_record(record).get("question", "") if record.is_file() else ""
    predictor = load_predictor(folder)
    return Run(predictor, question, describe_labels(predictor))


def build_page(runs: list[Run], problems: list[str]) -> str:
    """Return the page, on which nothing was asked yet."""
    return render_page(FOLDER / "page.html.j2", runs=runs, problems=problems, maximum_bytes=MAXIMUM_BYTES)


def answer_photograph(run: Run, data: bytes) -> str:
    """Return what a run's networks say to a photograph, as a part of the page.

    Args:
        run: of load_runs.
        data: the photograph's file.

    Raises:
        PictureError: it cannot be read.
    """
    picture, predictor = decode_picture(data), run.predictor
    pictures = {size: resize_picture(picture, size)[None] for size in predictor.sizes}
    (heads,) = draw_heads(predictor, predictor.predict(pictures), pictures, [shrink_picture(picture, LONGEST)])
    return render_page(FOLDER / "answer.html.j2", heads=heads)


def decode_picture(data: bytes) -> np.ndarray:
    """Return a file's bytes as uint8 RGB (height, width, 3), as images.read_picture returns those of a file.

    Raises:
        PictureError: no picture, a broken one, or one that announces too many pixels, which is not decoded.
    """
    name = Path("the photograph")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_pixels(name, image)
            return _convert_to_rgb(name, image)
    except PictureError:
        raise
    except Exception as error:  # on broken files Pillow raises OSError, SyntaxError, struct.error and more
        expected = f"a whole file, one of {', '.join(FORMATS)}, of at most {MAXIMUM_PIXELS:,} pixels"
        raise PictureError("the photograph cannot be read", expected=expected, mend="save it as JPEG") from error
