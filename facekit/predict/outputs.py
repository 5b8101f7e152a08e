"""Answers as a table on the terminal, a csv file, and a page that holds everything it shows.

The traps this prevents: an answer that looks like a fact about a person (whose labels these are stands below each of
them), a page that asks the network for something or passes on where a photograph was taken, a file name taken for markup,
and a table of which half is written.
"""

import base64
import io
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from facekit.errors import ParameterError, PictureError
from facekit.explain import overlay_map
from facekit.models import Head
from facekit.pages import load_environment
from facekit.predict import Answers, list_labels, show_progress, stream_pictures
from facekit.predict.networks import Pictures, Predictor
from facekit.queries import Query

LONGEST = 256  # of a picture on the page, in pixels
_TOP = 5  # labels that a cell of the terminal's table names
_KINDS = {
    "photographs": "",
    "synthetic": "The network was trained on drawn faces: what it says about photographs means nothing.",
    "planted": "Its popularity is a formula that was planted into real photographs, nobody's liking.",
}


def describe_labels(predictor: Predictor) -> str:
    """Return the sentences that stand below every answer: whose labels these are, and what they are not."""
    owner = f"the dataset {predictor.recipe.dataset}" if predictor.recipe.dataset else "the dataset"
    labels = f"The labels are those of {owner}: somebody's judgement of its pictures, no facts about a person."
    return f"{labels} {_KINDS[predictor.recipe.kind]}".strip()


def name_classes(head: Head) -> tuple[str, ...]:
    """Return what a head can say: its classes; yes or no for a single probability without names."""
    if head.kind == "binary":
        return head.classes if len(head.classes) == 2 else ("no", "yes")
    return head.classes


def describe_answers(predictor: Predictor, head: Head, values: np.ndarray) -> list[str]:
    """Return in words what a head says to each picture, with probabilities in percent.

    Args:
        predictor: the networks.
        head: one of its heads.
        values: its outputs, (n, units).
    """
    decided = predictor.decide(head, values)
    if head.kind == "regression":
        return [f"{value:.4g}" for value in values[:, 0]]
    names = name_classes(head)
    if head.kind == "binary":
        sides = np.hstack([1 - values, values])
        return [f"{names[yes]} {row[yes]:.0%}" for yes, row in zip(decided[:, 0].astype(int), sides, strict=True)]
    if head.kind == "multi-class":
        return [f"{names[index]} {row[index]:.0%}" for index, row in zip(decided, values, strict=True)]
    texts = []
    for yes, row in zip(decided, values, strict=True):
        found = [k for k in np.argsort(-row, kind="stable") if yes[k]]
        more = f", {len(found) - _TOP} more" if len(found) > _TOP else ""
        texts.append(", ".join(f"{names[k]} {row[k]:.0%}" for k in found[:_TOP]) + more or "none of its labels")
    return texts


def build_table(predictor: Predictor, answers: Answers, total: int) -> Table:
    """Build the table for the terminal.

    Args:
        predictor: the networks.
        answers: what is shown.
        total: pictures that were predicted.
    """
    title = (
        f"{len(answers.paths)} of {total} pictures answer {answers.query.text}"
        if answers.query
        else f"{total} picture{'' if total == 1 else 's'}"
    )
    table = Table(title=Text(f"{predictor.name}: {title}"), caption=Text(describe_labels(predictor)), caption_justify="left")
    table.add_column("picture", overflow="fold")
    alone = len({path.parent for path in answers.paths}) == 1
    columns = [[_spell(path.name if alone else path.as_posix()) for path in answers.paths]]
    if answers.query:
        table.add_column("score", justify="right")
        columns.append([f"{score:.2f}" for score in answers.scores])
    for head in predictor.heads:
        table.add_column(Text(head.name), justify="right" if head.kind == "regression" else "left", overflow="fold")
        columns.append(describe_answers(predictor, head, answers.values[head.name]))
    for row in zip(*columns, strict=True):
        table.add_row(*map(Text, row))
    return table


def tabulate_answers(predictor: Predictor, answers: Answers) -> pd.DataFrame:
    """Return one row a picture, its columns named as in a run's predictions.csv.

    Returns:
        `path`; `score` after a query; `y_pred`, or `y_pred_<head>` where there are several heads; for each probability
        `y_prob_<class>`, of a binary head `y_prob_<head>`, with the head before the class where two heads share a class.
    """
    columns = {"path": [_spell(path.as_posix()) for path in answers.paths]}
    if answers.query:
        columns["score"] = answers.scores
    several = len(predictor.heads) > 1
    for head in predictor.heads:
        values = answers.values[head.name]
        decided, names = predictor.decide(head, values), np.array(name_classes(head), object)
        if head.kind == "regression":
            said = values[:, 0]
        elif head.kind == "multi-label":
            said = [", ".join(names[row]) for row in decided]
        else:
            said = names[decided.astype(int).reshape(len(values))]
        columns[f"y_pred_{head.name}" if several else "y_pred"] = said
    classes = [name for head in predictor.heads for name in _name_probabilities(head)]
    for head in predictor.heads:
        shared = any(classes.count(name) > 1 for name in _name_probabilities(head))
        for name, values in zip(_name_probabilities(head), answers.values[head.name].T, strict=False):
            columns[f"y_prob_{head.name}_{name}" if shared else f"y_prob_{name}"] = values
    return pd.DataFrame(columns)


def _name_probabilities(head: Head) -> tuple[str, ...]:
    return {"regression": (), "binary": (head.name,)}.get(head.kind, head.classes)


def write_csv(predictor: Predictor, answers: Answers, path: Path) -> None:
    """Write the answers as a table, whole or not at all; the columns are those of `tabulate_answers`."""
    with replace_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        tabulate_answers(predictor, answers).to_csv(file, index=False, float_format="%.6f", lineterminator="\n")


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a file to write that takes the place of `path` when it is done; after an error everything is as before.

    Args:
        path: the file in the end.

    Raises:
        ParameterError: it cannot be written there.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise ParameterError(f"{path}: cannot be written ({error.strerror})", mend="choose another place") from error
    finally:
        part.unlink(missing_ok=True)


def write_page(
    predictor: Predictor, answers: Answers, path: Path, *, problems: list[str], total: int, progress: Progress | None = None
) -> None:
    """Write the answers as one page with the pictures, all probabilities, and what spoke for each answer.

    The pictures are read a second time, batch by batch, so that memory does not grow with their number; they are made
    small and lose what a camera writes into them beside the picture.

    Args:
        predictor: the networks.
        answers: what is shown, in this order.
        path: the page.
        problems: a line for each file that was skipped.
        total: pictures that were predicted.
        progress: is moved on, if given.
    """
    template = load_environment(Path(__file__).parent).get_template("page.html.j2")
    content = {
        "run": predictor.name,
        "answers": answers,
        "cards": _draw_cards(predictor, answers, progress),
        "labels": describe_labels(predictor),
        "problems": [_spell(line) for line in problems],
        "total": total,
    }
    with replace_file(path) as part, part.open("w", encoding="utf-8") as file:
        template.stream(content).dump(file)


def _draw_cards(predictor: Predictor, answers: Answers, progress: Progress | None) -> Iterator[dict]:
    batches = stream_pictures(answers.paths, predictor.sizes, LONGEST)
    for numbers, pictures, shown, bad in show_progress(batches, len(answers.paths), "drawing", progress):
        if bad:  # it could be read a moment ago
            raise PictureError(bad[0], mend="leave the pictures alone until the page is written")
        values = {name: rows[numbers] for name, rows in answers.values.items()}
        drawn = draw_heads(predictor, values, pictures, shown, query=answers.query)
        for number, picture, heads in zip(numbers, shown, drawn, strict=True):
            score = answers.scores[number] if answers.query else None
            yield {"name": _spell(answers.paths[number].name), "source": _embed(picture), "score": score, "heads": heads}


def draw_heads(
    predictor: Predictor,
    values: dict[str, np.ndarray],
    pictures: Pictures,
    shown: list[np.ndarray],
    *,
    query: Query | None = None,
) -> list[list[dict]]:
    """Return what a page shows of answers: in words, as bars, and what in the picture spoke for them.

    Args:
        predictor: the networks.
        values: head -> its outputs for n pictures, (n, units).
        pictures: the pictures as the networks want them.
        shown: the pictures in their own proportions, uint8 RGB; the maps are laid on them.
        query: what was searched for, if anything.

    Returns:
        For each picture a dict a head, as answers.html.j2 draws it.
    """
    cards = [[] for _ in shown]
    for head in predictor.heads:
        rows = values[head.name]
        index = _choose_outputs(predictor, query, head, rows)
        maps, texts = predictor.explain(pictures, head, index), describe_answers(predictor, head, rows)
        for place, card in enumerate(cards):
            source = _embed(overlay_map(shown[place], maps[place]))
            part = {"name": head.name, "said": texts[place], "spoke": _name_output(head, index[place]), "source": source}
            card.append(part | _list_bars(predictor, head, rows[place]))
    return cards


def _choose_outputs(predictor: Predictor, query: Query | None, head: Head, values: np.ndarray) -> np.ndarray:
    """Return the outputs to explain: after a query the first label it wants, if the head knows it among others."""
    index = predictor.choose_outputs(head, values)
    if query and head.kind == "multi-label" and head.units > 1:
        labels = list_labels(predictor.heads)
        asked = [labels[k] for k, wanted in zip(query.columns, query.wanted, strict=True) if wanted]
        for name in [name for name in asked if name in head.classes][:1]:
            index = np.full(len(values), head.classes.index(name))
    return index


def _name_output(head: Head, index: int) -> str:
    if head.kind == "regression":
        return "a higher number"
    if head.kind == "multi-label" and head.units == 1:
        return head.classes[0] if index else f"not {head.classes[0]}"
    return name_classes(head)[index]


def _list_bars(predictor: Predictor, head: Head, values: np.ndarray) -> dict[str, list]:
    """Return the probabilities to draw: (name, share, whether it is what was said); `rest` is folded away.

    For many labels also `said`, their number, in place of naming them twice.
    """
    if head.kind == "regression":
        return {"bars": [], "rest": []}
    decided = predictor.decide(head, values[None])[0]
    if head.kind == "binary":
        yes = bool(decided[0])
        return {"bars": list(zip(name_classes(head), (1 - values[0], values[0]), (not yes, yes), strict=True)), "rest": []}
    if head.kind == "multi-class":
        return {"bars": list(zip(head.classes, values, np.arange(head.units) == decided, strict=True)), "rest": []}
    order = np.argsort(-values, kind="stable")
    rows = [(head.classes[k], values[k], bool(decided[k])) for k in order]
    found = [row for row in rows if row[2]]
    return {"said": f"{len(found)} of {head.units} labels", "bars": found, "rest": [row for row in rows if not row[2]]}


def _spell(name: str) -> str:
    """Return a file's name as text that can be written: old disks hold bytes in names that are none."""
    return os.fsencode(name).decode("utf-8", "replace")


def _embed(picture: np.ndarray) -> str:
    """Return a picture as an address that holds it."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
