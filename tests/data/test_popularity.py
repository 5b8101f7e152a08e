"""How the popularity of a folder was made: read back, refused where it can't be, and its scores."""

import json

import pandas as pd
import pytest

from facekit.data.readers.popularity import Truth, read_truth
from facekit.data.readers.selfie import ATTRIBUTES
from facekit.errors import DataError
from facekit.synthetic.layouts import write_sample

FORMULA = {
    "base": 1.0,
    "weights": {"smiling": 0.5},
    "interactions": [["smiling", "braces", 2.0]],
    "noise": 0.1,
    "drawn": ["white"],
}


def write_marker(folder, popularity):
    (folder / "facekit.json").write_text(json.dumps({"kind": "planted", "popularity": popularity}))


def test_scores_effects_and_noise_ceiling_of_a_formula():
    truth = Truth(1.0, {"smiling": 0.5, "braces": -0.25}, (("smiling", "braces", 2.0),), 0.1, ("white",))
    table = pd.DataFrame(0, index=range(4), columns=list(ATTRIBUTES))
    table["smiling"], table["braces"] = [0, 1, 0, 1], [0, 0, 1, 1]
    assert truth.compute_scores(table).tolist() == [1.0, 1.5, 0.75, 3.25]
    effects = truth.compute_effects(table)
    assert (effects["smiling"], effects["braces"], effects["white"]) == (1.5, 0.75, 0.0)
    assert truth.compute_ceiling(table) == pytest.approx(0.953125 / 0.963125)
    uncertain = table.astype(float).mask(table["braces"] == 1)
    assert truth.compute_scores(uncertain).tolist() == [1.0, 1.5, 1.0, 1.0]


def test_a_formula_is_read_back(tmp_path):
    write_marker(tmp_path, FORMULA)
    truth = read_truth(tmp_path)
    assert truth == Truth(1.0, {"smiling": 0.5}, (("smiling", "braces", 2.0),), 0.1, ("white",))


def test_nobody_knows_real_popularity_and_synthetic_faces_have_their_own(tmp_path):
    assert read_truth(tmp_path) is None
    truth = read_truth(write_sample("selfie", tmp_path / "selfie", count=40))
    assert (truth.base, truth.weights["partial_faces"], truth.noise, len(truth.weights)) == (4.2, -0.45, 0.4, 13)


@pytest.mark.parametrize(
    ("popularity", "message"),
    [
        (None, "popularity: Input should be a dictionary"),
        ({"base": 1}, "popularity.weights: Field required"),
        (FORMULA | {"base": "much"}, "popularity.base: Input should be a valid number"),
        (FORMULA | {"weights": {"beauty": 1.0}}, "popularity.weights.beauty"),
        (
            FORMULA | {"interactions": [["smiling", "beauty", 1.0]]},
            "popularity.interactions.0.1: Input should be",
        ),
        (FORMULA | {"drawn": ["beauty"]}, "popularity.drawn.0: Input should be"),
    ],
)
def test_a_folder_without_a_formula_of_attributes_is_refused(tmp_path, popularity, message):
    write_marker(tmp_path, popularity)
    with pytest.raises(DataError) as caught:
        read_truth(tmp_path)
    assert f"facekit.json: {message}" in str(caught.value)
    assert str(caught.value).endswith("; make the folder again")
