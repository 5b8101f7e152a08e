"""What can be said about one synthetic face: a dataclass of traits, and the colours that its words stand for.

A dataset's row and the drawing are both made from this record, so no label is without its pixels. The words for skin and
sex are the datasets' labels, not facts about people.
"""

from dataclasses import dataclass

import numpy as np

AGES = ("baby", "child", "teenager", "youth", "middle_age", "senior")
# Upper bounds in years of the first five ages.
AGE_BOUNDS = (3, 12, 20, 36, 60)
SHAPES = ("oval", "round", "heart")

# Lightest and darkest shade of each word for skin.
SKIN = {
    "white": ((250, 222, 204), (226, 176, 148)),
    "asian": ((247, 218, 190), (222, 178, 142)),
    "brown": ((204, 152, 112), (146, 98, 68)),
    "black": ((134, 88, 62), (72, 46, 35)),
}
HAIR = {
    "black": (30, 26, 28),
    "brown": (104, 64, 38),
    "blond": (228, 194, 118),
    "red": (178, 72, 30),
    "grey": (184, 182, 180),
    "dyed": (120, 70, 150),
}
IRIS = {"brown": (84, 50, 28), "blue": (82, 134, 180), "green": (98, 128, 78), "grey": (124, 134, 140)}


@dataclass(frozen=True)
class Face:
    """The traits of one image of a face; the defaults are a plain young adult in good light."""

    # Who.
    female: bool = True
    years: float = 26.0
    skin: str = "white"
    skin_depth: float = 0.4  # 0 the lightest, 1 the darkest shade of the word
    shape: str = ""  # one of SHAPES, or none of them
    chubby: bool = False
    double_chin: bool = False
    high_cheekbones: bool = False
    nose_width: float = 1.0  # 1.4 and above reads as a big nose
    pointed_nose: bool = False
    lip_size: float = 1.0  # 1.4 and above reads as big lips
    eye_size: float = 1.0
    eye_colour: str = "brown"
    narrow_eyes: bool = False
    bags: bool = False
    brows: str = ""  # "bushy", "arched" or neither
    # Hair.
    hair_colour: str = "brown"
    hair_form: str = "straight"  # straight, wavy, curly or braid
    hair_length: str = "long"  # long or short
    baldness: str = ""  # "receding", "bald" or neither
    bangs: bool = False
    mustache: bool = False
    goatee: bool = False
    beard: bool = False
    stubble: bool = False
    sideburns: bool = False
    # Worn and held.
    glasses: str = ""  # "clear", "sun" or none
    hat: bool = False
    earrings: bool = False
    necklace: bool = False
    necktie: bool = False
    lipstick: bool = False
    makeup: bool = False
    rosy: bool = False
    braces: bool = False
    earphone: bool = False
    headset: bool = False
    phone: bool = False
    mirror: bool = False
    # Expression, each from 0 to 1.
    smile: float = 0.0  # genuine: both corners, cheeks and lower lids up
    smirk: float = 0.0  # mocking: one corner up, eyes narrowed, one brow raised
    frown: float = 0.0
    mouth_open: float = 0.0
    tongue: bool = False
    duck: bool = False
    eyes_closed: float = 0.0
    gaze: float = 0.0  # -1 left to 1 right
    # Pose: shifts as a fraction of the image, scale as the face's width over the image's, angles in degrees.
    shift_x: float = 0.0
    shift_y: float = 0.0
    scale: float = 0.46
    roll: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    # The image.
    lighting: str = ""  # "harsh", "dim" or neither
    light_side: float = 0.3  # -1 from the left to 1 from the right
    cast: tuple[float, float, float] = (1.0, 1.0, 1.0)
    backdrop: int = 0  # seed of the background and the clothes
    detail: int = 0  # seed of single hairs and the like
    blur: float = 0.0  # sigma in thousandths of the image's width
    noise: float = 2.0  # standard deviation in grey levels
    grey: bool = False

    @property
    def age(self) -> str:
        """The word of AGES for the years."""
        return AGES[int(np.searchsorted(AGE_BOUNDS, self.years, side="right"))]

    @property
    def youthful(self) -> float:
        """How childlike the proportions are: 1 for a baby, 0 from fifteen on."""
        return float(np.interp(self.years, (0, 3, 8, 15), (1.0, 0.85, 0.5, 0.0)))

    @property
    def wrinkled(self) -> float:
        """How deep the wrinkles are: 0 until thirty-three, 1 from seventy-five on."""
        return float(np.interp(self.years, (33, 48, 62, 75), (0.0, 0.42, 0.8, 1.0)))

    @property
    def skin_colour(self) -> np.ndarray:
        """RGB of the evenly lit skin."""
        light, dark = np.array(SKIN[self.skin], float)
        return light + (dark - light) * self.skin_depth

    @property
    def hair_rgb(self) -> np.ndarray:
        """RGB of the hair's middle shade."""
        return np.array(HAIR[self.hair_colour], float)
