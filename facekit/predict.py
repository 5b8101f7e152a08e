"""Your own photos through the networks of a run: a table on the terminal, a CSV file, an HTML page with Grad-CAM, a search."""

import base64
import os
import sys
from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from facekit.data.images import list_images, read_image, resize_image
from facekit.errors import DataError, ImageError, ParameterError
from facekit.evaluation import queries
from facekit.models import gradcam
from facekit.models.saved import Answer, Predictor, find_run
from facekit.paths import write_text
from facekit.progress import track
from facekit.reporting.site import render

BATCH, LONGEST = 8, 256  # photos at a time, and pixels of a photo on the page


def predict_photos(
    given: Sequence[str], run: str, *, csv: Path | None = None, html: Path | None = None, where: str = ""
) -> int:
    """Predict photos, show and write the predictions, and return the exit status: 1 where a photo could not be read.

    `given` are files, and folders whose images are taken. `csv` gets path, score (of a query), y_pred and y_prob of each class.
    Of a query `where`, see evaluation.queries, only the photos that match are shown, best first.
    """
    for path, suffix in ((csv, ".csv"), (html, ".html")):
        if path and (path.suffix.lower() != suffix or path.is_dir() or not os.access(path.parent, os.W_OK)):
            raise ParameterError(str(path), expected=f"a file (not a folder) that ends in {suffix}, in a writable folder")
    predictor, problems, total, rows = Predictor(find_run(run)), [], 0, []
    for paths, photos in _read_batches(given, problems):
        total += len(photos)
        answers = predictor.predict(photos)
        values = {name: each.values[:, k] for each in answers for k, name in enumerate(each.classes or [each.name])}
        decided = {name: each.decided[:, k] for each in answers for k, name in enumerate(each.classes)}
        matches, scores = queries.answer(where, values, decided) if where else [np.ones(len(photos))] * 2
        kept = np.flatnonzero(matches)
        cards = _draw_cards(predictor, [photos[n] for n in kept]) if html and len(kept) else [[]] * len(kept)
        for n, card in zip(kept, cards, strict=True):
            columns = {"path": paths[n]} | ({"score": scores[n]} if where else {}) | _tabulate(answers, n)
            row = {"name": Path(paths[n]).name, "score": scores[n], "columns": columns, "answers": card}
            row["texts"] = [answer.describe(n) for answer in answers]
            rows.append(row | {"image": _embed(shrink(photos[n])) if html else ""})
    for problem in problems:
        print(f"facekit: skipped {problem}", file=sys.stderr)
    if not total:
        raise ImageError("no photo could be read", expected="at least one")
    rows.sort(key=lambda row: -row["score"])
    title = f"{predictor.name}: {len(rows)} of {total} photos match {where}" if where else f"{predictor.name}: {total} photos"
    if csv:
        table = pd.DataFrame([row["columns"] for row in rows])
        write_text(csv, table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    if html:
        write_text(html, render("predict.html.j2", title=title, note=predictor.note, rows=rows, problems=problems, where=where))
    shown = Table(title=title, caption=predictor.note, caption_justify="left")
    for head in ["photo", *["score"] * bool(where), *predictor.outputs]:
        shown.add_column(head, overflow="fold")
    for row in rows:
        shown.add_row(row["columns"]["path"], *[f"{row['score']:.2f}"] * bool(where), *row["texts"])
    Console(markup=False, emoji=False).print(shown)
    return int(bool(problems))


def _read_batches(given: Sequence[str], problems: list[str]) -> Iterator[tuple[list[str], list[np.ndarray]]]:
    """Yield names and photos, and add a line to `problems` for each file that cannot be read."""
    paths = []
    for word in map(Path, given):
        try:
            paths += [word / name for name in list_images(word)] if os.path.isdir(word) else [word]
        except DataError as error:
            problems.append(str(error))
    paths = list(dict.fromkeys(paths))
    for start in track(range(0, len(paths), BATCH), "predicting"):
        names, photos = [], []
        for path in paths[start : start + BATCH]:
            try:
                photos.append(read_image(path))
                names.append(os.fsencode(path).decode("utf-8", "backslashreplace"))
            except DataError as error:
                problems.append(str(error))
        if photos:
            yield names, photos


def _draw_cards(predictor: Predictor, photos: Sequence[np.ndarray]) -> list[list[dict]]:
    """Return for each photo a dict per output: name, text, map (Grad-CAM), explained, and bars (name, p, predicted)."""
    cards = [[] for _ in photos]
    for answer in predictor.predict(photos, explain=True):
        for n, (photo, card) in enumerate(zip(photos, cards, strict=True)):
            bars = list(zip(answer.classes, answer.values[n], answer.decided[n], strict=False))
            shown = _embed(gradcam.overlay(shrink(photo), answer.maps[n]))
            text = f"{answer.decided[n].sum()} of {len(bars)} labels" if len(bars) > 5 else answer.describe(n)
            card.append({"name": answer.name, "text": text, "map": shown, "explained": answer.explained[n], "bars": bars})
    return cards


def _embed(image: np.ndarray) -> str:
    """Return an image, uint8 RGB, as an address that holds it, without what a camera writes into a file."""
    _, code = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(code).decode("ascii")


def shrink(photo: np.ndarray) -> np.ndarray:
    """Return a photo in its own proportions, small enough for a page."""
    scale = min(1.0, LONGEST / max(photo.shape[:2]))
    return resize_image(photo, tuple(max(1, round(side * scale)) for side in photo.shape[:2]))


def _tabulate(answers: Sequence[Answer], row: int) -> dict:
    """Return one photo's columns, named as in a run's predictions.csv."""
    columns, probabilities = {}, {}
    for answer in answers:
        found = ", ".join(compress(answer.classes, answer.decided[row]))
        columns[f"y_pred_{answer.name}" if answers[1:] else "y_pred"] = found if answer.classes else answer.values[row, 0]
        for name, value in zip(answer.classes, answer.values[row], strict=False):
            probabilities[f"y_prob_{answer.name}_{name}" if f"y_prob_{name}" in probabilities else f"y_prob_{name}"] = value
    return columns | probabilities
