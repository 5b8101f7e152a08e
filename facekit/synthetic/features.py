"""Head, ears, eyes, brows, nose and the marks of age, drawn in the face's own units.

A genuine smile raises cheeks and lower lids as well; a mocking one narrows the eyes and raises one brow.
"""

import numpy as np

from facekit.synthetic.canvas import Canvas, curve, ellipse, mirror, mix
from facekit.synthetic.traits import IRIS, Face

SHADOW = np.array((0.84, 0.77, 0.75))
LIGHT = np.array((1.10, 1.09, 1.08))
# Half widths of the head's outline at the heights below, from the crown to the chin.
OUTLINE_HEIGHTS = np.array((-1.42, -1.28, -0.85, -0.30, 0.25, 0.75, 1.12, 1.34, 1.42))
OUTLINES = {
    "": (0.0, 0.55, 0.90, 0.98, 0.95, 0.82, 0.55, 0.26, 0.0),
    "oval": (0.0, 0.52, 0.84, 0.93, 0.90, 0.76, 0.50, 0.23, 0.0),
    "round": (0.0, 0.64, 0.98, 1.09, 1.12, 1.04, 0.80, 0.44, 0.0),
    "heart": (0.0, 0.68, 1.03, 1.06, 0.88, 0.57, 0.28, 0.11, 0.0),
}


def shape_outline(face: Face) -> tuple[np.ndarray, np.ndarray]:
    """Return heights and half widths of the head's outline, each float (9,), from the crown to the chin."""
    heights, widths = OUTLINE_HEIGHTS.copy(), np.array(OUTLINES[face.shape])
    if face.shape == "round":
        heights[5:] -= (0.10, 0.16, 0.19, 0.20)
    if not face.female and face.years > 15:
        widths[5:8] += (0.05, 0.09, 0.09)
    if face.chubby:
        widths[4:8] += (0.06, 0.11, 0.14, 0.10)
    if face.high_cheekbones:
        widths[4:7] += (0.03, -0.05, -0.05)
    young = face.youthful
    heights = np.where(heights > 0, heights * (1 - 0.27 * young), heights * (1 + 0.06 * young))
    widths[4:8] += np.array((0.06, 0.11, 0.12, 0.08)) * young
    return heights, widths


def fit_outline(face: Face, grow: float = 0.0) -> np.ndarray:
    """Return the head's closed outline, float (n, 2), grown outwards by `grow`."""
    heights, widths = shape_outline(face)
    right = np.stack([widths, heights], axis=1)
    points = np.concatenate([right, mirror(right[-2:0:-1], -1)])
    centre = np.array((0.0, -0.1))
    return curve(centre + (points - centre) * (1 + grow), closed=True)


def draw_head(canvas: Canvas, face: Face) -> None:
    """Draw ears and head, and lay the soft shadows that make them round."""
    skin, (heights, widths) = face.skin_colour, shape_outline(face)
    for side in (-1, 1):
        ear = mirror(ellipse(widths[3] + 0.03, 0.14, 0.14, 0.27), side)
        canvas.fill(ear, skin * 0.93)
        canvas.stroke([mirror(curve([(0.98, -0.02), (1.08, 0.02), (1.06, 0.26)]), side)], skin * 0.72, 0.025)
    chin = heights[-1]
    if face.double_chin:
        canvas.fill(ellipse(0, chin - 0.06, 0.62, 0.34), skin * 0.90)
        canvas.stroke(
            [curve(np.array([(-0.56, 0.08), (-0.3, 0.25), (0, 0.29), (0.3, 0.25), (0.56, 0.08)]) + (0, chin))],
            skin * 0.66,
            0.03,
        )
    canvas.fill(fit_outline(face), skin)
    # The rim of the head falls away from the light, more on the side that is turned from it.
    bright = np.sign(face.light_side) or 1
    for side in (-1, 1):
        depth = 0.10 + 0.16 * abs(face.light_side) * (side != bright)
        rim = mirror([(0.72, -1.3), (1.2, -1.3), (1.25, 1.5), (0.35, 1.5), (0.72, 0.7), (0.8, -0.2)], side)
        canvas.shade(rim, 1 - depth * np.array((1.0, 1.12, 1.18)), 0.20, "head")
    canvas.shade(ellipse(0.1 * bright, -0.62, 0.5, 0.28), LIGHT, 0.22)
    canvas.shade(mirror([(-0.7, chin - 0.04), (0.7, chin - 0.04), (0.9, chin + 0.4), (-0.9, chin + 0.4)], 1), 0.62, 0.1, "head")
    blush = np.array((1.02, 0.95, 0.95))
    if face.rosy:
        blush = np.array((1.10, 0.66, 0.71) if skin.mean() > 95 else (1.50, 0.85, 0.88))
    lift = 0.10 * face.smile
    for side in (-1, 1):
        canvas.shade(mirror(ellipse(0.40, -0.03, 0.28, 0.19), side), SHADOW if face.bags else mix(SHADOW, (1, 1, 1), 0.4), 0.1)
        cheek = mirror(ellipse(0.56, 0.46 - lift, 0.22, 0.17), side)
        canvas.shade(cheek, blush, 0.12)
        canvas.shade(mirror(ellipse(0.55, 0.34 - lift, 0.17, 0.10 + 0.05 * face.smile), side), 1 + (LIGHT - 1) * 0.9, 0.09)
        if face.high_cheekbones:
            canvas.shade(mirror(ellipse(0.60, 0.28, 0.20, 0.07), side), 1.13, 0.05)
            hollow = curve([(0.82, 0.40), (0.60, 0.60), (0.42, 0.86), (0.58, 0.90), (0.84, 0.62)], closed=True)
            canvas.shade(mirror(hollow, side), mix(SHADOW, (1, 1, 1), 0.25), 0.09)
        if face.makeup:
            lid = curve([(0.17, -0.02), (0.25, -0.17), (0.45, -0.24), (0.68, -0.18), (0.64, -0.02)], closed=True)
            canvas.shade(mirror(lid, side), (0.66, 0.48, 0.72), 0.045)
    nose_end = 0.56 * (1 - 0.2 * face.youthful)
    canvas.shade(np.array([(-0.05, -0.2), (0.05, -0.2), (0.07, nose_end - 0.1), (-0.07, nose_end - 0.1)]), 1.09, 0.05)
    wall = mirror([(0.10, -0.2), (0.17, -0.1), (0.2 * face.nose_width, nose_end), (0.1, nose_end)], -int(bright))
    canvas.shade(wall, SHADOW * 1.03, 0.05)
    canvas.shade(ellipse(0, nose_end + 0.05, 0.18 * face.nose_width, 0.05), SHADOW, 0.05)
    canvas.shade(ellipse(0, chin - 0.24, 0.2, 0.05), mix(SHADOW, (1, 1, 1), 0.3), 0.06)
    if face.stubble:
        upper, lower = [(-0.9, 0.3), (-0.55, 0.62), (0, 0.66), (0.55, 0.62)], [(0.9, 0.3), (0.75, 1.0), (0.3, chin)]
        jaw = curve([*upper, *lower, (-0.3, chin), (-0.75, 1.0)], closed=True)
        canvas.shade(jaw, (0.66, 0.68, 0.72), 0.09)


def draw_age(canvas: Canvas, face: Face) -> None:
    """Draw wrinkles, folds, bags and a double chin."""
    skin, depth = face.skin_colour, face.wrinkled
    chin = shape_outline(face)[0][-1]
    line = mix(skin, skin * (0.58, 0.50, 0.48), 0.35 + 0.65 * depth)
    if depth > 0.1:
        for row in range(int(1 + 3 * depth)):
            y = -0.52 - 0.13 * row
            wrinkle = curve([(-0.48, y + 0.02), (-0.2, y - 0.02), (0.1, y + 0.01), (0.45, y)])
            canvas.stroke([wrinkle], line, 0.014 + 0.014 * depth, "face")
        for side in (-1, 1):
            feet = [np.array([(0.68, 0.0), (0.84, dy)]) for dy in (-0.12, 0.0, 0.12)][: int(1 + 2.5 * depth)]
            canvas.stroke([mirror(foot, side) for foot in feet], line, 0.018, "face")
            sag = curve([(0.24, 0.17), (0.42, 0.23), (0.60, 0.17)])
            canvas.stroke([mirror(sag, side)], line, 0.018, "face")
    for side in (-1, 1):
        smile = face.smile if face.smirk == 0 else face.smirk * (side > 0)
        fold = max(depth, (0.85 - 0.6 * face.youthful) * smile)
        if fold > 0.25:
            spread = 0.08 * smile
            nasolabial = curve([(0.22, 0.48), (0.40 + spread, 0.66), (0.46 + spread, 0.88)])
            canvas.stroke([mirror(nasolabial, side)], mix(skin, skin * (0.6, 0.5, 0.48), fold), 0.024, "face")
        if depth > 0.75:
            canvas.stroke([mirror(curve([(0.36, 1.02), (0.42, 1.14), (0.40, 1.24)]), side)], line, 0.02, "face")
        if face.bags:
            bag = curve([(0.22, 0.13), (0.40, 0.22), (0.60, 0.13)])
            canvas.stroke([mirror(bag, side)], skin * (0.66, 0.56, 0.58), 0.035, "face")
    if face.double_chin:
        canvas.stroke([curve([(-0.5, chin - 0.14), (-0.25, chin), (0.25, chin), (0.5, chin - 0.14)])], skin * 0.66, 0.035)


def draw_eyes(canvas: Canvas, face: Face) -> None:
    """Draw both eyes with lids, iris and lashes; closed ones are a curved line."""
    x = np.linspace(-1, 1, 15)
    size = face.eye_size * (1 + 0.30 * face.youthful)
    asian = face.skin == "asian"
    for side in (-1, 1):
        squeeze = max(0.62 * face.smile, 0.55 * face.smirk * (1.0 if side > 0 else 0.75), 0.25 * face.frown)
        narrow = 0.5 if face.narrow_eyes else 1.0
        opening = narrow * (1 - face.eyes_closed) * (0.84 if asian else 1.0) * size
        top = 0.125 * opening * (1 - 0.38 * squeeze)
        bottom = 0.075 * opening * (1 - 1.25 * squeeze)
        width, centre = 0.205 * size, np.array((side * 0.43, 0.0))
        tilt = -(0.035 if asian else 0.02) * x * side
        bow = 1 - np.abs(x) ** 2.3
        upper = np.stack([x * width, tilt - top * bow], axis=1) + centre
        lower = np.stack([x * width, tilt + bottom * bow], axis=1) + centre
        lash = np.array((24, 18, 18)) if face.makeup or face.female else mix(face.skin_colour * 0.4, (30, 22, 20), 0.6)
        thick = 0.045 if face.makeup else (0.034 if face.female else 0.028)
        if top + bottom > 0.03:
            canvas.fill(np.concatenate([upper, lower[::-1]]), (242, 238, 234), "face")
            radius = 0.112 * size
            look = centre + (0.07 * face.gaze, -0.012)
            iris = np.array(IRIS[face.eye_colour])
            for share, colour in ((1.0, iris * 0.55), (0.82, iris), (0.42, (14, 10, 10))):
                disc = ellipse(*look, radius * share, radius * share, 20)
                edge_top = np.interp(disc[:, 0], upper[:, 0], upper[:, 1])
                edge_bottom = np.interp(disc[:, 0], lower[:, 0], lower[:, 1])
                disc[:, 1] = np.clip(disc[:, 1], edge_top, edge_bottom)
                canvas.fill(disc, colour, "face")
            canvas.fill(ellipse(look[0] + 0.035, look[1] - 0.04 * opening, 0.026, 0.026, 10), (255, 255, 255), "face")
            canvas.stroke([lower[2:-2]], mix(face.skin_colour * 0.62, lash, 0.4 if face.makeup else 0.1), 0.018, "face")
        canvas.stroke([upper], lash, thick, "face")
        if face.makeup or (face.female and face.years > 12):
            tips = upper[[12, 13, 14]] if side > 0 else upper[[2, 1, 0]]
            canvas.stroke([np.stack([tip, tip + (side * 0.07, -0.06)]) for tip in tips], lash, 0.018, "face")
        if not asian:
            crease = upper[1:-1] + (0, -0.055 - 0.02 * face.wrinkled)
            canvas.stroke([crease], face.skin_colour * (0.70, 0.62, 0.60), 0.02, "face")


def draw_brows(canvas: Canvas, face: Face) -> None:
    """Draw the eyebrows: lowered to the middle in a frown, one raised in a mocking smile."""
    colour = mix(face.hair_rgb * 0.72, face.skin_colour, 0.12 + 0.5 * (face.years < 3))
    if face.hair_colour in ("blond", "dyed"):
        colour = mix(colour, (96, 70, 46), 0.55)
    # Brown brows would be lost on dark skin.
    colour = np.minimum(colour, face.skin_colour * 0.55)
    thick = {"bushy": 0.095, "arched": 0.042}.get(face.brows, 0.048 if face.female else 0.062) * (1 - 0.3 * face.youthful)
    arch = 0.13 if face.brows == "arched" else 0.05
    for side in (-1, 1):
        raised = face.smirk * (0.14 if side > 0 else -0.07) + 0.03 * face.smile + 0.05 * face.youthful
        inner = np.array((0.17 - 0.05 * face.frown, -0.26 + 0.15 * face.frown))
        middle = np.array((0.45, -0.28 - arch - 0.5 * raised))
        outer = np.array((0.72, -0.22 - 0.04 * face.frown))
        line = curve([inner, (inner + middle) / 2 + (0, -0.02), middle, outer], pieces=4) - (0, raised)
        taper = np.linspace(1, 0.25, len(line))[:, None] * (0, thick)
        canvas.fill(mirror(np.concatenate([line - taper / 2, (line + taper)[::-1]]), side), colour, "face")
    if face.frown > 0.3:
        creases = [mirror(curve([(0.05, -0.32), (0.07, -0.2), (0.05, -0.12)]), side) for side in (-1, 1)]
        canvas.stroke(creases, face.skin_colour * (0.62, 0.52, 0.5), 0.026, "face")


def draw_nose(canvas: Canvas, face: Face) -> None:
    """Draw the wings, the tip and the nostrils of the nose."""
    young = face.youthful
    base, width = 0.55 - 0.14 * young, 0.185 * face.nose_width * (1 - 0.18 * young)
    dark = face.skin_colour * (0.60, 0.50, 0.48)
    wing_size = 0.7 if face.pointed_nose else 1.0
    width *= 0.78 if face.pointed_nose else 1.0
    for side in (-1, 1):
        wing = curve([(width * 0.88, base - 0.14 * wing_size), (width * 1.06, base - 0.03), (width * 0.82, base + 0.035)])
        canvas.stroke([mirror(wing, side)], face.skin_colour * (0.72, 0.63, 0.60), 0.026, "face")
        nostril = ellipse(width * 0.52, base + 0.02, 0.055 * wing_size * face.nose_width**0.5, 0.026, 14)
        canvas.fill(mirror(nostril, side), dark * 0.8, "face")
    tip = 0.10 if face.pointed_nose else 0.045
    under = curve([(-width * 0.3, base + 0.03), (0, base + tip), (width * 0.3, base + 0.03)])
    canvas.stroke([under], face.skin_colour * (0.72, 0.63, 0.60), 0.026, "face")
    if face.pointed_nose:
        bridge = mirror(np.array([(0.07, -0.1), (0.05, base - 0.2), (0.075, base - 0.03)]), -1 if face.light_side > 0 else 1)
        canvas.stroke([bridge], face.skin_colour * (0.74, 0.66, 0.64), 0.022, "face")
    shine = ellipse(0.02, base - 0.08, 0.035 * face.nose_width, 0.03, 12)
    canvas.fill(shine, mix(face.skin_colour * 1.06, (255, 255, 255), 0.28), "face")
