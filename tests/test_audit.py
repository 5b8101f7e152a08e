"""Equal and near-equal pictures, people and labels across a split; the known truths of the real data."""

import json
import shutil
import subprocess
import sys

import cv2
import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facekit import audit
from facekit.audit import audit_splits, count_neighbours, find_groups, find_nearest, hash_pictures
from facekit.errors import DataError, ParameterError, PictureError
from facekit.folders import cache_folder


def draw_photograph(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return cv2.resize(coarse, (70, 90), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def folder(tmp_path):
    """a and its copy, a recompressed, and b, which is another picture."""
    (tmp_path / "pictures").mkdir()
    Image.fromarray(draw_photograph(1)).save(tmp_path / "pictures" / "a.jpg", quality=95)
    shutil.copy(tmp_path / "pictures" / "a.jpg", tmp_path / "pictures" / "copy.jpg")
    Image.fromarray(draw_photograph(1)).resize((60, 80)).save(tmp_path / "pictures" / "small.jpg", quality=80)
    Image.fromarray(draw_photograph(2)).save(tmp_path / "pictures" / "b.jpg")
    return tmp_path


PATHS = [f"pictures/{name}.jpg" for name in ("b", "a", "copy", "small")]


def make_hashes(phash: list[int], digest: list[str] | None = None) -> pd.DataFrame:
    """Hashes without pictures; the digests are different unless given."""
    digest = digest or [str(row) for row in range(len(phash))]
    paths = [f"{row}.jpg" for row in range(len(phash))]
    return pd.DataFrame({"path": paths, "digest": digest, "phash": np.array(phash, np.uint64)})


def test_hashes_are_those_of_the_file_and_of_imagehash(folder):
    hashes = hash_pictures(folder, PATHS)
    assert list(hashes.columns) == ["path", "digest", "phash", "width", "height"]
    assert list(hashes.path) == PATHS
    assert hashes.phash.dtype == np.uint64
    assert hashes.digest.str.len().tolist() == [64] * 4
    assert (hashes.digest == hashes.digest[1]).tolist() == [False, True, True, False]
    for path, phash in zip(PATHS, hashes.phash, strict=True):
        assert f"{phash:016x}" == str(imagehash.phash(Image.open(folder / path)))
    assert hashes[["width", "height"]].to_numpy().tolist() == [[70, 90]] * 3 + [[60, 80]]
    assert find_groups(hashes).tolist() == [0, 1, 1, 1]
    assert find_groups(hashes, None).tolist() == [0, 1, 1, 2]


def test_the_number_of_workers_and_the_cache_change_nothing(folder, monkeypatch):
    expected = hash_pictures(folder, PATHS, workers=1)
    pd.testing.assert_frame_equal(hash_pictures(folder, PATHS, workers=5), expected)
    cache, read, original = folder / "cache", [], audit.read_picture
    monkeypatch.setattr(audit, "read_picture", lambda path: read.append(path.name) or original(path))
    hash_pictures(folder, PATHS[:2], cache=cache)
    again = hash_pictures(folder, PATHS, cache=cache)
    assert sorted(read) == ["a.jpg", "b.jpg", "copy.jpg", "small.jpg"]
    pd.testing.assert_frame_equal(again, expected, check_dtype=False)
    assert again.phash.dtype == np.uint64
    read.clear()
    repeated = hash_pictures(folder, [PATHS[3], PATHS[0], PATHS[3]], cache=cache)
    assert repeated.digest.tolist() == expected.digest[[3, 0, 3]].tolist()
    assert read == []
    shutil.copy(folder / PATHS[1], folder / PATHS[0])
    assert hash_pictures(folder, PATHS, cache=cache).digest[0] == expected.digest[1]
    assert read == ["b.jpg"]


def test_names_that_pandas_takes_for_missing_values_stay_names(folder):
    shutil.copy(folder / PATHS[0], folder / "NA")
    for _ in range(2):
        assert hash_pictures(folder, ["NA"], cache=folder / "cache").path.tolist() == ["NA"]


def test_a_broken_or_missing_picture_is_named(folder):
    (folder / "refused_as_text.jpg").write_text("no picture")
    for name in ("refused_as_text.jpg", "missing.jpg"):
        for cache in (None, folder / "cache"):
            with pytest.raises(PictureError, match=name):
                hash_pictures(folder, [*PATHS, name], cache=cache)


def test_groups_are_chains_of_neighbours():
    hashes = make_hashes([0b1111_0000, 0, 0b11, 0b1111, 0b11_1111, 2**63, 0])
    assert find_groups(hashes, 2).tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert find_groups(hashes, 1).tolist() == [0, 1, 2, 3, 4, 1, 1]
    assert find_groups(hashes, 0).tolist() == [0, 1, 2, 3, 4, 5, 1]
    assert find_groups(hashes, 64).tolist() == [0] * 7
    assert find_groups(hashes.iloc[:0]).tolist() == []
    with pytest.raises(ParameterError, match="0 to 64"):
        find_groups(hashes, -1)


@pytest.mark.parametrize("block", [1, 30, 2_000_000])
def test_blocks_of_any_size_give_what_all_pairs_give(monkeypatch, block):
    monkeypatch.setattr(audit, "_BLOCK", block)
    generator = np.random.default_rng(0)
    # Few signs differ, so that many are neighbours.
    phash = [int(generator.integers(0, 2**6)) << int(generator.integers(0, 50)) for _ in range(60)]
    pairs = np.array([[(one ^ other).bit_count() for one in phash] for other in phash])
    hashes, mask = make_hashes(phash), np.arange(60) % 3 == 0
    distance, index = find_nearest(hashes.phash.to_numpy(), hashes.phash.to_numpy()[mask])
    assert distance.tolist() == [0] * 20
    assert index.tolist() == pairs[mask].argmin(axis=1).tolist()
    for wide in (0, 2, 5):
        expected = int((pairs[mask][:, ~mask].min(axis=1) <= wide).sum())
        assert count_neighbours(hashes, ~mask, mask, wide) == expected
        groups = find_groups(hashes, wide)
        assert (groups[:, None] == groups)[pairs <= wide].all()


def test_neighbours_are_counted_in_b():
    hashes = make_hashes([0, 0, 0b1, 0b111, 2**64 - 1])
    in_a = np.array([True, True, False, False, False])
    assert [count_neighbours(hashes, in_a, ~in_a, distance) for distance in (0, 1, 2, 3, 64)] == [0, 1, 1, 2, 3]
    assert count_neighbours(hashes, ~in_a, in_a, 1) == 2
    assert count_neighbours(hashes, np.zeros(5, bool), in_a, 64) == 0


def make_table() -> tuple[pd.DataFrame, pd.DataFrame]:
    """0 and 3 are one file in train and test, 1 and 4 near, 2 and 5 one file with two labels, 6 in no split."""
    near, other = 0b111 << 20, 2**40 - 1
    hashes = make_hashes([0, near, other, 0, near + 1, other, 0, near], ["x", "n", "y", "x", "m", "y", "x", "v"])
    table = pd.DataFrame(
        {
            "path": hashes.path,
            "split": ["train", "train", "train", "test", "test", "train", "", "validation"],
            "group": ["ann", "bea", "cat", "dan", "bea", "eve", "ann", "fay"],
            "label": ["old", "old", "old", "old", "young", "young", None, "old"],
        }
    )
    return table, hashes


def test_the_audit_counts_and_names():
    table, hashes = make_table()
    found = audit_splits(table, hashes.sample(frac=1, random_state=0), "label")
    assert found == {
        "pictures": 8,
        "duplicate_groups": 2,
        "duplicate_pictures": 5,
        "cross_split_duplicates": 1,
        "cross_split_near_duplicates": 3,
        "cross_split_identities": 1,
        "conflicting_labels": 1,
        "named": {
            "cross_split_duplicates": [["0.jpg", "3.jpg", "6.jpg"]],
            "cross_split_near_duplicates": [["7.jpg", "1.jpg"], ["3.jpg", "0.jpg"], ["4.jpg", "1.jpg"]],
            "cross_split_identities": ["bea"],
            "conflicting_labels": [["2.jpg", "5.jpg"]],
        },
    }
    json.dumps(found)


def test_the_audit_of_a_fair_split_finds_nothing():
    table, hashes = make_table()
    fair = table.iloc[[0, 1, 2]].assign(split=["train", "validation", "test"], group=[0, 1, 2]).reset_index(drop=True)
    found = audit_splits(fair, hashes)
    assert {kind: found[kind] for kind in ("cross_split_near_duplicates", "cross_split_identities")} == {
        "cross_split_near_duplicates": 0,
        "cross_split_identities": 0,
    }
    assert (found["cross_split_duplicates"], found["conflicting_labels"]) == (0, None)
    numbered = fair.assign(group=[7, 7, 8])
    assert json.dumps(audit_splits(numbered, hashes)["named"]["cross_split_identities"]) == "[7]"


def test_the_audit_lists_twenty_and_counts_all():
    hashes = make_hashes([0] * 60, [str(row % 30) for row in range(60)])
    table = pd.DataFrame({"path": hashes.path, "split": ["train"] * 30 + ["test"] * 30, "group": range(60)})
    found = audit_splits(table, hashes)
    assert found["cross_split_duplicates"] == found["cross_split_near_duplicates"] == 30
    assert len(found["named"]["cross_split_duplicates"]) == len(found["named"]["cross_split_near_duplicates"]) == 20


def test_the_audit_refuses_what_it_cannot_know():
    table, hashes = make_table()
    with pytest.raises(DataError, match="2 paths of the table have no hash, the first is 0.jpg"):
        audit_splits(table, hashes.iloc[2:])
    with pytest.raises(ParameterError, match="target 'age'; expected a column"):
        audit_splits(table, hashes, "age")
    with pytest.raises(DataError, match="split 'val'; expected one of train, validation, test"):
        audit_splits(table.assign(split="val"), hashes)


def test_the_matrix_of_26542_pictures_stays_under_300_megabytes():
    """As many as there are actors; in a process of its own, whose peak is then its own."""
    program = """
import resource
import numpy as np, pandas as pd
from facekit.audit import count_neighbours, find_groups
phash = np.random.default_rng(0).integers(0, 2**63, 26_542).astype(np.uint64)
hashes = pd.DataFrame({"phash": phash, "digest": phash.astype(str)})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert count_neighbours(hashes, np.arange(26_542) < 17_000, np.arange(26_542) >= 17_000, 2) == 0
assert len(set(find_groups(hashes))) == 26_542
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300


def read_facehack(shared) -> pd.DataFrame:
    rows = [
        pd.read_csv(shared / "data" / "facehack" / f"{split}.csv", header=None, names=["id", "label"]).assign(split=split)
        for split in ("train", "test")
    ]
    table = pd.concat(rows, ignore_index=True)
    return table.assign(path="happy_images/" + table.id + ".jpg", group=range(len(table)))


def test_the_official_split_of_facehack_has_near_duplicates(shared):
    table = read_facehack(shared)
    hashes = hash_pictures(shared / "data" / "facehack", table.path, cache=cache_folder("hashes"))
    train = (table.split == "train").to_numpy()
    assert count_neighbours(hashes, train, ~train, 2) == 17
    assert count_neighbours(hashes, train, ~train, 6) == 119
    found = audit_splits(table, hashes, "label")
    named = found.pop("named")
    assert found == {
        "pictures": 6442,
        "duplicate_groups": 1,
        "duplicate_pictures": 4,
        "cross_split_duplicates": 0,
        "cross_split_near_duplicates": 17,
        "cross_split_identities": 0,
        "conflicting_labels": 0,
    }
    assert len(named["cross_split_near_duplicates"]) == 17
    equal = table[hashes.digest.duplicated(keep=False)]
    assert equal[["split", "label"]].to_numpy().tolist() == [["train", "NOT smile"]] * 4


def test_the_actors_have_equal_files_across_their_folders_and_conflicting_labels(shared):
    root = shared / "data" / "indian_actors"
    files = sorted(file for part in ("Train", "Test") for file in (root / part).glob("*.jpg"))
    sizes = pd.Series([file.stat().st_size for file in files])
    # Files of one size only can be equal; the others need not be read, which keeps this test short.
    files = [file for file, shared_size in zip(files, sizes.duplicated(keep=False), strict=True) if shared_size]
    labels = pd.read_csv(root / "train.csv").set_index("ID")["Class"]
    table = pd.DataFrame({"path": [f"{file.parent.name}/{file.name}" for file in files], "group": range(len(files))})
    table["split"] = table.path.str.split("/").str[0].str.lower()
    table["label"] = [labels.get(file.name) if file.parent.name == "Train" else None for file in files]
    digest = [audit.hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    found = audit_splits(table, pd.DataFrame({"path": table.path, "digest": digest, "phash": np.uint64(0)}), "label")
    assert [found[kind] for kind in ("duplicate_groups", "cross_split_duplicates", "conflicting_labels")] == [
        325,
        104,
        3,
    ]
