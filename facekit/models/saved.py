"""The saved models of a run: opened safely, asked together for predictions, explained.

How they answer together (flips, averages, a cascade, thresholds) is written in the run's model/card.json, not guessed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from facekit.data.images import resize_image
from facekit.errors import WeightsError
from facekit.models import gradcam
from facekit.models.weight_files import check_file
from facekit.models.weights import CARD_NAME
from facekit.paths import project_root

NOTES = {
    "synthetic": "The network was trained on synthetic faces: its predictions for photos mean nothing.",
    "planted": "Its popularity comes from a formula, not from people.",
}


@dataclass
class Answer:
    """What one output predicts for n photos.

    Args:
        name: of the output.
        classes: what its k columns stand for; a number has none.
        values: (n, k) probabilities, or (n, 1) numbers.
        decided: bool (n, k), the classes predicted.
        maps: n Grad-CAMs, where they were asked for, of the classes in `explained`.
    """

    name: str
    classes: list[str]
    values: np.ndarray
    decided: np.ndarray
    maps: list[np.ndarray] = field(default_factory=list)
    explained: list[str] = field(default_factory=list)

    def describe(self, row: int) -> str:
        """Return one photo's prediction in words."""
        if not self.classes:
            return f"{self.values[row, 0]:.4g}"
        found = [k for k in np.argsort(-self.values[row], kind="stable") if self.decided[row, k]]
        nothing = "none of its labels" if len(self.classes) > 1 else f"not {self.classes[0]} {1 - self.values[row, 0]:.0%}"
        return ", ".join(f"{self.classes[k]} {self.values[row, k]:.0%}" for k in found) or nothing


class Predictor:
    """The networks of a run.

    Args:
        folder: of the run.

    Raises:
        WeightsError: no model, a damaged or dangerous one, or one that needs more than a photo.
    """

    def __init__(self, folder: Path):
        self.name, self._folder = "/".join(folder.resolve().parts[-2:]), folder / "model"
        path = self._folder / CARD_NAME
        try:
            card = json.loads(path.read_text(encoding="utf-8"))
            self._entries = {name: entry for name, entry in card["models"].items() if entry["file"].endswith(".keras")}
            leading = [name for key in ("cascade", "averaged") for name, entry in self._entries.items() if entry.get(key)]
            main = [*leading, *(name for name in self._entries if name == "model"), *self._entries, "model"][0]
            self._cascade = self._entries[main].get("cascade")
            stages = [main, self._cascade["then"]] if self._cascade else [main]
            self._stages = [(self._entries[name], self._load_all(name)) for name in stages]
            # What does not fit together fails here.
            self.outputs = [answer.name for answer in self.predict([np.zeros((8, 8, 3), np.uint8)])]
        except FileNotFoundError as error:
            hint = "committed runs leave models out: run the experiment again"
            raise WeightsError(f"{error.filename}: there is no such file", expected="a run with its model", hint=hint) from None
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            received = f"{path}: {type(error).__name__} {error}"
            raise WeightsError(received, expected="a run's card and models", hint="run the experiment again") from error
        source = card.get("dataset", "its dataset")
        note = f"The labels are those of {source}: judgements of images, not facts about people."
        self.note = f"{note} {NOTES.get(card.get('kind'), '')}".strip()

    def _load_all(self, name: str) -> list[keras.Model]:
        """Return a network and those whose predictions are averaged with its own."""
        models = []
        for entry in [self._entries[each] for each in dict.fromkeys([name, *self._entries[name].get("averaged", [])])]:
            path = self._folder / Path(entry["file"]).name
            check_file(path, entry["sha256"])
            models.append(keras.models.load_model(path, compile=False, safe_mode=True))
            if len(models[-1].inputs) != 1:
                raise WeightsError(f"{path}: {len(models[-1].inputs)} inputs", expected="a network that needs the photo alone")
        return models

    def predict(self, photos: Sequence[np.ndarray], *, explain: bool = False) -> list[Answer]:
        """Return one answer per output for photos, uint8 RGB of any sizes.

        Grad-CAM (`explain`) is that of the first of averaged networks, and of the stage of a cascade that decided.
        """
        answers = self._ask(0, photos)
        if not self._cascade:
            return [self._explain(answer, 0, photos) for answer in answers] if explain else answers
        (first, *_), (then, *_) = answers, self._ask(1, photos)
        further = first.values[:, 1] >= self._cascade.get("threshold", 0.5)
        values = np.column_stack([first.values[:, 0], first.values[:, 1:2] * then.values])
        decided = np.arange(values.shape[1]) == np.where(further, 1 + then.values.argmax(axis=1), 0)[:, None]
        answer = Answer("cascade", [first.classes[0], *then.classes], values, decided)
        if explain:
            maps = [self._explain(stage, number, photos) for number, stage in enumerate((first, then))]
            answer.maps = [maps[int(row)].maps[place] for place, row in enumerate(further)]
            answer.explained = [answer.classes[k] for k in decided.argmax(axis=1)]
        return [answer]

    def _ask(self, stage: int, photos: Sequence[np.ndarray]) -> list[Answer]:
        (settings, models), outputs = self._stages[stage], []
        for model in models:
            images = _resize(photos, model)
            for x in (images, images[:, :, ::-1]) if settings.get("flips") else (images,):
                outputs.append([np.asarray(each) for each in keras.tree.flatten(model(x.astype(np.float32), training=False))])
        answers = []
        for number, output in enumerate(models[0].output_names):
            values = np.mean([found[number] for found in outputs], axis=0, dtype=np.float32)
            kind = getattr(getattr(models[0].get_layer(output), "activation", None), "__name__", "")
            classes = list(settings.get("heads", {}).get(output) or settings.get("classes") or [output])
            if kind == "sigmoid" and len(classes) == 2 and values.shape[1] == 1:  # both sides of one probability have names
                values, kind = np.hstack([1 - values, values]), "softmax"
            decided = np.arange(values.shape[1]) == values.argmax(axis=1)[:, None]
            if kind == "sigmoid":
                decided = values >= np.asarray((settings.get("thresholds") or {}).get(output, 0.5))
            if kind in ("sigmoid", "softmax") and len(classes) != values.shape[1]:
                raise ValueError(f"{len(classes)} classes for {values.shape[1]} outputs of {output}")
            answers.append(Answer(output, classes if kind in ("sigmoid", "softmax") else [], values, decided))
        return answers

    def _explain(self, answer: Answer, stage: int, photos: Sequence[np.ndarray]) -> Answer:
        model = self._stages[stage][1][0]
        # The predicted class; where no label is predicted, the likeliest.
        index = np.where(answer.decided, answer.values, answer.values - 1).argmax(axis=1)
        answer.explained = [answer.classes[k] for k in index] if answer.classes else ["a higher number"] * len(index)
        if len(answer.classes) == 1:  # for a single probability gradcam's class 1 is yes, 0 no
            index = answer.decided[:, 0].astype(int)
            answer.explained = [answer.classes[0] if yes else f"not {answer.classes[0]}" for yes in index]
        answer.maps = list(gradcam.compute(model, _resize(photos, model), index, output=answer.name))
        return answer


def _resize(photos: Sequence[np.ndarray], model: keras.Model) -> np.ndarray:
    return np.stack([resize_image(photo, model.inputs[0].shape[1:3]) for photo in photos])


def find_run(run: str, reports: Path | None = None) -> Path:
    """Return the folder of a run with a model: `run` itself, or a task's newest run in `reports` (default: the project's).

    Raises:
        WeightsError: there is none; the message names the command that makes one.
    """
    folder = Path(run).expanduser()
    if (folder / "model").is_dir():
        return folder
    runs = [path.parent.parent for path in (reports or project_root() / "reports").glob(f"[!.]*/{folder.name}/model/*.keras")]
    if not runs:
        received = f"{run}: no run with a model (committed runs leave it out)"
        raise WeightsError(received, expected="a run's folder or an experiment", hint=f"make one: make {folder.name}")
    return max(runs, key=lambda path: (path / "model").stat().st_mtime)
