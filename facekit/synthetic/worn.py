"""What is worn or held: clothes, glasses, jewellery, earphones, a telephone, a mirror.

What is worn leans with the head; clothes and a held telephone stay upright.
"""

import cv2
import numpy as np

from facekit.synthetic.canvas import Canvas, curve, ellipse, mirror, mix
from facekit.synthetic.features import shape_outline
from facekit.synthetic.traits import Face


def draw_body(canvas: Canvas, face: Face) -> None:
    """Draw neck, shoulders and clothes, with necktie, necklace or a bow of the dataset's plain kind."""
    random = np.random.default_rng((face.backdrop, 4))
    skin, young = face.skin_colour, face.youthful
    width = (0.48 if face.female else 0.58) * (1 - 0.22 * young)
    chin = shape_outline(face)[0][-1]
    shoulder = (1.75 if face.female else 2.05) * (1 - 0.2 * young)
    base = chin + 0.42
    cloth = random.uniform(20, 80) * np.array((1.0, 1.0, 1.15)) if face.necktie else random.uniform(25, 225, 3)
    neck = np.array([(-width, 0.7), (width, 0.7), (width * 1.08, base + 0.5), (-width * 1.08, base + 0.5)])
    canvas.fill(neck, skin * 0.88, "body")
    right = [(width * 0.95, base - 0.08), (shoulder * 0.62, base + 0.22), (shoulder, base + 0.55)]
    right += [(shoulder * 1.12, base + 1.6), (shoulder * 1.2, 5.5)]
    body = np.concatenate([right, mirror(right[::-1], -1)])
    low = 0.75 if face.female else 0.42
    left, side = (-width * 1.05, base - 0.06), (-0.3, base + low * 0.75)
    neckline = curve([left, side, (0, base + low), mirror(side, -1), mirror(left, -1)])
    canvas.fill(body, skin * 0.94, "body")
    canvas.fill(np.concatenate([body, neckline]), cloth, "body")
    folds = [
        curve([(x, base + 0.7), (x * 1.1, base + 1.5), (x * 1.15, base + 2.6)]) for x in random.uniform(-shoulder, shoulder, 5)
    ]
    canvas.stroke(folds, cloth * 0.8, 0.04, "body")
    if face.necktie:
        shirt = np.array([(-0.46, base - 0.02), (0.46, base - 0.02), (0.16, base + 2.5), (-0.16, base + 2.5)])
        canvas.fill(shirt, (238, 238, 242), "body")
        tie = random.uniform(40, 190, 3) * (1.0, 0.35, 0.4)
        knot = np.array([(0.13, 0.14), (0.09, 0.38), (0.22, 2.5)]) + (0, base)
        canvas.fill(np.concatenate([knot, mirror(knot[::-1], -1)]), tie, "body")
        for side in (-1, 1):
            collar = mirror([(0.05, base + 0.16), (0.44, base - 0.16), (0.56, base + 0.1), (0.34, base + 0.5)], side)
            canvas.fill(collar, (252, 252, 255), "body")
    else:
        canvas.stroke([neckline], cloth * 0.72, 0.05, "body")
    if face.necklace:
        left, side = (-width, base - 0.12), (-0.28, base + 0.24)
        chain = curve([left, side, (0, base + 0.34), mirror(side, -1), mirror(left, -1)])
        for point in chain[::2]:
            canvas.fill(ellipse(*point, 0.055, 0.055, 8), (246, 226, 150), "body")
        canvas.fill(ellipse(0, base + 0.42, 0.1, 0.12, 12), (214, 40, 70), "body")


def draw_glasses(canvas: Canvas, face: Face) -> None:
    """Draw clear glasses or sunglasses with bridge and temples."""
    random = np.random.default_rng((face.detail, 6))
    round_lens, thick = random.random() < 0.4, random.choice((0.035, 0.06))
    # A dark frame is lost on dark skin.
    share = 1.0 if face.skin == "black" else random.choice((0.0, 0.0, 0.5))
    frame = mix((24, 22, 24), (176, 142, 96), share)
    for side in (-1, 1):
        if face.glasses == "sun":
            rim = [(0.10, -0.20), (0.44, -0.25), (0.80, -0.20), (0.80, 0.06), (0.58, 0.28), (0.26, 0.24), (0.12, 0.06)]
            lens = curve(rim, closed=True)
        elif round_lens:
            lens = ellipse(0.44, 0.03, 0.31, 0.30)
        else:
            lens = curve([(0.12, -0.17), (0.44, -0.20), (0.76, -0.17), (0.76, 0.17), (0.44, 0.24), (0.14, 0.17)], closed=True)
        lens = mirror(lens, side)
        if face.glasses == "sun":
            canvas.fill(lens, (28, 24, 30), "face")
            glare = curve([(0.24, -0.14), (0.42, -0.17), (0.32, 0.02), (0.20, 0.04)], closed=True)
            canvas.fill(glare + (0 if side > 0 else -0.68, 0), (92, 92, 108), "face")
        else:
            glare = np.array([(0.62, -0.12), (0.70, 0.02)]) + (0 if side > 0 else -0.88, 0)
            canvas.stroke([glare], mix(face.skin_colour, (255, 255, 255), 0.75), 0.03, "face")
        canvas.stroke([lens], frame, thick, "face", closed=True)
        canvas.stroke([mirror([(0.78, -0.10), (1.0, -0.06)], side)], frame, thick, "face")
    canvas.stroke([curve([(-0.13, -0.06), (0, -0.11), (0.13, -0.06)])], frame, thick, "face")


def draw_ear_pieces(canvas: Canvas, face: Face) -> None:
    """Draw earrings, earphones with their cord, or a headset."""
    edge = shape_outline(face)[1][3]
    for side in (-1, 1):
        if face.earrings:
            canvas.fill(mirror(ellipse(edge + 0.09, 0.46, 0.06, 0.07, 12), side), (250, 220, 120))
            canvas.stroke([mirror(ellipse(edge + 0.09, 0.66, 0.11, 0.17, 16), side)], (244, 204, 92), 0.05, closed=True)
        if face.earphone:
            canvas.fill(mirror(ellipse(edge + 0.03, 0.24, 0.11, 0.13, 14), side), (248, 248, 250))
            cord = curve([(edge + 0.04, 0.3), (edge + 0.02, 1.0), (0.62, 1.7), (0.2, 2.4), (0.1, 3.6)])
            canvas.stroke([mirror(cord, side)], (236, 236, 240), 0.045)
        if face.headset:
            cup = np.array([(-0.04, -0.22), (0.16, -0.24), (0.26, 0.12), (0.16, 0.48), (-0.04, 0.46)]) + (edge, 0)
            canvas.fill(mirror(curve(cup, closed=True), side), (30, 30, 34))
            bow = curve([(edge + 0.12, -0.16), (edge + 0.12, -0.95), (0.72, -1.56), (0, -1.78)])
            canvas.stroke([mirror(bow, side)], (42, 42, 48), 0.1)
    if face.headset:
        canvas.stroke([curve([(-edge - 0.08, 0.36), (-0.82, 0.92), (-0.44, 1.06)])], (36, 36, 40), 0.05)
        canvas.fill(ellipse(-0.44, 1.05, 0.11, 0.08, 12), (24, 24, 26))


def draw_phone(canvas: Canvas, face: Face) -> None:
    """Draw a hand that holds a telephone at the image's lower edge, in front of the shoulder."""
    random = np.random.default_rng((face.backdrop, 7))
    corner = (canvas.pixels.shape[1] * 0.22, canvas.pixels.shape[0] * 0.80)
    unit = canvas.pixels.shape[1] / 7

    def put(points, colour):
        fixed = np.rint((np.asarray(points) * unit + corner) * 16).astype(np.int32)
        cv2.fillPoly(canvas.pixels, [fixed], tuple(float(v) for v in colour), cv2.LINE_AA, 4)

    case = mix((26, 26, 30), random.uniform(40, 240, 3), 0.6 * (face.backdrop % 2))
    skin = face.skin_colour
    put(curve([(-0.75, 0.5), (-0.2, 0.2), (0.55, 0.3), (0.9, 0.9), (1.0, 2.2), (-1.0, 2.2)], closed=True), skin * 0.9)
    put([(-0.52, -1.05), (0.52, -1.05), (0.52, 0.95), (-0.52, 0.95)], case)
    put([(-0.44, -0.9), (0.44, -0.9), (0.44, 0.8), (-0.44, 0.8)], case * 0.8 + 18)
    put(ellipse(-0.26, -0.72, 0.11, 0.11, 14), (14, 14, 18))
    put(ellipse(-0.26, -0.72, 0.05, 0.05, 10), (90, 110, 150))
    for row in range(4):
        finger = np.array([(0.62, -0.25), (0.22, -0.22), (0.22, -0.02), (0.64, 0.02)]) + (0, 0.3 * row)
        put(curve(finger, closed=True), skin * (0.99 - 0.03 * row))
    put(curve([(-0.72, 0.55), (-0.52, 0.05), (-0.34, 0.1), (-0.40, 0.6)], closed=True), skin * 0.97)
