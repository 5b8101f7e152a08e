"""Drawn faces without files: for training on many traits at once, and a labelled sheet for a human look.

The trap this prevents: trusting labels that nobody has looked at. The sheet shows every trait once, under its name,
and each is drawn from the same table that the tests check pixel by pixel.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from facekit.synthetic import people
from facekit.synthetic.faces import draw_face
from facekit.synthetic.populations import choose, describe_face
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
TRAITS = tuple(TRAIT_CHANGES)
# How the sheet shows them best: ears and jaw free, hair long, shoulders in the picture.
_WITH_TIED_HAIR = {"oval_face", "round_face", "heart_face", "high_cheekbones", "chubby", "double_chin"}
_WITH_TIED_HAIR |= {"wearing_earrings", "wearing_necklace", "using_earphone"}
_WITH_LONG_HAIR = set("is_female braid_hair long_hair straight_hair wavy_hair bangs heavy_makeup wearing_lipstick".split())
_FROM_FURTHER_AWAY = set(
    "braid_hair long_hair wearing_necklace wearing_necktie showing_cellphone using_mirror partial_faces".split()
)


def draw_anyone(random: np.random.Generator) -> Face:
    """Draw a record from one of the datasets' four populations, selfies most often."""
    source = choose(random, {"selfie": 0.4, "celeba": 0.25, "webcam": 0.25, "actor": 0.1})
    if source == "selfie":
        return people.draw_selfie(random)
    if source == "celeba":
        return people.photograph_celebrity(random, people.draw_celebrity(random))
    if source == "actor":
        return people.draw_actor(random)
    shown = choose(random, dict(zip(people.SMILE_LABELS, (0.4, 0.25, 0.35), strict=True)))
    return people.film_webcam(random, people.draw_webcam_person(random), shown)


def draw_faces(
    n: int, size: int, seed: int, *, start: int = 0, draw: Callable[[np.random.Generator], Face] = draw_anyone
) -> tuple[np.ndarray, pd.DataFrame]:
    """Draw faces for training, with the traits that each shows.

    A picture hangs on (seed, its number) alone: parts drawn apart with `start` are the parts of the whole.

    Args:
        n: number of pictures.
        size: height and width in pixels; takes n * size * size * 3 bytes.
        seed: of the population.
        start: number of the first picture.
        draw: the population.

    Returns:
        uint8 (n, size, size, 3) RGB, and a table of n rows with a column of 0 and 1 (uint8) for each of TRAITS.
    """
    pictures = np.empty((n, size, size, 3), np.uint8)
    shown = np.empty((n, len(TRAITS)), np.uint8)

    def fill(row: int) -> None:
        face = draw(np.random.default_rng((seed, 105, start + row)))
        pictures[row] = draw_face(face, size, size)
        traits = describe_face(face)
        shown[row] = [traits[name] for name in TRAITS]

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(n)):
            pass
    return pictures, pd.DataFrame(shown, columns=list(TRAITS))


def show_trait(name: str, base: Face) -> Face:
    """Return the face with one trait of TRAITS made visible."""
    return replace(base, **TRAIT_CHANGES[name])


def write_contact_sheet(path: str | os.PathLike, seed: int = 0, *, side: int = 150, columns: int = 10) -> Path:
    """Write a picture with one face for every trait, named below it, and who else the face is below that.

    Args:
        path: of the png file.
        seed: of the people that are drawn.
        side: of one face in pixels.
        columns: faces in a row.

    Returns:
        the path.
    """
    cells = []
    for index, name in enumerate(TRAITS):
        random = np.random.default_rng((seed, 106, index))
        # Every second person is a man where the trait leaves that open.
        skin = choose(random, {"white": 0.4, "asian": 0.2, "brown": 0.2, "black": 0.2})
        base = Face(
            skin=skin,
            skin_depth=float(random.random()),
            hair_colour="brown" if skin == "white" else "black",
            backdrop=int(random.integers(2**31)),
            detail=int(random.integers(2**31)),
            light_side=float(random.uniform(-1, 1)),
        )
        if name in _WITH_TIED_HAIR:
            base = replace(base, hair_form="braid", detail=base.detail | 1)
        elif index % 2 and name not in _WITH_LONG_HAIR:
            base = replace(base, **_MAN)
        if name not in _FROM_FURTHER_AWAY:
            base = replace(base, scale=0.56)
        face = show_trait(name, base)
        cell = np.full((side + 34, side + 6, 3), 255, np.uint8)
        cell[:side, :side] = draw_face(face, side, side)
        who = f"{'female' if face.female else 'male'}, {face.age.replace('_', ' ')}, {face.skin}"
        cv2.putText(cell, name.replace("_", " "), (2, side + 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.putText(cell, who, (2, side + 26), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (110, 110, 110), 1, cv2.LINE_AA)
        cells.append(cell)
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % columns)
    rows = [np.hstack(cells[first : first + columns]) for first in range(0, len(cells), columns)]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))[1].tobytes())
    return path
