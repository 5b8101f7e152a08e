"""The one schema of metrics.json, which a run writes and the site and the tables read."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import AliasChoices, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic asks for it before Python 3.12

from facekit.errors import DataError, ParameterError
from facekit.evaluation.metric import Comparison, Metric
from facekit.reporting.claims import Verdict

SCHEMA = 1


class Excluded(TypedDict):
    """Rows that a reader left out: how many, for which reasons, and the first of them."""

    rows: int
    reasons: dict[str, int]
    first: list[dict[str, Any]]


class Data(TypedDict):
    """What a run used; a notebook may add to it."""

    __pydantic_config__ = ConfigDict(extra="allow")
    dataset: str
    kind: Literal["photographs", "planted", "synthetic"]
    digest: dict[str, str]
    counts: dict[str, dict[str, int]]
    excluded: Annotated[Excluded, Field(validation_alias=AliasChoices("excluded", "set_aside"))]  # its name in older runs
    audit: dict[str, Any]


class Environment(TypedDict):
    """The only part of metrics.json that may differ between two equal runs."""

    started: str
    seconds: dict[str, float]
    peak_memory_mb: int | None
    peak_gpu_memory_mb: int | None
    machine: dict[str, Any]
    versions: dict[str, str]
    device: str


@dataclass
class Record:
    """What metrics.json holds."""

    task: str
    profile: str
    question: str
    parameters: dict[str, Any]
    data: Data = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    published: list[Verdict] = field(default_factory=list)
    run: Environment | None = None
    schema: int = SCHEMA


def read_record(path: Path) -> Record:
    """Read a metrics.json; DataError where it is missing, damaged, or of a later facekit."""
    try:
        record = TypeAdapter(Record).validate_json(path.read_bytes())
        if record.schema > SCHEMA or record.run is None or not record.data:
            raise ParameterError(f"schema {record.schema}", expected=f"{SCHEMA}, with data and run", hint="update facekit")
    except (OSError, ValidationError, ParameterError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}" if first else error
        raise DataError(f"{path}: {reason}", expected="the record of a run", hint="run the experiment again") from None
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
