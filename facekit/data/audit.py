"""Equal and near-duplicate images, and who is in two splits: what would make a test value measure memory.

Files are compared by digest, images by perceptual hash: 64 bits of coarse structure, of which a resized copy changes few.
"""

import hashlib
import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image
from pydantic import TypeAdapter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facekit.data.images import DECODER_VERSION, LARGE, decode_image, map_threads, read_bytes, read_states, resize_image
from facekit.errors import DataError
from facekit.paths import build_key, cache_folder, read_cached, write_text

NEAR = 2  # differing bits of 64 up to which two images count as the same scene
NAMED = 20  # audit_splits names so many of each kind; the counts are of all
SPLITS = ("train", "validation", "test")
KEPT = TypeAdapter(dict[object, tuple[int, int, str, int]])  # path (any name) -> its file's size, change, digest and phash


def hash_images(root: str | Path, paths: Sequence[str]) -> pd.DataFrame:
    """Read every image once and note its digest and its perceptual hash; what was noted before is not read again.

    Returns a row for each of `paths`, which are relative to `root`: path, digest (sha256 of the file, 64 hex digits) and phash
    (uint64). ImageError: the first file that is no image, or is broken.
    """
    root, states = Path(root), {path: tuple(state) for path, *state in read_states(root, paths)}
    file = cache_folder("hashes") / f"{DECODER_VERSION}-{build_key(root=str(root.resolve()))}.json"
    with FileLock(file.with_suffix(".lock")):
        known = read_cached(file, lambda file: KEPT.validate_python(json.loads(file.read_text()))) or {}
        missing = [path for path, state in states.items() if path not in known or known[path][:2] != state]
        if missing:
            rows = map_threads(lambda path: _hash(root / path), missing, "hashing images")
            known |= {path: states[path] + row for path, row in zip(missing, rows, strict=True)}
            write_text(file, json.dumps(known))
    digests, phashes = ([known[path][column] for path in paths] for column in (2, 3))
    return pd.DataFrame({"path": list(paths), "digest": np.array(digests, object), "phash": np.array(phashes, np.uint64)})


def find_groups(hashes: pd.DataFrame, distance: int = NEAR) -> np.ndarray:
    """Number the groups of images that must stay in one split: int64 (n,), from 0 in the order in which they first appear.

    Images whose hashes differ in at most `distance` bits, 0 to 64, are neighbours, and neighbours of neighbours are in one
    group; so a wide distance chains a whole dataset together.
    """
    # Distinct hashes are enough; a thousand black images are then one point.
    distinct, member = np.unique(hashes["phash"].to_numpy(np.uint64), return_inverse=True)
    near = [np.empty((2, 0), int)]
    # All pairs of 202,599 images would take minutes; where few bits differ, bytes are equal, and sorting by them is enough.
    for equal in combinations(range(8), 8 - min(distance, 8)):
        order = np.argsort(key := distinct & np.uint64(sum(255 << 8 * byte for byte in equal)))
        pairs = np.stack([np.arange(len(order))] * 2)
        while pairs.size:
            pairs = pairs[:, pairs[1] < len(order) - 1] + [[0], [1]]
            first, second = rows = order[pairs]
            near.append(rows[:, np.bitwise_count(distinct[first] ^ distinct[second]) <= distance])
            pairs = pairs[:, key[first] == key[second]]
    first, second = np.concatenate(near, axis=1)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(distinct),) * 2)
    return pd.factorize(connected_components(graph, directed=False)[1][member])[0].astype(np.int64)


def find_nearest(phash_a: Sequence[int], phash_b: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Find for each image of b, uint64 (n,), the first of a most like it: differing bits, 0 to 64, and row, int (n,)."""
    phash_a = np.asarray(phash_a, np.uint64)
    rows = (np.bitwise_count(phash_a ^ phash) for phash in np.asarray(phash_b, np.uint64))
    return tuple(np.array([(row.min(), row.argmin()) for row in rows], int).reshape(-1, 2).T)


def audit_splits(table: pd.DataFrame, hashes: pd.DataFrame, target: str) -> dict:
    """Count and name the images, people and labels of a split that are not what a fair test needs.

    Returned are plain numbers, fit for JSON: images (rows); duplicate_groups (groups of byte-identical files); duplicate_images
    (files in them); conflicting_labels (such groups with two values of `target`); cross_split_duplicates (such groups in two
    splits or more); cross_split_near_duplicates (images of a later split with one of an earlier split within NEAR bits, equal
    ones included); cross_split_groups (values of `group`, people where they are known, in two splits or more); named (for each
    kind the first NAMED, as lists of paths; of groups, their values).

    Args:
        table: columns path, split (one of SPLITS, or empty for none; else DataError), group, and the target's.
        hashes: what `hash_images` returns, for all paths of the table or more (else DataError).
        target: the column whose values must agree within equal files.
    """
    table = _join(table, hashes)
    equal = table[table.digest.duplicated(keep=False)].groupby("digest", sort=False)
    split = table[table.split != ""]
    splits_of_group = split.groupby("group", sort=False).split.nunique()
    named = {
        "cross_split_duplicates": [list(rows.path) for _, rows in equal if rows.split[rows.split != ""].nunique() > 1],
        "cross_split_near_duplicates": _name_near(split),
        "cross_split_groups": splits_of_group.index[splits_of_group > 1].tolist(),
        "conflicting_labels": [list(rows.path) for _, rows in equal if rows[target].nunique() > 1],
    }
    counts = {"images": len(table), "duplicate_groups": equal.ngroups, "duplicate_images": int(equal.size().sum())}
    counts |= {kind: len(named[kind]) for kind in ("conflicting_labels", *named)}
    return counts | {"named": {kind: found[:NAMED] for kind, found in named.items()}}


def digest(table: pd.DataFrame, hashes: pd.DataFrame) -> dict[str, str]:
    """Return `table` and `images`, sha256 of the rows in their order and of the files' digests, 64 hex digits each."""
    lines = sorted({f"{path} {value}" for path, value in zip(table["path"], _join(table, hashes)["digest"], strict=True)})
    texts = {"table": table.to_csv(index=False, lineterminator="\n"), "images": "\n".join(lines)}
    return {name: hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest() for name, text in texts.items()}


def _hash(path: Path) -> tuple:
    content = read_bytes(path)
    image = decode_image(content, path)
    height, width = image.shape[:2]
    if height * width > LARGE:  # whose copies would take too much memory
        image = resize_image(image, (height // 4, width // 4))
    bits = np.packbits(imagehash.phash(Image.fromarray(image)).hash)
    return hashlib.sha256(content).hexdigest(), int(bits.view(">u8")[0])


def _join(table: pd.DataFrame, hashes: pd.DataFrame) -> pd.DataFrame:
    if other := sorted(set(table["split"]) - {"", *SPLITS}):
        raise DataError(f"split {other[0]!r}", expected=f"one of {', '.join(SPLITS)}, or empty")
    table = table.merge(hashes[["path", "digest", "phash"]].drop_duplicates("path"), on="path", how="left")
    if len(missing := table.loc[table["digest"].isna(), "path"]):
        received = f"{len(missing)} paths of the table have no hash, the first is {missing.iloc[0]}"
        raise DataError(received, hint="hash all of them")
    return table


def _name_near(table: pd.DataFrame) -> list[list[str]]:
    """Return [image of a later split, its nearest of an earlier split] for all within NEAR."""
    found = []
    for position, later in enumerate(SPLITS):
        before, after = table[table.split.isin(SPLITS[:position])], table[table.split == later]
        if len(before):
            distance, index = find_nearest(before.phash, after.phash)
            near = distance <= NEAR
            found += [list(pair) for pair in zip(after.path[near], before.path.iloc[index[near]], strict=True)]
    return found
