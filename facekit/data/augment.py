"""Random changes of images: the transformations of Keras' ImageDataGenerator, drawn by key and warped by OpenCV.

Keras' class draws from numpy's global state, so that two workers give other images than one. Here every draw comes from a
seed, and `draw_seed` makes that seed of (seed, epoch, row, copy).
"""

import threading
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from facekit.errors import ParameterError

FILL_MODES = {
    "nearest": cv2.BORDER_REPLICATE,  # a a a | a b c | c c c
    "reflect": cv2.BORDER_REFLECT,  # c b a | a b c | c b a
    "constant": cv2.BORDER_CONSTANT,
}
# One generator a thread, seeded anew for every image: making one costs fifty times as much as seeding it.
_DRAWS = threading.local()


def draw_seed(seed: int, epoch: int, row: int, copy: int = 0) -> int:
    """Make the seed of one image's augmentation from what it is (all numbers from 0), not from when it is drawn.

    >>> draw_seed(0, 0, 0), draw_seed(0, 0, 1), draw_seed(0, 0, 0, copy=1)
    (2968811710, 3831201730, 3317235285)
    """
    return int(np.random.SeedSequence((seed, epoch, row, copy)).generate_state(1)[0])


@dataclass(frozen=True)
class ImageDataGenerator:
    """The transformations of `tf.keras.preprocessing.image.ImageDataGenerator`, without its global state and iterators.

    The same draws for the same seed, and the same images where they are square, up to one grey level (two where brightness
    above 1 stretches that level). What differs, and why:

    - Keras swaps height and width in the centre that it turns, shears and zooms about, so an image that is not square also
      moves. Here the centre is the image's middle.
    - Keras' height_shift_range moves images sideways and width_shift_range up and down. This is kept, since published values
      depend on it; but a fraction is one of the side along which the image moves.
    - A call without a seed draws from fresh entropy, never from numpy's global state.

    Args:
        rotation_range: degrees; drawn from -rotation_range to rotation_range.
        width_shift_range, height_shift_range: a float below 1 is a fraction, from 1 pixels; a whole number n draws from 0 to
            n - 1 pixels and a list from its values, each with a random sign.
        brightness_range: (low, high) factors; 1 leaves the image as it is.
        shear_range: degrees.
        zoom_range: (low, high), or a number z for (1 - z, 1 + z); below 1 enlarges.
        channel_shift_range: grey levels, added to all channels alike, within the image's own range.
        fill_mode: nearest, reflect or constant (with `cval`) for points outside the image.
        cval: grey level for fill_mode constant.
        horizontal_flip, vertical_flip: flip half of the images.

    Raises:
        ParameterError: an argument has a wrong value.
    """

    rotation_range: float = 0
    width_shift_range: Any = 0.0
    height_shift_range: Any = 0.0
    brightness_range: tuple[float, float] | None = None
    shear_range: float = 0.0
    zoom_range: float | tuple[float, float] = 0.0
    channel_shift_range: float = 0.0
    fill_mode: str = "nearest"
    cval: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False

    def __post_init__(self):
        if self.fill_mode not in FILL_MODES:
            raise ParameterError(f"fill_mode={self.fill_mode!r}", expected=f"one of {', '.join(FILL_MODES)}")
        if isinstance(self.zoom_range, int | float):
            object.__setattr__(self, "zoom_range", (1 - self.zoom_range, 1 + self.zoom_range))
        for name, low in (("zoom_range", 1e-3), ("brightness_range", 0)):
            pair = getattr(self, name)
            if pair is not None and not (np.shape(pair) == (2,) and all(isinstance(x, int | float) and x >= low for x in pair)):
                raise ParameterError(f"{name}={pair!r}", expected=f"two numbers, (low, high), from {low}")
        for name in ("width_shift_range", "height_shift_range"):
            if not np.issubdtype(np.asarray(getattr(self, name)).dtype, np.number):
                raise ParameterError(f"{name}={getattr(self, name)!r}", expected="a number or a list of numbers")

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Draw what happens to one image of shape (height, width, channels); seed: see `draw_seed`, None for fresh entropy.

        Returns:
            theta and shear (degrees), tx and ty (pixels along the width and the height), zx and zy (factors),
            flip_horizontal, flip_vertical, channel_shift_intensity (grey levels or None), brightness (factor or None).
        """
        height, width = img_shape[:2]
        # RandomState is what stands behind np.random.seed; the order of the draws is Keras', flips included.
        draws = _start_draws(seed)
        drawn = {"theta": draws.uniform(-self.rotation_range, self.rotation_range) if self.rotation_range else 0}
        drawn["tx"] = _draw_shift(draws, self.height_shift_range, width)
        drawn["ty"] = _draw_shift(draws, self.width_shift_range, height)
        drawn["shear"] = draws.uniform(-self.shear_range, self.shear_range) if self.shear_range else 0
        drawn["zx"], drawn["zy"] = (1, 1) if tuple(self.zoom_range) == (1, 1) else draws.uniform(*self.zoom_range, 2)
        drawn["flip_horizontal"] = (draws.random_sample() < 0.5) * self.horizontal_flip
        drawn["flip_vertical"] = (draws.random_sample() < 0.5) * self.vertical_flip
        levels = self.channel_shift_range
        drawn["channel_shift_intensity"] = draws.uniform(-levels, levels) if levels != 0 else None
        drawn["brightness"] = None if self.brightness_range is None else draws.uniform(*self.brightness_range)
        return drawn

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """Do to an image (height, width, channels), uint8 or float32 in 0..255, what `get_random_transform` drew.

        The type is kept, but brightness gives float32. Parameters may lack keys.
        """
        if x.ndim != 3:
            raise ParameterError(f"an image of shape {x.shape}", expected="three dimensions; give one image at a time")
        get = transform_parameters.get
        matrix = _build_matrix(*x.shape[:2], transform_parameters)
        if matrix is not None:
            border = {"borderMode": FILL_MODES[self.fill_mode], "borderValue": (self.cval,) * 4}
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            warped = cv2.warpAffine(np.ascontiguousarray(x), matrix[:2], x.shape[1::-1], flags=flags, **border)
            x = warped.reshape(x.shape)  # OpenCV drops a single channel
        if get("channel_shift_intensity") is not None:
            x = np.clip(x + get("channel_shift_intensity"), x.min(), x.max())
        if get("flip_horizontal", False):
            x = x[:, ::-1]
        if get("flip_vertical", False):
            x = x[::-1]
        return x if get("brightness") is None else _change_brightness(x, get("brightness"))

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Draw and do: `apply_transform` of what `get_random_transform` draws for this seed."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))


def _start_draws(seed: int | None) -> np.random.RandomState:
    if not hasattr(_DRAWS, "generator"):
        _DRAWS.generator = np.random.RandomState()
    _DRAWS.generator.seed(seed)
    return _DRAWS.generator


def _draw_shift(draws: np.random.RandomState, shift_range: Any, side: int) -> float:
    if not shift_range:
        return 0
    try:
        shift = draws.choice(shift_range) * draws.choice([-1, 1])
    except ValueError:  # numpy's choice takes no float: this is how Keras tells the two apart
        shift = draws.uniform(-shift_range, shift_range)
    return shift * side if np.max(shift_range) < 1 else shift


def _build_matrix(height: int, width: int, parameters: dict[str, Any]) -> np.ndarray | None:
    """Map a point (x, y, 1) of the result to the point of the image that it is sampled from; None for no change."""
    theta, shear = (np.deg2rad(parameters.get(name, 0)) for name in ("theta", "shear"))
    tx, ty = parameters.get("tx", 0), parameters.get("ty", 0)
    zx, zy = parameters.get("zx", 1), parameters.get("zy", 1)
    if (theta, tx, ty, shear, zx, zy) == (0, 0, 0, 0, 1, 1):
        return None
    rotation = np.array([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
    shift = np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
    slant = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    # Pixel centres have whole coordinates, in SciPy as in OpenCV, so the middle of three pixels is 1.
    middle = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
    back = np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
    return middle @ rotation @ shift @ slant @ np.diag([zx, zy, 1.0]) @ back


def _change_brightness(x: np.ndarray, factor: float) -> np.ndarray:
    low, high = x.min(), x.max()
    # Keras stretches an image that leaves 0 to 255. OpenCV's float32 may end at 255.00002, which is no such image.
    stretch = low < -0.01 or high > 255.01
    levels = x.astype(np.float32)
    if stretch:
        levels = levels - low
        levels /= levels.max() or 1  # in Keras' steps: another order rounds to another level
        levels *= 255
    levels = levels.clip(0, 255).astype(np.uint8)
    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    changed = np.asarray(ImageEnhance.Brightness(image).enhance(factor), np.float32).reshape(x.shape)
    return changed / 255 * (high - low) + low if stretch else changed
