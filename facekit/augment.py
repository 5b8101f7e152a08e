"""Random changes of pictures: the parameters of Keras' ImageDataGenerator, drawn by key and warped by OpenCV.

The trap this prevents: augmentation that hangs on the order of threads. Keras' class draws from numpy's global state,
so two workers give other pictures than one; here every draw comes from a seed, and `draw_seed` makes that seed of
(seed, epoch, row, copy). It also prevents a second, quiet one: Keras' warp turns pictures that are not square about a
point off their middle.
"""

import threading
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageEnhance
from scipy import ndimage

from facekit.errors import ParameterError

# SciPy's names, as Keras uses them, and OpenCV's. 'wrap' has none: SciPy's period is one pixel shorter than OpenCV's.
_BORDERS = {
    "nearest": cv2.BORDER_REPLICATE,  # a a a | a b c | c c c
    "reflect": cv2.BORDER_REFLECT,  # c b a | a b c | c b a
    "constant": cv2.BORDER_CONSTANT,
}
FILL_MODES = (*_BORDERS, "wrap")
# OpenCV 5 warps these exactly; other types and numbers of channels still go through its old steps of 1/32 pixel.
_EXACT_TYPES = ("uint8", "float32")
_EXACT_CHANNELS = (1, 3, 4)
# One generator a thread, seeded anew for every picture: making one costs fifty times as much as seeding it.
_DRAWS = threading.local()


def draw_seed(seed: int, epoch: int, row: int, copy: int = 0) -> int:
    """Make the seed of one picture's augmentation from what it is, not from when it is drawn.

    Args:
        seed: the run's seed, 0 or more.
        epoch: the epoch, from 0.
        row: the picture's row in the training table, from 0.
        copy: which copy of an oversampled picture, from 0.

    Returns:
        A whole number from 0 to 2**32 - 1.

    >>> draw_seed(0, 0, 0), draw_seed(0, 0, 1), draw_seed(0, 0, 0, copy=1)
    (2968811710, 3831201730, 3317235285)
    """
    return int(np.random.SeedSequence((seed, epoch, row, copy)).generate_state(1)[0])


class ImageDataGenerator:
    """The augmentation of `tf.keras.preprocessing.image.ImageDataGenerator`, without its global state and iterators.

    Same constructor, same draws for the same seed, same pictures where they are square: at most one grey level off
    for the fill modes nearest and reflect (up to two where brightness above 1 stretches that level), the same for
    constant but where the sampled point falls outside the picture, and SciPy's own result for wrap and for
    interpolation orders other than 1.

    What differs from Keras, and why:

    - Keras swaps height and width in the centre that it turns, shears and zooms about, so a picture of 218 x 178 pixels
      turned by 180 degrees also moves by 40 pixels each way. Here the centre is the picture's middle.
    - Keras' height_shift_range moves pictures sideways and width_shift_range moves them up and down. This is kept,
      since published figures stand on it; but a fraction is one of the side along which the picture moves, where Keras
      takes the other side. On square pictures the two are the same.
    - A call without a seed draws from fresh entropy, never from numpy's global state.
    - `standardize` leaves its input as it is, and turns whole numbers into `dtype` first.
    - samplewise_std_normalization switches samplewise_center on without a warning.

    Arguments that need fit() on the data (featurewise_center, featurewise_std_normalization, zca_whitening) and
    validation_split are refused, as are the iterators fit, flow, flow_from_directory and flow_from_dataframe.

    Args:
        samplewise_center: subtract each picture's own mean in `standardize`.
        samplewise_std_normalization: divide by each picture's own deviation in `standardize`.
        rotation_range: degrees; drawn from -rotation_range to rotation_range.
        width_shift_range, height_shift_range: a float below 1 is a fraction, from 1 pixels; a whole number n draws from
            0 to n - 1 pixels and a list from its values, each with a random sign.
        brightness_range: (low, high) factors; 1 leaves the picture as it is.
        shear_range: degrees.
        zoom_range: (low, high), or a number z for (1 - z, 1 + z); below 1 enlarges.
        channel_shift_range: grey levels, added to all channels alike, kept within the picture's own range.
        fill_mode: "nearest", "reflect", "constant" (with `cval`) or "wrap" for points outside the picture.
        horizontal_flip, vertical_flip: flip half of the pictures.
        rescale: a factor for `standardize`; None or 0 for none.
        preprocessing_function: called first in `standardize`, on the whole picture.
        data_format: "channels_last" or "channels_first".
        interpolation_order: 0 to 5; 1 is linear.
        dtype: the type that `standardize` gives.

    Raises:
        ParameterError: an argument is refused or has a wrong value.
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: Any = 0.0,
        height_shift_range: Any = 0.0,
        brightness_range: tuple[float, float] | None = None,
        shear_range: float = 0.0,
        zoom_range: float | tuple[float, float] = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        preprocessing_function: Any = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: str | None = None,
    ):
        fitted = "a keras.layers.Normalization layer adapted on the training rows, or samplewise_center=True"
        for name, value, instead in (
            ("featurewise_center", featurewise_center, fitted),
            ("featurewise_std_normalization", featurewise_std_normalization, fitted),
            ("zca_whitening", zca_whitening, "preprocessing_function, with a whitening fitted on the training rows"),
            ("validation_split", validation_split, "facekit.splits, which keeps equal pictures on one side"),
        ):
            if value:
                raise ParameterError(f"{name}={value!r} is not supported", mend=f"use {instead}")
        self.samplewise_center = samplewise_center or samplewise_std_normalization
        self.samplewise_std_normalization = samplewise_std_normalization
        self.rotation_range = rotation_range
        self.width_shift_range = _read_shift("width_shift_range", width_shift_range)
        self.height_shift_range = _read_shift("height_shift_range", height_shift_range)
        self.brightness_range = None if brightness_range is None else _read_pair("brightness_range", brightness_range)
        self.shear_range = shear_range
        single = isinstance(zoom_range, int | float)
        self.zoom_range = [1 - zoom_range, 1 + zoom_range] if single else _read_pair("zoom_range", zoom_range)
        self.channel_shift_range = channel_shift_range
        self.fill_mode = _check_choice("fill_mode", fill_mode, FILL_MODES)
        self.cval = cval
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.rescale = rescale
        self.preprocessing_function = preprocessing_function
        formats = ("channels_last", "channels_first")
        self.data_format = _check_choice("data_format", data_format or "channels_last", formats)
        self.interpolation_order = _check_choice("interpolation_order", interpolation_order, range(6))
        self.dtype = np.dtype(dtype or "float32").name

    def get_random_transform(self, img_shape: tuple[int, ...], seed: int | None = None) -> dict[str, Any]:
        """Draw what happens to one picture.

        Args:
            img_shape: the picture's shape, with channels where `data_format` has them.
            seed: 0 to 2**32 - 1, see `draw_seed`; None for fresh entropy.

        Returns:
            theta and shear (degrees), tx and ty (pixels along the width and the height), zx and zy (factors),
            flip_horizontal, flip_vertical, channel_shift_intensity (grey levels or None), brightness (factor or None).
        """
        height, width = img_shape[:2] if self.data_format == "channels_last" else img_shape[1:3]
        # RandomState is what stands behind np.random.seed; the order of the draws is Keras', flips included.
        draws = _start_draws(seed)
        theta = draws.uniform(-self.rotation_range, self.rotation_range) if self.rotation_range else 0
        tx = _draw_shift(draws, self.height_shift_range, width)
        ty = _draw_shift(draws, self.width_shift_range, height)
        shear = draws.uniform(-self.shear_range, self.shear_range) if self.shear_range else 0
        zx, zy = (1, 1) if tuple(self.zoom_range) == (1, 1) else draws.uniform(*self.zoom_range, 2)
        flip_horizontal = (draws.random_sample() < 0.5) * self.horizontal_flip
        flip_vertical = (draws.random_sample() < 0.5) * self.vertical_flip
        levels = self.channel_shift_range
        channel_shift = draws.uniform(-levels, levels) if levels != 0 else None
        brightness = None if self.brightness_range is None else draws.uniform(*self.brightness_range)
        return {
            "theta": theta,
            "tx": tx,
            "ty": ty,
            "shear": shear,
            "zx": zx,
            "zy": zy,
            "flip_horizontal": flip_horizontal,
            "flip_vertical": flip_vertical,
            "channel_shift_intensity": channel_shift,
            "brightness": brightness,
        }

    def apply_transform(self, x: np.ndarray, transform_parameters: dict[str, Any]) -> np.ndarray:
        """Do to a picture what `get_random_transform` drew.

        Args:
            x: one picture (height, width, channels), or channels first; grey levels 0 to 255.
            transform_parameters: any of the keys that `get_random_transform` returns.

        Returns:
            A picture of the same shape. The type is kept, but brightness gives float32.

        Raises:
            ParameterError: `x` has not three dimensions.
        """
        if x.ndim != 3:
            raise ParameterError(f"a picture of shape {x.shape}", expected="three dimensions; give one picture at a time")
        get = transform_parameters.get
        channels_first = self.data_format == "channels_first"
        x = np.moveaxis(x, 0, 2) if channels_first else x
        matrix = _build_matrix(*x.shape[:2], transform_parameters)
        if matrix is not None:
            x = self._warp(x, matrix)
        if get("channel_shift_intensity") is not None:
            x = np.clip(x + get("channel_shift_intensity"), x.min(), x.max())
        if get("flip_horizontal", False):
            x = x[:, ::-1]
        if get("flip_vertical", False):
            x = x[::-1]
        if get("brightness") is not None:
            x = _change_brightness(x, get("brightness"))
        return np.moveaxis(x, 2, 0) if channels_first else x

    def random_transform(self, x: np.ndarray, seed: int | None = None) -> np.ndarray:
        """Draw and do: `apply_transform` of what `get_random_transform` draws for this seed."""
        return self.apply_transform(x, self.get_random_transform(x.shape, seed))

    def standardize(self, x: np.ndarray) -> np.ndarray:
        """Apply preprocessing_function, rescale and the picture's own centre and deviation, in this order.

        Args:
            x: one picture, or a batch, which then counts as one (as in Keras).

        Returns:
            A new array; floats keep their type, whole numbers become `dtype`.
        """
        x = np.array(x, dtype=x.dtype if np.issubdtype(x.dtype, np.floating) else self.dtype)
        if self.preprocessing_function:
            x = self.preprocessing_function(x)
        if self.rescale:
            x = x * self.rescale
        if self.samplewise_center:
            x = x - np.mean(x, keepdims=True)
        if self.samplewise_std_normalization:
            x = x / (np.std(x, keepdims=True) + 1e-6)
        return x

    def _refuse(self, *_: Any, **__: Any) -> None:
        raise ParameterError(
            "fit() and flow() are not supported",
            mend="use facekit.batches, which keys every draw by (seed, epoch, row)",
        )

    fit = flow = flow_from_directory = flow_from_dataframe = _refuse

    def _warp(self, x: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        height, width, channels = x.shape
        border = _BORDERS.get(self.fill_mode)
        exact = x.dtype.name in _EXACT_TYPES and channels in _EXACT_CHANNELS
        if exact and border is not None and self.interpolation_order == 1:
            warped = cv2.warpAffine(
                np.ascontiguousarray(x),
                matrix[:2],
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=border,
                borderValue=(self.cval,) * 4,
            )
            return warped.reshape(x.shape)  # OpenCV drops a single channel
        rows_first = matrix[[1, 0, 2]][:, [1, 0, 2]]
        planes = [
            ndimage.affine_transform(
                x[..., channel],
                rows_first[:2, :2],
                rows_first[:2, 2],
                order=self.interpolation_order,
                mode=self.fill_mode,
                cval=self.cval,
            )
            for channel in range(channels)
        ]
        return np.stack(planes, axis=2)


def _read_shift(name: str, value: Any) -> Any:
    values = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    single = isinstance(values, int | float)
    if not single and not (isinstance(values, list | tuple) and all(isinstance(each, int | float) for each in values)):
        raise ParameterError(f"{name}={value!r}", expected="a number or a list of numbers")
    return values


def _read_pair(name: str, value: Any) -> list[float]:
    pair = list(value) if isinstance(value, list | tuple) else []
    if len(pair) != 2 or not all(isinstance(each, int | float) for each in pair):
        raise ParameterError(f"{name}={value!r}", expected="two numbers, (low, high)")
    return pair


def _check_choice(name: str, value: Any, choices: Any) -> Any:
    if value not in choices:
        raise ParameterError(f"{name}={value!r}", expected=f"one of {', '.join(map(str, choices))}")
    return value


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
    """Map a point (x, y, 1) of the result to the point of the picture that it is sampled from; None for no change."""
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
    # Keras stretches a picture that leaves 0 to 255. OpenCV's float32 may end at 255.00002, which is no such picture.
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
