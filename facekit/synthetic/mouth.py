"""Lips, teeth, tongue, beard and mustache, drawn in the face's own units.

A genuine smile lifts both corners and bares the teeth; a mocking one lifts a single corner of closed lips.
"""

import numpy as np

from facekit.synthetic.canvas import Canvas, curve, ellipse, mirror, mix
from facekit.synthetic.features import shape_outline
from facekit.synthetic.traits import Face


def draw_mouth(canvas: Canvas, face: Face) -> None:
    """Draw lips, teeth, tongue and braces as smile, smirk, frown, pout and opening shape them."""
    young = face.youthful
    x = np.linspace(-1, 1, 21)
    width = 0.33 * (1 - 0.22 * young) + 0.15 * face.smile + 0.04 * face.smirk - 0.12 * face.duck
    width -= 0.05 * face.mouth_open * (1 - face.smile)
    middle = 0.90 - 0.19 * young - 0.02 * face.smile
    lift = 0.16 * face.smile - 0.10 * face.frown
    corner = (
        lift * np.abs(x) ** 1.8 + 0.25 * face.smirk * np.where(x > 0, x, 0) ** 1.6 - 0.03 * face.smirk * np.where(x < 0, -x, 0)
    )
    mouth_x = x * width + 0.05 * face.smirk
    line = middle - corner
    bow = 1 - np.abs(x) ** 2.2
    size = face.lip_size * (0.85 if not face.female else 1.0) * (1 - 0.25 * face.wrinkled)
    size *= (1 + 0.9 * face.duck) * (1 - 0.2 * face.smirk)
    teeth_gap = 0.13 * max(0.0, face.smile - 0.35) / 0.65
    opening = max(0.26 * face.mouth_open, teeth_gap)
    upper_inner, lower_inner = line - 0.12 * opening * bow, line + opening * bow
    cupid = 0.075 * size * (bow * (1 - 0.28 * np.exp(-((x / 0.2) ** 2))))
    upper_outer, lower_outer = (
        upper_inner - cupid,
        lower_inner + 0.095 * size * (1 - np.abs(x) ** 2.6) * (1 - 0.25 * face.smile),
    )
    lips = (
        np.array((186, 22, 52))
        if face.lipstick
        else mix(face.skin_colour * (0.86, 0.60, 0.58), (168, 84, 84), 0.35 if face.female else 0.12)
    )

    def join(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        return np.stack([np.concatenate([mouth_x, mouth_x[::-1]]), np.concatenate([top, bottom[::-1]])], axis=1)

    canvas.fill(join(upper_outer, upper_inner), lips * 0.86, "face")
    canvas.fill(join(lower_inner, lower_outer), lips, "face")
    shine = np.stack([mouth_x[7:14], (lower_inner + 0.55 * (lower_outer - lower_inner))[7:14]], axis=1)
    canvas.stroke([shine], mix(lips, (255, 255, 255), 0.45 if face.lipstick else 0.22), 0.03 * size, "face")
    if opening > 0.015:
        canvas.fill(join(upper_inner, lower_inner), (70, 20, 24), "face")
        if face.mouth_open > 0.3:
            tongue_top = np.maximum(lower_inner - 0.45 * opening * bow, upper_inner)
            canvas.fill(join(tongue_top, lower_inner)[4:-4], (196, 92, 96), "face")
        if face.smile > 0.3 or face.braces or face.mouth_open > 0.55:
            teeth_bottom = np.minimum(upper_inner + max(0.75 * teeth_gap, 0.075 * (opening > 0.07)) * bow, lower_inner)
            canvas.fill(join(upper_inner, teeth_bottom), (246, 243, 234), "face")
            if face.braces:
                wire = np.stack([mouth_x, (upper_inner + teeth_bottom) / 2], axis=1)[3:-3]
                canvas.stroke([wire], (110, 116, 128), 0.02, "face")
                for point in wire[::2]:
                    canvas.fill(ellipse(*point, 0.024, 0.024, 6), (84, 92, 108), "face")
    else:
        canvas.stroke([np.stack([mouth_x, line], axis=1)], lips * (0.45, 0.35, 0.36), 0.026, "face")
    if face.tongue:
        tongue = np.array([(-0.13, 0.04), (0.13, 0.04), (0.15, 0.26), (0, 0.36), (-0.15, 0.26)]) + (0, middle)
        canvas.fill(curve(tongue, closed=True), (226, 96, 110), "face")
        canvas.stroke([np.array([(0, middle + 0.08), (0, middle + 0.26)])], (176, 60, 76), 0.025, "face")
    for side, strength in ((-1, face.smile), (1, max(face.smile, face.smirk))):
        if strength > 0.4:
            end = np.array((mouth_x[-1 if side > 0 else 0], line[-1 if side > 0 else 0]))
            dimple = curve(end + mirror([(0.03, -0.06), (0.06, 0.0), (0.03, 0.06)], side))
            canvas.stroke([dimple], face.skin_colour * (0.66, 0.56, 0.54), 0.024, "face")


def draw_beard(canvas: Canvas, face: Face, over_mouth: bool) -> None:
    """Draw beard, goatee and sideburns below the mouth, or (`over_mouth`) the mustache above it."""
    random = np.random.default_rng((face.detail, 3))
    chin = shape_outline(face)[0][-1]
    colour = mix(face.hair_rgb * 0.85, (34, 26, 24), 0.25 if face.hair_colour != "grey" else 0.0)
    patches = []
    if over_mouth and (face.mustache or face.beard or (face.goatee and face.detail % 2)):
        droop = 0.05 - 0.07 * face.smile
        left, right = ([(x * 0.2, 0.70), (x * 0.42, 0.84 + droop), (x * 0.22, 0.83)] for x in (-1, 1))
        patches.append(curve([(0, 0.66), *left, (0, 0.81), *right[::-1]], closed=True))
    if not over_mouth and face.beard:
        heights, widths = shape_outline(face)
        right = np.stack([widths, heights], axis=1)[4:-1] * (1.0, 1.0)
        outer = np.concatenate([right, [(0.0, chin + 0.10)], mirror(right[::-1], -1)])
        inner = [(-0.70, 0.48), (-0.48, 0.70), (0.0, 0.70), (0.48, 0.70), (0.70, 0.48)]
        patches.append(curve(np.concatenate([outer, inner]), closed=True))
    elif not over_mouth and face.goatee:
        right = [(0.24, 1.06), (0.27, chin - 0.1), (0.13, chin + 0.13)]
        patches.append(curve([(-0.24, 1.06), (0, 1.02), *right, (-0.13, chin + 0.13), (-0.27, chin - 0.1)], closed=True))
    if not over_mouth and face.sideburns:
        edge = shape_outline(face)[1][4]
        burn = [(edge - 0.17, -0.35), (edge + 0.02, -0.35), (edge, 0.40), (edge - 0.08, 0.56), (edge - 0.20, 0.40)]
        for side in (-1, 1):
            canvas.fill(mirror(burn, side), colour)
    for patch in patches:
        canvas.fill(patch, colour, "face" if over_mouth else "head")
        starts = patch[random.integers(0, len(patch), 40)] * random.uniform(0.86, 1.0, (40, 1)) + (0, 0.1 * (not over_mouth))
        ends = starts + np.stack([random.normal(0, 0.03, 40), np.full(40, 0.08)], axis=1)
        canvas.stroke(
            np.stack([starts, ends], axis=1), mix(colour, (150, 140, 130), 0.25), 0.014, "face" if over_mouth else "head"
        )
