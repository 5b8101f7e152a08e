"""Synthetic datasets on disk, each in its own published layout, with its quirks.

The trap this prevents: readers that are only tested on tidy files. FaceHack's tables have no header, ids without
ending and lines that end in CRLF; selfies come space-separated with -1, 0 and 1; actors' pictures repeat byte for
byte, once under two classes. A folder appears whole or not at all, and real photographs are never overwritten.
"""

import hashlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from facekit.datasets.celeba import ATTRIBUTES
from facekit.errors import DataError, ParameterError
from facekit.synthetic import people
from facekit.synthetic.faces import draw_face
from facekit.synthetic.populations import AGE_NOISE_YEARS, SMILE_LABEL_NOISE, describe_face, rate_popularity
from facekit.synthetic.traits import Face

SAMPLE_COUNTS = {"selfie": 1000, "celeba": 1000, "indian_actors": 1000, "facehack": 1000}
MARKER = "facekit.json"
# Published counts, whose proportions the samples keep.
_FACEHACK = {"train": (3356, 988, 487), "test": (1128, 340, 143)}
_ACTORS = {"YOUNG": 6706, "MIDDLE": 10804, "OLD": 2396}
_ACTORS_TEST_SHARE = 6636 / 26542
_CELEBA_PARTITIONS = (162770, 19867, 19962)
_SMALLEST = 40


def write_sample(
    name: str, root: str | os.PathLike, *, count: int | None = None, seed: int = 0, celeba_text: bool = False
) -> Path:
    """Draw one dataset's sample and write it in that dataset's own layout.

    A folder that already holds just this sample is left as it is; another synthetic one is replaced.

    Args:
        name: one of SAMPLE_COUNTS.
        root: the folder to make; its parent is made as well.
        count: of pictures, 40 or more; None: SAMPLE_COUNTS.
        seed: same seed, same bytes on the same machine.
        celeba_text: write CelebA's tables as the original .txt files instead of Kaggle's .csv.

    Returns:
        the folder.

    Raises:
        ParameterError: for an unknown name or a count that is too small.
        DataError: where the folder holds something that is not synthetic.
    """
    if name not in _WRITERS:
        raise ParameterError(f"no sample is known for dataset '{name}'", expected=f"one of {', '.join(SAMPLE_COUNTS)}")
    count = SAMPLE_COUNTS[name] if count is None else int(count)
    if count < _SMALLEST:
        raise ParameterError(f"count={count} pictures for the sample of {name}", expected=f"{_SMALLEST} or more")
    marker = {"kind": "synthetic", "dataset": name, "seed": int(seed), "count": count, "drawing": digest_drawing()}
    if celeba_text and name == "celeba":
        marker["tables"] = "txt"
    root = Path(root).expanduser().absolute()
    if _read_marker(root) == marker:
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".partial", dir=root.parent))
    try:
        hidden.chmod(0o755)
        options = {"text": True} if "tables" in marker else {}
        _WRITERS[name](hidden, count, seed, **options)
        (hidden / MARKER).write_text(json.dumps(marker, indent=1) + "\n", encoding="utf-8")
        if _read_marker(root) != marker:  # another process may have been faster, and somebody reads its pictures already
            _put_in_place(hidden, root)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return root


def digest_drawing() -> str:
    """Return a short digest of the drawing's own source, so that a sample drawn by older code is seen to be stale."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _read_marker(root: Path) -> dict | None:
    """Return the marker of a synthetic folder, None where nothing is; refuse anything else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return None
    try:
        marker = json.loads((root / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        marker = None
    if not isinstance(marker, dict) or marker.get("kind") != "synthetic":
        raise DataError(
            f"{root} exists and is not a folder of synthetic pictures",
            expected=f"an empty or missing folder, or one whose {MARKER} says synthetic",
            mend="choose another folder",
        )
    return marker


def _put_in_place(hidden: Path, root: Path) -> None:
    old = None
    if root.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{root.name}.", suffix=".old", dir=root.parent))
        os.replace(root, old)
    os.replace(hidden, root)
    if old:
        shutil.rmtree(old, ignore_errors=True)


def _write_pictures(jobs: Iterable[tuple[Path, Face, int, int]], quality: int = 90) -> None:
    """Draw and write in parallel; a picture hangs on its record alone, so the number of workers changes nothing."""

    def write(job: tuple[Path, Face, int, int]) -> None:
        path, face, height, width = job
        picture = cv2.cvtColor(draw_face(face, height, width), cv2.COLOR_RGB2BGR)
        path.write_bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for _ in pool.map(write, jobs):
            pass


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
    (root / "happy_images").mkdir()
    sizes = {split: sum(counts) for split, counts in _FACEHACK.items()}
    totals = dict(zip(sizes, _share_out(count, sizes.values()), strict=True))
    quotas = {split: _share_out(totals[split], _FACEHACK[split]) for split in totals}
    persons = [people.draw_webcam_person(random) for _ in range(max(6, min(40, count // 30)))]
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    jobs = []
    for index, label in enumerate(people.SMILE_LABELS):
        frames = _film_frames(random, persons, label, quotas["train"][index] + quotas["test"][index])
        order = random.permutation(len(frames))
        for position, frame in enumerate(order):
            split = "train" if position < quotas["train"][index] else "test"
            name = str(uuid.UUID(bytes=random.bytes(16), version=4))
            side = int(random.integers(150, 181))
            jobs.append((root / "happy_images" / f"{name}.jpg", frames[frame], side, side))
            rows[split].append((name, label))
    _write_pictures(jobs)
    # As in the original: one group of four identical pictures, all in train, all NOT smile.
    first, *others = [name for name, label in rows["train"] if label == "NOT smile"][:4]
    for other in others:
        shutil.copyfile(root / "happy_images" / f"{first}.jpg", root / "happy_images" / f"{other}.jpg")
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
            numbers = (
                random.integers(10**7, 10**8),
                random.integers(10**14, 2 * 10**15),
                random.integers(10**8, 2 * 10**9),
            )
            name = "_".join(str(number) for number in numbers) + "_a"
        rows.append(f"{name} {popularity:.3f} {' '.join(str(value) for value in attributes)}")
        jobs.append((root / "images" / f"{name}.jpg", face, 306, 306))
    _write_pictures(jobs)
    _write_lines(root / "selfie_dataset.txt", sorted(rows))


def _write_celeba(root: Path, count: int, seed: int, text: bool = False) -> None:
    random = np.random.default_rng((seed, 103))
    (root / "img_align_celeba").mkdir()
    rows, jobs, identity = [], [], 0
    numbers = random.permutation(10177) + 1
    # The official partition keeps a person on one side and numbers the pictures train, validation, test.
    for partition, size in enumerate(_share_out(count, _CELEBA_PARTITIONS)):
        block: list[tuple[int, Face]] = []
        while len(block) < size:
            person = people.draw_celebrity(random)
            pictures = min(int(random.integers(2, 15)), size - len(block))
            block += [(int(numbers[identity % 10177]), people.photograph_celebrity(random, person)) for _ in range(pictures)]
            identity += 1
        for index in random.permutation(size):
            number, face = block[index]
            name = f"{len(rows) + 1:06d}.jpg"
            rows.append((name, partition, number, people.label_celebrity(random, face)))
            jobs.append((root / "img_align_celeba" / name, face, 218, 178))
    _write_pictures(jobs)
    _write_lines(root / "identity_CelebA.txt", (f"{name} {number}" for name, _, number, _ in rows), "\r\n")
    if text:
        table = [str(count), " ".join(ATTRIBUTES) + " "]
        table += [name + "".join(f"{value:3d}" for value in values) for name, _, _, values in rows]
        _write_lines(root / "list_attr_celeba.txt", table)
        _write_lines(root / "list_eval_partition.txt", (f"{name} {partition}" for name, partition, _, _ in rows))
        return
    table = [",".join(["image_id", *ATTRIBUTES])]
    table += [",".join([name, *map(str, values)]) for name, _, _, values in rows]
    _write_lines(root / "list_attr_celeba.csv", table)
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
    test[random.permutation(count)[: round(count * _ACTORS_TEST_SHARE)]] = True
    numbers = random.permutation(count)
    paths = [root / ("Test" if test[row] else "Train") / f"{numbers[row]}.jpg" for row in range(count)]
    for folder in ("Train", "Test"):
        (root / folder).mkdir()
    _write_pictures((paths[row], faces[row], int(heights[row]), int(widths[row])) for row in range(count))
    for original, copy in _pair_actors(random, classes, test):
        shutil.copyfile(paths[original], paths[copy])
    order = random.permutation(count)
    names = [f"{number}.jpg" for number in numbers]
    _write_lines(root / "train.csv", ["ID,Class", *(f"{names[row]},{classes[row]}" for row in order if not test[row])])
    _write_lines(root / "test.csv", ["ID", *(names[row] for row in order if test[row])])


def _pair_actors(random: np.random.Generator, classes: np.ndarray, test: np.ndarray) -> list[tuple[int, int]]:
    """Rows whose pictures repeat: within a class, from Train to Test, and one pair under two classes."""
    train_rows, test_rows = random.permutation(np.flatnonzero(~test)), random.permutation(np.flatnonzero(test))
    same = max(1, len(classes) // 120)
    taken = train_rows[: len(train_rows) // 2]
    young, middle = (taken[classes[taken] == name] for name in ("YOUNG", "MIDDLE"))
    pairs = [(young[0], middle[0])]
    pairs += [(middle[2 * k + 1], middle[2 * k + 2]) for k in range(same)]
    pairs += list(zip(train_rows[len(taken) :][: max(1, same // 2)], test_rows, strict=False))
    return [(int(original), int(copy)) for original, copy in pairs]


_WRITERS: dict[str, Callable[..., None]] = {
    "selfie": _write_selfies,
    "celeba": _write_celeba,
    "indian_actors": _write_actors,
    "facehack": _write_facehack,
}
