"""Equal and near-equal pictures, and who is in two splits.

The trap this prevents: a test picture that the network has seen. Datasets hold the same file under several names,
frames of one video next to each other, and one person in both splits; the test figure then measures memory. Files are
compared by digest, pictures by perceptual hash: 64 signs of their coarse structure, of which a resized or
recompressed copy changes few.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import imagehash
import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from facekit.errors import DataError, ParameterError
from facekit.images import DECODER_VERSION, read_picture

# Differing signs of 64 up to which two pictures count as the same scene.
NEAR = 2
# What audit_splits lists of each kind; the counts are of all.
NAMED = 20
SPLITS = ("train", "validation", "test")

_COLUMNS = ["path", "digest", "phash", "width", "height"]
_STATE = ["path", "bytes", "changed"]
# Elements of one block of the distance matrix: 16 MB of exclusive-ors, where all of 26,542 x 26,542 would be 5.6 GB.
_BLOCK = 2_000_000


def hash_pictures(
    root: str | os.PathLike, paths: Sequence[str], workers: int = 2, cache: str | os.PathLike | None = None
) -> pd.DataFrame:
    """Read every picture once and note its digest, its perceptual hash and its size.

    Args:
        root: the folder that `paths` are relative to.
        paths: relative paths, n of them.
        workers: threads that read.
        cache: a folder for the hashes, or None. Files whose size and time of change are as noted there are not read
        again.

    Returns:
        n rows in the order of `paths`: path, digest (sha256 of the file, 64 hex digits), phash (uint64), width and
        height (pixels, upright).

    Raises:
        PictureError: the first file that is no picture, or is broken.
    """
    root = Path(root)
    paths = pd.Series([str(path) for path in paths], dtype=object)
    if cache is None:
        return _hash(root, list(paths), workers)[_COLUMNS]
    folder = Path(cache)
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    file = folder / f"hashes-{DECODER_VERSION}-{name}.csv"
    with FileLock(file.with_suffix(".lock")):
        known = pd.read_csv(file, dtype={"path": str, "phash": np.uint64}, keep_default_na=False) if file.exists() else None
        wanted = pd.DataFrame([_read_state(root, path) for path in paths.unique()], columns=_STATE)
        rows = wanted.merge(known, on=_STATE) if known is not None else wanted.iloc[:0]
        missing = wanted.path[~wanted.path.isin(rows.path)]
        if len(missing):
            made = wanted.merge(_hash(root, list(missing), workers), on="path")
            rows = pd.concat([rows, made]) if len(rows) else made
            others = known[~known.path.isin(wanted.path)] if known is not None else None
            unfinished = file.with_suffix(".unfinished")
            pd.concat([rows] if others is None else [others, rows]).to_csv(unfinished, index=False)
            os.replace(unfinished, file)
    return rows.set_index("path").loc[paths].reset_index()[_COLUMNS]


def find_groups(hashes: pd.DataFrame, distance: int | None = NEAR) -> np.ndarray:
    """Number the groups of pictures that must stay on one side of a split.

    Neighbours of neighbours are in one group, so a wide distance chains a whole dataset together.

    Args:
        hashes: what `hash_pictures` returns, n rows.
        distance: signs, 0 to 64, by which neighbours may differ; None joins byte-identical files only.

    Returns:
        int64 array (n,): groups numbered from 0 in the order in which they first appear.

    >>> hashes = pd.DataFrame({"digest": ["a", "b", "a", "c"], "phash": np.array([0, 7, 0, 8 + 7], np.uint64)})
    >>> find_groups(hashes).tolist(), find_groups(hashes, None).tolist()
    ([0, 1, 0, 1], [0, 1, 0, 2])
    """
    if distance is None:
        return pd.factorize(hashes["digest"])[0].astype(np.int64)
    _check_distance(distance)
    # Equal files have equal hashes, so the distinct hashes are enough; a thousand black pictures are then one point.
    distinct, member = np.unique(hashes["phash"].to_numpy(np.uint64), return_inverse=True)
    near = [np.stack(np.nonzero(block <= distance)) + [[start], [0]] for start, block in _measure(distinct, distinct)]
    first, second = np.concatenate(near, axis=1) if near else np.empty((2, 0), int)
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(distinct),) * 2)
    return pd.factorize(connected_components(graph, directed=False)[1][member])[0].astype(np.int64)


def find_nearest(phash_a: np.ndarray, phash_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find for each picture of b the picture of a that looks most like it.

    Args:
        phash_a: uint64 (m,), at least one.
        phash_b: uint64 (n,).

    Returns:
        distance: int (n,), differing signs, 0 to 64; index: int (n,), the first such row of a.

    >>> [each.tolist() for each in find_nearest(np.array([0, 15], np.uint64), np.array([1, 7], np.uint64))]
    [[1, 1], [0, 1]]
    """
    distance, index = np.empty(len(phash_b), int), np.empty(len(phash_b), int)
    for start, block in _measure(phash_b, phash_a):
        rows = slice(start, start + len(block))
        index[rows] = block.argmin(axis=1)
        distance[rows] = block.min(axis=1)
    return distance, index


def count_neighbours(hashes: pd.DataFrame, mask_a: np.ndarray, mask_b: np.ndarray, distance: int = NEAR) -> int:
    """Count the pictures of b that have a picture of a within a distance.

    Args:
        hashes: what `hash_pictures` returns, n rows.
        mask_a: bool (n,), for instance the training pictures.
        mask_b: bool (n,), for instance the test pictures. A picture in both is its own neighbour.
        distance: differing signs, 0 to 64.

    Returns:
        How many of b, 0 to the number of True in `mask_b`.
    """
    _check_distance(distance)
    phash = hashes["phash"].to_numpy(np.uint64)
    phash_a, phash_b = phash[np.asarray(mask_a, bool)], phash[np.asarray(mask_b, bool)]
    return int((find_nearest(phash_a, phash_b)[0] <= distance).sum()) if len(phash_a) else 0


def audit_splits(table: pd.DataFrame, hashes: pd.DataFrame, target: str | None = None) -> dict[str, Any]:
    """Say which pictures, people and labels of a split are not what a fair test needs.

    Args:
        table: columns path, split and group, and the target's; rows whose split is empty are in no split.
        hashes: what `hash_pictures` returns, for all paths of the table or more.
        target: the column whose values must agree within equal files, or None.

    Returns:
        Plain numbers, fit for json:
        pictures: rows; duplicate_groups: groups of byte-identical files; duplicate_pictures: files in them;
        cross_split_duplicates: such groups in two splits or more;
        cross_split_near_duplicates: pictures of a later split (train, validation, test) with one of an earlier split
        within distance 2, equal ones included; cross_split_identities: values of `group` in two splits or more;
        conflicting_labels: groups of equal files with two values of `target`, None without a target;
        named: for each kind the first 20, as lists of paths (for identities, the values of `group`).

    Raises:
        DataError: a path of the table has no hash, or a split has another name.
        ParameterError: `target` is no column.
    """
    if target is not None and target not in table:
        raise ParameterError(f"target {target!r}", expected=f"a column of the table: {', '.join(map(str, table))}")
    table = _join(table, hashes)
    equal = table[table.digest.duplicated(keep=False)].groupby("digest", sort=False)
    split = table[table.split != ""]
    crossing = [list(rows.path) for _, rows in equal if rows.split[rows.split != ""].nunique() > 1]
    splits_of_group = split.groupby("group", sort=False).split.nunique()
    people = [getattr(group, "item", lambda group=group: group)() for group in splits_of_group.index[splits_of_group > 1]]
    near = _name_near(split)
    named = {
        "cross_split_duplicates": crossing,
        "cross_split_near_duplicates": near,
        "cross_split_identities": people,
    }
    if target is not None:
        named["conflicting_labels"] = [list(rows.path) for _, rows in equal if rows[target].nunique() > 1]
    return {
        "pictures": len(table),
        "duplicate_groups": equal.ngroups,
        "duplicate_pictures": int(equal.size().sum()),
        "conflicting_labels": None,
        **{kind: len(found) for kind, found in named.items()},
        "named": {kind: found[:NAMED] for kind, found in named.items()},
    }


def _hash(root: Path, paths: list[str], workers: int) -> pd.DataFrame:
    def hash_one(path: str) -> tuple[Any, ...]:
        picture = read_picture(root / path)
        signs = imagehash.phash(Image.fromarray(picture)).hash
        phash = np.packbits(signs).view(">u8")[0]
        return path, hashlib.sha256((root / path).read_bytes()).hexdigest(), phash, picture.shape[1], picture.shape[0]

    with ThreadPoolExecutor(max(1, workers)) as pool:
        rows = list(pool.map(hash_one, paths))
    return pd.DataFrame(rows, columns=_COLUMNS).astype({"phash": np.uint64, "width": np.int64, "height": np.int64})


def _read_state(root: Path, path: str) -> tuple[str, int, int]:
    try:
        state = (root / path).stat()
    except OSError:
        return path, -1, -1  # in no cache, so it is read, and refused in the one place that does so
    return path, state.st_size, state.st_mtime_ns


def _measure(rows: np.ndarray, columns: np.ndarray):
    """Yield (first row, distances uint8 (rows of the block, columns)) so that memory stays flat."""
    step = max(1, _BLOCK // max(1, len(columns)))
    for start in range(0, len(rows), step):
        yield start, np.bitwise_count(rows[start : start + step, None] ^ columns[None])


def _check_distance(distance: int) -> None:
    if not 0 <= distance <= 64:
        raise ParameterError(f"distance {distance}", expected="0 to 64 differing signs")


def _join(table: pd.DataFrame, hashes: pd.DataFrame) -> pd.DataFrame:
    other = sorted(set(table["split"]) - {"", *SPLITS})
    if other:
        raise DataError(f"split {other[0]!r}", expected=f"one of {', '.join(SPLITS)}, or empty")
    known = hashes.drop_duplicates("path").set_index("path")[["digest", "phash"]]
    missing = table.loc[~table["path"].isin(known.index), "path"]
    if len(missing):
        raise DataError(
            f"{len(missing)} paths of the table have no hash, the first is {missing.iloc[0]}", mend="hash all of them"
        )
    kept = table.drop(columns=["digest", "phash"], errors="ignore")
    return kept.assign(digest=known.digest.loc[table.path].to_numpy(), phash=known.phash.loc[table.path].to_numpy())


def _name_near(table: pd.DataFrame) -> list[list[str]]:
    """Return [picture of a later split, its nearest of an earlier split] for all within NEAR."""
    found = []
    for position, later in enumerate(SPLITS):
        before = table[table.split.isin(SPLITS[:position])]
        after = table[table.split == later]
        if len(before) and len(after):
            distance, index = find_nearest(before.phash.to_numpy(np.uint64), after.phash.to_numpy(np.uint64))
            pairs = zip(after.path, before.path.iloc[index], distance, strict=True)
            found += [[path, nearest] for path, nearest, away in pairs if away <= NEAR]
    return found
