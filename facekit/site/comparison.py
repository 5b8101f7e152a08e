"""Two runs of one experiment side by side: what was set differently, and what came out.

The trap this prevents: two runs compared as if only the profile's name differed. Whatever differs in parameters, data
and network stands above the figures, and it is said when the two do not stand on the same data.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

from facekit.site.marks import Marks, place_marks
from facekit.site.runs import Measured, Run

NAMED = {"audit.named", "set_aside.first"}  # single files: too long to read, and counted beside them


@dataclass(frozen=True)
class Difference:
    """A value that differs between two runs; None where one of them has no such thing."""

    name: str
    left: Any
    right: Any


@dataclass(frozen=True)
class Pair:
    """One metric of two runs, each drawn on the same line."""

    name: str
    left: Measured | None
    right: Measured | None
    left_marks: Marks | None
    right_marks: Marks | None


@dataclass(frozen=True)
class Comparison:
    """What the page of two runs shows.

    Args:
        left: one run.
        right: another one of the same task.
        sections: (title, what differs, how many values are equal) of parameters, data and network.
        groups: (what was measured, its metrics), in the order of the runs.
        same_data: whether table and pictures are the same.
    """

    left: Run
    right: Run
    sections: tuple[tuple[str, list[Difference], int], ...]
    groups: tuple[tuple[str, list[Pair]], ...]
    same_data: bool

    @property
    def path(self) -> str:
        """The page, as seen from reports/."""
        return f"compare/{self.left.record.task}-{self.left.record.profile}-{self.right.record.profile}.html"


def pair_runs(runs: list[Run]) -> list[Comparison]:
    """Return a comparison for each two of the runs of one task."""
    return [compare_runs(left, right) for left, right in combinations(runs, 2)]


def compare_runs(left: Run, right: Run) -> Comparison:
    """Set two runs of one task side by side."""
    one, other = left.record, right.record
    sections = (
        ("Parameters", *list_differences(one.parameters, other.parameters)),
        ("Data", *list_differences(*(record.data.model_dump(exclude_unset=True) for record in (one, other)))),
        ("Network", *list_differences(*(record.backbone.model_dump(exclude_unset=True) for record in (one, other)))),
    )
    digests = [record.data.model_dump().get("digest") for record in (one, other)]
    same = digests[0] is not None and digests[0] == digests[1]
    return Comparison(left, right, sections, tuple(_group_metrics(left, right).items()), same)


def list_differences(left: dict[str, Any], right: dict[str, Any]) -> tuple[list[Difference], int]:
    """Return which values differ, the inner ones named with dots, and how many are equal.

    >>> list_differences({"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4, "d": 3}})
    ([Difference(name='b.c', left=2, right=4)], 2)
    """
    one, other = _flatten(left), _flatten(right)
    names = list(dict.fromkeys([*one, *other]))
    missing = object()
    differing = [name for name in names if one.get(name, missing) != other.get(name, missing)]
    return [Difference(name, one.get(name), other.get(name)) for name in differing], len(names) - len(differing)


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in values.items():
        if f"{prefix}{name}" in NAMED:
            continue
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _group_metrics(left: Run, right: Run) -> dict[str, list[Pair]]:
    """Return the metrics of either run by the first two parts of their names, a difference in a group of its own."""
    groups: dict[str, list[Pair]] = {}
    for name in dict.fromkeys([*left.measured, *right.measured]):
        one, other = left.measured.get(name), right.measured.get(name)
        both = [figure for figure in (one, other) if figure]
        marks = [place_marks(figure, others=both, from_zero=True) if figure else None for figure in (one, other)]
        parts = name.split("/")
        group = "differences between models" if " minus " in name else "/".join(parts[: min(2, len(parts) - 1)])
        groups.setdefault(group, []).append(Pair(name, one, other, *marks))
    return groups
