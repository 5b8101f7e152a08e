"""Equal and near-equal images, people and labels across a split; the known truths of the real data."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import imagehash
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.sparse.csgraph import connected_components

from facekit.data import audit
from facekit.data.audit import audit_splits, find_groups, find_nearest, hash_images
from facekit.errors import DataError, ImageError


def draw_photograph(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return cv2.resize(coarse, (70, 90), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def folder(tmp_path):
    """a and its copy, a recompressed, and b, which is another image."""
    (tmp_path / "images").mkdir()
    Image.fromarray(draw_photograph(1)).save(tmp_path / "images" / "a.jpg", quality=95)
    shutil.copy(tmp_path / "images" / "a.jpg", tmp_path / "images" / "copy.jpg")
    Image.fromarray(draw_photograph(1)).resize((60, 80)).save(tmp_path / "images" / "small.jpg", quality=80)
    Image.fromarray(draw_photograph(2)).save(tmp_path / "images" / "b.jpg")
    return tmp_path


PATHS = [f"images/{name}.jpg" for name in ("b", "a", "copy", "small")]


def make_hashes(phash: list[int], digest: list[str] | None = None) -> pd.DataFrame:
    """Hashes without images; the digests are different unless given."""
    digest = digest or [str(row) for row in range(len(phash))]
    paths = [f"{row}.jpg" for row in range(len(phash))]
    return pd.DataFrame({"path": paths, "digest": digest, "phash": np.array(phash, np.uint64)})


def test_hashes_are_those_of_the_file_and_of_imagehash(folder):
    hashes = hash_images(folder, PATHS)
    assert list(hashes.columns) == ["path", "digest", "phash"]
    assert list(hashes.path) == PATHS
    assert hashes.phash.dtype == np.uint64
    assert hashes.digest.str.len().tolist() == [64] * 4
    assert (hashes.digest == hashes.digest[1]).tolist() == [False, True, True, False]
    for path, phash in zip(PATHS, hashes.phash, strict=True):
        assert f"{phash:016x}" == str(imagehash.phash(Image.open(folder / path)))
    assert find_groups(hashes).tolist() == [0, 1, 1, 1]


def test_the_cache_changes_nothing(folder, monkeypatch):
    expected = hash_images(folder, PATHS)
    monkeypatch.setenv("FACEKIT_CACHE", str(folder / "another cache"))
    read, original = [], audit.read_bytes
    monkeypatch.setattr(audit, "read_bytes", lambda path: read.append(path.name) or original(path))
    hash_images(folder, PATHS[:2])
    again = hash_images(folder, PATHS)
    assert sorted(read) == ["a.jpg", "b.jpg", "copy.jpg", "small.jpg"]
    pd.testing.assert_frame_equal(again, expected, check_dtype=False)
    assert again.phash.dtype == np.uint64
    read.clear()
    repeated = hash_images(folder, [PATHS[3], PATHS[0], PATHS[3]])
    assert repeated.digest.tolist() == expected.digest[[3, 0, 3]].tolist()
    assert read == []
    shutil.copy(folder / PATHS[1], folder / PATHS[0])
    assert hash_images(folder, PATHS).digest[0] == expected.digest[1]
    assert read == ["b.jpg"]


@pytest.mark.parametrize("damaged", ["", "{", "[]", "null", '{"images/a.jpg": 1}', '{"images/a.jpg": [1, 2]}', "\0\0"])
def test_a_damaged_cache_is_made_again_with_one_line(folder, monkeypatch, capsys, damaged):
    monkeypatch.setenv("FACEKIT_CACHE", str(folder / "another cache"))
    expected = hash_images(folder, PATHS)
    (file,) = (folder / "another cache" / "hashes").glob("*.json")
    whole = file.read_text()
    file.write_text(damaged)
    pd.testing.assert_frame_equal(hash_images(folder, PATHS), expected)
    assert capsys.readouterr().err.count("\n") == 1
    assert file.read_text() == whole


def test_names_that_pandas_takes_for_missing_values_stay_names(folder):
    shutil.copy(folder / PATHS[0], folder / "NA")
    for _ in range(2):
        assert hash_images(folder, ["NA"]).path.tolist() == ["NA"]


def test_a_broken_or_missing_image_is_named(folder):
    (folder / "refused_as_text.jpg").write_text("no image")
    for name in ("refused_as_text.jpg", "missing.jpg"):
        with pytest.raises(ImageError, match=name):
            hash_images(folder, [*PATHS, name])


def test_names_that_are_not_utf_8_are_hashed_cached_and_digested(folder):
    name = os.fsdecode(b"caf\xe9.jpg")
    shutil.copy(folder / PATHS[0], folder / name)
    first, again = hash_images(folder, [name]), hash_images(folder, [name])
    pd.testing.assert_frame_equal(first, again)
    assert first.path.tolist() == [name]
    table = pd.DataFrame({"path": [name], "split": "train", "group": 0})
    assert len(audit.digest(table, first)["images"]) == 64


def test_a_large_image_is_hashed_from_a_smaller_copy(folder, monkeypatch):
    expected = hash_images(folder, PATHS)
    monkeypatch.setattr(audit, "LARGE", 1000)
    monkeypatch.setattr(audit, "DECODER_VERSION", "another")
    hashes = hash_images(folder, PATHS)
    assert hashes["digest"].equals(expected["digest"])
    assert np.bitwise_count(hashes.phash.to_numpy() ^ expected.phash.to_numpy()).max() <= 8


def test_the_digest_stands_for_rows_labels_and_images_but_not_for_the_order_of_the_hashes():
    table, hashes = make_table()
    first = audit.digest(table, hashes)
    assert audit.digest(table, hashes.iloc[::-1]) == first
    other = audit.digest(table.assign(label="old"), hashes)
    assert other["table"] != first["table"] and other["images"] == first["images"]
    other = audit.digest(table, hashes.assign(digest="e"))
    assert other["table"] == first["table"] and other["images"] != first["images"]
    with pytest.raises(DataError, match="1 paths of the table have no hash"):
        audit.digest(table, hashes.iloc[1:])


def test_groups_are_chains_of_neighbours():
    hashes = make_hashes([0b1111_0000, 0, 0b11, 0b1111, 0b11_1111, 2**63, 0])
    assert find_groups(hashes, 2).tolist() == [0, 1, 1, 1, 1, 1, 1]
    assert find_groups(hashes, 1).tolist() == [0, 1, 2, 3, 4, 1, 1]
    assert find_groups(hashes, 0).tolist() == [0, 1, 2, 3, 4, 5, 1]
    assert find_groups(hashes, 64).tolist() == [0] * 7
    assert find_groups(hashes.iloc[:0]).tolist() == []


@pytest.mark.parametrize("distance", [0, 1, 2, 5, 6, 7, 9])
def test_groups_are_those_of_all_pairs_wherever_the_differing_bits_are(distance):
    generator = np.random.default_rng(distance)
    phash = [int(each) for each in generator.integers(0, 2**64, 40, dtype=np.uint64)]
    for _ in range(160):  # neighbours of what is there, some of them in chains
        bits = generator.choice(64, generator.integers(0, 10), replace=False)
        phash.append(phash[generator.integers(len(phash))] ^ sum(1 << int(bit) for bit in bits))
    near = np.array([[(one ^ other).bit_count() <= distance for one in phash] for other in phash])
    count, expected = connected_components(near)
    assert 40 <= count < 200
    assert find_groups(make_hashes(phash), distance).tolist() == pd.factorize(expected)[0].tolist()


def test_rows_of_the_matrix_give_what_all_pairs_give():
    generator = np.random.default_rng(0)
    # Few bits differ, so that many are neighbours.
    phash = [int(generator.integers(0, 2**6)) << int(generator.integers(0, 50)) for _ in range(60)]
    pairs = np.array([[(one ^ other).bit_count() for one in phash] for other in phash])
    hashes, mask = make_hashes(phash), np.arange(60) % 3 == 0
    distance, index = find_nearest(hashes.phash.to_numpy(), hashes.phash.to_numpy()[mask])
    assert distance.tolist() == [0] * 20
    assert index.tolist() == pairs[mask].argmin(axis=1).tolist()
    for wide in (0, 2, 5):
        expected = int((pairs[mask][:, ~mask].min(axis=1) <= wide).sum())
        assert (find_nearest(hashes.phash[~mask], hashes.phash[mask])[0] <= wide).sum() == expected
        groups = find_groups(hashes, wide)
        assert (groups[:, None] == groups)[pairs <= wide].all()


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
        "images": 8,
        "duplicate_groups": 2,
        "duplicate_images": 5,
        "cross_split_duplicates": 1,
        "cross_split_near_duplicates": 3,
        "cross_split_groups": 1,
        "conflicting_labels": 1,
        "named": {
            "cross_split_duplicates": [["0.jpg", "3.jpg", "6.jpg"]],
            "cross_split_near_duplicates": [["7.jpg", "1.jpg"], ["3.jpg", "0.jpg"], ["4.jpg", "1.jpg"]],
            "cross_split_groups": ["bea"],
            "conflicting_labels": [["2.jpg", "5.jpg"]],
        },
    }
    json.dumps(found)


def test_the_audit_of_a_fair_split_finds_nothing():
    table, hashes = make_table()
    fair = table.iloc[[0, 1, 2]].assign(split=["train", "validation", "test"], group=[0, 1, 2]).reset_index(drop=True)
    found = audit_splits(fair, hashes, "label")
    assert {kind: found[kind] for kind in ("cross_split_near_duplicates", "cross_split_groups")} == {
        "cross_split_near_duplicates": 0,
        "cross_split_groups": 0,
    }
    assert (found["cross_split_duplicates"], found["conflicting_labels"]) == (0, 0)
    numbered = fair.assign(group=[7, 7, 8])
    assert json.dumps(audit_splits(numbered, hashes, "label")["named"]["cross_split_groups"]) == "[7]"


def test_the_audit_lists_twenty_and_counts_all():
    hashes = make_hashes([0] * 60, [str(row % 30) for row in range(60)])
    table = pd.DataFrame({"path": hashes.path, "split": ["train"] * 30 + ["test"] * 30, "group": range(60)})
    found = audit_splits(table, hashes, "group")
    assert found["cross_split_duplicates"] == found["cross_split_near_duplicates"] == 30
    assert len(found["named"]["cross_split_duplicates"]) == len(found["named"]["cross_split_near_duplicates"]) == 20


def test_the_audit_refuses_what_it_cannot_know():
    table, hashes = make_table()
    with pytest.raises(DataError, match="2 paths of the table have no hash, the first is 0.jpg"):
        audit_splits(table, hashes.iloc[2:], "label")
    with pytest.raises(DataError, match="split 'val'; expected one of train, validation, test"):
        audit_splits(table.assign(split="val"), hashes, "label")


def test_the_matrix_of_26542_images_stays_under_300_megabytes():
    """As many as there are actors; in a process of its own, whose peak is then its own."""
    program = """
import resource
import numpy as np, pandas as pd
from facekit.data.audit import find_groups, find_nearest
phash = np.random.default_rng(0).integers(0, 2**63, 26_542).astype(np.uint64)
hashes = pd.DataFrame({"phash": phash, "digest": phash.astype(str)})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert find_nearest(phash[:17_000], phash[17_000:])[0].min() > 2
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
    hashes = hash_images(shared / "data" / "facehack", table.path)
    train = (table.split == "train").to_numpy()
    distance, _ = find_nearest(hashes.phash[train], hashes.phash[~train])
    assert [(distance <= bits).sum() for bits in (2, 6)] == [17, 119]
    found = audit_splits(table, hashes, "label")
    named = found.pop("named")
    assert found == {
        "images": 6442,
        "duplicate_groups": 1,
        "duplicate_images": 4,
        "cross_split_duplicates": 0,
        "cross_split_near_duplicates": 17,
        "cross_split_groups": 0,
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
