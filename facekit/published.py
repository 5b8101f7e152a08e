"""What the reports claim, from reports/published.yaml, and how our figures stand to it.

The trap this prevents: a published number copied into a notebook, where it loses its averaging, the rows it was
measured on and the fact that it was chosen on the test set; and a verdict given by mood. The rule: `above`, `within`
and `below` say where our interval lies seen from the published value, so that above is the better side (mirrored for
losses); `not comparable` where the data is not the report's, or nothing comparable was measured, with the reason.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from facekit.errors import DataError, ParameterError
from facekit.folders import project_root
from facekit.measured import LOWER_IS_BETTER

TASKS = ("selfie-task1", "selfie-auxiliary", "selfie-task2", "selfie-ranking", "gender", "age", "celeba", "smile")
Verdict = Literal["above", "within", "below", "not comparable"]


class Claim(BaseModel):
    """One claim of a report; the head of published.yaml says what each field holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    source: str
    id: str
    kind: Literal["figure", "claim", "setting"]
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

    @model_validator(mode="after")
    def check(self) -> "Claim":
        """Refuse a claim that cannot be judged and does not say why."""
        if self.kind == "figure" and (self.value is None or self.unit is None):
            raise ValueError("a figure needs value and unit")
        if self.kind == "setting" and self.reproduced:
            raise ValueError("a setting is not reproduced but used")
        if self.kind != "setting" and not self.why and (self.reproduced is None or not self.comparable):
            raise ValueError("what is not reproduced or not comparable needs a why")
        if self.reproduced and self.value is None and not self.is_difference:
            raise ValueError("without a value only a comparison (A minus B: METRIC) can be judged")
        return self

    @property
    def is_difference(self) -> bool:
        """Whether the claim says that one model beats another."""
        return bool(self.reproduced) and " minus " in self.reproduced


class Experiment(BaseModel):
    """One experiment of a report: its question and its claims."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    source: str
    question: str
    claims: tuple[Claim, ...]


def load_published(task: str | None = None, path: Path | None = None) -> list[Claim]:
    """Return the claims of one experiment, or of all in the order of TASKS.

    Args:
        task: one of TASKS; None for all.
        path: another file than reports/published.yaml.

    Returns:
        The claims, in the file's order within an experiment.

    Raises:
        ParameterError: an unknown task.
        DataError: the file does not hold what it must.

    >>> [claim.chosen_on for claim in load_published("smile") if claim.id == "combined-accuracy"]
    ['test']
    """
    experiments = load_experiments(path or project_root() / "reports" / "published.yaml")
    if task is not None and task not in TASKS:
        raise ParameterError(f"task {task!r}", expected=f"one of {', '.join(TASKS)}")
    return [claim for name in TASKS if task in (None, name) for claim in experiments[name].claims]


def load_question(task: str) -> str:
    """Return the question of an experiment, one sentence."""
    load_published(task)  # for its check of the name
    return load_experiments(project_root() / "reports" / "published.yaml")[task].question


@cache
def load_experiments(path: Path) -> dict[str, Experiment]:
    """Read and check the whole register.

    Args:
        path: published.yaml.

    Returns:
        Every experiment of TASKS by its name.

    Raises:
        DataError: a field that is missing, unknown or of the wrong type, an id given twice, an experiment missing.
    """
    experiments = {}
    for source, tasks in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        for task, content in tasks.items():
            claims = [_read_claim({"task": task, "source": source} | fields, path) for fields in content["claims"]]
            ids = [claim.id for claim in claims]
            if twice := sorted({name for name in ids if ids.count(name) > 1}):
                raise DataError(f"{path.name}, {task}: id {twice[0]} is there twice", mend="rename one of the two")
            experiments[task] = Experiment(task=task, source=source, question=content["question"], claims=tuple(claims))
    if set(experiments) != set(TASKS):
        raise DataError(f"{path.name} holds {', '.join(experiments)}", expected=f"{', '.join(TASKS)}")
    return experiments


def _read_claim(fields: dict, path: Path) -> Claim:
    try:
        return Claim(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = f" {first['loc'][0]}" if first["loc"] else ""
        place = f"{path.name}, {fields['task']}, {fields.get('id', 'a claim without id')}{field}"
        raise DataError(f"{place}: {first['msg']}") from None


def name_comparison(comparison: dict) -> str:
    """Return the name by which a claim asks for a comparison of metrics.json.

    >>> name_comparison({"a": "cascade", "b": "single", "metric": "accuracy"})
    'cascade minus single: accuracy'
    """
    return f"{comparison['a']} minus {comparison['b']}: {comparison['metric']}"


def index_measured(metrics: list[dict], comparisons: list[dict]) -> dict[str, dict]:
    """Return what a run measured by name, a comparison's difference as a value.

    Args:
        metrics: as metrics.json holds them.
        comparisons: as metrics.json holds them.

    Returns:
        name -> at least value, interval, n, higher_is_better.
    """
    differences = {
        name_comparison(comparison): {
            "value": comparison["difference"],
            "interval": comparison["interval"],
            "n": comparison["n"],
            "higher_is_better": comparison["metric"].split("/")[-1] not in LOWER_IS_BETTER,
        }
        for comparison in comparisons
    }
    return {metric["name"]: metric for metric in metrics} | differences


def judge(claim: Claim, measured: dict | None, *, kind: str, remark: str = "") -> tuple[Verdict, str]:
    """Set one of our figures against a claim, by the rule at the head of this module.

    Args:
        claim: what the report says.
        measured: our figure as metrics.json holds it (value, interval, higher_is_better), or None where there is none.
            A figure without interval, such as a count, is its own interval.
        kind: of our data: photographs, synthetic or planted.
        remark: how our pictures differ from the report's (their size, their crop); it is put beside the verdict.

    Returns:
        The verdict, and what must be known with it ("" where nothing).

    >>> (claim,) = [claim for claim in load_published("smile") if claim.id == "stage-1-last"]
    >>> judge(claim, {"value": 0.83, "interval": [0.81, 0.85], "higher_is_better": True}, kind="photographs")
    ('within', "the report's test pass ran in training mode, with flips")
    """
    if claim.reproduced is None:
        return "not comparable", claim.why or ""
    if kind != "photographs":
        return "not comparable", f"the data is {kind}"
    if measured is None:
        return "not comparable", "not measured in this run"
    if measured["value"] is None:
        return "not comparable", "not defined on these rows"
    if not claim.comparable:
        return "not comparable", claim.why or ""
    published = 0.0 if claim.is_difference else claim.value
    low, high = measured["interval"] or (measured["value"], measured["value"])
    reasons = [
        "a difference, judged against 0" if claim.is_difference else "",
        "the published figure was chosen on the test set" if claim.chosen_on == "test" else "",
        "the published averaging is not said" if claim.averaging == "not said" else "",
        claim.why or "",
        remark,
    ]
    why = "; ".join(reason for reason in reasons if reason)
    if low <= published <= high:
        return "within", why
    return ("above" if (published < low) == measured["higher_is_better"] else "below"), why


def compare_claims(task: str, metrics: list[dict], comparisons: list[dict], *, kind: str, remark: str = "") -> list[dict]:
    """Judge every figure and claim of an experiment (its settings are used, not judged).

    Args:
        task: one of TASKS.
        metrics: as metrics.json holds them.
        comparisons: as metrics.json holds them.
        kind: of the data: photographs, synthetic or planted.
        remark: see `judge`.

    Returns:
        The rows of `published` in metrics.json: claim (its id), value, reproduced (None where this run has no such
        figure), verdict, why (None where there is nothing to say).
    """
    measured = index_measured(metrics, comparisons)
    rows = []
    for claim in load_published(task):
        if claim.kind != "setting":
            verdict, why = judge(claim, measured.get(claim.reproduced), kind=kind, remark=remark)
            reproduced = claim.reproduced if claim.reproduced in measured else None
            row = {"claim": claim.id, "value": claim.value, "reproduced": reproduced}
            rows.append(row | {"verdict": verdict, "why": why or None})
    return rows


def tabulate_published(task: str, rows: list[dict], metrics: list[dict], comparisons: list[dict]) -> pd.DataFrame:
    """Return the rows of `compare_claims` in words, for a reader.

    Returns:
        Text columns: claim, published, ours (value and 95 % interval), n, verdict, why.
    """
    texts = {claim.id: claim for claim in load_published(task)}
    measured = index_measured(metrics, comparisons)
    return pd.DataFrame(
        {
            "claim": texts[row["claim"]].text,
            "published": format_value(row["value"]),
            "ours": format_measured(measured.get(row["reproduced"])),
            "n": str(measured[row["reproduced"]]["n"]) if row["reproduced"] else "",
            "verdict": row["verdict"],
            "why": row["why"] or "",
        }
        for row in rows
    )


def format_value(value: float | None) -> str:
    """Return a number as a reader wants it: four decimals, none where it is whole.

    >>> format_value(2 / 3), format_value(118000.0), format_value(None)
    ('0.6667', '118,000', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4f}"


def format_measured(measured: dict | None) -> str:
    """Return one of our figures with its interval.

    >>> format_measured({"value": 0.83, "interval": [0.81, 0.85]})
    '0.8300 [0.8100, 0.8500]'
    """
    if measured is None or measured["value"] is None:
        return ""
    interval = "" if measured["interval"] is None else " [{}, {}]".format(*map(format_value, measured["interval"]))
    return format_value(measured["value"]) + interval
