"""metrics.json: one form (claims.Record), written plainly, and refused in one line where it is damaged."""

import json
import random

import numpy as np
import pandas as pd
import pytest

from facekit.errors import DataError
from facekit.paths import project_root
from facekit.reporting.claims import read_record
from facekit.reporting.record import dump_json


def test_json_is_sorted_indented_and_plain():
    record = {"b": np.float32(0.5), "a": [np.int64(3), float("nan"), np.inf, np.bool_(True), None], "ä": np.array([[1, 2]])}
    assert dump_json(record | {"c": pd.NA, 1: (0.1 + 0.2,)}) == (
        '{\n  "1": [\n    0.30000000000000004\n  ],\n  "a": [\n    3,\n    null,\n    null,\n    true,\n    null\n  ],\n'
        '  "b": 0.5,\n  "c": null,\n  "ä": [\n    [\n      1,\n      2\n    ]\n  ]\n}\n'
    )


@pytest.mark.parametrize("path", sorted((project_root() / "reports").glob("laptop/[!.]*/metrics.json")), ids=str)
def test_committed_runs_are_read_and_written_alike(path):
    record, content = read_record(path), json.loads(path.read_bytes())
    assert len(record.metrics) == len(content["metrics"]) > 0
    assert json.loads(dump_json(record.metrics)) == content["metrics"]
    assert json.loads(dump_json(record.comparisons)) == content["comparisons"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "Expecting value"),
        (b"\xff", "can't decode"),
        (b'{"task": "a", "task": "b"}', "'task' twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' twice"),
        (b'{"schema": NaN}', "number NaN"),
        (b'{"schema": -Infinity}', "number -Infinity"),
        (b'{"schema": 1e999}', "number 1e999"),
        (b'{"schema": ' + b"9" * 9999 + b"}", "Exceeds the limit"),
        (b"[]", r"\(top level\): Input should be .*, received \[\]"),
        (b"[" * 99999, "recursion"),
        (b'{"schema": 1}', r"task: Field required, received \{'schema': 1\}"),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, content, told):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"metrics.json.*{told}") as caught:
        read_record(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no-such.json"):
        read_record(tmp_path / "no-such.json")


def find_committed():
    return json.loads(next((project_root() / "reports").glob("laptop/smile/metrics.json")).read_bytes())


def test_a_later_schema_and_missing_parts_are_refused(tmp_path):
    path = tmp_path / "metrics.json"
    for change, told in (({"schema": 2}, "schema 2; expected 1"), ({"run": {}}, "with data and run"), ({"data": {}}, "data")):
        path.write_text(json.dumps(find_committed() | change))
        with pytest.raises(DataError, match=told):
            read_record(path)


def test_a_number_too_large_for_a_value_is_one_line(tmp_path):
    content = find_committed()
    content["metrics"][0]["value"] = 10**400
    (tmp_path / "metrics.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"metrics.json: metrics.0.value: Input should be a valid number.*, received "):
        read_record(tmp_path / "metrics.json")


def test_mutated_records_are_read_or_one_of_our_errors(tmp_path):
    content, draw = json.dumps(find_committed()).encode(), random.Random(0)
    path = tmp_path / "metrics.json"
    for _ in range(150):
        mutated = bytearray(content[: draw.choice([len(content), draw.randrange(len(content))])])
        for _ in range(draw.randrange(1, 6)):
            mutated[draw.randrange(len(mutated))] = draw.randrange(256)
        path.write_bytes(mutated)
        try:
            read_record(path)
        except DataError as error:
            assert "metrics.json" in str(error)
