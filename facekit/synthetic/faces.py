"""One record of a face -> one image: background, body, head, features, hair, light, lens.

Every random stroke comes from the record's own two seeds (`backdrop`, `detail`), so a record is the same image wherever and
whenever it is drawn.
"""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from facekit.synthetic import features, hair, mouth, worn
from facekit.synthetic.canvas import Canvas, mix
from facekit.synthetic.traits import Face

# Grain is cut from one sheet, because drawing fresh noise for each pixel takes longer than the face.
_GRAIN_SIDE = 640


def draw_face(face: Face, height: int, width: int) -> np.ndarray:
    """Draw one face.

    Args:
        face: the traits.
        height: of the image in pixels, 16 or more.
        width: of the image in pixels, 16 or more.

    Returns:
        uint8 (height, width, 3) RGB.

    >>> draw_face(Face(), 32, 24).shape
    (32, 24, 3)
    """
    canvas = Canvas(height, width, face)
    canvas.pixels[:] = _paint_backdrop(face, *canvas.pixels.shape[:2])
    hair.draw_back_hair(canvas, face)
    worn.draw_body(canvas, face)
    features.draw_head(canvas, face)
    canvas.apply_shades()
    mouth.draw_beard(canvas, face, over_mouth=False)
    features.draw_age(canvas, face)
    features.draw_eyes(canvas, face)
    features.draw_brows(canvas, face)
    features.draw_nose(canvas, face)
    mouth.draw_mouth(canvas, face)
    mouth.draw_beard(canvas, face, over_mouth=True)
    if face.glasses:
        worn.draw_glasses(canvas, face)
    hair.draw_front_hair(canvas, face)
    worn.draw_ear_pieces(canvas, face)
    if face.hat:
        hair.draw_hat(canvas, face)
    if face.phone:
        worn.draw_phone(canvas, face)
    return _expose(canvas.finish(), face)


def write_face(path: str, face: Face, height: int, width: int) -> None:
    """Draw one face into a JPEG file."""
    image = cv2.cvtColor(draw_face(face, height, width), cv2.COLOR_RGB2BGR)
    Path(path).write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())


def _paint_backdrop(face: Face, height: int, width: int) -> np.ndarray:
    """A wall with light falling off, and a few unsharp things before it; drawn small and enlarged."""
    random = np.random.default_rng((face.backdrop, 8))
    rows, columns = 48, max(24, round(48 * width / height))
    base = random.uniform(70, 225) + random.normal(0, 14, 3)
    down = np.linspace(1.06, 0.86, rows)[:, None, None]
    across = np.linspace(*(1 + 0.12 * random.uniform(-1, 1, 2)), columns)[None, :, None]
    wall = (base * down * across).astype(np.float32)
    for _ in range(random.integers(1, 6)):
        left, top = random.uniform(-0.2, 0.9) * columns, random.uniform(-0.2, 0.8) * rows
        extent = random.uniform(0.08, 0.5, 2) * (columns, rows)
        colour = tuple(mix(base, random.uniform(25, 235, 3), 0.55).tolist())
        if random.random() < 0.65:
            cv2.rectangle(wall, (int(left), int(top)), (int(left + extent[0]), int(top + extent[1])), colour, -1)
        else:
            cv2.circle(wall, (int(left), int(top)), int(extent[0] / 2) + 1, colour, -1)
    wall = cv2.GaussianBlur(wall, (0, 0), random.uniform(0.4, 1.6))
    if face.mirror:
        # The mirror's frame, the room in it paler, and the flash of the telephone.
        inner = (columns * 0.06, rows * 0.05, columns * 0.94, rows * 0.95)
        left, top, right, bottom = (int(value) for value in inner)
        wall[top:bottom, left:right] = mix(wall[top:bottom, left:right], (206, 222, 230), 0.55)
        cv2.rectangle(wall, (left, top), (right, bottom), (92, 66, 40), 3)
        for shift in (0.15, 0.24):
            cv2.line(wall, (int(columns * shift), rows), (int(columns * (shift + 0.5)), 0), (240, 248, 252), 2)
    wall = np.clip(wall, 0, 255).astype(np.uint8)
    return cv2.resize(wall, (width, height), interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    return np.random.default_rng(20240607).standard_normal((_GRAIN_SIDE, _GRAIN_SIDE, 3), np.float32)


def _expose(drawing: np.ndarray, face: Face) -> np.ndarray:
    """Lay light, tint, lens blur and grain over the finished drawing."""
    height, width = drawing.shape[:2]
    levels = np.arange(256.0)[:, None]
    gain = np.array(face.cast)
    if face.lighting == "harsh":
        levels = (levels - 128) * 1.25 + 128
    elif face.lighting == "dim":
        gain = gain * (0.96, 0.94, 1.08)
    image = cv2.LUT(drawing, np.clip(levels * gain, 0, 255).astype(np.uint8)[None])
    image = image.astype(np.float32)
    if face.lighting:
        ramp = np.linspace(-1, 1, width, dtype=np.float32) * (1 if face.light_side >= 0 else -1)
        fall = np.linspace(0.12, -0.12, height, dtype=np.float32)
        slope = ramp[None, :] + fall[:, None]
        # Hard light from one side: one half burns out, the other sinks.
        light = np.clip(1.02 + 0.68 * slope, 0.30, 1.6) if face.lighting == "harsh" else 0.36 + 0.12 * slope
        image *= light[..., None]
    if face.blur > 0:
        image = cv2.GaussianBlur(image, (0, 0), max(0.2, face.blur * width / 1000))
    if face.noise > 0:
        random = np.random.default_rng((face.backdrop, face.detail, 9))
        top, left = (int(random.integers(0, max(1, _GRAIN_SIDE - side))) for side in (height, width))
        grain = np.resize(_grain()[top : top + height, left : left + width], image.shape)
        image = cv2.scaleAdd(grain, face.noise * (1.8 if face.lighting == "dim" else 1.0), image)
    if face.grey:
        image = np.repeat(image @ np.array((0.299, 0.587, 0.114), np.float32)[:, None], 3, axis=2)
    return np.clip(image, 0, 255, out=image).astype(np.uint8)
