"""The people of each dataset.

Selfies show telephones and mirrors, celebrities come back in several images, actors are cropped close in old films, webcam
recordings repeat one person, one room and one light.
"""

from dataclasses import replace

import numpy as np

from facekit.data.readers import celeba, selfie
from facekit.synthetic.populations import choose, describe_face, draw_person, draw_years, dress_person, express, pose_person
from facekit.synthetic.traits import Face

SMILE_LABELS = ("NOT smile", "positive smile", "negative smile")

_SELFIE_AGES = {"baby": 0.04, "child": 0.08, "teenager": 0.26, "youth": 0.46, "middle_age": 0.11, "senior": 0.05}
_EXPRESSIONS = {"neutral": 0.36, "smile": 0.36, "open": 0.08, "frown": 0.07, "tongue": 0.05, "duck": 0.08}


def draw_selfie(random: np.random.Generator) -> Face:
    """Draw one selfie's record."""
    female = bool(random.random() < 0.62)
    skin = choose(random, {"white": 0.58, "black": 0.18, "asian": 0.24})
    face = dress_person(random, draw_person(random, female=female, years=draw_years(random, _SELFIE_AGES), skin=skin))
    face = pose_person(random, face, scale=0.47, spread=1.1)
    face = express(random, face, choose(random, _EXPRESSIONS))
    holds = face.years > 8
    mirror = bool(holds and random.random() < 0.08)
    phone = bool(holds and (random.random() < 0.08 or (mirror and random.random() < 0.8)))
    side = random.choice((-1.0, 1.0))
    partial = random.random() < 0.14
    shift = side * (0.5 - 0.42 * face.scale + random.uniform(0.04, 0.12)) if partial else 0.4 * face.shift_x
    return replace(
        face,
        mirror=mirror,
        phone=phone,
        scale=face.scale * (0.78 if mirror or phone else 1.0),
        shift_x=float(shift),
        earphone=bool(holds and random.random() < 0.06),
        braces=bool(10 < face.years < 25 and face.smile > 0.4 and random.random() < 0.25),
        lighting=choose(random, {"": 0.78, "harsh": 0.11, "dim": 0.11}),
    )


def label_selfie(random: np.random.Generator, face: Face) -> list[int]:
    """Return the 36 attributes as -1, 0 or 1; 0 is what the annotators were not sure of, in a few percent of the rows."""
    traits = describe_face(face)
    values = {name: 1 if traits[name] else -1 for name in selfie.ATTRIBUTES}
    if random.random() < 0.04:
        first, last = ((1, 2), (2, 8), (8, 11), (11, 14))[int(random.integers(4))]  # sex, age, skin or shape
        values |= dict.fromkeys(selfie.ATTRIBUTES[first:last], 0)
    return list(values.values())


def draw_celebrity(random: np.random.Generator) -> Face:
    """Draw what stays with a celebrity in all images."""
    female = bool(random.random() < 0.58)
    years = draw_years(random, {"teenager": 0.05, "youth": 0.60, "middle_age": 0.27, "senior": 0.08})
    skin = choose(random, {"white": 0.68, "black": 0.12, "asian": 0.12, "brown": 0.08})
    return draw_person(random, female=female, years=years, skin=skin)


def photograph_celebrity(random: np.random.Generator, person: Face) -> Face:
    """Draw the record of one image of a celebrity: other clothes, expression and light, and at times another hairdo."""
    face = pose_person(random, dress_person(random, person), scale=0.56, spread=0.55)
    face = replace(face, shift_y=face.shift_y + 0.05, blur=6.0 + 14 * random.random() if random.random() < 0.06 else face.blur)
    if person.hair_length == "long" and random.random() < 0.3:
        face = replace(face, hair_form=choose(random, {"straight": 0.45, "wavy": 0.55}), bangs=bool(random.random() < 0.2))
    return express(random, face, choose(random, {"neutral": 0.42, "smile": 0.45, "open": 0.11, "frown": 0.02}))


def label_celebrity(random: np.random.Generator, face: Face) -> list[int]:
    """Return the 40 attributes as -1 or 1.

    "Attractive" and "Young" are the annotators' words, not facts about people; here they follow traits plus noise.
    """
    traits = describe_face(face)
    liking = 0.5 * face.makeup + 0.4 * (face.years < 38) + 0.3 * face.female
    liking -= 0.5 * face.chubby + 0.3 * face.bags + 0.2 * bool(face.glasses)
    values = {
        "5_o_Clock_Shadow": face.stubble,
        "Arched_Eyebrows": traits["arched_eyebrows"],
        "Attractive": liking + random.normal(0, 0.25) > 0.5,
        "Bags_Under_Eyes": face.bags,
        "Bald": traits["bald"],
        "Bangs": traits["bangs"],
        "Big_Lips": traits["big_lips"],
        "Big_Nose": traits["big_nose"],
        "Black_Hair": traits["black_hair"],
        "Blond_Hair": traits["blond_hair"],
        "Blurry": traits["blurry"],
        "Brown_Hair": traits["brown_hair"],
        "Bushy_Eyebrows": traits["bushy_eyebrows"],
        "Chubby": face.chubby,
        "Double_Chin": face.double_chin,
        "Eyeglasses": bool(face.glasses),
        "Goatee": face.goatee,
        "Gray_Hair": traits["grey_hair"],
        "Heavy_Makeup": face.makeup,
        "High_Cheekbones": face.high_cheekbones,
        "Male": not face.female,
        "Mouth_Slightly_Open": face.mouth_open >= 0.2 or face.smile >= 0.6,
        "Mustache": face.mustache,
        "Narrow_Eyes": face.narrow_eyes,
        "No_Beard": not (face.beard or face.goatee or face.mustache or face.stubble),
        "Oval_Face": face.shape == "oval",
        "Pale_Skin": face.skin == "white" and face.skin_depth < 0.12,
        "Pointy_Nose": face.pointed_nose,
        "Receding_Hairline": traits["receding_hairline"],
        "Rosy_Cheeks": face.rosy,
        "Sideburns": face.sideburns,
        "Smiling": traits["smiling"],
        "Straight_Hair": traits["straight_hair"],
        "Wavy_Hair": traits["wavy_hair"] or traits["curly_hair"],
        "Wearing_Earrings": face.earrings,
        "Wearing_Hat": face.hat,
        "Wearing_Lipstick": face.lipstick,
        "Wearing_Necklace": face.necklace,
        "Wearing_Necktie": face.necktie,
        "Young": face.years + random.normal(0, 4) < 42,
    }
    return [1 if values[name] else -1 for name in celeba.ATTRIBUTES]


def draw_actor(random: np.random.Generator) -> Face:
    """Draw one frame of an actor in a film, cropped close, at times in black and white."""
    years = float(16 + 62 * random.beta(1.9, 2.6))
    person = draw_person(random, female=bool(random.random() < 0.34), years=years, skin="brown")
    face = pose_person(random, dress_person(random, person), scale=0.86, spread=0.7)
    face = express(random, face, choose(random, {"neutral": 0.45, "smile": 0.25, "open": 0.2, "frown": 0.1}))
    return replace(
        face,
        hat=face.hat and random.random() < 0.4,
        shift_y=face.shift_y - 0.02,
        blur=float(random.exponential(4.0)),
        grey=bool(random.random() < 0.15),
        lighting=choose(random, {"": 0.86, "harsh": 0.06, "dim": 0.08}),
    )


def draw_webcam_person(random: np.random.Generator) -> Face:
    """Draw one webcam recording: a person, a room, a light, glasses or a headset that stay for all its frames."""
    female = bool(random.random() < 0.35)
    years, skin = float(random.uniform(18, 58)), choose(random, {"asian": 0.8, "white": 0.12, "brown": 0.08})
    person = draw_person(random, female=female, years=years, skin=skin)
    face = pose_person(random, dress_person(random, person), scale=0.80, spread=0.7)
    return replace(
        face,
        hat=False,
        glasses="clear" if random.random() < 0.45 else "",
        lipstick=face.lipstick and random.random() < 0.4,
        headset=bool(random.random() < 0.25),
        earphone=bool(random.random() < 0.12),
        lighting=choose(random, {"": 0.8, "harsh": 0.08, "dim": 0.12}),
        cast=tuple(float(value) for value in 1 + random.normal(0, 0.045, 3)),
        blur=float(random.uniform(1, 6)),
        noise=float(random.uniform(2, 6)),
    )


def film_webcam(random: np.random.Generator, person: Face, shown: str) -> Face:
    """Draw one frame of a recording that shows the expression of one of SMILE_LABELS."""
    expression = {"positive smile": "smile", "negative smile": "mocking"}.get(shown) or choose(
        random, {"neutral": 0.62, "open": 0.24, "frown": 0.10, "duck": 0.04}
    )
    face = express(random, person, expression)
    scale = float(np.clip(person.scale * np.exp(random.normal(0, 0.11)), 0.5, 1.0))
    return replace(
        face,
        roll=person.roll + float(random.normal(0, 9)),
        yaw=float(np.clip(person.yaw + random.normal(0, 10), -24, 24)),
        pitch=float(np.clip(person.pitch + random.normal(0, 7), -12, 12)),
        scale=scale,
        shift_x=person.shift_x + float(random.normal(0, 0.045)),
        # The mouth stays in the image: without it, no label could be seen.
        shift_y=min(person.shift_y + float(random.normal(0, 0.045)), 0.45 - 0.52 * scale),
        eyes_closed=1.0 if random.random() < 0.1 else 0.0,
        gaze=face.gaze if face.smirk else float(np.clip(random.normal(0, 0.4), -1, 1)),
    )


def draw_anyone(random: np.random.Generator) -> Face:
    """Draw a record from one of the four datasets' populations, selfies most often."""
    source = choose(random, {"selfie": 0.4, "celeba": 0.25, "webcam": 0.25, "actor": 0.1})
    if source == "selfie":
        return draw_selfie(random)
    if source == "celeba":
        return photograph_celebrity(random, draw_celebrity(random))
    if source == "actor":
        return draw_actor(random)
    shown = choose(random, dict(zip(SMILE_LABELS, (0.4, 0.25, 0.35), strict=True)))
    return film_webcam(random, draw_webcam_person(random), shown)
