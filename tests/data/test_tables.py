"""Published tables as text, in every form and with the line of every row; listing of files; samples of a dataset."""

import gzip
import io
import os
import socket
import zipfile

import numpy as np
import pandas as pd
import pytest

from facekit.data.manifests import DatasetManifest
from facekit.data.readers import text
from facekit.data.tables import Dataset, exclude_repeated, list_files, read_dataset, read_rows
from facekit.errors import DataError, ParameterError


def make_manifest(separator="comma", header="none"):
    return DatasetManifest.model_validate(
        {
            "kind": "dataset",
            "name": "two",
            "title": "two columns",
            "homepage": "",
            "terms": "",
            "citation": "",
            "source": {"kind": "files"},
            "tables": {
                "rows": {
                    "forms": [{"path": "rows.csv", "separator": separator, "header": header}],
                    "rows": 2,
                    "key": "id",
                    "columns": {"id": {}, "label": {}},
                }
            },
            "images": {"count": 0},
        }
    )


def read(folder, content, **form):
    (folder / "rows.csv").write_bytes(content)
    rows = read_rows(make_manifest(**form), "rows", folder)
    assert set(rows["file"]) == {"rows.csv"}
    good = rows["reason"] == ""
    broken = rows.loc[~good, ["row", "value", "reason"]]
    return list(rows.loc[good, ["row", "id", "label"]].itertuples(index=False, name=None)), broken.to_numpy().tolist()


def make_zip(*names, size=4):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, b"a,1\n" * (size // 4))
    return stream.getvalue()


PACKED_JUNK = (".DS_Store", "__MACOSX/._rows.csv", "folder/Thumbs.db", "__MACOSX/folder/rows.csv", "~$rows.csv", "desktop.ini")
ONE = "1 values instead of 2"
BLANK = {"separator": "space"}
COUNTED = {"separator": "space", "header": "count and names"}
TABLES = {
    "plain": (b"a,-1\nb,1\n", {}, [(1, "a", "-1"), (2, "b", "1")], []),
    "crlf, no last line end": (b"a,-1\r\nb,1", {}, [(1, "a", "-1"), (2, "b", "1")], []),
    "old mac": (b"a,-1\rb,1\r", {}, [(1, "a", "-1"), (2, "b", "1")], []),
    "byte order mark and header": (b"\xef\xbb\xbfid,label\na,-1\n", {"header": "names"}, [(2, "a", "-1")], []),
    "words that pandas takes for missing": (b"NA,nan\nnull,NULL\n", {}, [(1, "NA", "nan"), (2, "null", "NULL")], []),
    "numbers keep their zeros": (b"007,1.50\n", {}, [(1, "007", "1.50")], []),
    "runs of blanks": (b" a  -1 \nb \t 1\n", BLANK, [(1, "a", "-1"), (2, "b", "1")], []),
    "count and names": (b"2\nlabel \na  -1\nb   1\n", COUNTED, [(3, "a", "-1"), (4, "b", "1")], []),
    "another count": (b"20\nlabel\na 1\n", COUNTED, [(3, "a", "1")], [[1, "20", "is to be the number of rows, which is 1"]]),
    "blank lines count": (b"a,1\n\nb,2\n  \n", {}, [(1, "a", "1"), (3, "b", "2")], []),
    "a short line": (b"a,1\nb\nc,3\n", {}, [(1, "a", "1"), (3, "c", "3")], [[2, "b", "1 values instead of 2"]]),
    "a long line": (b"a,1\nb,2,3\n", {}, [(1, "a", "1")], [[2, "b 2 3", "3 values instead of 2"]]),
    "an empty value": (b"a,\nb,2\n", {}, [(1, "a", ""), (2, "b", "2")], []),
    "blanks around a value": (b"a, 1 \n", {}, [(1, "a", "1")], []),
    "quotes around a comma": (b'"a,b",1\nc,2\n', {}, [(1, "a,b", "1"), (2, "c", "2")], []),
    "a quote without end": (b'a,1\n"b,2\nc,3\n', {}, [(1, "a", "1"), (3, "c", "3")], [[2, "b,2", "1 values instead of 2"]]),
    "letters beyond ascii": ("\u00e4,1\n".encode(), {}, [(1, "\u00e4", "1")], []),
    "control characters": (b"a\0,1\nb\x1f,2\n", {}, [(1, "a\ufffd", "1"), (2, "b\ufffd", "2")], []),
    "zip with junk": (make_zip(*PACKED_JUNK, "./folder/rows.csv", size=4), {}, [(1, "a", "1")], []),
    "gzip": (gzip.compress(b"a,1\nb,2\n"), {}, [(1, "a", "1"), (2, "b", "2")], []),
    "UTF-16 with tabs": ("a\t1\r\n\u00e4\t2\r\n".encode("utf-16"), {}, [(1, "a", "1"), (2, "\u00e4", "2")], []),
    "UTF-16, big end first": (b"\xfe\xff" + "a,1\nb,2".encode("utf-16-be"), {}, [(1, "a", "1"), (2, "b", "2")], []),
    "tabs": (b"a, b\t1\nc\t2\n", {}, [(1, "a, b", "1"), (2, "c", "2")], []),
    "semicolons and commas": (b'a;1,5\n"b;c";2\n', {}, [(1, "a", "1,5"), (2, "b;c", "2")], []),
    "semicolons and a header": (b"id;label\na;1\nb\n", {"header": "names"}, [(2, "a", "1")], [[3, "b", ONE]]),
    "semicolons for blanks": (b"1;\nlabel\na;1\n", COUNTED, [(3, "a", "1")], []),
    "commas for blanks": (b"a b,1\nc,2\n", BLANK, [(1, "a b", "1"), (2, "c", "2")], []),
    "semicolons within commas": (b"a;b,1\nc,2\n", {}, [(1, "a;b", "1"), (2, "c", "2")], []),
    "tabs in commas": (b"a,1\t\nb,\t2\n", {}, [(1, "a", "1"), (2, "b", "2")], []),
    "a value without end": (b"a,1\nb b," + b"x" * 300_000 + b"\n", {}, [(1, "a", "1"), (2, "b b", "x" * 99_996)], []),
}


@pytest.mark.parametrize("case", TABLES)
def test_every_row_with_its_line(case, tmp_path):
    content, form, rows, broken = TABLES[case]
    assert read(tmp_path, content, **form) == (rows, broken)


@pytest.mark.parametrize("suffix", [".gz", ".zip"])
def test_a_packed_table_is_found_by_its_name(tmp_path, suffix):
    (tmp_path / f"rows.csv{suffix}").write_bytes(gzip.compress(b"a,1\n"))
    rows = read_rows(make_manifest(), "rows", tmp_path)
    assert rows[["file", "id", "label"]].to_numpy().tolist() == [[f"rows.csv{suffix}", "a", "1"]]


def test_tables_that_are_none(tmp_path, monkeypatch):
    monkeypatch.setattr(text, "_MAX_BYTES", 10_000)
    with pytest.raises(
        DataError, match=r"holds no rows\.csv that is a file; expected the layout of two; see `facekit data fetch two`"
    ):
        read_rows(make_manifest(), "rows", tmp_path)
    for content, message in (
        (b"a\nb\n", r"rows\.csv: no row with 2 values; expected id, label, separated by commas \(or semicolons or tabs\)"),
        (b"a|1\n", r"rows\.csv: no row with 2 values; expected id, label, separated by"),
        (b"a,\xff\n", r"rows\.csv: 'utf-8' codec can't decode byte 0xff in position 2"),
        (
            b"PK\x03\x04" + bytes(99),
            r"rows\.csv: File is not a zip file; expected a table in UTF-8 .* in a zip or gzip archive",
        ),
        (make_zip("rows.csv", "more.csv"), r"rows\.csv: 2 files in the archive; expected a table .* alone in a zip"),
        (make_zip(".DS_Store"), r"rows\.csv: 0 files in the archive"),
        (gzip.compress(b"a,1\n" * 99)[:-9], r"rows\.csv: Compressed file ended before"),
        (gzip.compress(bytes(20_000)), r"rows\.csv: more than 10,000 bytes; expected a table in UTF-8 of at most 10,000 bytes"),
        (make_zip("rows.csv", size=20_000), r"rows\.csv: more than 10,000 bytes"),
        (b"\xff\xfea", r"rows\.csv: 'utf-16-le' codec can't decode byte 0x61 in position 2"),
        (b"\xfd7zXZ\0", r"rows\.csv: 'utf-8' codec can't decode byte 0xfd .*; expected a table in UTF-8 .*export it as text"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path, content)
    with pytest.raises(DataError, match=r"rows\.csv row 1: column 'name' in the header; expected id$"):
        read(tmp_path, b"name,label\na,1\n", header="names")
    with pytest.raises(DataError, match=r"rows\.csv row 2: column 'nothing' in the header; expected label"):
        read(tmp_path, b"3", **COUNTED)


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999", "high", "", "9" * 5000, "0x1F\u0660"])
def test_a_number_is_finite(tmp_path, value):
    manifest = make_manifest().model_dump()
    manifest["tables"]["rows"]["columns"]["label"] = {"number": True}
    (tmp_path / "rows.csv").write_text(f"a,{value}\nb,1.5\n")
    reasons = read_rows(DatasetManifest.model_validate(manifest), "rows", tmp_path)["reason"]
    assert reasons.tolist() == ["label is not a finite number", ""]


def test_many_repeated_keys_take_no_loop():
    keys = np.repeat(np.arange(100_000), 2).astype(str)
    frame = {"file": "a", "row": np.arange(200_000), "split": "", "value": keys, "reason": "", "id": keys, "label": "x"}
    rows = pd.DataFrame(frame)
    rows.loc[[1, 2], "label"] = "y"
    exclude_repeated(rows, "id", ["label"])
    assert rows["reason"].tolist()[:6] == ["id has several values of label"] * 4 + ["", "id is already in a row 4"]
    assert (rows["reason"] == "").sum() == 99_998


JUNK = [
    ".DS_Store",
    "._b.jpg",
    ".AppleDouble",
    ".Trashes",
    ".fseventsd",
    "Thumbs.db",
    "Thumbs.db:encryptable",
    "ehthumbs_vista.db",
]
JUNK += ["DESKTOP.INI", "Icon\r", "~$b.jpg", "@eaDir", "$RECYCLE.BIN", "b.jpg:Zone.Identifier"]


def test_only_regular_files_are_listed_and_junk_is_left_out(tmp_path):
    for name in ("b.jpg", "a.HEIC", *JUNK):
        (tmp_path / name).touch()
    (tmp_path / "c.jpg").symlink_to(tmp_path / "b.jpg")
    for name, goal in (("loop.jpg", "loop.jpg"), ("lost.jpg", "nowhere"), ("zero.jpg", "/dev/zero")):
        (tmp_path / name).symlink_to(goal)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "socket.jpg"))
        assert list_files(tmp_path) == (
            ["a.HEIC", "b.jpg", "c.jpg"],
            ["folder", "loop.jpg", "lost.jpg", "pipe.jpg", "socket.jpg", "zero.jpg"],
        )
    with pytest.raises(DataError, match="nowhere cannot be read"):
        list_files(tmp_path / "nowhere")


def test_unknown_dataset_lists_the_known(tmp_path):
    with pytest.raises(ParameterError, match="unknown dataset 'faces'; expected one of celeba, .*facehack"):
        read_dataset("faces", tmp_path)


def test_sample_keeps_proportions_and_order(tmp_path):
    labels = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    table = pd.DataFrame({"path": map(str, range(200)), "split": ["train"] * 100 + ["test"] * 100, "label": labels * 2})
    table["score"] = np.arange(200) / 200
    dataset = Dataset("facehack", tmp_path, "synthetic", table, table)
    part = dataset.sample(40, "label", seed=0)
    assert part.groupby(["split", "label"]).size().tolist() == [12, 6, 2, 12, 6, 2]
    assert part["path"].astype(int).is_monotonic_increasing
    assert list(part.index) == list(range(40))
    pd.testing.assert_frame_equal(part, dataset.sample(40, "label", seed=0))
    assert part["path"].tolist() != dataset.sample(40, "label", seed=1)["path"].tolist()
    assert len(dataset.sample(0, "label", seed=0)) == len(dataset.sample(500, "label", seed=0)) == 200
    assert dataset.sample(20, "score", seed=0)["split"].value_counts().tolist() == [10, 10]
    with pytest.raises(DataError, match=r"class 'c' of label has too few rows: test 0, train 0; .*; use more rows, or leave"):
        dataset.sample(6, "label", seed=0)
    with pytest.raises(DataError, match=r"class 'c' of label has too few rows: test 0, train 10"):
        Dataset("facehack", tmp_path, "synthetic", table[:190], table).sample(0, "label", seed=0)
    table["label"] = ["YOUNG", "OLD"] * 100
    with pytest.raises(DataError, match=r"class 'MIDDLE' of label has too few rows: test 0, train 0"):
        Dataset("indian_actors", tmp_path, "synthetic", table, table).sample(0, "label", seed=0)
    with pytest.raises(DataError, match=r"all 200 rows are of class '1' of Male; expected two classes or more"):
        Dataset("celeba", tmp_path, "synthetic", table.assign(Male=1), table).sample(0, "Male", seed=0)
