"""The one schema of metrics.json, which a run writes and the site and the tables read."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from facekit.errors import DataError
from facekit.evaluation.metric import Comparison, Metric
from facekit.paths import read_json
from facekit.reporting.claims import KINDS, Verdict
from facekit.reporting.parameters import validate

SCHEMA = 1


@dataclass
class Record:
    """What metrics.json holds."""

    task: str
    profile: str
    question: str
    parameters: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    published: list[Verdict] = field(default_factory=list)
    run: dict[str, Any] = field(default_factory=dict)  # the only part that may differ between two equal runs
    schema: int = SCHEMA


def read_record(path: Path) -> Record:
    """Read a metrics.json; DataError where it is missing, damaged, or of a later facekit."""
    content = read_json(path, hint="run the experiment")
    record = validate(TypeAdapter(Record).validate_python, content, f"{path}: ")
    if record.schema > SCHEMA or not record.run or record.data.get("kind") not in KINDS:
        raise DataError(f"{path}: schema {record.schema}", expected=f"{SCHEMA}, with data and run", hint="update facekit")
    return record


def dump_json(record: Any) -> str:
    """Return JSON as metrics.json holds it: sorted keys, two spaces, null where a number is not one.

    >>> print(dump_json({"b": 0.1, "a": float("nan")}), end="")
    {
      "a": null,
      "b": 0.1
    }
    """
    plain = json.loads(json.dumps(record, default=_make_plain), parse_constant=lambda _: None)
    return escape(json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False), "\\") + "\n"


def _make_plain(value: Any) -> Any:
    if isinstance(value, (Metric, Comparison, Verdict)):
        return vars(value)
    return None if value is pd.NA or value is pd.NaT else value.tolist()  # numpy's arrays and numbers


def escape(text: str, before: str = "") -> str:
    """Return text that UTF-8 can hold: file names that are not UTF-8 are shown escaped."""
    return re.sub("[\ud800-\udfff]", lambda match: f"{before}\\u{ord(match[0]):x}", text)
