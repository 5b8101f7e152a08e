"""Damaged files through every reader: each must give a result or one of facekit's errors, and none may hang.

    .venv/bin/python benchmarks/fuzz.py [--images 10000] [--tables 10000] [--others 5000] [--seed 0]

Prints a count of results, of errors and of everything else, which has to be 0; what is found is kept in .facekit/fuzz.
"""

import argparse
import io
import json
import os
import random
import shutil
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from PIL import Image

from facekit.data import manifests, tables, verify
from facekit.data.images import read_image
from facekit.data.readers.popularity import read_truth
from facekit.errors import FacekitError
from facekit.paths import cache_folder, project_root
from facekit.synthetic.layouts import write_sample

SECONDS = 10  # more than that for one small file is a hang
WORDS = (
    b"\0",
    b"\xff",
    b"\xff\xd9",
    b"\n",
    b",",
    b'"',
    b"nan",
    b"inf",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"\xef\xbb\xbf",
    b"PK\x03\x04",
)


def damage(content: bytes, draws: random.Random) -> bytes:
    """Return the content with one to four kinds of damage."""
    for _ in range(draws.randint(1, 4)):
        place, length = draws.randrange(len(content) + 1), draws.choice((1, 1, 2, 8, 64, 512))
        kind = draws.randrange(8)
        if kind == 0:
            content = content[:place]
        elif kind == 1:
            content = content[:place] + content[place + length :]
        elif kind == 2:
            content = content[:place] + draws.randbytes(length) + content[place + length :]
        elif kind == 3:
            content = content[:place] + bytes(length) + content[place + length :]
        elif kind == 4:
            content = content[:place] + draws.choice(WORDS) + content[place:]
        elif kind == 5:
            content = content[:place] + content[max(0, place - length) :]
        elif kind == 6 and content:
            place = min(place, len(content) - 1)
            content = content[:place] + bytes([content[place] ^ 1 << draws.randrange(8)]) + content[place + 1 :]
        elif lines := content.split(b"\n"):
            draws.shuffle(lines) if draws.random() < 0.2 else lines.insert(draws.randrange(len(lines)), draws.choice(lines))
            content = b"\n".join(lines)
    return content


def make_images() -> list[bytes]:
    """Return small images in every format, mode and way of writing that photos come in."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 3), np.uint8)
    pixels[8:24, 8:24] = 128
    image, made = Image.fromarray(pixels), []
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    variants = [
        ("JPEG", "RGB", {"exif": exif}),
        ("JPEG", "RGB", {"progressive": True, "subsampling": 2}),
        ("JPEG", "L", {}),
        ("JPEG", "CMYK", {}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("BMP", "RGB", {}),
        ("GIF", "P", {}),
        ("WEBP", "RGB", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("TIFF", "RGB", {}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("PPM", "RGB", {}),
        ("DIB", "RGB", {}),
        ("AVIF", "RGBA", {}),
        ("JPEG2000", "RGB", {}),
    ]
    for kind, mode, options in variants:
        image.convert(mode).save(file := io.BytesIO(), kind, **options)
        made.append(file.getvalue())
    return made


def read_changed_image(content: bytes, folder: Path) -> None:
    """Read an image as training and prediction do."""
    (path := folder / "image.jpg").write_bytes(content)
    for size in (None, (24, 24)):
        image = read_image(path, size)
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and (size is None or image.shape[:2] == size)


class Tables:
    """A small sample of each dataset, of which one table at a time is damaged."""

    def __init__(self, folder: Path):
        self.cases = []
        for name in [name for name in manifests.list_manifests() if name != "weights"]:
            root = write_sample(name, folder / name, count=40)
            files = [form.path for table in manifests.read_manifest(name).tables.values() for form in table.forms]
            self.cases += [(name, root, root / file, (root / file).read_bytes()) for file in files if (root / file).is_file()]
            self.cases.append((name, root, root / "facekit.json", (root / "facekit.json").read_bytes()))

    def read(self, number: int, draws: random.Random) -> None:
        name, root, path, content = draws.choice(self.cases)
        path.write_bytes(damage(content, draws))
        try:
            read_truth(root) if name == "selfie" and path.name == "facekit.json" else None
            dataset = tables.read_dataset(name, root)
            assert set(dataset.table["split"]) <= {"", "train", "validation", "test"}
            if number % 40 == 0:  # it decodes every image
                verify.verify_dataset(name, root)
        finally:
            path.write_bytes(content)


def list_others(folder: Path) -> list[tuple[str, bytes, Callable[[Path], object]]]:
    """Return files of facekit's own kinds: name, content, and what reads them."""
    from facekit.models import backbones, saved, weight_files
    from facekit.reporting import claims, parameters, site

    root = project_root()
    report, weights = root / "reports" / "sample" / "smile", root / "facekit" / "models" / "mobilenet_0.25_synthetic.weights.h5"
    card = {"dataset": "selfie", "kind": "synthetic", "models": {"model": {"file": "model.keras", "sha256": "0" * 64}}}
    layers = backbones.build("MobileNet", (32, 32), alpha=0.25).layers
    place = folder / "root"
    for name in ("data_manifests", "notebooks"):
        shutil.copytree(root / name, place / name, dirs_exist_ok=True)

    def read_within(path: Path, target: str, read: Callable[[], object]) -> None:
        before = (place / target).read_bytes() if (place / target).exists() else b""
        (place / target).parent.mkdir(parents=True, exist_ok=True)
        (place / target).write_bytes(path.read_bytes())
        with (
            mock.patch.object(manifests, "project_root", lambda: place),
            mock.patch.object(parameters, "project_root", lambda: place),
        ):
            try:
                read()
            finally:
                (place / target).write_bytes(before)

    def read_page(path: Path) -> None:
        shutil.copy(report / "metrics.json", place / "sample" / "smile") if (place / "sample" / "smile").is_dir() else None
        read_within(path, "sample/smile/smile.ipynb", lambda: site.build_site(place))

    def read_parameters(path: Path) -> None:
        read_within(path, "notebooks/smile.ipynb", lambda: parameters.merge("smile", "sample", {"data": str(root)}))

    def read_profile(path: Path) -> None:
        read_within(path, "notebooks/parameters/smile.yaml", lambda: parameters.read_profile("smile", "laptop"))

    def read_manifest(path: Path) -> None:
        read_within(path, "data_manifests/celeba.yaml", lambda: manifests.read_manifest("celeba"))

    def read_card(path: Path) -> None:
        read_within(path, "run/model/card.json", lambda: saved.Predictor(place / "run"))

    return [
        ("metrics.json", (report / "metrics.json").read_bytes(), claims.read_record),
        ("smile.ipynb", (report / "smile.ipynb").read_bytes(), read_page),
        ("source.ipynb", (root / "notebooks" / "smile.ipynb").read_bytes(), read_parameters),
        ("published.yaml", (root / "reports" / "published.yaml").read_bytes()[:20_000], claims.read_register.__wrapped__),
        ("profile.yaml", (root / "notebooks" / "parameters" / "smile.yaml").read_bytes(), read_profile),
        ("manifest.yaml", (root / "data_manifests" / "celeba.yaml").read_bytes(), read_manifest),
        ("card.json", json.dumps(card).encode(), read_card),
        ("weights.h5", weights.read_bytes(), lambda path: weight_files.read_weights(path, layers)),
        ("weights.pth", weights.read_bytes()[:4000], weight_files.read_torch_file),
    ]


def count(name: str, number: int, step: Callable[[int], object], found: Path) -> Counter:
    """Take a step so many times, and return how often it ended in which way."""
    results, begun = Counter(), time.monotonic()
    for turn in range(number):
        started = time.monotonic()
        try:
            step(turn)
            outcome = "result"
        except FacekitError as error:
            outcome = "error" if "\n" not in str(error) else "error of two lines"
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            outcome = f"other: {type(error).__name__}: {str(error)[:90]} ({Path(place.filename).name} {place.lineno})"
        if time.monotonic() - started > SECONDS:
            outcome = "other: took too long"
        if outcome.startswith(("other", "error of")):
            print(f"{name} {turn}: {outcome}", flush=True)
            with open(found / "found.txt", "a", encoding="utf-8") as file:
                file.write(f"{name} {turn}: {outcome}\n")
        results[outcome.split(":")[0]] += 1
    print(f"{name}: {dict(results)}, {time.monotonic() - begun:.0f} s", flush=True)
    return results


def main() -> int:
    """Run all, and return 1 where something else than a result or an error was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("images", 10_000), ("tables", 10_000), ("others", 5_000), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options, folder = parser.parse_args(), cache_folder("fuzz")
    warnings.simplefilter("ignore")
    pictures = make_images()

    def draw(turn: int) -> random.Random:
        return random.Random(f"{options.seed} {turn}")

    def step_image(turn: int) -> None:
        draws = draw(turn)
        read_changed_image(damage(draws.choice(pictures), draws), folder)

    total = count("images", options.images, step_image, folder)
    if options.tables:
        tried = Tables(folder)
        total += count("tables", options.tables, lambda turn: tried.read(turn, draw(turn)), folder)
    if options.others:
        others = list_others(folder)

        def step_other(turn: int) -> None:
            draws = draw(turn)
            name, content, read = draws.choice(others)
            (path := folder / name).write_bytes(damage(content, draws))
            read(path)

        total += count("others", options.others, step_other, folder)
    return int(any(outcome not in ("result", "error") for outcome in total))


if __name__ == "__main__":
    sys.exit(main())
