"""Images per second of facekit's augmentation beside Keras' own class, on one thread.

Run it as `python benchmarks/augment.py --size 128`. Both classes get the same images, the same arguments and the
same seeds; the last column is the largest difference between their images, in grey levels, so that speed is not
bought with other images. With fill mode constant that column counts the border too, which the two blend in
different ways.
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# So that the command also runs in a checkout that was not installed.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cv2
import numpy as np

from facekit.data.augment import ImageDataGenerator

_AFFINE = dict(rotation_range=40, width_shift_range=0.3, height_shift_range=0.3, shear_range=0.3, zoom_range=0.3)
CASES = {
    "horizontal flip": dict(horizontal_flip=True),
    "affine, nearest": dict(_AFFINE, horizontal_flip=True),
    "affine, constant": dict(_AFFINE, horizontal_flip=True, fill_mode="constant"),
    "affine, brightness": dict(_AFFINE, horizontal_flip=True, brightness_range=(0.7, 1.0)),
}


def draw_images(count: int, size: int) -> np.ndarray:
    """Draw smooth random images: float32 (count, size, size, 3), whole grey levels, as both classes take them."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    return np.stack([cv2.resize(each, (size, size)) for each in coarse]).astype(np.float32)


def measure_generator(generator, images: np.ndarray, seconds: float) -> tuple[float, list[np.ndarray]]:
    """Return images per second of processor time, which other programs disturb least, and the first pass."""
    first = [generator.random_transform(image, seed=seed) for seed, image in enumerate(images)]
    done, start = 0, time.thread_time()
    while time.thread_time() - start < seconds:
        for seed, image in enumerate(images):
            generator.random_transform(image, seed=seed)
        done += len(images)
    return done / (time.thread_time() - start), first


def main() -> None:
    """Measure every case and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="side of the square images, in pixels")
    parser.add_argument("--images", type=int, default=64, help="different images")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each class and case")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    import tensorflow as tf

    images = draw_images(arguments.images, arguments.size)
    side = arguments.size
    print(f"{arguments.images} images of {side} x {side} pixels, float32, one thread, processor time\n")
    print(f"{'augmentation':<22} {'Keras / s':>10} {'facekit / s':>12} {'times':>6} {'largest difference':>19}")
    for name, parameters in CASES.items():
        theirs, expected = measure_generator(
            tf.keras.preprocessing.image.ImageDataGenerator(**parameters), images, arguments.seconds
        )
        ours, got = measure_generator(ImageDataGenerator(**parameters), images, arguments.seconds)
        worst = max(float(np.abs(a - b).max()) for a, b in zip(expected, got, strict=True))
        print(f"{name:<22} {theirs:>10,.0f} {ours:>12,.0f} {ours / theirs:>6.1f} {worst:>19.3f}")


if __name__ == "__main__":
    main()
