"""What the site knows of a run: its record, checked, and what it takes from the notebook.

The trap this prevents: one damaged run that takes the whole page with it, or that is left out in silence. A run is read
whole or told as a DataError; nothing here knows a task by name.
"""

import base64
import binascii
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import nbformat
from nbconvert.filters import markdown2html
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from facekit.errors import DataError, FacekitError
from facekit.pages.document import find_title
from facekit.parameters import read_profile
from facekit.published import Claim, Verdict, index_measured
from facekit.record import read_record

RESULTS = 8  # the section whose first figure stands for the run
HEADING = re.compile(r"^(?P<level>#+)\s+(?:(?P<number>\d+)\s+)?(?P<text>.+)$", re.MULTILINE)
VERDICTS = get_args(Verdict)
KINDS = {
    "photographs": "real photographs",
    "synthetic": "synthetic: drawn faces",
    "planted": "planted: made up, with a known answer",
}


class Measured(BaseModel):
    """A figure of ours: a metric, or the difference of a comparison."""

    model_config = ConfigDict(frozen=True)

    name: str
    value: float | None
    interval: tuple[float, float] | None
    n: int
    baseline: float | None = None
    averaging: str = "none"
    higher_is_better: bool

    @field_validator("interval", mode="before")
    @classmethod
    def drop_undefined(cls, interval: Any) -> Any:
        """An interval with an end that is not a number (null in the record) is none."""
        return None if isinstance(interval, list) and None in interval else interval


class Difference(BaseModel):
    """A comparison of two models in metrics.json."""

    a: str
    b: str
    metric: str
    difference: float | None
    interval: tuple[float | None, float | None] | None
    n: int


class Row(BaseModel):
    """A row of `published` in metrics.json, with the claim's text where the register knows it."""

    claim: str
    value: float | None
    reproduced: str | None
    verdict: str
    why: str | None
    text: str = ""
    measured: Measured | None = None


class _Open(BaseModel):
    """A part of the record of which the site names some keys; more may stand there."""

    model_config = ConfigDict(extra="allow")


class _Audit(_Open):
    pictures: int | None = None
    cross_split_near_duplicates: int | None = None


class _SetAside(_Open):
    rows: int = 0


class _Data(_Open):
    dataset: str
    kind: str
    counts: dict[str, Any] = {}
    audit: _Audit = _Audit()
    set_aside: _SetAside = _SetAside()


class _Backbone(_Open):
    network: str | None = None
    input_size: list[int] = []
    parameters: int | None = None


class _Machine(_Open):
    cores: int | None = None


class _Process(_Open):
    seconds: dict[str, float] = {}
    machine: _Machine = _Machine()
    device: str = ""
    peak_memory_mb: float | None = None


class Record(BaseModel):
    """metrics.json, as far as the site shows it."""

    schema_: int
    task: str
    profile: str
    question: str
    parameters: dict[str, Any]
    data: _Data
    backbone: _Backbone
    metrics: list[Measured]
    comparisons: list[Difference]
    published: list[Row]
    run: _Process


@dataclass(frozen=True)
class Thumbnail:
    """One of a run's figures: its file relative to the run's folder, its size in pixels, what it shows."""

    path: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True)
class Run:
    """One run, as the site shows it.

    Args:
        folder: where it stands.
        record: its metrics.json.
        measured: every metric and comparison by name.
        headline: the one figure that stands for the run; None where it measured nothing.
        rows: its `published`, with texts and figures.
        title: of its notebook.
        answer: the first paragraph of the notebook's answer, as HTML; "" where there is none.
        thumbnail: a figure of its results, or None.
        files: names of the tables and records that are there to be linked.
        notebook: as it was read; None where there is none.
    """

    folder: Path
    record: Record
    measured: dict[str, Measured]
    headline: Measured | None
    rows: tuple[Row, ...]
    title: str
    answer: str
    thumbnail: Thumbnail | None
    files: tuple[str, ...]
    notebook: Any

    @property
    def place(self) -> str:
        """The run's folder as seen from reports/: PROFILE/TASK."""
        return f"{self.record.profile}/{self.record.task}"

    @property
    def kind(self) -> str:
        """What the pictures are, in words."""
        return KINDS.get(self.record.data.kind, self.record.data.kind)

    @property
    def pictures(self) -> int | None:
        """How many pictures the run stands on, all splits together; None where the record does not say."""
        splits = [split for split in self.record.data.counts.values() if isinstance(split, dict)]
        counts = [n for split in splits for n in split.values() if isinstance(n, int)]
        return self.record.data.audit.pictures or (sum(counts) if counts else None)

    @property
    def seconds(self) -> float:
        """What all timed stages took."""
        return sum(self.record.run.seconds.values())

    @property
    def headline_row(self) -> Row | None:
        """The first published figure that stands against the headline figure; None where there is none."""
        rows = [row for row in self.rows if self.headline and row.reproduced == self.headline.name]
        return next((row for row in rows if row.value is not None), rows[0] if rows else None)

    @property
    def verdicts(self) -> dict[str, int]:
        """How many published figures and claims that a figure of ours stands beside got which verdict."""
        given = [row.verdict for row in self.rows if row.reproduced]
        return {verdict: given.count(verdict) for verdict in VERDICTS if verdict in given}


def read_run(folder: Path, claims: Sequence[Claim], notebooks: Path | None = None) -> Run:
    """Read one run.

    Args:
        folder: reports/PROFILE/TASK.
        claims: those of the run's experiment, for their texts.
        notebooks: the folder of notebooks with its parameters/, where it is not the project's own.

    Raises:
        DataError: metrics.json or the notebook is missing, damaged or of a later facekit.
    """
    profile, task = folder.parent.name, folder.name
    record = _read_record(folder / "metrics.json")
    if (record.profile, record.task) != (profile, task):
        raise DataError(f"metrics.json is of {record.profile}/{record.task}", expected=f"{profile}/{task}")
    found = index_measured(*([row.model_dump(mode="json") for row in rows] for rows in (record.metrics, record.comparisons)))
    measured = {name: Measured.model_validate({"name": name} | values) for name, values in found.items()}
    texts = {claim.id: claim.text for claim in claims}
    rows = [
        row.model_copy(update={"text": texts.get(row.claim, row.claim), "measured": measured.get(row.reproduced)})
        for row in record.published
    ]
    headline = choose_headline([metric.name for metric in record.metrics], list_expected(task, profile, notebooks))
    notebook = _read_notebook(folder / f"{task}.ipynb")
    files = [path.name for pattern in ("predictions*.csv", "history.csv") for path in sorted(folder.glob(pattern))]
    return Run(
        folder=folder,
        record=record,
        measured=measured,
        headline=measured[headline] if headline else None,
        rows=tuple(rows),
        title=find_title(notebook) or task,
        answer=_find_answer(notebook),
        thumbnail=find_thumbnail(folder, notebook),
        files=(f"{task}.ipynb", "metrics.json", *files),
        notebook=notebook,
    )


def choose_headline(names: Sequence[str], expected: Sequence[str]) -> str | None:
    """Return the metric that stands for a run: the first that its profile expects, else the first on the test rows.

    Args:
        names: of the run's metrics, in their order.
        expected: metrics that the profile names, in their order.

    >>> choose_headline(["train/loss", "test/loss", "test/accuracy"], ["test/f1", "test/accuracy"])
    'test/accuracy'
    >>> choose_headline(["train/loss", "test/loss", "test/accuracy"], [])
    'test/loss'
    """
    tested = [name for name in names if name.startswith("test/")]
    return next((name for name in [*expected, *tested, *names] if name in names), None)


def list_expected(task: str, profile: str, notebooks: Path | None = None) -> list[str]:
    """Return the metrics that a profile expects, none where nothing says so."""
    try:
        return [row.metric for row in read_profile(task, profile, notebooks).expected]
    except FacekitError:
        return []  # a run of a notebook that is not there any more is shown all the same


def _read_record(path: Path) -> Record:
    if not path.is_file():
        raise DataError("there is no metrics.json", mend="run the experiment again")
    try:
        content = read_record(path)
        return Record.model_validate({**content, "schema_": content["schema"]})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]).removesuffix("_")
        raise DataError(f"metrics.json: {place}: {first['msg']}", mend="run the experiment again") from None
    except DataError as error:
        raise DataError(str(error).replace(str(path), path.name)) from None
    except (OSError, TypeError, ValueError) as error:
        raise DataError(f"metrics.json cannot be read: {error}", mend="run the experiment again") from None


def _read_notebook(path: Path) -> Any:
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise DataError(f"there is no {path.name}", mend="run the experiment again") from None
    except Exception as error:  # a damaged file makes nbformat raise whatever it meets
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path.name} is no notebook: {reason[:200]}", mend="run the experiment again") from None


def _find_answer(notebook: Any) -> str:
    """Return the first paragraph that the notebook's section `Answer` wrote, as HTML."""
    within = False
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            sections = [match for match in HEADING.finditer(cell.source) if match["level"] == "##"]
            within = sections[-1]["text"].startswith("Answer") if sections else within
        elif within and cell.cell_type == "code":
            for output in cell.outputs:
                if text := output.get("data", {}).get("text/markdown"):
                    return markdown2html(text.split("\n\n")[0])
    return ""


def find_thumbnail(folder: Path, notebook: Any) -> Thumbnail | None:
    """Return the first figure that the notebook shows among its results, else its first of all.

    Args:
        folder: of the run; a figure is named in figures/ by its section, as `8-confusion.png`.
        notebook: the run's, which holds the same pictures with their alternative texts, in its order.

    Returns:
        The figure, or None where the run has none.
    """
    named = {path.read_bytes(): path for path in sorted((folder / "figures").glob("*.png"))}
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                path = named.get(_decode(output.data["image/png"]))
                alt = output.get("metadata", {}).get("image/png", {}).get("alt")
                if path:
                    shown.append((path, alt or path.stem))
    results = [pair for pair in shown if pair[0].name.startswith(f"{RESULTS}-")]
    for path, alt in results + shown:
        try:
            with Image.open(io.BytesIO(path.read_bytes())) as picture:
                return Thumbnail(f"figures/{path.name}", *picture.size, alt)
        except OSError:
            continue
    return None


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text))
    except (binascii.Error, ValueError):
        return b""
