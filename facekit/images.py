"""A file becomes uint8 RGB of the asked size: one path for training, validation and prediction.

The trap this prevents: two ways of reading a picture. Where training resizes with one library and prediction with
another, or one of them forgets the camera's orientation, the test figure is wrong and nothing says so. A truncated
file is refused here (OpenCV's imread fills the missing part with grey, silently), and a header that announces more
pixels than fit in memory is refused before anything is decoded. Pillow decodes, OpenCV resizes.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from PIL import Image, ImageOps, UnidentifiedImageError

from facekit.errors import ParameterError, PictureError

# Only what photographs come in: Pillow also knows EPS, which starts Ghostscript, and formats that nobody looks after.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm")
# A telephone of 50 megapixels writes 8,160 x 6,144; decoded, 64 million pixels are 192 MB.
MAXIMUM_PIXELS = 64_000_000
# Part of a cache's name: raise it when the same file gives other pixels than before.
DECODER_VERSION = 1

_ORIENTATION = 0x0112


def read_picture(path: str | os.PathLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a file as uint8 RGB, upright, and of the asked size.

    Grey, palette and CMYK become RGB; transparent pictures are laid on white; 16-bit values keep their upper eight
    bits. Of an animation the first picture is taken. The shape is not kept when `size` asks for another.

    Args:
        path: the file.
        size: (height, width) in pixels, or None for the picture's own.

    Returns:
        uint8 array (height, width, 3), 0 to 255.

    Raises:
        PictureError: the file is missing, empty, no picture, broken, truncated or too large; the message names the
            file and what it starts with.
        ParameterError: `size` is not two positive whole numbers.
    """
    if size is not None:
        _check_size(size)
    path = Path(path)
    if not path.is_file():
        raise PictureError(f"{path}: there is no such file", expected="a picture")
    with path.open("rb") as stream:
        start = stream.read(16)
        stream.seek(0)
        if not start:
            raise PictureError(f"{path} is empty (0 bytes)", expected="a picture", mend="fetch the file again")
        try:
            with Image.open(stream, formats=FORMATS) as image:
                _check_pixels(path, image)
                picture = _convert_to_rgb(path, image)
        except PictureError:
            raise
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise PictureError(f"{path}: {error}", expected=f"at most {MAXIMUM_PIXELS:,} pixels") from error
        except UnidentifiedImageError as error:
            raise PictureError(
                f"{path} is no picture that can be read: it starts with {start!r}",
                expected=f"one of {', '.join(FORMATS)}",
            ) from error
        except Exception as error:  # on broken files Pillow raises OSError, SyntaxError, struct.error and more
            raise PictureError(
                f"{path} is broken or truncated ({path.stat().st_size:,} bytes, starts with {start!r}): {error}",
                mend="fetch the file again",
            ) from error
    return picture if size is None else resize_picture(picture, size)


def list_pictures(folder: str | os.PathLike) -> list[str]:
    """Return the names of the picture files in a folder, sorted; other files are passed over.

    Args:
        folder: is not searched deeper.

    Raises:
        PictureError: no such folder, or no picture in it.
    """
    folder = Path(folder)
    names = sorted(path.name for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    if not names:
        raise PictureError(f"{folder}: no picture", expected=f"files that end in {', '.join(SUFFIXES)}")
    return names


def resize_picture(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a picture: the mean over areas where a side shrinks, linear where it grows.

    Linear interpolation alone skips pixels when it shrinks a picture, and small faces flicker; areas alone make
    blocks when it grows. Where one side shrinks and the other grows, each gets its own.

    Args:
        picture: uint8 array (height, width, 3).
        size: (height, width) in pixels.

    Returns:
        uint8 array (size[0], size[1], 3); `picture` itself where the size is already right.

    Raises:
        ParameterError: `size` is not two positive whole numbers.

    >>> resize_picture(np.array([[[0] * 3, [100] * 3]], np.uint8), (1, 1)).tolist()
    [[[50, 50, 50]]]
    """
    height, width = _check_size(size)
    smaller = (min(height, picture.shape[0]), min(width, picture.shape[1]))
    if smaller != picture.shape[:2]:
        picture = cv2.resize(picture, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    return picture


def read_pictures(
    root: str | os.PathLike,
    paths: Sequence[str],
    size: tuple[int, int],
    workers: int = 2,
    cache: str | os.PathLike | None = None,
) -> np.ndarray:
    """Read many pictures into one array, in the order of `paths`, whatever the number of workers.

    With a cache they are decoded once: the array is a file that is mapped, not loaded, and that is named by the list of
    files, their sizes and times of change, and the asked size. A changed file therefore makes a new one.

    Args:
        root: the folder that `paths` are relative to.
        paths: relative paths, n of them.
        size: (height, width) in pixels.
        workers: threads that decode.
        cache: a folder for decoded pictures, or None to keep them in memory: n * height * width * 3 bytes.

    Returns:
        uint8 array (n, height, width, 3); with a cache it is read-only.

    Raises:
        PictureError: as `read_picture`, for the first such file.
        ParameterError: `size` is not two positive whole numbers.
    """
    root, paths = Path(root), [str(path) for path in paths]
    height, width = _check_size(size)
    shape = (len(paths), height, width, 3)
    if cache is None or not paths:  # an array without elements cannot be mapped
        pictures = np.empty(shape, np.uint8)
        _fill(pictures, root, paths, workers)
        return pictures
    folder = Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"pictures-{height}x{width}-{_digest_files(root, paths, size)}.npy"
    with FileLock(file.with_suffix(".lock")):
        if not file.exists():
            # One fixed name under the lock: what a killed run left is written over instead of being left behind.
            unfinished = file.with_suffix(".unfinished")
            pictures = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
            try:
                _fill(pictures, root, paths, workers)
                pictures.flush()
            except BaseException:
                unfinished.unlink()
                raise
            del pictures
            os.replace(unfinished, file)
    return np.load(file, mmap_mode="r")


def _fill(pictures: np.ndarray, root: Path, paths: list[str], workers: int) -> None:
    def read_into(row: int) -> None:
        pictures[row] = read_picture(root / paths[row], pictures.shape[1:3])

    with ThreadPoolExecutor(max(1, workers)) as pool:
        for _ in pool.map(read_into, range(len(paths))):  # the loop raises what a worker raised
            pass


def _digest_files(root: Path, paths: list[str], size: tuple[int, int]) -> str:
    files = []
    for path in paths:
        try:
            state = (root / path).stat()
        except OSError as error:
            raise PictureError(f"{root / path}: there is no such file", expected="a picture") from error
        files.append((path, state.st_size, state.st_mtime_ns))
    text = json.dumps([DECODER_VERSION, str(root.resolve()), [int(side) for side in size], files])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    sides = tuple(size) if isinstance(size, list | tuple | np.ndarray) else ()
    if len(sides) != 2 or any(not isinstance(side, int | np.integer) or side < 1 for side in sides):
        raise ParameterError(f"size {size!r}", expected="(height, width), two whole numbers from 1")
    return int(sides[0]), int(sides[1])


def _check_pixels(path: Path, image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAXIMUM_PIXELS:
        raise PictureError(
            f"{path} announces {width} x {height} pixels",
            expected=f"at most {MAXIMUM_PIXELS:,}",
            mend="make it smaller",
        )


def _convert_to_rgb(path: Path, image: Image.Image) -> np.ndarray:
    image.load()  # before the orientation: PNG may hold its EXIF block behind the pixels
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        upper = (np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(upper[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise PictureError(
            f"{path} holds 32-bit values, whose range is unknown",
            expected="8 or 16 bits",
            mend="save it as 8-bit PNG or JPEG",
        )
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.array(image.convert("RGB"))
