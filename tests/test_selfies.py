"""One way to find and to split the selfies, for all experiments on them."""

import numpy as np
import pandas as pd
import pytest

from facekit.errors import DataError
from facekit.selfies import find_selfies, split_selfies

ALL = {"train": 0, "validation": 0, "test": 0}


def make_table(n, *, split=""):
    popularity = np.random.default_rng((0, n)).normal(4, 1, n)
    paths = [f"images/{number}.jpg" for number in range(n)]
    return pd.DataFrame({"path": paths, "split": split, "group": range(n), "popularity": popularity})


def make_hashes(n):
    """Hashes that are far from each other."""
    digests = [f"{number:064x}" for number in range(n)]
    phashes = np.random.default_rng((1, n)).integers(0, 2**63, n, dtype=np.uint64)
    return pd.DataFrame({"path": [f"images/{number}.jpg" for number in range(n)], "digest": digests, "phash": phashes})


def test_a_folder_that_is_not_there_is_named_with_the_commands_that_make_it(tmp_path):
    with pytest.raises(DataError, match="is no folder.*facekit data plant .* --to .*planted.*facekit data fetch selfie"):
        find_selfies(str(tmp_path / "planted"))
    assert find_selfies(str(tmp_path)) == tmp_path


def test_selfies_without_a_split_get_one_in_the_shares_asked_for_and_alike_in_popularity():
    table = split_selfies(make_table(600), make_hashes(600), validation=0.2, test=0.25, limits=ALL, seed=0)
    assert table["split"].value_counts().to_dict() == {"train": 360, "test": 150, "validation": 90}
    upper = table["popularity"] > table["popularity"].quantile(2 / 3)
    assert upper.groupby(table["split"]).mean().to_list() == pytest.approx([1 / 3] * 3, abs=0.01)
    assert "third" not in table and table["path"].is_unique


def test_nearly_equal_pictures_stay_together():
    hashes = make_hashes(300)
    hashes.loc[1::2, "phash"] = hashes["phash"].to_numpy()[::2] ^ np.uint64(1)
    table = split_selfies(make_table(300), hashes, validation=0.2, test=0.25, limits=ALL, seed=0)
    assert table["group"].nunique() == 150
    assert table.groupby("group")["split"].nunique().max() == 1


def test_a_given_split_is_kept_and_each_part_is_limited():
    given = make_table(30)
    given["split"] = ["train"] * 20 + ["validation"] * 4 + ["test"] * 6
    limits = {"train": 8, "validation": 100, "test": 0}
    table = split_selfies(given, make_hashes(30), validation=0.1, test=0.1, limits=limits, seed=0)
    assert table["split"].to_list() == ["train"] * 8 + ["validation"] * 4 + ["test"] * 6
    assert table.index.to_list() == list(range(18))
    assert table["path"].to_list() == sorted(table["path"], key=lambda path: int(path[7:-4]))
    other = split_selfies(given, make_hashes(30), validation=0.1, test=0.1, limits=limits, seed=1)
    assert set(other["path"]) != set(table["path"])
