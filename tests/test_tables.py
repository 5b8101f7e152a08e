"""Published tables as text: every form, every row with its line, and the quick way gives what the slow one gives."""

import pandas as pd
import pytest

from facekit import tables
from facekit.errors import DataError
from facekit.manifests import DatasetManifest
from facekit.tables import read_rows


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
            "layout": "",
            "tables": [
                {
                    "name": "rows",
                    "forms": [{"path": "rows.csv", "separator": separator, "header": header}],
                    "rows": 2,
                    "key": "id",
                    "columns": {"id": {}, "value": {}},
                }
            ],
            "pictures": {"count": 0, "size": ""},
            "split_rule": "",
        }
    )


def read(folder, content, **form):
    (folder / "rows.csv").write_bytes(content)
    rows, broken = read_rows(make_manifest(**form), "rows", folder)
    assert set(rows["file"]) == {"rows.csv"}
    good = list(rows[["row", "id", "value"]].itertuples(index=False, name=None))
    return good, list(broken[["row", "value", "reason"]].itertuples(index=False, name=None))


REGULAR = {
    "plain": (b"a,-1\nb,1\n", {}, [(1, "a", "-1"), (2, "b", "1")]),
    "crlf, no last line end": (b"a,-1\r\nb,1", {}, [(1, "a", "-1"), (2, "b", "1")]),
    "byte order mark and header": (b"\xef\xbb\xbfid,value\na,-1\n", {"header": "names"}, [(2, "a", "-1")]),
    "words that pandas takes for missing": (b"NA,nan\nnull,NULL\n", {}, [(1, "NA", "nan"), (2, "null", "NULL")]),
    "numbers keep their zeros": (b"007,1.50\n", {}, [(1, "007", "1.50")]),
    "runs of blanks": (b" a  -1 \nb \t 1\n", {"separator": "space"}, [(1, "a", "-1"), (2, "b", "1")]),
    "count and names": (
        b"2\nvalue \na  -1\nb   1\n",
        {"separator": "space", "header": "count and names"},
        [(3, "a", "-1"), (4, "b", "1")],
    ),
}


@pytest.mark.parametrize("case", REGULAR)
def test_regular_tables_are_read_alike_at_once_and_line_by_line(case, tmp_path, monkeypatch):
    content, form, expected = REGULAR[case]
    assert read(tmp_path, content, **form) == (expected, [])
    quick = read_rows(make_manifest(**form), "rows", tmp_path)[0]
    monkeypatch.setattr(tables, "_read_regular", lambda *_: None)
    assert read(tmp_path, content, **form) == (expected, [])
    pd.testing.assert_frame_equal(read_rows(make_manifest(**form), "rows", tmp_path)[0], quick)


def test_regular_tables_are_read_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "_split_lines", lambda *_: iter([(1, ["id", "value"])]))
    assert read(tmp_path, b"id,value\na,-1\n", header="names") == ([(2, "a", "-1")], [])


IRREGULAR = {
    "blank lines count": (b"a,1\n\nb,2\n\n", [(1, "a", "1"), (3, "b", "2")], []),
    "a short line": (b"a,1\nb\nc,3\n", [(1, "a", "1"), (3, "c", "3")], [(2, "b", "1 values instead of 2")]),
    "a long line": (b"a,1\nb,2,3\n", [(1, "a", "1")], [(2, "b 2 3", "3 values instead of 2")]),
    "all lines but the last are long": (b"a,1,2\nb,3\n", [(2, "b", "3")], [(1, "a 1 2", "3 values instead of 2")]),
    "an empty value": (b"a,\nb,2\n", [(1, "a", ""), (2, "b", "2")], []),
    "blanks around a value": (b"a, 1 \n", [(1, "a", "1")], []),
    "quotes around a comma": (b'"a,b",1\nc,2\n', [(1, "a,b", "1"), (2, "c", "2")], []),
    "letters beyond ascii": ("ä,1\n".encode(), [(1, "ä", "1")], []),
}


@pytest.mark.parametrize("case", IRREGULAR)
def test_other_tables_are_read_line_by_line(case, tmp_path):
    content, rows, broken = IRREGULAR[case]
    assert read(tmp_path, content) == (rows, broken)


def test_tables_that_are_none(tmp_path):
    with pytest.raises(DataError, match=r"holds no rows\.csv; expected the layout of two; see `facekit data fetch two`"):
        read_rows(make_manifest(), "rows", tmp_path)
    with pytest.raises(DataError, match=r"rows\.csv: no row with 2 values; expected id, value"):
        read(tmp_path, b"a\nb\n")
    with pytest.raises(DataError, match=r"rows\.csv: byte 2 is no UTF-8"):
        read(tmp_path, b"a,\xff\n")
    with pytest.raises(DataError, match=r"rows\.csv row 1: column 'name' in the header; expected id, value"):
        read(tmp_path, b"name,value\na,1\n", header="names")
    with pytest.raises(DataError, match=r"rows\.csv: .*; expected comma-separated values"):
        read(tmp_path, b'a,"1\n')
