"""Who is drawn: people whose traits go together as in the datasets, and a popularity that follows the traits, plus noise.

The words for sex and skin are those of the datasets' columns; no label here depends on skin.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from facekit.synthetic.traits import AGES, HAIR, SHAPES, SKIN, Face

# Popularity of a selfie = POPULARITY_BASE + the effects of its traits + normal noise, two fifths of its variance.
POPULARITY_BASE = 4.2
POPULARITY_NOISE = 0.40  # standard deviation
POPULARITY_EFFECTS = {
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
# Attributes that depend on no other trait, and popularity not on them; the rest correlates with something.
POPULARITY_INDEPENDENT = ("oval_face", "round_face", "heart_face", "wearing_hat")
# An actor's class is cut from the years that are drawn plus this much normal noise.
AGE_NOISE_YEARS = 4.0
# So many FaceHack images carry the expression of another class than their label.
SMILE_LABEL_NOISE = 0.05

_HAIR_SHARES = {
    "white": {"brown": 0.44, "blond": 0.27, "black": 0.14, "red": 0.12, "dyed": 0.03},
    "asian": {"black": 0.82, "brown": 0.13, "dyed": 0.05},
    "brown": {"black": 0.80, "brown": 0.20},
    "black": {"black": 0.84, "brown": 0.12, "dyed": 0.04},
}
_FORM_SHARES = {
    "white": {"straight": 0.52, "wavy": 0.20, "curly": 0.18, "braid": 0.10},
    "asian": {"straight": 0.76, "wavy": 0.14, "curly": 0.03, "braid": 0.07},
    "brown": {"straight": 0.50, "wavy": 0.28, "curly": 0.12, "braid": 0.10},
    "black": {"straight": 0.22, "wavy": 0.08, "curly": 0.48, "braid": 0.22},
}
_YEARS = {"baby": (0.3, 2.8), "child": (3.5, 11), "teenager": (13, 19.5), "youth": (20, 35)}
_YEARS |= {"middle_age": (38, 59), "senior": (62, 85)}


def choose(random: np.random.Generator, shares: Mapping[str, float]) -> str:
    """Return one key, drawn in proportion to its value."""
    bounds = np.cumsum(list(shares.values()))
    return list(shares)[int(np.searchsorted(bounds / bounds[-1], random.random(), side="right"))]


def draw_years(random: np.random.Generator, shares: Mapping[str, float]) -> float:
    """Return years within an age of AGES that is drawn in proportion to its share."""
    return float(random.uniform(*_YEARS[choose(random, shares)]))


def draw_person(random: np.random.Generator, *, female: bool, years: float, skin: str) -> Face:
    """Draw what stays with a person from image to image, with traits that go together."""

    def happens(chance: float) -> bool:
        return bool(random.random() < chance)

    adult, grown = years >= 20, years >= 13
    male = not female
    colour = choose(random, _HAIR_SHARES[skin])
    if colour == "dyed" and not 14 < years < 40:
        colour = "brown"
    if happens(float(np.interp(years, (40, 60, 70), (0.0, 0.35, 0.85)))):
        colour = "grey"
    form = choose(random, _FORM_SHARES[skin])
    long = female and years > 3 and happens(0.88) or (male and grown and happens(0.05))
    if male and form == "braid" or years < 4:
        form = "straight"
    bald = male and adult and happens(float(np.interp(years, (20, 40, 70), (0.04, 0.12, 0.45))))
    receding = not bald and male and happens(float(np.interp(years, (28, 45, 70), (0.0, 0.25, 0.5))))
    facial = (
        choose(random, {"": 0.52, "stubble": 0.16, "beard": 0.12, "mustache": 0.10, "goatee": 0.10}) if male and adult else ""
    )
    eye = choose(random, {"brown": 0.4, "blue": 0.32, "green": 0.16, "grey": 0.12}) if skin == "white" else "brown"
    brows = choose(random, {"": 0.6, "arched": 0.35, "bushy": 0.05} if female else {"": 0.68, "bushy": 0.3, "arched": 0.02})
    chubby = happens(0.12 + 0.4 * (years < 3))
    return Face(
        female=female,
        years=years,
        skin=skin,
        skin_depth=float(random.uniform(0, 1)),
        shape=choose(random, {"oval": 0.4, "round": 0.2, "heart": 0.15, "": 0.25}),
        chubby=chubby,
        double_chin=years > 16 and happens(0.5 if chubby else 0.02 + 0.08 * (years > 45)),
        high_cheekbones=grown and happens(0.35 if female else 0.2),
        nose_width=float(random.uniform(1.4, 1.65) if happens(0.22) and grown else random.uniform(0.82, 1.18)),
        pointed_nose=grown and happens(0.22),
        lip_size=float(random.uniform(1.4, 1.7) if happens(0.2) and grown else random.uniform(0.8, 1.15)),
        eye_size=float(random.uniform(0.92, 1.12)),
        eye_colour=eye,
        narrow_eyes=happens(0.1),
        bags=adult and happens(0.12 + 0.2 * (years > 45)),
        brows=brows if grown else "",
        hair_colour=colour,
        hair_form=form,
        hair_length="long" if long else "short",
        baldness="bald" if bald else "receding" if receding else "",
        bangs=not bald and not receding and years > 3 and form in ("straight", "wavy") and happens(0.25 if female else 0.08),
        mustache=facial in ("mustache", "beard"),
        goatee=facial == "goatee",
        beard=facial == "beard",
        stubble=facial == "stubble",
        sideburns=male and adult and not bald and happens(0.15 + 0.3 * (facial == "beard")),
        detail=int(random.integers(2**31)),
    )


def dress_person(random: np.random.Generator, face: Face) -> Face:
    """Draw what the person wears: glasses, jewellery, make-up, hat."""

    def happens(chance: float) -> bool:
        return bool(random.random() < chance)

    grown_woman = face.female and face.years >= 14
    lipstick = grown_woman and happens(0.42)
    makeup = grown_woman and happens(0.55 if lipstick else 0.12)
    return replace(
        face,
        glasses=choose(random, {"": 0.80, "clear": 0.13, "sun": 0.07}) if face.years > 6 else "",
        hat=happens(0.08),
        lipstick=lipstick,
        makeup=makeup,
        rosy=happens(0.3 if makeup else 0.04 + 0.2 * (face.years < 10)),
        earrings=face.female and face.years > 6 and happens(0.3),
        necklace=face.female and face.years > 6 and happens(0.2),
        necktie=not face.female and face.years >= 20 and happens(0.15),
        backdrop=int(random.integers(2**31)),
    )


def pose_person(random: np.random.Generator, face: Face, *, scale: float, spread: float = 1.0) -> Face:
    """Draw how the image is taken: where the head is and how it turns, the light, the lens."""
    return replace(
        face,
        scale=float(scale * np.exp(random.normal(0, 0.10 * spread))),
        shift_x=float(random.normal(0, 0.035 * spread)),
        shift_y=float(random.normal(0, 0.03 * spread)),
        roll=float(random.normal(0, 7 * spread)),
        yaw=float(np.clip(random.normal(0, 9 * spread), -24, 24)),
        pitch=float(np.clip(random.normal(0, 5 * spread), -12, 12)),
        light_side=float(random.uniform(-1, 1)),
        cast=tuple(float(value) for value in 1 + random.normal(0, 0.022, 3)),
        blur=float(random.exponential(0.8)),
        noise=float(random.uniform(1, 4)),
        gaze=float(np.clip(random.normal(0, 0.35), -1, 1)),
    )


def express(random: np.random.Generator, face: Face, expression: str) -> Face:
    """Give the face an expression of varying strength: neutral, smile, mocking, frown, open, tongue or duck."""
    changes: dict[str, float | bool] = dict.fromkeys(("smile", "smirk", "frown", "mouth_open"), 0.0)
    changes |= {"tongue": False, "duck": False}
    strength = float(np.clip(random.normal(0.78, 0.18), 0.15, 1.0))
    if expression == "neutral":
        changes["smile"] = float(np.clip(random.normal(0.06, 0.09), 0, 0.3))
    elif expression == "smile":
        changes |= {"smile": strength, "mouth_open": float(random.random() < 0.3) * float(random.uniform(0.2, 0.9))}
    elif expression == "mocking":
        smile, gaze = float(random.uniform(0, 0.15)), float(random.uniform(-0.9, 0.9))
        changes |= {"smirk": strength, "smile": smile, "gaze": gaze}
    elif expression == "frown":
        changes["frown"] = strength
    elif expression == "open":
        changes["mouth_open"] = float(random.uniform(0.4, 1.0))
    elif expression == "tongue":
        opening, smile = float(random.uniform(0.35, 0.7)), float(random.uniform(0, 0.3))
        changes |= {"tongue": True, "mouth_open": opening, "smile": smile}
    elif expression == "duck":
        changes["duck"] = True
    return replace(face, **changes)


def describe_face(face: Face) -> dict[str, bool]:
    """Return every trait that can be seen in the image by its name: the labels for training on synthetic faces."""
    hairy = face.baldness != "bald" and face.years >= 1.5
    partial = abs(face.shift_x) + 0.42 * face.scale > 0.5
    return {
        "is_female": face.female,
        **{age: face.age == age for age in AGES},
        **{skin: face.skin == skin for skin in SKIN},
        **{f"{shape}_face": face.shape == shape for shape in SHAPES},
        "chubby": face.chubby,
        "double_chin": face.double_chin,
        "high_cheekbones": face.high_cheekbones,
        "big_nose": face.nose_width >= 1.35,
        "pointy_nose": face.pointed_nose,
        "big_lips": face.lip_size >= 1.35,
        "narrow_eyes": face.narrow_eyes,
        "bags_under_eyes": face.bags,
        "bushy_eyebrows": face.brows == "bushy",
        "arched_eyebrows": face.brows == "arched",
        **{f"{colour}_hair": hairy and face.hair_colour == colour for colour in HAIR if colour != "dyed"},
        **{f"{form}_hair": hairy and face.hair_form == form for form in ("straight", "wavy", "curly", "braid")},
        "long_hair": hairy and face.hair_length == "long",
        "bald": face.baldness == "bald",
        "receding_hairline": face.baldness == "receding",
        "bangs": hairy and face.bangs,
        "mustache": face.mustache,
        "goatee": face.goatee,
        "beard": face.beard,
        "stubble": face.stubble,
        "sideburns": face.sideburns,
        "smiling": face.smile >= 0.4,
        "mocking_smile": face.smirk >= 0.4,
        "frowning": face.frown >= 0.4,
        "mouth_open": face.mouth_open >= 0.2 or face.tongue,
        "tongue_out": face.tongue,
        "duck_face": face.duck,
        "eyes_closed": face.eyes_closed >= 0.8,
        "wearing_glasses": face.glasses == "clear",
        "wearing_sunglasses": face.glasses == "sun",
        "wearing_hat": face.hat,
        "wearing_lipstick": face.lipstick,
        "heavy_makeup": face.makeup,
        "rosy_cheeks": face.rosy,
        "wearing_earrings": face.earrings,
        "wearing_necklace": face.necklace,
        "wearing_necktie": face.necktie,
        "braces": face.braces,
        "using_earphone": face.earphone,
        "wearing_headset": face.headset,
        "showing_cellphone": face.phone,
        "using_mirror": face.mirror,
        "partial_faces": partial,
        "harsh_lighting": face.lighting == "harsh",
        "dim_lighting": face.lighting == "dim",
        "blurry": face.blur >= 6,
        "turned_head": abs(face.yaw) > 10,
    }


def rate_popularity(random: np.random.Generator, traits: Mapping[str, bool]) -> float:
    """Return the popularity of a selfie: the stated effects of its traits plus noise."""
    effects = sum(effect for name, effect in POPULARITY_EFFECTS.items() if traits[name])
    return float(POPULARITY_BASE + effects + random.normal(0, POPULARITY_NOISE))
