"""One run's folder: metrics.json, tables and figures, in the form that every reader of a report relies on.

The traps this prevents: two equal runs that leave different files (only `run` in metrics.json may differ), a committed
run that holds the labels of real photographs, and one that shows somebody's face. Unless the parameter
`show_photographs` is on, a figure with faces on real photographs is neither written nor shown; it is emptied.
"""

import base64
import contextlib
import datetime
import hashlib
import io
import json
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image

from facekit.errors import DataError, ParameterError
from facekit.folders import cache_folder
from facekit.machine import describe_machine
from facekit.metrics import Metric
from facekit.plots import FACES
from facekit.published import compare_claims, load_question, tabulate_published

SCHEMA = 1
KINDS = ("photographs", "synthetic", "planted")
PREDICTIONS = (
    "path",
    "y_pred",
    "Class",
    "ID",
)  # and y_pred_<head>, y_prob_<class or head>; y_true where faces are drawn


@dataclass
class Run:
    """A run that is being recorded; `open_run` makes one, `close` writes its metrics.json.

    Args:
        task: one of published.TASKS.
        profile: sample, laptop, report or full.
        folder: where everything of the run goes.
        parameters: every parameter, defaults included.
        question: the report's, in one sentence.
        started: UTC, ISO 8601.
    """

    task: str
    profile: str
    folder: Path
    parameters: dict[str, Any]
    question: str
    started: str
    data: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    comparisons: list[dict] = field(default_factory=list)
    published: list[dict] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What the pictures are; before `set_data`, photographs, so that nothing shows too early."""
        return self.data.get("kind", "photographs")

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within, under this name; a name used twice adds up.

        Args:
            name: such as `training`.
        """
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def set_data(self, dataset, *, table: pd.DataFrame, target: str, digest: dict[str, str], audit: dict) -> None:
        """Record what the run stands on.

        Args:
            dataset: a datasets.Dataset: its name, kind and rows set aside are taken.
            table: the rows in use, with their splits.
            target: the column whose classes are counted.
            digest: of `digest_data`.
            audit: of audit.audit_splits.
        """
        if dataset.kind not in KINDS:
            raise ParameterError(f"kind {dataset.kind!r} of {dataset.name}", expected=f"one of {', '.join(KINDS)}")
        counts = table[table["split"] != ""].groupby(["split", target], observed=True).size()
        aside = dataset.set_aside
        self.data = {
            "dataset": dataset.name,
            "kind": dataset.kind,
            "digest": dict(digest),
            "counts": {
                str(split): {str(name): int(count) for (_, name), count in rows.items()}
                for split, rows in counts.groupby(level=0)
            },
            "set_aside": {
                "rows": len(aside),
                "reasons": {str(name): int(n) for name, n in aside["reason"].value_counts().items()},
                "first": aside.head(20)[["file", "row", "reason"]].astype(object).to_dict("records"),
            },
            "audit": audit,
        }

    def set_backbone(self, spec, *, weights: dict[str, str | None], counts: dict[str, int]) -> None:
        """Record the network.

        Args:
            spec: a models.ModelSpec.
            weights: source and sha256, of backbones.load_backbone_weights.
            counts: total, trainable and frozen_layers, of models.count_parameters.
        """
        self.backbone = {
            "network": spec.backbone,
            "alpha": spec.alpha,
            "input_size": list(spec.input_size),
            "weights": dict(weights),
            "layers_frozen": counts["frozen_layers"],
            "parameters": counts["total"],
            "trainable": counts["trainable"],
        }

    def add_metrics(self, metrics: Sequence[Metric]) -> None:
        """Record metrics; ParameterError for a name that is there already."""
        names = [metric.name for metric in [*self.metrics, *metrics]]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ParameterError(f"metric {twice[0]} is there twice", mend="give one of the two another prefix")
        self.metrics += metrics

    def add_comparison(self, comparison: dict) -> None:
        """Record a comparison of metrics.compare_models."""
        self.comparisons.append(comparison)

    def save_predictions(self, predictions: pd.DataFrame, name: str = "predictions.csv") -> None:
        """Write one row a picture: path, y_pred and probabilities; the true class only where the faces are drawn.

        Args:
            predictions: columns path (relative to the data folder), y_pred, y_prob_<class or head>, and y_true, which
                is left out on real data. `Class` and `ID` are known too, as one report names them.
            name: of the file.

        Raises:
            DataError: another column, which could be a label, or a path that is not relative.
        """
        kept = predictions.drop(columns="y_true", errors="ignore") if self.kind != "synthetic" else predictions
        known = (*PREDICTIONS, "y_true")
        others = [c for c in kept if c not in known and not str(c).startswith(("y_pred_", "y_prob_"))]
        if others:
            raise DataError(f"{name}: column {others[0]!r}", expected="path, y_pred, y_pred_..., y_prob_..., y_true")
        if "path" in kept and (absolute := [path for path in kept["path"] if Path(path).is_absolute()]):
            raise DataError(f"{name}: path {absolute[0]}", expected="a path relative to the data folder")
        kept.to_csv(self.folder / name, index=False, float_format="%.6f", lineterminator="\n")

    def save_history(self, history: pd.DataFrame) -> None:
        """Write history.csv, one row per epoch and stage."""
        history.to_csv(self.folder / "history.csv", index=False, lineterminator="\n")

    def save_figure(self, figure: Figure, name: str, *, photographs: bool = False, alt: str = "") -> Any:
        """Write a figure to figures/ and return it for the notebook to show, byte for byte the same picture.

        A figure with faces that may not be shown is not written but emptied, and a sentence is returned in its place.

        Args:
            figure: of plots.py, or any matplotlib figure.
            name: begins with its section, such as `8-confusion`; without .png.
            photographs: the faces in it are real, whatever the run's own data are: somebody's own pictures.
            alt: what it shows, for who cannot see it; its title if not given.

        Returns:
            What a notebook shows when it is the last line of a cell.
        """
        from IPython.display import Image as Shown
        from IPython.display import Markdown

        alt = alt or " ".join(figure.get_suptitle().split()) or name
        real = photographs or self.kind != "synthetic"
        if figure.get_gid() == FACES and real and not self.parameters.get("show_photographs", False):
            figure.clear()
            return Markdown(f"*{alt}: not shown, it holds photographs of people (`show_photographs` is off).*")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        buffer = _reduce_colours(buffer)
        (self.folder / "figures").mkdir(exist_ok=True)
        (self.folder / "figures" / f"{name}.png").write_bytes(buffer.getvalue())
        return Shown(data=buffer.getvalue(), format="png", alt=alt)

    def close(self) -> Path:
        """Write metrics.json and return its path; call it last, for peak memory and times are taken here."""
        if not self.published:
            compare_published(self)
        record = {
            "schema": SCHEMA,
            "task": self.task,
            "profile": self.profile,
            "question": self.question,
            "parameters": self.parameters,
            "data": self.data,
            "backbone": self.backbone,
            "metrics": [metric.to_dict() for metric in self.metrics],
            "comparisons": self.comparisons,
            "published": self.published,
            "run": {
                "started": self.started,
                "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            }
            | describe_machine(),
        }
        path = self.folder / "metrics.json"
        unfinished = path.with_suffix(".part")
        unfinished.write_text(dump_json(record), encoding="utf-8")
        unfinished.replace(path)
        return path


def _reduce_colours(png: io.BytesIO) -> io.BytesIO:
    """Return the picture in 256 colours, so that reports stay light; the eye hardly sees it."""
    reduced = io.BytesIO()
    # Not by how often a colour occurs (median cut): a colour bar is small and would take the photographs' colours.
    few = Image.open(png).convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    few.save(reduced, format="png", optimize=True)
    return reduced


def open_run(task: str, profile: str, parameters: dict[str, Any]) -> Run:
    """Begin a run's record, in the folder that the runner gives, or outside the runner in the cache.

    What an earlier run left of its own in that folder is removed first, so that no figure of it stays. From here on pandas
    shows texts in full.

    Args:
        task: one of published.TASKS.
        profile: sample, laptop, report or full.
        parameters: every parameter of the notebook, defaults included.

    Returns:
        The run.

    Raises:
        ParameterError: an unknown task.
    """
    question = load_question(task)
    given = os.environ.get("FACEKIT_RUN_FOLDER")
    folder = Path(given) if given else cache_folder("runs", profile, task)
    for pattern in ("metrics.json", "history.csv", "predictions*.csv", "figures", "model"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pd.set_option("display.max_colwidth", None)  # a claim's reasons are sentences, and pandas would cut them
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Run(task, profile, folder, dict(parameters), question, started)


def compare_published(run: Run, remark: str = "") -> tuple[list[dict], pd.DataFrame]:
    """Judge the report's claims by what the run has measured so far, and keep the verdicts in the run.

    Args:
        run: with its data and metrics.
        remark: how the pictures differ from the report's, such as "pictures of 64x64, upsampled".

    Returns:
        The rows of `published` in metrics.json, and the same in words for the notebook.
    """
    metrics = [metric.to_dict() for metric in run.metrics]
    run.published = compare_claims(run.task, metrics, run.comparisons, kind=run.kind, remark=remark)
    return run.published, tabulate_published(run.task, run.published, metrics, run.comparisons)


def read_record(path: Path) -> dict:
    """Read a metrics.json.

    Raises:
        DataError: it was written by a later facekit, or is no record.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
        later = schema > SCHEMA
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path} is no record of a run", mend="run the experiment again") from None
    if later:
        raise DataError(f"{path}: schema {schema}", expected=f"{SCHEMA} or less", mend="update facekit")
    return record


def dump_json(record: Any) -> str:
    """Return a record as metrics.json holds it: sorted keys, two spaces, null where a number is not one.

    Args:
        record: dicts, lists, text, numbers, also numpy's, paths and dates.

    >>> print(dump_json({"b": np.float64(0.1), "a": float("nan")}), end="")
    {
      "a": null,
      "b": 0.1
    }
    """
    return json.dumps(_make_plain(record), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _make_plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_make_plain(key)): _make_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_make_plain(item) for item in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, np.ndarray):
        return _make_plain(value.tolist())
    if isinstance(value, np.generic):
        return _make_plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, (datetime.date, datetime.datetime)):
        return value.isoformat()
    raise ParameterError(f"{type(value).__name__} {value!r} in the record", expected="numbers, text, lists and dicts")


def digest_data(table: pd.DataFrame, hashes: pd.DataFrame) -> dict[str, str]:
    """Return what stands for the data: equal digests, equal rows and equal pictures.

    Args:
        table: path, split, group and the targets; the order of its rows counts.
        hashes: columns path and digest (sha256 in hex), of audit.hash_pictures, for all paths of the table or more.

    Returns:
        `table` and `pictures`: 64 hex digits each.

    Raises:
        DataError: a path without digest.
    """
    digests = table["path"].map(hashes.drop_duplicates("path").set_index("path")["digest"])
    if digests.isna().any():
        raise DataError(f"{table.loc[digests.isna(), 'path'].iloc[0]} has no digest", mend="hash all pictures first")
    lines = sorted({f"{path} {digest}" for path, digest in zip(table["path"], digests, strict=True)})
    return {
        "table": hashlib.sha256(table.to_csv(index=False, lineterminator="\n").encode()).hexdigest(),
        "pictures": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def list_foreign_pictures(folder: Path) -> list[str]:
    """Return which pictures in a run's notebook are not those of its figures/: one line each, none where all is well.

    What a run on real photographs may show was decided by `Run.save_figure`; a picture that came past it may be a face.

    Args:
        folder: a finished run.
    """
    known = {path.read_bytes() for path in (folder / "figures").glob("*.png")}
    found = []
    for notebook in sorted(folder.glob("*.ipynb")):
        cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        for number, cell in enumerate(cells, start=1):
            for output in cell.get("outputs", []):
                for kind, content in output.get("data", {}).items():
                    text = "".join(content)
                    if kind.startswith("image/") and (kind != "image/png" or base64.b64decode(text) not in known):
                        found.append(f"{notebook.name} cell {number}: {kind} that is not in figures/")
                    elif "<img" in text or "data:image" in text:
                        found.append(f"{notebook.name} cell {number}: a picture within {kind}")
    return found
