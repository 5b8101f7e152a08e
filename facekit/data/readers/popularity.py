"""How the popularity in a folder of selfies was made, where we made it: then its causes and its noise are known."""

import os
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from facekit.data.manifests import validate
from facekit.data.readers.selfie import ATTRIBUTES
from facekit.data.tables import read_marker
from facekit.paths import resolve

Attribute = Literal[ATTRIBUTES]


@dataclass(frozen=True)
class Truth:
    """A score that depends on attributes, plus normal noise: `popularity` in facekit.json."""

    base: float  # the score without any of the attributes
    weights: dict[Attribute, float]  # attribute -> what it adds
    interactions: tuple[tuple[Attribute, Attribute, float], ...]  # attribute, attribute, what is added where both are present
    noise: float  # standard deviation
    drawn: tuple[Attribute, ...]  # columns that were drawn independently of everything and add nothing

    def compute_scores(self, table: pd.DataFrame) -> np.ndarray:
        """Return the noiseless popularity of each row of a selfie table, float (n,); a missing attribute counts as absent."""
        labels = table[list(ATTRIBUTES)].fillna(0)
        score = self.base + sum(weight * labels[name] for name, weight in self.weights.items())
        return np.asarray(score + sum(weight * labels[a] * labels[b] for a, b, weight in self.interactions), float)

    def compute_ceiling(self, table: pd.DataFrame) -> float:
        """Return the noise ceiling: the R2 that a model which knows the score reaches on rows like these, 0 to 1."""
        variance = float(np.var(self.compute_scores(table)))
        return variance / (variance + self.noise**2)

    def compute_effects(self, table: pd.DataFrame) -> pd.Series:
        """Return what each of the 36 attributes adds to the score on average over the rows, 0 for those without weight."""
        effects = pd.Series(self.weights).reindex(ATTRIBUTES, fill_value=0.0)
        for a, b, weight in self.interactions:
            effects[a] += weight * table[b].mean()
            effects[b] += weight * table[a].mean()
        return effects


def read_truth(root: str | os.PathLike) -> Truth | None:
    """Return how a folder's popularity was made, None for the real one; DataError: facekit.json is broken or does not say."""
    marker = read_marker(resolve(root))
    if marker["kind"] == "photographs":
        return None
    content, where = {"popularity": marker.get("popularity")}, str(resolve(root) / "facekit.json")
    return validate(dict[str, Truth], content, where, hint="make the folder again")["popularity"]
