"""Synthetic datasets on disk, each in its own published layout, with its quirks.

Readers tested on tidy files alone would fail on real ones: FaceHack's tables have no header, ids without ending and lines that
end in CRLF; selfies come space-separated with -1, 0 and 1; actors' images repeat byte for byte, once under two classes.
"""

import hashlib
import json
import os
import shutil
import signal
import threading
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2
import numpy as np

from facekit.data.readers.celeba import ATTRIBUTES
from facekit.errors import DataError, ParameterError
from facekit.paths import cache_folder, expand, read_json
from facekit.progress import track
from facekit.synthetic import people
from facekit.synthetic.faces import write_face
from facekit.synthetic.folders import LARGEST_SEED, MARKER, check_range, write_folder
from facekit.synthetic.populations import (
    AGE_NOISE_YEARS,
    POPULARITY_BASE,
    POPULARITY_EFFECTS,
    POPULARITY_INDEPENDENT,
    POPULARITY_NOISE,
    SMILE_LABEL_NOISE,
    describe_face,
    rate_popularity,
)
from facekit.synthetic.traits import Face

# Images in each: tests of 400 and more, and many people, so that an interval over people is narrow.
SAMPLE_COUNTS = {"facehack": 1640, "selfie": 2400, "celeba": 2400, "indian_actors": 2640}
WORKERS = 2
_FEWEST_FOR_WORKERS = 200  # fewer are drawn sooner than two processes start
_SMALLEST = 40
# About the size at which the experiments use them, since drawing more pixels takes longer.
_SIZES = {"facehack": "96 to 120 pixels", "selfie": "128x128", "celeba": "89x109", "indian_actors": "24 to 150 pixels"}
# Published counts, whose proportions the samples keep.
_FACEHACK = {"train": (3356, 988, 487), "test": (1128, 340, 143)}
_ACTORS = {"YOUNG": 6706, "MIDDLE": 10804, "OLD": 2396}
# Proportions of our own: more than the published 10 % for CelebA's test, fewer than 25 % without a label for the actors.
_CELEBA_PARTITIONS = (4, 1, 1)
_ACTORS_UNLABELLED = 1 / 11
# Not the drawing, though in this folder.
_OTHER_SOURCES = ("pretrain.py", "semi_synthetic.py")

Job = tuple[str, Face, int, int]


def write_sample(name: str, root: str | os.PathLike | None = None, *, count: int | None = None, seed: int = 0) -> Path:
    """Draw one dataset's sample and write it in that dataset's own layout, unless it is there and whole.

    Args:
        name: one of SAMPLE_COUNTS.
        root: the folder to make; None: `.facekit/data/sample/NAME`, or NAME-SEED for another seed than 0.
        count: number of images, 40 to 1,000,000; None: SAMPLE_COUNTS.
        seed: 0 to LARGEST_SEED; same seed, same bytes on the same machine.

    Returns:
        The folder.

    Raises:
        ParameterError: for an unknown name, or a count or seed out of its range.
        DataError: the folder holds something that is not synthetic, or can't be written.
    """
    if name not in _WRITERS:
        raise ParameterError(f"no sample is known for dataset '{name}'", expected=f"one of {', '.join(SAMPLE_COUNTS)}")
    count = SAMPLE_COUNTS[name] if count is None else int(count)
    check_range("count", count, _SMALLEST, 1_000_000)
    check_range("seed", seed, 0, LARGEST_SEED)
    folder = cache_folder("data", "sample") / (name if seed == 0 else f"{name}-{seed}") if root is None else Path(root)
    folder = expand(folder).absolute()
    marker = {"kind": "synthetic", "dataset": name, "seed": int(seed), "count": count, "drawing": digest_drawing()}
    if name == "selfie":
        effects = {"base": POPULARITY_BASE, "weights": POPULARITY_EFFECTS, "interactions": [], "noise": POPULARITY_NOISE}
        marker["popularity"] = {**effects, "drawn": list(POPULARITY_INDEPENDENT)}

    def write(hidden: Path) -> None:
        _WRITERS[name](hidden, count, seed)
        text = f"{count:,} synthetic faces in the layout of dataset {name}, drawn by facekit (seed {seed}), {_SIZES[name]}. "
        (hidden / "README.md").write_text(text + "No person is shown, and nothing measured here is about people.\n")
        (hidden / MARKER).write_text(json.dumps(marker | {"files": _count_files(hidden)}, indent=1) + "\n")

    write_folder(folder, write, lambda target: _is_whole(target, marker))
    return folder


def digest_drawing() -> str:
    """Return a short digest of the drawing's own source, so that a sample drawn by older code is seen to be stale."""
    sources = (path for path in sorted(Path(__file__).parent.glob("*.py")) if path.name not in _OTHER_SOURCES)
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _is_whole(root: Path, marker: dict) -> bool:
    """Tell whether a folder holds just this sample with all its files; refuse one that is not synthetic."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        found = read_json(root / MARKER)
    except DataError:
        found = None
    if not isinstance(found, dict) or found.get("kind") != "synthetic":
        raise DataError(
            f"{root} exists and is not a folder of synthetic faces",
            expected=f"an empty or missing folder, or one whose {MARKER} says synthetic",
            hint="choose another folder",
        )
    files = found.pop("files", 0)
    return found == marker and 0 < files < _count_files(root)  # the marker itself was not counted


def _count_files(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _write_images(jobs: list[Job]) -> None:
    """Draw and write; an image depends on its own record alone, so the number of processes changes nothing."""
    if len(jobs) < _FEWEST_FOR_WORKERS:
        for job in jobs:
            write_face(*job)
        return
    # Spawned, since a fork of a process with threads, such as one with TensorFlow, may hang.
    with ProcessPoolExecutor(WORKERS, get_context("spawn"), initializer=_start_worker) as pool:
        for _ in track(pool.map(write_face, *zip(*jobs, strict=True), chunksize=25), "drawing faces", len(jobs)):
            pass


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cv2.setNumThreads(1)


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)  # a killed parent can't end its workers


def _share_out(total: int, weights: Iterable[float]) -> list[int]:
    """Return whole numbers with the given sum in the given proportions (largest remainders)."""
    exact = np.array(list(weights), float)
    exact = total * exact / exact.sum()
    whole = np.floor(exact).astype(int)
    for index in np.argsort(whole - exact, kind="stable")[: total - whole.sum()]:
        whole[index] += 1
    return whole.tolist()


def _write_lines(path: Path, lines: Iterable[str], end: str = "\n") -> None:
    path.write_bytes("".join(line + end for line in lines).encode("utf-8"))


def _write_facehack(root: Path, count: int, seed: int) -> None:
    random = np.random.default_rng((seed, 101))
    images = root / "happy_images"
    images.mkdir()
    totals = dict(zip(_FACEHACK, _share_out(count, map(sum, _FACEHACK.values())), strict=True))
    quotas = {split: _share_out(totals[split], _FACEHACK[split]) for split in totals}
    persons = [people.draw_webcam_person(random) for _ in range(max(6, count // 12))]
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    jobs: list[Job] = []
    for index, label in enumerate(people.SMILE_LABELS):
        frames = _film_frames(random, persons, label, quotas["train"][index] + quotas["test"][index])
        order = random.permutation(len(frames))
        for position, frame in enumerate(order):
            split = "train" if position < quotas["train"][index] else "test"
            name = str(uuid.UUID(bytes=random.bytes(16), version=4))
            side = int(random.integers(96, 121))
            jobs.append((str(images / f"{name}.jpg"), frames[frame], side, side))
            rows[split].append((name, label))
    _write_images(jobs)
    # As in the original: one group of four identical images, all in train, all NOT smile.
    first, *others = [name for name, label in rows["train"] if label == "NOT smile"][:4]
    for other in others:
        shutil.copyfile(images / f"{first}.jpg", images / f"{other}.jpg")
    for split, entries in rows.items():
        shuffled = (entries[index] for index in random.permutation(len(entries)))
        _write_lines(root / f"{split}.csv", (f"{name},{label}" for name, label in shuffled), "\r\n")


def _film_frames(random: np.random.Generator, persons: list[Face], label: str, count: int) -> list[Face]:
    """Frames for one label: some follow each other within a fraction of a second and are nearly the same."""
    frames: list[Face] = []
    while len(frames) < count:
        shown = label
        if random.random() < SMILE_LABEL_NOISE:
            shown = str(random.choice([other for other in people.SMILE_LABELS if other != label]))
        frame = people.film_webcam(random, persons[int(random.integers(len(persons)))], shown)
        frames.append(frame)
        while random.random() < 0.03:
            frame = replace(frame, shift_x=frame.shift_x + float(random.normal(0, 0.002)), noise=frame.noise * 1.01)
            frames.append(frame)
    return frames[:count]


def _write_selfies(root: Path, count: int, seed: int) -> None:
    (root / "images").mkdir()
    rows, jobs = [], []
    for index in range(count):
        random = np.random.default_rng((seed, 102, index))
        face = people.draw_selfie(random)
        popularity = rate_popularity(random, describe_face(face))
        attributes = people.label_selfie(random, face)
        if random.random() < 0.4:
            name = f"{random.bytes(16).hex()}_{random.integers(5, 8)}"
        else:
            lows, highs = (10**7, 10**14, 10**8), (10**8, 2 * 10**15, 2 * 10**9)
            name = "_".join(str(random.integers(low, high)) for low, high in zip(lows, highs, strict=True)) + "_a"
        rows.append(f"{name} {popularity:.3f} {' '.join(map(str, attributes))}")
        jobs.append((str(root / "images" / f"{name}.jpg"), face, 128, 128))
    _write_images(jobs)
    _write_lines(root / "selfie_dataset.txt", sorted(rows))


def _write_celeba(root: Path, count: int, seed: int) -> None:
    random = np.random.default_rng((seed, 103))
    (root / "img_align_celeba").mkdir()
    rows, jobs, identity = [], [], 0
    numbers = random.permutation(10177) + 1
    # The official partition keeps a person on one side and numbers the images train, validation, test.
    for partition, size in enumerate(_share_out(count, _CELEBA_PARTITIONS)):
        block: list[tuple[int, Face]] = []
        while len(block) < size:
            person = people.draw_celebrity(random)
            images = min(int(random.integers(1, 6)), size - len(block))
            block += [(int(numbers[identity % 10177]), people.photograph_celebrity(random, person)) for _ in range(images)]
            identity += 1
        for index in random.permutation(size):
            number, face = block[index]
            name = f"{len(rows) + 1:06d}.jpg"
            rows.append((name, partition, number, people.label_celebrity(random, face)))
            jobs.append((str(root / "img_align_celeba" / name), face, 109, 89))
    _write_images(jobs)
    _write_lines(root / "identity_CelebA.txt", (f"{name} {number}" for name, _, number, _ in rows), "\r\n")
    table = [",".join([name, *map(str, values)]) for name, _, _, values in rows]
    _write_lines(root / "list_attr_celeba.csv", [",".join(["image_id", *ATTRIBUTES]), *table])
    partitions = (f"{name},{partition}" for name, partition, _, _ in rows)
    _write_lines(root / "list_eval_partition.csv", ["image_id,partition", *partitions])


def _write_actors(root: Path, count: int, seed: int) -> None:
    random = np.random.default_rng((seed, 104))
    faces = [people.draw_actor(random) for _ in range(count)]
    seen = np.array([face.years for face in faces]) + random.normal(0, AGE_NOISE_YEARS, count)
    classes = np.empty(count, object)
    classes[np.argsort(seen, kind="stable")] = np.repeat(list(_ACTORS), _share_out(count, _ACTORS.values()))
    heights = np.clip(np.exp(random.normal(np.log(85), 0.55, count)), 30, 200).astype(int)
    widths = np.clip(heights * random.uniform(0.68, 0.82, count), 24, 150).astype(int)
    test = np.zeros(count, bool)
    test[random.permutation(count)[: round(count * _ACTORS_UNLABELLED)]] = True
    numbers = random.permutation(count)
    paths = [str(root / ("Test" if test[row] else "Train") / f"{numbers[row]}.jpg") for row in range(count)]
    for folder in ("Train", "Test"):
        (root / folder).mkdir()
    _write_images([(paths[row], faces[row], int(heights[row]), int(widths[row])) for row in range(count)])
    for original, copy in _pair_actors(random, classes, test):
        shutil.copyfile(paths[original], paths[copy])
    order = random.permutation(count)
    names = [f"{number}.jpg" for number in numbers]
    _write_lines(root / "train.csv", ["ID,Class", *(f"{names[row]},{classes[row]}" for row in order if not test[row])])
    _write_lines(root / "test.csv", ["ID", *(names[row] for row in order if test[row])])


def _pair_actors(random: np.random.Generator, classes: np.ndarray, test: np.ndarray) -> list[tuple[int, int]]:
    """Rows whose images repeat: within a class, from Train to Test, and one pair under two classes."""
    train_rows, test_rows = random.permutation(np.flatnonzero(~test)), random.permutation(np.flatnonzero(test))
    same = max(1, len(classes) // 120)
    taken = train_rows[: len(train_rows) // 2]
    young, middle = (taken[classes[taken] == name] for name in ("YOUNG", "MIDDLE"))
    pairs = [(young[0], middle[0])]
    pairs += [(middle[2 * k + 1], middle[2 * k + 2]) for k in range(same)]
    pairs += list(zip(train_rows[len(taken) :][: max(1, same // 2)], test_rows, strict=False))
    return [(int(original), int(copy)) for original, copy in pairs]


_WRITERS: dict[str, Callable[[Path, int, int], None]] = {
    "facehack": _write_facehack,
    "selfie": _write_selfies,
    "celeba": _write_celeba,
    "indian_actors": _write_actors,
}
