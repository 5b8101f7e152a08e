"""A trait of the record changes the image, and changes it where it should."""

from dataclasses import replace

import numpy as np
import pytest

from facekit.synthetic.faces import draw_face
from facekit.synthetic.populations import describe_face
from facekit.synthetic.traits import Face

# What turns a plain face into one that shows the trait.
_MAN = {"female": False, "hair_length": "short"}
TRAIT_CHANGES: dict[str, dict] = {
    "is_female": {"female": True, "hair_length": "long"},
    "baby": {"years": 1.0, "hair_length": "short"},
    "child": {"years": 6.0},
    "teenager": {"years": 15.0},
    "youth": {"years": 27.0},
    "middle_age": {"years": 52.0},
    "senior": {"years": 78.0, "hair_colour": "grey"},
    "white": {"skin": "white"},
    "asian": {"skin": "asian", "hair_colour": "black"},
    "brown": {"skin": "brown", "hair_colour": "black"},
    "black": {"skin": "black", "hair_colour": "black"},
    "oval_face": {"shape": "oval"},
    "round_face": {"shape": "round"},
    "heart_face": {"shape": "heart"},
    "chubby": {"chubby": True},
    "double_chin": {"double_chin": True},
    "high_cheekbones": {"high_cheekbones": True},
    "big_nose": {"nose_width": 1.55},
    "pointy_nose": {"pointed_nose": True},
    "big_lips": {"lip_size": 1.6},
    "narrow_eyes": {"narrow_eyes": True},
    "bags_under_eyes": {"bags": True},
    "bushy_eyebrows": {"brows": "bushy"},
    "arched_eyebrows": {"brows": "arched"},
    "black_hair": {"hair_colour": "black"},
    "brown_hair": {"hair_colour": "brown"},
    "blond_hair": {"hair_colour": "blond"},
    "red_hair": {"hair_colour": "red"},
    "grey_hair": {"hair_colour": "grey"},
    "straight_hair": {"hair_form": "straight"},
    "wavy_hair": {"hair_form": "wavy"},
    "curly_hair": {"hair_form": "curly"},
    "braid_hair": {"hair_form": "braid"},
    "long_hair": {"hair_length": "long"},
    "bald": {**_MAN, "baldness": "bald"},
    "receding_hairline": {**_MAN, "baldness": "receding"},
    "bangs": {"bangs": True},
    "mustache": {**_MAN, "mustache": True},
    "goatee": {**_MAN, "goatee": True},
    "beard": {**_MAN, "beard": True},
    "stubble": {**_MAN, "stubble": True},
    "sideburns": {**_MAN, "sideburns": True},
    "smiling": {"smile": 0.95},
    "mocking_smile": {"smirk": 0.95},
    "frowning": {"frown": 0.9},
    "mouth_open": {"mouth_open": 0.9},
    "tongue_out": {"tongue": True, "mouth_open": 0.5},
    "duck_face": {"duck": True},
    "eyes_closed": {"eyes_closed": 1.0},
    "wearing_glasses": {"glasses": "clear"},
    "wearing_sunglasses": {"glasses": "sun"},
    "wearing_hat": {"hat": True},
    "wearing_lipstick": {"lipstick": True},
    "heavy_makeup": {"makeup": True},
    "rosy_cheeks": {"rosy": True},
    "wearing_earrings": {"earrings": True},
    "wearing_necklace": {"necklace": True, "hair_form": "braid"},
    "wearing_necktie": {**_MAN, "necktie": True},
    "braces": {"braces": True, "smile": 0.9, "years": 15.0},
    "using_earphone": {"earphone": True},
    "wearing_headset": {"headset": True},
    "showing_cellphone": {"phone": True},
    "using_mirror": {"mirror": True},
    "partial_faces": {"shift_x": 0.4},
    "harsh_lighting": {"lighting": "harsh", "light_side": 0.8},
    "dim_lighting": {"lighting": "dim"},
    "blurry": {"blur": 16.0},
    "turned_head": {"yaw": -20.0},
}


def test_every_trait_is_tried():
    assert set(describe_face(Face())) == set(TRAIT_CHANGES)


@pytest.mark.parametrize("name", TRAIT_CHANGES)
def test_a_trait_shows_and_shows_where_it_should(name):
    plain = Face(years=45.0, skin="brown", hair_colour="dyed", hair_form="wavy", female=False, hair_length="short", noise=0)
    if name in ("middle_age", "long_hair", "youth"):
        plain = replace(plain, years=25.0 if name != "youth" else 45.0)
    if name == "brown":
        plain = replace(plain, skin="white")
    if name == "wavy_hair":
        plain = replace(plain, hair_form="straight")
    shown = replace(plain, **TRAIT_CHANGES[name])
    assert not describe_face(plain)[name] and describe_face(shown)[name]
    before, after = (draw_face(face, 96, 96).astype(int) for face in (plain, shown))
    changed = np.abs(before - after).max(axis=2) > 12
    assert changed.sum() >= 12
    # Rows of the image, as fractions of its height: the eyes are at 0.47, the chin at 0.79.
    rows = {
        "smiling": (0.30, 0.80),
        "mocking_smile": (0.30, 0.80),
        "mouth_open": (0.55, 0.80),
        "tongue_out": (0.55, 0.80),
        "wearing_lipstick": (0.60, 0.75),
        "bushy_eyebrows": (0.34, 0.47),
        "eyes_closed": (0.40, 0.52),
        "wearing_sunglasses": (0.38, 0.56),
        "wearing_glasses": (0.38, 0.56),
        "mustache": (0.55, 0.72),
        "big_nose": (0.40, 0.68),
        "wearing_hat": (0.0, 0.50),
        "wearing_necktie": (0.72, 1.0),
    }
    if name in rows:
        first, last = (np.flatnonzero(changed.any(axis=1))[[0, -1]]) / 96
        assert rows[name][0] <= first and last <= rows[name][1]


def test_a_genuine_smile_lifts_both_corners_and_a_mocking_one_lifts_one():
    def find_corners(**changes) -> np.ndarray:
        """Highest row of red at the left and at the right end of the mouth, and its lowest row anywhere."""
        face = replace(Face(lipstick=True, noise=0, light_side=0.01), **changes)
        image = draw_face(face, 200, 200).astype(int)[120:156, 75:126]
        red = (image[..., 0] > 110) & (image[..., 1] < 70)
        rows, columns = np.nonzero(red)
        left, right = columns.min() + 4, columns.max() - 4
        return np.array([rows[columns < left].min(), rows[columns > right].min(), rows.max()])

    left, right, lowest = find_corners() - find_corners(smile=1.0)
    assert left >= 4 and right >= 4 and lowest <= -3
    left, right, lowest = find_corners() - find_corners(smirk=1.0)
    assert right >= 8 and -2 <= left <= 0 and abs(lowest) <= 1


def test_a_record_is_the_same_image_whenever_it_is_drawn():
    face = Face(hair_form="curly", glasses="clear", detail=5, backdrop=6)
    first = draw_face(face, 48, 40)
    draw_face(Face(), 48, 40)
    assert np.array_equal(draw_face(face, 48, 40), first)
    assert not np.array_equal(draw_face(replace(face, detail=7), 48, 40), first)
