"""What the reports claim, from reports/published.yaml, and how our values compare: one rule for all, `judge`."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel

from facekit.data.manifests import validate
from facekit.errors import DataError, FacekitError, ParameterError
from facekit.evaluation.metric import LOWER_IS_BETTER, Comparison, Metric
from facekit.paths import project_root, read_json
from facekit.reporting.parameters import read_profile, read_yaml

KINDS = {"photographs": "real photographs", "planted": "semi-synthetic popularity", "synthetic": "synthetic images"}
SCHEMA = 1  # of metrics.json
COUNTS = ("attributes", "batches", "classes", "components", "epochs", "images", "layers", "parameters", "steps")


class Claim(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """One claim of a report; the head of published.yaml describes the fields."""

    id: str
    kind: Literal["value", "claim", "setting"]
    text: str
    value: float | None = None
    unit: str | None = None
    metric: str | None = None
    averaging: Literal["none", "macro", "micro", "weighted", "samples", "mean over attributes", "not said"] | None = None
    n: int | None = None
    chosen_on: Literal["train", "validation", "test"] | None = None
    reproduced: str | None = None
    why: str | None = None
    comparable: bool = True
    report_error: bool = False


class Experiment(BaseModel, extra="forbid", frozen=True):
    """One experiment of a report: its question and its claims."""

    question: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Verdict:
    """A row of `published` in metrics.json: a claim's id and value, our metric, the verdict (None: none), what to know."""

    claim: str
    value: float | None
    reproduced: str | None
    verdict: str | None
    why: str | None


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

    @property
    def kind(self) -> str:
        """What the images are, one of KINDS; photographs before it is known, so that nothing is shown too early."""
        return self.data.get("kind", "photographs")


def read_record(path: Path) -> Record:
    """Read a metrics.json; DataError where it is missing, damaged, or of a later facekit."""
    record = validate(Record, read_json(path, hint="run the experiment"), str(path))
    if record.schema > SCHEMA or not record.run or record.data.get("kind") not in KINDS:
        raise DataError(f"{path}: schema {record.schema}", expected=f"{SCHEMA}, with data and run", hint="update facekit")
    return record


@cache
def read_register(path: Path | None = None) -> dict[str, Experiment]:
    """Return every experiment by its name, in the order of published.yaml (or of another file at `path`)."""
    reports = read_yaml(path or project_root() / "reports" / "published.yaml", dict[str, dict[str, Experiment]])
    return {task: experiment for tasks in reports.values() for task, experiment in tasks.items()}


def read_experiment(task: str) -> Experiment:
    """Return one experiment; ParameterError where published.yaml has no such section."""
    if task not in (experiments := read_register()):
        raise ParameterError(f"published.yaml has no experiment {task!r}", expected=f"one of {', '.join(experiments)}")
    return experiments[task]


def index_values(record: Record) -> dict[str, Metric]:
    """Return what a run measured by the names that claims use; a comparison is `A minus B: METRIC`."""
    values = {metric.name: metric for metric in record.metrics}
    for c in record.comparisons:
        name, higher = f"{c.a} minus {c.b}: {c.metric}", c.metric.split("/")[-1] not in LOWER_IS_BETTER
        values[name] = Metric(name, c.difference, c.interval, c.n, higher_is_better=higher)
    return values


def judge(claim: Claim, measured: Metric | None, *, kind: str, remark: str = "") -> tuple[str | None, str]:
    """Return the verdict on a claim, and what to know with it.

    `above` / `below`: our whole interval is better / worse than the published value (mirrored for losses), `within`: it
    contains it; for a difference the same against 0. A count is `equal` or `differs`. `report error`, `not comparable`, or
    None: a value without an interval.

    `kind` is that of our data; `remark` says how our method differs from the report's: network, start, size, ensemble, flips.
    """
    for applies, why in (
        (claim.reproduced is None and not claim.report_error, claim.why),
        (claim.reproduced is not None and kind != "photographs", KINDS.get(kind, kind)),
        (claim.reproduced is not None and measured is None, "; ".join(filter(None, ["not measured in this run", claim.why]))),
        (measured is not None and measured.value is None, "not defined on these rows"),
        (not claim.comparable, claim.why),
    ):
        if applies:
            return "not comparable", why or ""
    if claim.report_error:
        return "report error", claim.why
    is_difference = " minus " in (claim.reproduced or "")  # one model is to beat another
    reasons = ["a difference, judged against 0: within means that none is shown"] * is_difference
    reasons += ["the published value was chosen on the test set"] * (claim.chosen_on == "test")
    reasons += ["the published averaging is not stated"] * (claim.averaging == "not said")
    reasons.append(claim.why)
    published = 0.0 if is_difference else claim.value
    if measured.interval is None and claim.unit in COUNTS:
        verdict, remark = "equal" if measured.value == published else "differs", ""
    elif measured.interval is None:
        verdict = None
        reasons.append("our value has no interval")
    else:
        low, high = measured.interval
        better = (published < low) == measured.higher_is_better
        verdict = "within" if low <= published <= high else "above" if better else "below"
    return verdict, "; ".join(filter(None, [*reasons, remark]))


def judge_all(record: Record, remark: str = "", others: dict[str, str] | None = None) -> tuple[list[Verdict], pd.DataFrame]:
    """Judge every claim of a run's experiment but its settings; `remark` as in `judge`, `others` by how its metric begins.

    Returned are the verdicts, and the same as text columns: claim, published, ours (value and 95 % interval), n, verdict, why.
    """
    verdicts, rows, values = [], [], index_values(record)
    for claim in [claim for claim in read_experiment(record.task).claims if claim.kind != "setting"]:
        measured = values.get(claim.reproduced)
        own = [text for start, text in (others or {}).items() if (claim.reproduced or "").startswith(start)]
        verdict, why = judge(claim, measured, kind=record.kind, remark=[*own, remark][0])
        verdicts.append(Verdict(claim.id, claim.value, measured and claim.reproduced, verdict, why or None))
        published, ours = format_value(claim.value, claim.unit), format_value(measured, claim.unit)
        rows.append((claim.text, published, ours, f"{measured.n:,}" if measured else "", verdict or "no verdict", why))
    return verdicts, pd.DataFrame(rows, columns=["claim", "published", "ours", "n", "verdict", "why"])


def format_value(value: float | Metric | None, unit: str | None = None) -> str:
    """Return a number, or one of our values with its interval, as a reader wants it; nothing where it is not defined.

    >>> format_value(0.7921, "share"), format_value(118000.0), format_value(Metric("a", 2 / 3, (0.5, 1.0), 9))
    ('79.21%', '118,000', '0.6667 [0.5000, 1.0000]')
    """
    if value is None or pd.isna(number := float(value)):
        return ""
    whole = number.is_integer() and abs(number) > 1 and not getattr(value, "interval", None)
    return format(value, ".2%" if unit == "share" else ",.0f" if whole else ".4f")


def find_headline(record: Record, verdicts: Sequence[Verdict]) -> tuple[Metric | None, Verdict | None, str | None]:
    """Return the first value of a run that a reader sees, the one of `verdicts` on a published value of it, and their unit.

    It is the metric of the first `expected` row of the run's profile, else the first on test images, else the first.
    """
    expected = []
    with contextlib.suppress(FacekitError):  # a task or profile that is not the project's
        expected = [row.metric for row in read_profile(record.task, record.profile).expected[:1]]
    headline = min(record.metrics, key=lambda m: (m.name not in expected, not m.name.startswith("test/")), default=None)
    verdict = next((row for row in verdicts if headline and row.reproduced == headline.name and row.value is not None), None)
    return headline, verdict, "share" if headline and headline.name.endswith(("accuracy", "f1", "found")) else None
