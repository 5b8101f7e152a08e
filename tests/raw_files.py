"""Tiny raw files in the published layouts, for the tests of readers and verification; the pictures are noise."""

from pathlib import Path

import cv2
import numpy as np

FACEHACK_ROWS = {
    "train.csv": [("NOT smile", 4), ("positive smile", 3), ("negative smile", 2)],
    "test.csv": [("NOT smile", 2), ("positive smile", 1), ("negative smile", 1)],
}


def write_picture(path: Path, *, seed: int) -> None:
    """Write a jpg of 12 x 16 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


def name_facehack(number: int) -> str:
    """Return a FaceHack id."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def write_facehack(root: Path) -> Path:
    """Write 9 rows of train.csv, 4 of test.csv and their 13 pictures; ids count from 1."""
    number = 0
    root.mkdir(parents=True, exist_ok=True)
    for file, classes in FACEHACK_ROWS.items():
        lines = []
        for label, count in classes:
            for _ in range(count):
                number += 1
                lines.append(f"{name_facehack(number)},{label}\n")
                write_picture(root / "happy_images" / f"{name_facehack(number)}.jpg", seed=number)
        (root / file).write_text("".join(lines))
    return root
