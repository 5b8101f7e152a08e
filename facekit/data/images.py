"""A file becomes uint8 RGB of one size, (height, width) in pixels, for training as for prediction, by Pillow and OpenCV."""

import contextlib
import ctypes
import io
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock
from PIL import Image, ImageChops, UnidentifiedImageError

from facekit.data import tables
from facekit.data.readers.image_files import take_apart, turn_upright
from facekit.errors import DataError, ImageError, ParameterError
from facekit.paths import build_key, cache_folder, read_cached, resolve
from facekit.progress import track

# Only what photos come in: Pillow also knows EPS, which starts Ghostscript, and formats that nobody looks after.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000")
MAXIMUM_PIXELS = 64_000_000  # a phone of 50 megapixels writes 8,160 x 6,144; decoded, 64 million pixels are 192 MB
MAXIMUM_BYTES = 512 * 2**20
LARGE = 8_000_000  # pixels from which images are decoded one at a time, and no larger than needed
OWN_PHOTOS = 100  # at most so many are read for section 10 of a notebook
DECODER_VERSION = 2  # part of a cache's name: raise it when the same file gives other pixels than before

# Pillow warns of large images, which are refused here, and of a TIFF's metadata, which decides about nothing.
warnings.filterwarnings("ignore", module="PIL")
# libtiff prints a line of its own for a damaged TIFF; Pillow, which raises an error besides, has no setting for it.
with contextlib.suppress(AttributeError, OSError):  # where libtiff cannot be reached so, as on Windows, it prints
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
_ONE_LARGE = ThreadPoolExecutor(1)  # a thread of its own, not a lock: each thread keeps some of the memory that it used


def read_image(path: str | os.PathLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read a file as uint8 RGB (height, width, 3), 0 to 255, upright, and of the asked size.

    Grey, palette and CMYK become RGB; transparent images are laid on white; 16-bit values keep their upper eight bits. Of an
    animation the first image is taken. Of what a file says about its image the orientation alone is read. A `size` of None is
    the image's own; its proportions are not kept.

    Missing data is noticed. Bytes that were overwritten are noticed in PNG, in JPEG unless they decode to as many bits as
    before, and not in the other formats; verify names JPEGs with a hole of zeros, and images that end in one colour.
    ImageError, which names the file: missing, not a regular file, empty, not an image, broken, truncated or too large.
    """
    return decode_image(read_bytes(path), path, size)


def read_bytes(path: str | os.PathLike) -> bytes:
    """Return what is in a regular file; any other kind is not opened, since a pipe or a device would never end."""
    try:
        if (size := os.path.getsize(path)) > MAXIMUM_BYTES:
            raise ImageError(f"{path} has {size:,} bytes", expected=f"at most {MAXIMUM_BYTES:,}")
        if not os.path.isfile(path):
            raise ImageError(f"{path} is not a regular file", expected="an image")
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ImageError(f"{path}: {getattr(error, 'strerror', None) or error}", expected="an image") from error


def decode_image(content: bytes, name: str | os.PathLike, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode a file's bytes as `read_image` does; `name` is for the errors."""
    size = None if size is None else _check_size(size)
    if not content:
        raise ImageError(f"{name} is empty (0 bytes)", expected="an image", hint="fetch the file again")
    try:
        clean, padded, exif = take_apart(content)
        with Image.open(io.BytesIO(clean), formats=FORMATS) as image:
            if (pixels := image.width * image.height) > MAXIMUM_PIXELS:
                received = f"{name} announces {image.width} x {image.height} pixels"
                raise ImageError(received, expected=f"at most {MAXIMUM_PIXELS:,}", hint="make it smaller")
            given = (name, image, padded, exif or image.info.get("exif", b""), size)
            return _ONE_LARGE.submit(_convert, *given).result() if pixels > LARGE else _convert(*given)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # Pillow's own limit, a little above
        raise ImageError(f"{name}: {error}", expected=f"at most {MAXIMUM_PIXELS:,} pixels", hint="make it smaller") from error
    except Exception as error:  # on broken files Pillow raises OSError, SyntaxError, struct.error and more
        start = f"{len(content):,} bytes, starts with {content[:16]!r}"
        if isinstance(error, UnidentifiedImageError):
            received = f"{name} is no image that can be read, or its header is damaged ({start})"
            hint = "save it as JPEG, or fetch the file again"
            raise ImageError(received, expected=f"one of {', '.join(FORMATS)}", hint=hint) from error
        raise ImageError(f"{name} is broken or truncated ({start}): {error}", hint="fetch the file again") from error


def list_images(folder: str | os.PathLike) -> list[str]:
    """Return the names of images in a folder, sorted, those that can't be read, such as HEIC, among them; ImageError: none."""
    names = sorted(filter(tables.is_image, sum(tables.list_files(folder), [])))
    if not names:
        raise ImageError(f"{folder}: no image", expected=f"files that end in {', '.join(tables.IMAGE_SUFFIXES)}")
    return names


def read_own_photos(folder: str, size: tuple[int, int]) -> np.ndarray:
    """Read the first OWN_PHOTOS of a folder, uint8 (n, height, width, 3); one that can't be read is named and left out.

    The folder is relative to the project's root, empty for the synthetic selfies. DataError: no image that can be read there.
    """
    root = resolve(folder or ".facekit/data/sample/selfie/images")
    if not folder and not root.is_dir():
        raise DataError(f"{root}: no such folder", hint="run `make sample`")
    images = []
    for name in list_images(root)[:OWN_PHOTOS]:
        try:
            images.append(read_image(root / name, size))
        except ImageError as error:
            print(f"left out: {error}")
    if not images:
        raise ImageError(f"{root}: no image that can be read")
    return np.stack(images)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize an image to (height, width): the mean over areas where a side shrinks, linear where it grows.

    Linear interpolation alone skips pixels when it shrinks an image, areas alone make blocks when it grows.
    """
    height, width = _check_size(size)
    smaller = (min(height, image.shape[0]), min(width, image.shape[1]))
    if smaller != image.shape[:2]:
        image = cv2.resize(image, smaller[::-1], interpolation=cv2.INTER_AREA)
    if smaller != (height, width):
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    return image


def read_images(root: str | os.PathLike, paths: Sequence[str], size: tuple[int, int]) -> np.ndarray:
    """Read many images into one array, in the order of `paths` below `root`: uint8 (n, height, width, 3), read-only.

    They are decoded once, into a file of the cache that is mapped, not loaded; another size or a changed image makes another,
    and one that is damaged is made again. DataError: a file that `read_image` refuses, or no space is left for the cache.
    """
    root, shape = Path(root), (len(paths), *_check_size(size), 3)
    if not shape[0]:  # an array without elements cannot be mapped
        return np.empty(shape, np.uint8)
    key = build_key(version=DECODER_VERSION, root=str(root.resolve()), shape=shape, files=read_states(root, paths))
    file = cache_folder("images") / f"{shape[1]}x{shape[2]}-{key}.npy"

    def open_cache(path: Path) -> np.ndarray:  # ValueError: its length or its header is wrong
        return np.lib.format.open_memmap(path, mode="r").reshape(shape)

    with FileLock(file.with_suffix(".lock")):
        if read_cached(file, open_cache) is None:
            unfinished = file.with_suffix(".unfinished")  # one name under the lock: what a killed run left is written over
            try:
                with unfinished.open("wb") as stream:
                    if hasattr(os, "posix_fallocate"):  # a full disk is told before minutes are spent
                        os.posix_fallocate(stream.fileno(), 0, math.prod(shape))
                    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
                    for image in map_threads(lambda path: read_image(root / path, shape[1:3]), paths, "reading images"):
                        stream.write(image)
                unfinished.replace(file)
            except OSError as error:
                received = f"{file.parent}: {error.strerror}, needs {math.ceil(math.prod(shape) / 1e6):,} MB"
                raise DataError(received, hint="free some, or name another folder in FACEKIT_CACHE") from error
            finally:
                unfinished.unlink(missing_ok=True)
    return open_cache(file)


def map_threads(function: Callable, paths: Sequence[str], name: str, workers: int = 2) -> Iterator:
    """Yield what a function returns, or raises, for each path; a thousand wait for a thread at a time, as each takes 2 KB."""
    parts = (list(paths[start : start + 1000]) for start in range(0, len(paths), 1000))
    with ThreadPoolExecutor(workers) as pool:
        yield from track((result for part in parts for result in pool.map(function, part)), name, len(paths))


def read_states(root: Path, paths: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return path, size in bytes and time of change of each file: where these are equal, so is the image."""
    try:
        return [(str(path), (state := os.stat(Path(root, path))).st_size, state.st_mtime_ns) for path in paths]
    except OSError as error:
        raise ImageError(f"{error.filename}: {error.strerror}", expected="an image") from error


def _check_size(size: tuple[int, int]) -> tuple[int, int]:
    if np.shape(size) != (2,) or any(not isinstance(side, int | np.integer) or side < 1 for side in size):
        raise ParameterError(f"size {size!r}", expected="(height, width), two whole numbers from 1")
    return int(size[0]), int(size[1])


def _convert(name, image: Image.Image, padded: bytes, exif: bytes, size: tuple[int, int] | None) -> np.ndarray:
    draft = (2 * max(size),) * 2 if size and image.width * image.height > LARGE else None
    factor = min(image.size) // draft[0] if draft else 1
    image.draft(None, draft)
    image.load()
    if padded:
        with Image.open(io.BytesIO(padded), formats=FORMATS) as other:
            other.draft(None, draft)
            if ImageChops.difference(image, other).getbbox():
                raise ValueError("data is missing in it")
    if factor > 1 and image.format != "JPEG" and image.mode in ("L", "RGB", "RGBA"):
        image = image.reduce(factor)
    image = turn_upright(image, exif)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        image = Image.fromarray((np.asarray(image).astype(np.int32) >> 8).clip(0, 255).astype(np.uint8))
    elif image.mode in ("I", "F"):
        received = f"{name} holds 32-bit values, whose range is unknown"
        raise ImageError(received, expected="8 or 16 bits", hint="save it as 8-bit PNG or JPEG")
    elif image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    pixels = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    pixels = pixels if size is None else resize_image(pixels, size)
    return pixels if pixels.flags.writeable else pixels.copy()
