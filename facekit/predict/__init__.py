"""`facekit predict`: photographs of one's own go through the networks of a run.

The traps this prevents: one broken file among a thousand that ends the prediction, or is left out without a word, and a
thousand photographs held in memory at once. Pictures are read batch by batch; those that cannot be read are named at the
end, and then the exit status is 1.
"""

import logging
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from facekit.errors import ParameterError, PictureError
from facekit.images import list_pictures, read_picture, resize_picture
from facekit.models import Head
from facekit.predict.networks import BATCH_SIZE, Pictures, Predictor, find_run, load_predictor
from facekit.queries import Query, parse_query, score_query


@dataclass(frozen=True)
class Answers:
    """What the networks say to pictures.

    Args:
        paths: the n files.
        values: head -> outputs, float32 (n, units).
        query: what was searched for, if anything.
        scores: how well each answers the query, (n,), 0..1.
    """

    paths: list[Path]
    values: dict[str, np.ndarray]
    query: Query | None = None
    scores: np.ndarray | None = None


def list_files(given: Sequence[str | Path]) -> tuple[list[Path], list[str]]:
    """Return the files to predict, and a line for each word that leads to none.

    Args:
        given: files, and folders, of which every picture is taken; they are not searched deeper.
    """
    paths, problems = [], []
    for word in map(Path, given):
        try:
            paths += [word / name for name in list_pictures(word)] if word.is_dir() else [word]
        except PictureError as error:
            problems.append(str(error))
    return paths, problems


def stream_pictures(
    paths: Sequence[Path], sizes: set[tuple[int, int]], longest: int = 0
) -> Iterator[tuple[list[int], Pictures, list[np.ndarray], list[str]]]:
    """Read pictures batch by batch, as training reads them.

    Args:
        paths: the files.
        sizes: height and width in pixels, each of which is wanted of every picture.
        longest: also keep each picture in its own proportions, so many pixels long at most; 0: do not.

    Yields:
        Numbers of the files that could be read, their pictures at each size, those in their own proportions (uint8 RGB),
        and a line for each file that could not.
    """

    def read(path: Path) -> tuple[dict, np.ndarray | None] | PictureError:
        try:
            picture = read_picture(path)
        except PictureError as error:
            return error
        wanted = {size: resize_picture(picture, size) for size in sizes}
        return wanted, shrink_picture(picture, longest) if longest else None

    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(paths), BATCH_SIZE):
            came = list(pool.map(read, paths[start : start + BATCH_SIZE]))
            numbers = [start + place for place, one in enumerate(came) if not isinstance(one, PictureError)]
            read_ones = [one for one in came if not isinstance(one, PictureError)]
            shapes = {size: (len(read_ones), *size, 3) for size in sizes}
            pictures = {size: np.array([one[0][size] for one in read_ones], np.uint8).reshape(shapes[size]) for size in sizes}
            yield numbers, pictures, [one[1] for one in read_ones], [str(one) for one in came if isinstance(one, PictureError)]


def shrink_picture(picture: np.ndarray, longest: int) -> np.ndarray:
    """Return a picture in its own proportions, at most so many pixels long.

    >>> shrink_picture(np.zeros((60, 40, 3), np.uint8), 30).shape
    (30, 20, 3)
    """
    scale = min(1.0, longest / max(picture.shape[:2]))
    return resize_picture(picture, tuple(max(1, round(side * scale)) for side in picture.shape[:2]))


def predict_files(predictor: Predictor, paths: Sequence[Path], progress: Progress | None = None) -> tuple[Answers, list[str]]:
    """Predict files in batches, whatever their number.

    Args:
        predictor: the networks.
        paths: the files.
        progress: is moved on, if given.

    Returns:
        The answers for the files that could be read, and a line for each of the others.
    """
    kept, problems, parts = [], [], {head.name: [np.empty((0, head.units), np.float32)] for head in predictor.heads}
    for numbers, pictures, _, bad in show_progress(stream_pictures(paths, predictor.sizes), len(paths), "predicting", progress):
        kept += [paths[number] for number in numbers]
        problems += bad
        if numbers:
            for name, values in predictor.predict(pictures).items():
                parts[name].append(values)
    return Answers(kept, {name: np.concatenate(values) for name, values in parts.items()}), problems


def show_progress(batches: Iterator, total: int, text: str, progress: Progress | None) -> Iterator:
    """Pass batches of `stream_pictures` on, and move `progress` on by their pictures, if one is given."""
    task = progress.add_task(text, total=total) if progress else None
    for batch in batches:
        yield batch
        if progress:
            progress.advance(task, len(batch[0]) + len(batch[-1]))


def list_labels(heads: Sequence[Head]) -> list[str]:
    """Return the names of all answers of yes or no: the classes of multi-label heads, the names of binary ones."""
    kinds = [head for head in heads if head.kind in ("binary", "multi-label")]
    return [name for head in kinds for name in (head.classes if head.kind == "multi-label" else [head.name])]


def search(predictor: Predictor, answers: Answers, text: str) -> Answers:
    """Return the pictures that answer a query, the most probable first.

    A picture answers where every decision, taken at the model's thresholds, is as asked.

    Args:
        predictor: the networks.
        answers: for all pictures.
        text: such as `Eyeglasses and not Male`, see queries.parse_query.

    Raises:
        ParameterError: no query, an unknown name, or networks that know no labels of yes and no.
    """
    query, heads = parse_labels(predictor, text)
    y_prob = np.concatenate([answers.values[head.name] for head in heads], axis=1)
    decided = np.concatenate([predictor.decide(head, answers.values[head.name]) for head in heads], axis=1)
    scores = score_query(query, y_prob)
    matches = (decided[:, list(query.columns)] == query.wanted).all(axis=1)
    rows = [row for row in np.argsort(-scores, kind="stable") if matches[row]]
    values = {name: values[rows] for name, values in answers.values.items()}
    return Answers([answers.paths[row] for row in rows], values, query, scores[rows])


def parse_labels(predictor: Predictor, text: str) -> tuple[Query, list[Head]]:
    """Return a query and the heads whose labels it may ask for; raises as `search` does, before anything is predicted."""
    heads = [head for head in predictor.heads if head.kind in ("binary", "multi-label")]
    if not heads:
        raise ParameterError(f"query {text!r}: {predictor.folder} knows no labels of yes and no", expected="--run celeba")
    return parse_query(text, list_labels(heads)), heads


def run_prediction(
    given: Sequence[str], run: str, *, csv: Path | None = None, html: Path | None = None, where: str = ""
) -> int:
    """Predict photographs, show the answers as a table, and write them where that is asked for.

    Args:
        given: files and folders.
        run: a run's folder, or a task.
        csv: table to write.
        html: page to write.
        where: a query; only the pictures that answer it are shown, best first.

    Returns:
        The exit status: 1 where a picture could not be read.

    Raises:
        FacekitError: no run, no picture at all, or no place for a file.
    """
    from facekit.predict.outputs import build_table, write_csv, write_page

    # Every network is traced once, at which TensorFlow warns from the fifth on.
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    _check_target(csv, ".csv")
    _check_target(html, ".html")
    paths, problems = list_files(given)
    predictor = load_predictor(find_run(run))
    if where:
        parse_labels(predictor, where)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        answers, bad = predict_files(predictor, paths, progress)
        problems += bad
        if not answers.paths:
            _name_skipped(problems)
            raise PictureError("no picture could be read", expected="at least one photograph")
        total = len(answers.paths)
        if where:
            answers = search(predictor, answers, where)
        if csv:
            write_csv(predictor, answers, csv)
        if html:
            write_page(predictor, answers, html, problems=problems, total=total, progress=progress)
    Console().print(build_table(predictor, answers, total))
    _name_skipped(problems)
    return int(bool(problems))


def _name_skipped(problems: list[str]) -> None:
    for line in problems:
        print(f"facekit: skipped {line}", file=sys.stderr)


def _check_target(path: Path | None, suffix: str) -> None:
    """Refuse a place that cannot be written before minutes are spent, and a photograph named by mistake."""
    if path and path.suffix.lower() != suffix:
        raise ParameterError(f"{path}: not a {suffix} file", expected=f"a name that ends in {suffix}")
    if path and not path.parent.is_dir():
        raise ParameterError(f"{path}: no folder {path.parent}", mend="make it, or choose another place")
