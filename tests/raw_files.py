"""Tiny raw files in the published layouts, for the tests of readers and verification; the images are noise."""

import zipfile
from pathlib import Path

import cv2
import numpy as np

from facekit.data.readers import selfie
from facekit.data.readers.celeba import ATTRIBUTES

FACEHACK_ROWS = {
    "train.csv": [("NOT smile", 4), ("positive smile", 3), ("negative smile", 2)],
    "test.csv": [("NOT smile", 2), ("positive smile", 1), ("negative smile", 1)],
}


def write_image(path: Path, *, seed: int) -> None:
    """Write a jpg of 12 x 16 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 12, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)


def name_facehack(number: int) -> str:
    """Return a FaceHack id."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def write_facehack(root: Path) -> Path:
    """Write 9 rows of train.csv, 4 of test.csv and their 13 images; ids count from 1."""
    number = 0
    root.mkdir(parents=True, exist_ok=True)
    for file, classes in FACEHACK_ROWS.items():
        lines = []
        for label, count in classes:
            for _ in range(count):
                number += 1
                lines.append(f"{name_facehack(number)},{label}\n")
                write_image(root / "happy_images" / f"{name_facehack(number)}.jpg", seed=number)
        (root / file).write_text("".join(lines))
    return root


def write_celeba(root: Path, form: str = "csv", *, identities: bool = True) -> Path:
    """Write four rows, each of another person, and three images, as the official text files, as csv, or as zipped csv.

    The partitions are 0, 1, 2, 0; in every row the first 20 attributes are absent and the others present.
    """
    rows = [(f"{number:06d}.jpg", ["-1"] * 20 + ["1"] * 20) for number in range(1, 5)]
    root.mkdir(parents=True)
    if form == "txt":
        lines = ["4", " ".join(ATTRIBUTES) + " ", *(f"{name}  {'  '.join(values)}" for name, values in rows)]
        (root / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
        (root / "list_eval_partition.txt").write_text("".join(f"{name} {n % 3}\n" for n, (name, _) in enumerate(rows)))
    else:
        lines = [",".join(["image_id", *ATTRIBUTES]), *(",".join([name, *values]) for name, values in rows)]
        tables = {"list_attr_celeba.csv": "\n".join(lines) + "\n"}
        partition = "".join(f"{name},{n % 3}\n" for n, (name, _) in enumerate(rows))
        tables["list_eval_partition.csv"] = "image_id,partition\n" + partition
        for name, text in tables.items():
            if form == "csv.zip":
                with zipfile.ZipFile(root / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                    archive.writestr(name, text)
            else:
                (root / name).write_text(text)
    if identities:
        (root / "identity_CelebA.txt").write_text("".join(f"{name} {n}\r\n" for n, (name, _) in enumerate(rows, start=1)))
    for number in (1, 2, 3):
        write_image(root / "img_align_celeba" / f"{number:06d}.jpg", seed=number)
    return root


def write_indian_actors(root: Path) -> Path:
    """Write six labelled rows (3 MIDDLE, 2 YOUNG, 1 OLD), three unlabelled ones and their nine images."""
    labelled = {377: "MIDDLE", 17814: "YOUNG", 21283: "MIDDLE", 16496: "YOUNG", 4487: "MIDDLE", 6283: "OLD"}
    unlabelled = (11939, 24520, 5129)
    root.mkdir(parents=True)
    (root / "train.csv").write_text("ID,Class\n" + "".join(f"{n}.jpg,{label}\n" for n, label in labelled.items()))
    (root / "test.csv").write_text("ID\n" + "".join(f"{n}.jpg\n" for n in unlabelled))
    for folder, numbers in (("Train", labelled), ("Test", unlabelled)):
        for number in numbers:
            write_image(root / folder / f"{number}.jpg", seed=number)
    return root


SELFIES = [  # name, popularity, the labels, what is uncertain
    (f"{1:032x}_5", "4.5", "is_female youth smiling", ""),
    ("10000001_200000000000001_300000001_a", "3.250", "", "is_female"),
    (f"{3:032x}_6", "5.125", "is_female youth senior", "smiling"),
    (f"{4:032x}_7", "2", "baby smiling", ""),
    (f"{5:032x}_7", "4.75", "youth dim_lighting", "teenager"),
    (f"{6:032x}_5", "6.875", "is_female middle_age smiling wearing_hat", ""),
]


def write_selfies(root: Path) -> Path:
    """Write SELFIES and their six images; row 2 has no age, row 3 has two."""
    root.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (name, popularity, labels, uncertain) in enumerate(SELFIES):
        values = dict.fromkeys(selfie.ATTRIBUTES, "-1") | dict.fromkeys(labels.split(), "1")
        values |= dict.fromkeys(uncertain.split(), "0")
        lines.append(" ".join([name, popularity, *values.values()]) + "\n")
        write_image(root / "images" / f"{name}.jpg", seed=number)
    (root / "selfie_dataset.txt").write_text("".join(lines))
    return root
