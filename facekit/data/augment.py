"""Random changes of images: the transformations of Keras' ImageDataGenerator, drawn by key and warped by OpenCV.

Keras' class draws from numpy's global state, so that two workers give other images than one. Here a seed gives every draw.
"""

import threading
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageEnhance

from facekit.errors import ParameterError

FILL_MODES = {"nearest": cv2.BORDER_REPLICATE, "constant": cv2.BORDER_CONSTANT}  # a a a | a b c | c c c, and black
# One generator a thread, seeded anew for every image: making one costs fifty times as much as seeding it.
_DRAWS = threading.local()


def draw_seed(seed: int, epoch: int, row: int, copy: int = 0) -> int:
    """Make the seed of one image's augmentation from what it is (all numbers from 0), not from when it is drawn."""
    return int(np.random.SeedSequence((seed, epoch, row, copy)).generate_state(1)[0])


@dataclass(frozen=True)
class ImageDataGenerator:
    """The transformations of `tf.keras.preprocessing.image.ImageDataGenerator`, without its global state and iterators.

    The same draws for the same seed, and the same images where they are square, up to one grey level. Keras swaps height and
    width in the centre that it turns, shears and zooms about, so that another image also moves; here it is the image's middle.
    Keras' height_shift_range moves images sideways and width_shift_range up and down: this is kept, since published values
    depend on it; but a fraction is one of the side along which the image moves. A wrong argument is a ParameterError.

    Args:
        rotation_range: degrees; drawn from -rotation_range to rotation_range.
        width_shift_range, height_shift_range: a number below 1 is a fraction, from 1 on pixels; Keras also takes lists, and
            draws whole pixels where the range is a whole number.
        brightness_range: (low, high) factors; 1 leaves the image as it is.
        shear_range: degrees.
        zoom_range: (low, high), or a number z for (1 - z, 1 + z); below 1 enlarges.
        fill_mode: nearest, or constant: black, for points outside the image.
        horizontal_flip: flip half of the images.
    """

    rotation_range: float = 0
    width_shift_range: float = 0.0
    height_shift_range: float = 0.0
    brightness_range: tuple[float, float] | None = None
    shear_range: float = 0.0
    zoom_range: float | tuple[float, float] = 0.0
    fill_mode: str = "nearest"
    horizontal_flip: bool = False

    def __post_init__(self):
        if self.fill_mode not in FILL_MODES:
            raise ParameterError(f"fill_mode={self.fill_mode!r}", expected=f"one of {', '.join(FILL_MODES)}")
        if isinstance(self.zoom_range, int | float):
            object.__setattr__(self, "zoom_range", (1 - self.zoom_range, 1 + self.zoom_range))
        for name, low in (("zoom_range", 1e-3), ("brightness_range", 0)):
            pair = getattr(self, name)
            if pair is not None and not (np.shape(pair) == (2,) and all(isinstance(x, int | float) and x >= low for x in pair)):
                raise ParameterError(f"{name}={pair!r}", expected=f"two numbers, (low, high), from {low}")
        for name in ("rotation_range", "width_shift_range", "height_shift_range", "shear_range"):
            if not isinstance(getattr(self, name), int | float):
                raise ParameterError(f"{name}={getattr(self, name)!r}", expected="a number")

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict:
        """Draw the arguments of `apply_transform` for an image of this shape; a seed of None gives fresh entropy."""
        if not hasattr(_DRAWS, "generator"):
            _DRAWS.generator = np.random.RandomState()  # which stands behind np.random.seed
        draws = _DRAWS.generator
        draws.seed(seed)
        height, width = img_shape[:2]
        # The order of the draws is Keras', flips included.
        limits = self.rotation_range, self.height_shift_range, self.width_shift_range, self.shear_range
        theta, tx, ty, shear = (draws.uniform(-limit, limit) if limit else 0 for limit in limits)
        tx *= width if self.height_shift_range < 1 else 1
        ty *= height if self.width_shift_range < 1 else 1
        zx, zy = (1, 1) if tuple(self.zoom_range) == (1, 1) else draws.uniform(*self.zoom_range, 2)
        flip = (draws.random_sample() < 0.5) * self.horizontal_flip
        draws.random_sample()  # Keras' vertical flip
        brightness = None if self.brightness_range is None else draws.uniform(*self.brightness_range)
        return dict(theta=theta, tx=tx, ty=ty, shear=shear, zx=zx, zy=zy, flip_horizontal=flip, brightness=brightness)

    def apply_transform(
        self, x: np.ndarray, *, theta=0.0, tx=0.0, ty=0.0, shear=0.0, zx=1.0, zy=1.0, flip_horizontal=False, brightness=None
    ) -> np.ndarray:
        """Transform an image (height, width, 3), uint8 or float32 in 0..255; the type is kept, but brightness gives float32.

        Theta and shear are degrees, tx and ty pixels along the width and the height; zx and zy are factors (below 1 enlarges),
        as is brightness.
        """
        if x.ndim != 3 or x.shape[2] != 3:
            raise ParameterError(f"an image of shape {x.shape}", expected="(height, width, 3); give one image at a time")
        if (theta, tx, ty, shear, zx, zy) != (0, 0, 0, 0, 1, 1):
            height, width = x.shape[:2]
            turn, slant = np.deg2rad(theta), np.deg2rad(shear)
            # Pixel centres have whole coordinates, in SciPy as in OpenCV, so the middle of three pixels is 1.
            matrix = np.array([[1, 0, (width - 1) / 2], [0, 1, (height - 1) / 2], [0, 0, 1]])
            matrix = matrix @ np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
            matrix = matrix @ np.array([[1, 0, tx], [0, 1, ty], [0, 0, 1]])
            matrix = matrix @ np.array([[1, -np.sin(slant), 0], [0, np.cos(slant), 0], [0, 0, 1]]) @ np.diag([zx, zy, 1.0])
            matrix = matrix @ np.array([[1, 0, -(width - 1) / 2], [0, 1, -(height - 1) / 2], [0, 0, 1]])
            # It maps a point (x, y, 1) of the result to the point of the image that it is sampled from.
            options = {"borderMode": FILL_MODES[self.fill_mode], "flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP}
            x = cv2.warpAffine(np.ascontiguousarray(x), matrix[:2], (width, height), **options)
        if flip_horizontal:
            x = x[:, ::-1]
        if brightness is None:
            return x
        levels = x.clip(0, 255).astype(np.uint8)  # OpenCV's float32 may end at 255.00002
        return np.asarray(ImageEnhance.Brightness(Image.fromarray(levels)).enhance(brightness), np.float32)

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Draw and do: `apply_transform` of what `get_random_transform` draws for this seed."""
        return self.apply_transform(x, **self.get_random_transform(x.shape, seed))
