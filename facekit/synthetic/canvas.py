"""A canvas that knows the head's pose: shapes in the face's own units become antialiased pixels.

Points are turned, tilted and moved before anything is drawn: turning the finished bitmap would blur it and leave empty corners.

Units: the adult face is 2 wide, its eyes are at y = 0, the chin at y = 1.4, the crown at y = -1.4; y points down.
"""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from facekit.synthetic.traits import Face

# Shapes are drawn this much larger than the image; the soft light is painted this much smaller.
SUPERSAMPLE = 1.5
SOFT_SHARE = 6
_FIXED_POINT_BITS = 4


def mix(first: np.ndarray, second: Sequence[float], share: float) -> np.ndarray:
    """Return the colour that is `share` of the way from the first colour to the second."""
    return np.asarray(first, float) * (1 - share) + np.asarray(second, float) * share


@lru_cache(maxsize=64)
def _spline_basis(pieces: int) -> np.ndarray:
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    return 0.5 * np.hstack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3])


@lru_cache(maxsize=64)
def _spline_windows(count: int, closed: bool) -> np.ndarray:
    """Return which four points shape each piece between two points."""
    pieces = np.arange(count if closed else count - 1)[:, None] + np.arange(-1, 3)
    return pieces % count if closed else pieces.clip(0, count - 1)


def curve(points: Sequence[tuple[float, float]] | np.ndarray, closed: bool = False, pieces: int = 6) -> np.ndarray:
    """Return a smooth line (Catmull-Rom) through points, float (..., n, 2): of many lines at once where there are more axes.

    >>> curve([(0, 0), (1, 0)], pieces=2).tolist()
    [[0.0, 0.0], [0.5, 0.0], [1.0, 0.0]]
    """
    points = np.asarray(points, float)
    windows = points[..., _spline_windows(points.shape[-2], closed), :]
    line = (_spline_basis(pieces) @ windows).reshape(*points.shape[:-2], -1, 2)
    return line if closed else np.concatenate([line, points[..., -1:, :]], axis=-2)


@lru_cache(maxsize=32)
def _unit_circle(corners: int) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(x: float, y: float, width: float, height: float, corners: int = 24) -> np.ndarray:
    """Return the corners of an ellipse; width and height are half axes."""
    return _unit_circle(corners) * (width, height) + (x, y)


_SIDES = {1: np.array((1.0, 1.0)), -1: np.array((-1.0, 1.0))}


def mirror(points: Sequence[tuple[float, float]] | np.ndarray, side: int) -> np.ndarray:
    """Return the points for one side of the face: 1 as given, -1 mirrored."""
    return np.asarray(points, float) * _SIDES[side]


class Canvas:
    """Pixels and a pose.

    Points lie `on` one of three things: "head", the outline and the hair; "face", the curved front, which moves as
    the head turns; "body", which does not turn with the head.

    Args:
        height: of the finished image, in pixels.
        width: of the finished image, in pixels.
        face: whose pose is drawn.
    """

    def __init__(self, height: int, width: int, face: Face):
        self.height, self.width = height, width
        rows, columns = round(height * SUPERSAMPLE), round(width * SUPERSAMPLE)
        self.pixels = np.zeros((rows, columns, 3), np.uint8)
        self.soft = np.ones((-(-rows // SOFT_SHARE), -(-columns // SOFT_SHARE), 3), np.float32)
        self.unit = face.scale * width * SUPERSAMPLE / 2
        centre_y = 0.47 + face.shift_y
        self.centre = np.array([(0.5 + face.shift_x) * width, centre_y * height]) * SUPERSAMPLE
        roll, yaw, pitch = np.radians([face.roll, face.yaw, face.pitch])
        turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]]) * self.unit
        self.turn = {"face": turn, "body": np.eye(2) * self.unit}
        self.turn["head"] = np.diag([1 - 0.4 * (1 - np.cos(yaw)), 1]) @ turn
        self.front = np.array((np.cos(yaw), 1.0))
        self.tilt = 0.85 * np.sin([yaw, pitch])

    def place(self, points: np.ndarray, on: str) -> np.ndarray:
        """Return the pixel positions, float (..., 2), of points in face units."""
        points = np.asarray(points, float)
        if on == "face":
            x, y = points[..., 0], points[..., 1] - 0.2
            depth = np.sqrt(np.maximum(0.05, 1.15 - x**2 - (y / 1.5) ** 2))
            points = points * self.front + depth[..., None] * self.tilt
        return points @ self.turn[on] + self.centre

    def fill(self, points: np.ndarray, colour: Sequence[float], on: str = "head") -> None:
        """Fill a closed outline with one colour."""
        cv2.fillPoly(self.pixels, [self._fix(points, on)], _plain(colour), cv2.LINE_AA, _FIXED_POINT_BITS)

    def fill_each(self, outlines: np.ndarray, colours: np.ndarray, on: str = "head") -> None:
        """Fill outlines, float (n, k, 2), one after the other, each with its own colour, (n, 3)."""
        for outline, colour in zip(self._fix(outlines, on), np.clip(colours, 0, 255).tolist(), strict=True):
            cv2.fillPoly(self.pixels, [outline], colour, cv2.LINE_AA, _FIXED_POINT_BITS)

    def stroke(
        self, lines: Sequence[np.ndarray], colour: Sequence[float], width: float = 0.02, on: str = "head", closed=False
    ) -> None:
        """Draw lines, each (n, 2), of a width in face units; none is thinner than a pixel of the canvas."""
        alike = isinstance(lines, np.ndarray)  # all of one length
        fixed = list(self._fix(lines, on)) if alike else [self._fix(line, on) for line in lines]
        thickness = max(1, round(width * self.unit))
        cv2.polylines(self.pixels, fixed, closed, _plain(colour), thickness, cv2.LINE_AA, _FIXED_POINT_BITS)

    def shade(self, points: np.ndarray, factor: Sequence[float] | float, blur: float = 0.1, on: str = "face") -> None:
        """Remember a soft light or shadow: inside the outline, colours are multiplied by the factor."""
        mask = np.zeros(self.soft.shape[:2], np.float32)
        scaled = self.place(points, on) / SOFT_SHARE * 16
        cv2.fillPoly(mask, [np.rint(scaled).astype(np.int32)], 1.0, cv2.LINE_AA, _FIXED_POINT_BITS)
        sigma = max(0.3, blur * self.unit / SOFT_SHARE)
        mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        change = np.asarray(np.broadcast_to(factor, 3), np.float32) - 1
        self.soft *= 1 + mask[..., None] * change

    def apply_shades(self) -> None:
        """Lay the remembered lights and shadows over all that is drawn so far."""
        height, width = self.pixels.shape[:2]
        light = np.clip(self.soft * 128, 0, 255).astype(np.uint8)
        light = cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR)
        cv2.multiply(self.pixels, light, dst=self.pixels, scale=1 / 128)
        self.soft[:] = 1

    def finish(self) -> np.ndarray:
        """Return the image, uint8 (height, width, 3) RGB, each pixel the mean of the canvas under it."""
        return cv2.resize(self.pixels, (self.width, self.height), interpolation=cv2.INTER_AREA)

    def _fix(self, points: np.ndarray, on: str) -> np.ndarray:
        scaled = self.place(points, on) * (1 << _FIXED_POINT_BITS)
        return np.rint(scaled).astype(np.int32)


def _plain(colour: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(min(255, max(0, value))) for value in colour)
