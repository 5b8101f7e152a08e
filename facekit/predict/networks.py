"""A finished run, ready for photographs: its networks, what they answer, and what in a picture spoke for the answer.

The traps this prevents: a photograph that goes another way than the test pictures went (the stored preprocessing, the
mirrored copy and the thresholds belong to the model), and the networks of several models averaged because their folders
lie side by side: what makes up an answer is written down with the model, not guessed.

`model/` of a run holds the network that answers; where it holds a backbone alone, for other runs to start from, the whole
network stands in `model/whole/`. Others lie beside it in `model/NAME/`. The provenance of the network that answers says
what else belongs to the answer, see Recipe.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import keras
import numpy as np
from pydantic import BaseModel, Field, ValidationError

from facekit import parameters
from facekit.backbones import preprocess_pictures
from facekit.batches import Batches
from facekit.errors import ParameterError, WeightsError
from facekit.explain import compute_gradcam
from facekit.folders import project_root
from facekit.models import Head, ModelSpec, load_model
from facekit.record import KINDS, read_record
from facekit.training import predict_heads
from facekit.weights import SPEC_NAME, read_model_folder

BATCH_SIZE = 32
CASCADE = "cascade"
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
Pictures = dict[tuple[int, int], np.ndarray]  # input size -> the same pictures at that size, uint8 (n, height, width, 3)


class Cascade(BaseModel):
    """Two stages as one answer: the second is asked where the first is sure enough that it is not its first class.

    Args:
        first: folders of the networks of stage 1, averaged; one head of two classes.
        then: folders of those of stage 2; one head whose classes part the second class of stage 1.
        threshold: probability of stage 1's second class from which on stage 2 is asked.
    """

    first: list[Name] = Field(min_length=1)
    then: list[Name] = Field(min_length=1)
    threshold: Share = 0.5


class Recipe(BaseModel):
    """What a model's provenance says on how an answer is made; its other entries are passed over.

    Args:
        dataset: whose labels these are.
        kind: what the training pictures were.
        flips: average with the prediction for the mirrored picture.
        averaged: folders beside the network in `model/` whose probabilities are averaged with its own.
        thresholds: head -> probability from which on the answer is yes, one for the head or one for each class.
        cascade: stages that answer together.
    """

    dataset: str = ""
    kind: Literal[KINDS] = "photographs"
    flips: bool = False
    averaged: list[Name] = []
    thresholds: dict[str, Share | list[Share]] = {}
    cascade: Cascade | None = None


@dataclass(frozen=True)
class Network:
    """One or more models that answer the same heads.

    Args:
        models: each with its description.
    """

    models: tuple[tuple[keras.Model, ModelSpec], ...]

    @property
    def heads(self) -> tuple[Head, ...]:
        """What they answer."""
        return self.models[0][1].heads

    def predict(self, pictures: Pictures, flips: bool) -> dict[str, np.ndarray]:
        """Return the mean of the models' outputs: head -> float32 (n, units)."""
        outputs = []
        for model, spec in self.models:
            shown = pictures[spec.input_size]
            batches = Batches(shown, np.arange(len(shown)), {}, partial(preprocess_pictures, spec.style), BATCH_SIZE)
            outputs.append(predict_heads(model, batches, flips=flips))
        return {head.name: np.mean([output[head.name] for output in outputs], axis=0) for head in self.heads}

    def explain(self, pictures: Pictures, head: Head, index: np.ndarray) -> np.ndarray:
        """Return the first model's Grad-CAM, float32 (n, height, width), for the outputs `index`."""
        model, spec = self.models[0]
        return compute_gradcam(model, preprocess_pictures(spec.style, pictures[spec.input_size]), head.name, index)


@dataclass(frozen=True)
class Predictor:
    """The networks of a run and how they answer together.

    Args:
        folder: of the run.
        recipe: what the model says about its answers.
        network: answers its own heads.
        stages: the two networks of a cascade, or none.
        thresholds: head -> one number a class, for heads of yes and no; for the cascade one number.
    """

    folder: Path
    recipe: Recipe
    network: Network
    stages: tuple[Network, ...]
    thresholds: dict[str, np.ndarray]

    @property
    def name(self) -> str:
        """Profile and task, such as laptop/smile: a page that is passed on need not show whose folder it was."""
        return "/".join(self.folder.resolve().parts[-2:])

    @property
    def heads(self) -> tuple[Head, ...]:
        """Every answer; a cascade's stands first."""
        if not self.stages:
            return self.network.heads
        first, then = (stage.heads[0] for stage in self.stages)
        return (Head(CASCADE, "multi-class", (first.classes[0], *then.classes)), *self.network.heads)

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """The sizes, height and width, in which the networks want every picture."""
        return {spec.input_size for network in (self.network, *self.stages) for _, spec in network.models}

    def predict(self, pictures: Pictures) -> dict[str, np.ndarray]:
        """Answer for pictures.

        Args:
            pictures: for each of `sizes` an array of the same n pictures.

        Returns:
            Head -> float32 (n, units): probabilities, or the number of a regression.
        """
        answers = self.network.predict(pictures, self.recipe.flips)
        if self.stages:
            first, then = (stage.predict(pictures, self.recipe.flips)[stage.heads[0].name] for stage in self.stages)
            answers[CASCADE] = np.column_stack([first[:, 0], first[:, 1:] * then])
        return {head.name: answers[head.name] for head in self.heads}

    def decide(self, head: Head, values: np.ndarray) -> np.ndarray:
        """Return what the outputs of a head say.

        Args:
            head: one of `heads`.
            values: its outputs, (n, units).

        Returns:
            Multi-class: the class of each picture, int (n,). Binary and multi-label: bool (n, units). Regression: the values.
        """
        if head.kind == "regression":
            return values
        if head.kind != "multi-class":
            return values >= self.thresholds[head.name]
        if head.name in self.thresholds:
            further = values[:, 1:].sum(axis=1) >= self.thresholds[head.name]
            return np.where(further, 1 + values[:, 1:].argmax(axis=1), 0)
        return values.argmax(axis=1)

    def choose_outputs(self, head: Head, values: np.ndarray) -> np.ndarray:
        """Return for each picture the one output worth explaining, int (n,): what was decided, else the most probable.

        A single yes or no is 1 or 0, as compute_gradcam takes it.
        """
        decided = self.decide(head, values)
        if head.kind == "multi-class":
            return decided
        if head.kind == "regression":
            return np.zeros(len(values), int)
        if head.units == 1:
            return decided[:, 0].astype(int)
        return np.where(decided.any(axis=1), np.where(decided, values, -1).argmax(axis=1), values.argmax(axis=1))

    def explain(self, pictures: Pictures, head: Head, index: np.ndarray) -> list[np.ndarray]:
        """Compute what in each picture spoke for an output (Grad-CAM; of averaged networks the first one's).

        Args:
            pictures: as in predict.
            head: one of `heads`.
            index: of choose_outputs.

        Returns:
            n arrays, float32 (height, width) of the network's input, 0..1.
        """
        if head not in self.network.heads:
            # That there is none is stage 1's to say, which one it is stage 2's.
            maps = [np.empty(0)] * len(index)
            for stage, rows, outputs in zip(self.stages, (index == 0, index > 0), (index, index - 1), strict=True):
                some = {size: values[rows] for size, values in pictures.items()}
                found = stage.explain(some, stage.heads[0], outputs[rows])
                for row, heat in zip(np.flatnonzero(rows), found, strict=True):
                    maps[row] = heat
            return maps
        return list(self.network.explain(pictures, head, index))


def find_run(run: str, reports: Path | None = None) -> Path:
    """Return the folder of a run with a model that predicts.

    Args:
        run: a run's folder, or a task: then its newest run of any profile is taken.
        reports: where runs lie; reports/ of the project if not given.

    Raises:
        ParameterError: no such folder or task.
        WeightsError: none of the task's runs holds a whole model; the message names the command that makes one.
    """
    folder = Path(run).expanduser()
    if (folder / "model").is_dir():
        return folder
    if run not in parameters.list_tasks():
        if folder.is_dir():
            mend = "committed runs leave it out: run the experiment again"
            raise WeightsError(f"{folder}: no model/ in it", expected="a run with its networks", mend=mend)
        known = ", ".join(parameters.list_tasks())
        raise ParameterError(f"run {run!r}: no such folder", expected=f"a run's folder, or one of {known}")
    records = list((reports or project_root() / "reports").glob(f"[!.]*/{run}/metrics.json"))
    whole = [path for path in records if _find_whole(path.parent)]
    if not whole:
        if records and all(read_record(path).get("backbone") == {} for path in records):
            raise WeightsError(f"{run}: it trains no network", expected="an experiment that does")
        came = f"{run}: no run in reports/ holds a model that predicts (committed runs leave it out)"
        raise WeightsError(came, mend=f"make one: make {run}")
    return max(whole, key=lambda path: (read_record(path)["run"]["started"], path.as_posix())).parent


def _find_whole(run: Path) -> Path | None:
    """Return the folder with the network that answers, if the run has one."""
    for place in (run / "model", run / "model" / "whole"):
        if (place / SPEC_NAME).is_file() and read_model_folder(place)[0]["holds"] == "model":
            return place
    return None


def load_predictor(run: Path) -> Predictor:
    """Load the networks of a run.

    Args:
        run: of find_run.

    Raises:
        WeightsError: no whole model, one whose description does not fit its weights, networks that do not belong together, or
            one that wants more than a photograph.
    """
    place = _find_whole(run)
    if place is None:
        raise WeightsError(f"{run / 'model'}: no whole model", expected="a run that was kept with its networks")
    provenance = read_model_folder(place)[0].get("provenance", {})
    path = place / SPEC_NAME
    try:
        recipe = Recipe.model_validate(provenance, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WeightsError(f"{path}: provenance, {where or 'all of it'}: {first['msg']}") from error
    network = _load_network([place, *(run / "model" / name for name in recipe.averaged)])
    stages = ()
    if recipe.cascade:
        folders = [[run / "model" / name for name in names] for names in (recipe.cascade.first, recipe.cascade.then)]
        stages = tuple(_load_network(some) for some in folders)
        kinds = [[(head.kind, head.units) for head in stage.heads] for stage in stages]
        if kinds[0] != [("multi-class", 2)] or [kind for kind, _ in kinds[1]] != ["multi-class"]:
            expected = "two stages of one multi-class head each, the first of 2 classes"
            raise WeightsError(f"{path}: provenance, cascade of {kinds}", expected=expected)
    return Predictor(run, recipe, network, stages, _spread_thresholds(recipe, network.heads, path))


def _load_network(folders: list[Path]) -> Network:
    models = tuple(load_model(folder) for folder in folders)
    for folder, (_, spec) in zip(folders, models, strict=True):
        if spec.heads != models[0][1].heads:
            raise WeightsError(
                f"{folder / SPEC_NAME}: other heads", expected=f"those of {folders[0]}, to be averaged with them"
            )
        if spec.auxiliary:
            came = f"{folder}: the network wants {spec.auxiliary} further numbers with each photograph"
            raise WeightsError(came, expected="one that needs the photograph alone")
    return Network(models)


def _spread_thresholds(recipe: Recipe, heads: tuple[Head, ...], path: Path) -> dict[str, np.ndarray]:
    units = {head.name: head.units for head in heads if head.kind in ("binary", "multi-label")}
    thresholds = {name: np.full(count, 0.5) for name, count in units.items()}
    for name, given in recipe.thresholds.items():
        came = f"{path}: provenance, thresholds of {name}"
        if name not in units:
            raise WeightsError(came, expected=f"a head of yes and no: {', '.join(units) or 'there is none'}")
        if isinstance(given, list) and len(given) != units[name]:
            raise WeightsError(f"{came}: {len(given)}", expected=f"{units[name]}, one a class")
        thresholds[name] = np.broadcast_to(np.asarray(given, np.float64), units[name])
    if recipe.cascade:
        thresholds[CASCADE] = np.array([recipe.cascade.threshold])
    return thresholds
