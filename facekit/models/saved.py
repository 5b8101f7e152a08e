"""The saved models of a run: opened safely, asked for predictions, explained, as the run's model/card.json says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path

import keras
import numpy as np

from facekit.data.images import resize_image
from facekit.errors import WeightsError
from facekit.models import gradcam
from facekit.models.weight_files import CARD_NAME, UNREADABLE, open_checked
from facekit.paths import expand, project_root, read_file

NOTES = {
    "synthetic": "The network was trained on synthetic faces: its predictions for photos mean nothing.",
    "planted": "Its popularity comes from a formula, not from people.",
}


@dataclass
class Answer:
    """What one output predicts for n photos."""

    name: str
    classes: list[str]  # what the k columns stand for; a number has none
    values: np.ndarray  # (n, k) probabilities, or (n, 1) numbers
    decided: np.ndarray  # bool (n, k), the classes predicted
    maps: list[np.ndarray] = field(default_factory=list)  # n Grad-CAMs, where they were asked for
    explained: list[str] = field(default_factory=list)  # the classes of the maps

    def describe(self, row: int) -> str:
        """Return one photo's prediction in words."""
        if not self.classes:
            return f"{self.values[row, 0]:.4g}"
        found = [k for k in np.argsort(-self.values[row], kind="stable") if self.decided[row, k]]
        nothing = "none of its labels" if len(self.classes) > 1 else f"not {self.classes[0]} {1 - self.values[row, 0]:.0%}"
        return ", ".join(f"{self.classes[k]} {self.values[row, k]:.0%}" for k in found) or nothing


class Predictor:
    """The networks of a run's `folder`: the one that is called model, or a cascade of two.

    WeightsError: no model, a damaged or dangerous one, or one that needs more than a photo.
    """

    def __init__(self, folder: Path):
        self.name, path = "/".join(folder.resolve().parts[-2:]), folder / "model" / CARD_NAME
        try:
            card = json.loads(read_file(path))
            entries = {name: entry for name, entry in card["models"].items() if entry["file"].endswith(".keras")}
            main = next((name for name, entry in entries.items() if entry.get("cascade")), "model")
            self._cascade = entries[main].get("cascade") or {}
            self._threshold = _read_thresholds(self._cascade.get("threshold", 0.5))
            stages = [main, self._cascade["then"]] if self._cascade else [main]
            self._stages = [(entries[name], _load(path.parent, entries[name])) for name in stages]
            source = card.get("dataset", "its dataset")
            note = f"The labels are those of {source}: judgements of images, not facts about people."
            self.note = f"{note} {NOTES.get(card.get('kind'), '')}".strip()
            # What does not fit together fails here.
            self.outputs = [answer.name for answer in self.predict([np.zeros((8, 8, 3), np.uint8)])]
        except UNREADABLE as error:
            expected, hint = "a run's card and models", "run the experiment again: committed runs leave models out"
            raise WeightsError(f"{path}: {type(error).__name__} {error}", expected=expected, hint=hint) from error

    def predict(self, photos: Sequence[np.ndarray], *, explain: bool = False) -> list[Answer]:
        """Return an answer per output for photos, uint8 RGB of any sizes; `explain` adds Grad-CAM, of the deciding stage."""
        answers = [_ask(settings, model, photos, explain) for settings, model in self._stages]
        if not self._cascade:
            return answers[0]
        (first, *_), (then, *_) = answers
        if len(first.classes) != 2 or not then.classes:
            raise ValueError(f"a cascade of classes {first.classes} and {then.classes}")
        further = first.values[:, 1] >= self._threshold
        values = np.column_stack([first.values[:, 0], first.values[:, 1:2] * then.values])
        decided = np.arange(values.shape[1]) == np.where(further, 1 + then.values.argmax(axis=1), 0)[:, None]
        answer = Answer("cascade", [first.classes[0], *then.classes], values, decided)
        if explain:
            answer.maps = [(then if yes else first).maps[place] for place, yes in enumerate(further)]
            answer.explained = [answer.classes[k] for k in decided.argmax(axis=1)]
        return [answer]


def _load(folder: Path, entry: dict) -> keras.Model:
    path = folder / Path(entry["file"]).name
    with open_checked(path, entry["sha256"]):
        model = keras.models.load_model(path, compile=False, safe_mode=True)
    if len(model.inputs) != 1:
        raise WeightsError(f"{path}: {len(model.inputs)} inputs", expected="a network that needs the photo alone")
    return model


def _read_thresholds(given: float | list[float]) -> np.ndarray:
    """Return a probability, or one for each class, from which on it is predicted."""
    thresholds = np.asarray(given, float)
    if not ((thresholds >= 0) & (thresholds <= 1)).all():  # NaN is neither
        raise ValueError(f"threshold {given}, not within 0..1")
    return thresholds


def _ask(settings: dict, model: keras.Model, photos: Sequence[np.ndarray], explain: bool) -> list[Answer]:
    """Return a network's answers; `settings` is its entry in the card."""
    images, answers = np.stack([resize_image(photo, model.inputs[0].shape[1:3]) for photo in photos]), []
    outputs = keras.tree.flatten(model(images.astype(np.float32), training=False))
    for name, values in zip(model.output_names, (np.asarray(output, np.float32) for output in outputs), strict=True):
        kind = getattr(getattr(model.get_layer(name), "activation", None), "__name__", "")
        classes = settings.get("heads", {}).get(name) or settings.get("classes") or [name]
        if kind not in ("sigmoid", "softmax"):
            classes = []
        elif len(classes) != values.shape[1] or classes != [str(each) for each in classes]:
            raise ValueError(f"classes {classes} for {values.shape[1]} outputs of {name}")
        decided = np.arange(values.shape[1]) == values.argmax(axis=1)[:, None]
        if kind == "sigmoid":
            thresholds = _read_thresholds((settings.get("thresholds") or {}).get(name, 0.5))
            decided = values >= np.broadcast_to(thresholds, values.shape[1])
        answers.append(answer := Answer(name, classes, values, decided))
        if explain:
            # The predicted class; where no label is predicted, the likeliest.
            index = np.where(decided, values, values - 1).argmax(axis=1)
            answer.explained = [classes[k] for k in index] if classes else ["a higher number"] * len(index)
            if len(classes) == 1:  # for a single probability gradcam's class 1 is yes, 0 no
                index = decided[:, 0].astype(int)
                answer.explained = [classes[0] if yes else f"not {classes[0]}" for yes in index]
            answer.maps = list(gradcam.compute(model, images, index, output=name))
    return answers


def find_run(run: str, reports: Path | None = None) -> Path:
    """Return a run's folder with a model: `run` itself, or a task's newest in `reports` (the project's); WeightsError: none."""
    folder = expand(run)
    if (folder / "model").is_dir():
        return folder
    models = (reports or project_root() / "reports").glob(f"[!.]*/{escape(folder.name)}/model/*.keras")
    newest = max(models, key=lambda path: path.parent.stat().st_mtime, default=None)
    if newest is None:
        received = f"{run}: no run with a model (committed runs leave it out)"
        raise WeightsError(received, expected="a run's folder or an experiment", hint=f"make one: make {folder.name}")
    return newest.parent.parent
