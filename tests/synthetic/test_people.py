"""Labels follow the traits of the people, popularity follows the labels."""

import numpy as np
import pandas as pd
import pytest

from facekit.data.readers.selfie import ATTRIBUTES
from facekit.synthetic import people, populations
from facekit.synthetic.populations import describe_face
from facekit.synthetic.traits import Face

EFFECTS = {
    "is_female": 0.55,
    "wearing_lipstick": 0.35,
    "straight_hair": 0.25,
    "smiling": 0.30,
    "curly_hair": -0.20,
    "partial_faces": -0.45,
    "youth": 0.20,
    "blond_hair": 0.20,
    "wearing_sunglasses": -0.20,
    "frowning": -0.25,
    "showing_cellphone": -0.15,
    "harsh_lighting": -0.35,
    "dim_lighting": -0.35,
}


def test_labels_and_popularity_of_selfies_give_the_stated_effects_back():
    random = np.random.default_rng((0, 901))
    faces = [people.draw_selfie(random) for _ in range(4000)]
    popularity = np.array([populations.rate_popularity(random, describe_face(face)) for face in faces])
    present = np.array([people.label_selfie(random, face) for face in faces]) == 1
    columns = [ATTRIBUTES.index(name) for name in EFFECTS]
    design = np.column_stack([np.ones(len(faces)), present[:, columns]])
    found, squares, _, _ = np.linalg.lstsq(design, popularity)
    assert found[0] == pytest.approx(4.2, abs=0.06)
    assert dict(zip(EFFECTS, found[1:], strict=True)) == pytest.approx(EFFECTS, abs=0.09)
    # The noise has a standard deviation of 0.4, two fifths of the variance; what the annotators were not sure of adds a little.
    assert np.sqrt(squares[0] / len(faces)) == pytest.approx(0.4, abs=0.02)
    assert 0.35 < squares[0] / len(faces) / popularity.var() < 0.45


def test_selfie_columns_say_what_is_drawn():
    random = np.random.default_rng(1)
    row = dict(zip(ATTRIBUTES, people.label_selfie(random, Face(female=False, years=70, smile=0.9)), strict=True))
    assert len(row) == 36
    present = {name for name, value in row.items() if value == 1}
    assert present == {"senior", "white", "smiling", "brown_hair", "straight_hair"}


def test_sex_coded_traits_go_with_the_column():
    random = np.random.default_rng(2)
    traits = pd.DataFrame([describe_face(people.draw_selfie(random)) for _ in range(1500)])
    by_sex = traits.groupby("is_female")[["long_hair", "wearing_lipstick", "beard", "mustache"]].mean()
    assert by_sex.loc[False, ["wearing_lipstick"]].item() == 0 and by_sex.loc[True, ["beard", "mustache"]].max() == 0
    assert by_sex.loc[True, "long_hair"] > 0.7 > 0.1 > by_sex.loc[False, "long_hair"]
    ages = traits[["baby", "child", "teenager", "youth", "middle_age", "senior"]]
    assert (ages.sum(axis=1) == 1).all() and (ages.mean() > 0.02).all()
