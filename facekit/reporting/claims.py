"""What the reports claim, from reports/published.yaml, and how our values compare: one rule for all, `judge`."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, TypeAdapter

from facekit.errors import DataError, FacekitError, ParameterError
from facekit.evaluation.metric import LOWER_IS_BETTER, Comparison, Metric
from facekit.paths import project_root, read_json
from facekit.reporting.parameters import read_profile, read_yaml, validate

KINDS = {"photographs": "real photographs", "planted": "semi-synthetic popularity", "synthetic": "synthetic images"}
SCHEMA = 1  # of metrics.json
COUNTS = ("attributes", "batches", "classes", "components", "epochs", "images", "layers", "parameters", "steps")


class Claim(BaseModel):
    """One claim of a report; the head of published.yaml describes the fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
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

    @property
    def is_difference(self) -> bool:
        """Whether the claim says that one model beats another."""
        return " minus " in (self.reproduced or "")


class Experiment(BaseModel):
    """One experiment of a report: its question and its claims."""

    model_config = ConfigDict(extra="forbid", frozen=True)
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


def read_record(path: Path) -> Record:
    """Read a metrics.json; DataError where it is missing, damaged, or of a later facekit."""
    content = read_json(path, hint="run the experiment")
    record = validate(TypeAdapter(Record).validate_python, content, f"{path}: ")
    if record.schema > SCHEMA or not record.run or record.data.get("kind") not in KINDS:
        raise DataError(f"{path}: schema {record.schema}", expected=f"{SCHEMA}, with data and run", hint="update facekit")
    return record


@cache
def read_register(path: Path | None = None) -> dict[str, Experiment]:
    """Return every experiment by its name, in the order of published.yaml (or of another file at `path`)."""
    path = path or project_root() / "reports" / "published.yaml"
    reports = validate(TypeAdapter(dict[str, dict[str, Experiment]]).validate_python, read_yaml(path), f"{path.name}: ")
    return {task: experiment for tasks in reports.values() for task, experiment in tasks.items()}


def read_experiment(task: str) -> Experiment:
    """Return one experiment; ParameterError where published.yaml has no such section."""
    if task not in (experiments := read_register()):
        raise ParameterError(f"published.yaml has no experiment {task!r}", expected=f"one of {', '.join(experiments)}")
    return experiments[task]


def index_values(metrics: Sequence[Metric], comparisons: Sequence[Comparison]) -> dict[str, Metric]:
    """Return what a run measured by the names that claims use; a comparison is `A minus B: METRIC`."""
    values = {metric.name: metric for metric in metrics}
    for c in comparisons:
        name, higher = f"{c.a} minus {c.b}: {c.metric}", c.metric.split("/")[-1] not in LOWER_IS_BETTER
        values[name] = Metric(name, c.difference, c.interval, c.n, higher_is_better=higher)
    return values


def judge(claim: Claim, measured: Metric | None, *, kind: str, remark: str = "") -> tuple[str | None, str]:
    """Return the verdict on a claim, and what to know with it.

    `above` / `below`: our whole interval is better / worse than the published value (mirrored for losses), `within`: it
    contains it; for a difference the same against 0. A count is `equal` or `differs`. `report error`, `not comparable`, or
    None: a value without an interval.

    Args:
        kind: of our data: photographs, synthetic or planted.
        remark: how our method differs from the report's: network, start, size, ensemble, flips.

    >>> claim = Claim(id="c", kind="value", text="t", value=0.79, unit="share", reproduced="test/accuracy")
    >>> judge(claim, Metric("test/accuracy", 0.83, (0.81, 0.85), 1611), kind="photographs", remark="at 64 pixels")
    ('above', 'at 64 pixels')
    """
    for applies, why in (
        (claim.reproduced is None and not claim.report_error, claim.why),
        (claim.reproduced is not None and kind != "photographs", KINDS.get(kind, kind)),
        (claim.reproduced is not None and measured is None, "not measured in this run"),
        (measured is not None and measured.value is None, "not defined on these rows"),
        (not claim.comparable, claim.why),
    ):
        if applies:
            return "not comparable", why or ""
    if claim.report_error:
        return "report error", claim.why
    reasons = [
        "a difference, judged against 0" if claim.is_difference else "",
        "the published value was chosen on the test set" if claim.chosen_on == "test" else "",
        "the published averaging is not stated" if claim.averaging == "not said" else "",
        claim.why or "",
    ]
    published = 0.0 if claim.is_difference else claim.value
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


def judge_all(task: str, values: dict[str, Metric], *, kind: str, remark: str = "") -> tuple[list[Verdict], pd.DataFrame]:
    """Judge every claim of an experiment but its settings, by what a run measured (`index_values`).

    Returns:
        The verdicts, and the same in words: text columns claim, published, ours (value and 95 % interval), n, verdict, why.
    """
    verdicts, rows = [], []
    for claim in [claim for claim in read_experiment(task).claims if claim.kind != "setting"]:
        measured = values.get(claim.reproduced)
        verdict, why = judge(claim, measured, kind=kind, remark=remark)
        verdicts.append(Verdict(claim.id, claim.value, measured and claim.reproduced, verdict, why or None))
        ours, n = format_measured(measured, claim.unit), f"{measured.n:,}" if measured else ""
        rows.append((claim.text, format_value(claim.value, claim.unit), ours, n, verdict or "no verdict", why))
    return verdicts, pd.DataFrame(rows, columns=["claim", "published", "ours", "n", "verdict", "why"])


def format_value(value: float | None, unit: str | None = None) -> str:
    """Return a number as a reader wants it.

    >>> format_value(0.7921, "share"), format_value(118000.0), format_value(2 / 3), format_value(None)
    ('79.21%', '118,000', '0.6667', '')
    """
    if value is None:
        return ""
    whole = float(value).is_integer() and abs(value) > 1
    return f"{value:.2%}" if unit == "share" else f"{value:,.0f}" if whole else f"{value:.4f}"


def format_measured(measured: Metric | None, unit: str | None = None) -> str:
    """Return one of our values with its interval, such as `83.00% [81.00%, 85.00%]`."""
    if measured is None or measured.value is None:
        return ""
    interval = [format_value(bound, unit) for bound in measured.interval or ()]
    return format_value(measured.value, unit) + (f" [{', '.join(interval)}]" if interval else "")


def find_headline(record: Record) -> Metric | None:
    """Return a run's headline, the metric of the first `expected` row of its profile; None where there is none."""
    with contextlib.suppress(FacekitError):
        names = [row.metric for row in read_profile(record.task, record.profile).expected[:1]]
        return next((metric for metric in record.metrics if metric.name in names), None)
    return None


def find_claim(claims: Sequence[Claim], headline: Metric | None) -> tuple[Claim | None, str | None]:
    """Return the claim whose value a headline is compared with, if any, and the unit in which both are written."""
    if headline is None:
        return None, None
    claim = next((c for c in claims if c.reproduced == headline.name and c.value is not None), None)
    return claim, claim.unit if claim else "share" if headline.name.endswith(("accuracy", "f1")) else None
