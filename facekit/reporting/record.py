"""One run's folder: metrics.json (claims.Record), tables, figures and models, filled while the notebook runs.

Two equal runs leave equal files (but for `run` in metrics.json); labels and faces of real people are left out.
"""

import contextlib
import difflib
import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
from IPython import display
from matplotlib.figure import Figure
from PIL import Image

from facekit import __version__
from facekit.data.audit import digest
from facekit.errors import DataError, ParameterError
from facekit.evaluation.metric import Comparison, Metric
from facekit.paths import cache_folder, hash_file, write_text
from facekit.reporting import claims
from facekit.reporting.claims import Record
from facekit.reporting.parameters import collect, read_profile
from facekit.reporting.plots import FACES

COLUMNS = ("path", "y_true", "y_pred", "Class", "ID")  # of predictions, besides y_pred_<head> and y_prob_<class or head>
PACKAGES = ("numpy", "pandas", "scipy", "scikit-learn", "tensorflow", "tensorflow-cpu", "keras", "opencv-python-headless")


@dataclass
class Run(Record):
    """A run that is being recorded: `open_run` makes one; the notebook sets `backbone` (backbones.describe)."""

    folder: Path = Path()
    seconds: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)  # of each fit the seconds that it took before this run began
    histories: dict[str, pd.DataFrame] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within, under this name; a name used twice adds up."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun

    def set_data(self, dataset, table: pd.DataFrame, *, target: str, hashes: pd.DataFrame, audit: dict) -> None:
        """Record a tables.Dataset, the rows in use, the classes of `target`, audit.hash_images and audit.audit_splits."""
        counts = table[table["split"] != ""].groupby(["split", target], observed=True).size()
        self.data |= {"dataset": dataset.name, "kind": dataset.kind, "digest": digest(table, hashes), "audit": audit}
        self.data |= {"split": dataset.note} if dataset.note else {}
        self.data["counts"] = {str(s): {str(c): int(n) for (_, c), n in rows.items()} for s, rows in counts.groupby(level=0)}
        first, reasons = dataset.excluded[["file", "row", "reason"]].head(20), dataset.excluded["reason"].value_counts()
        self.data["excluded"] = {"rows": len(dataset.excluded), "reasons": reasons.to_dict(), "first": first.to_dict("records")}

    def add(self, results: Metric | Comparison | Sequence[Metric | Comparison]) -> Any:
        """Record a metric, a comparison or a list of them, and return it; ParameterError for a metric's name used twice."""
        for result in results if isinstance(results, Sequence) else [results]:
            if isinstance(result, Metric) and result.name in (metric.name for metric in self.metrics):
                raise ParameterError(f"metric {result.name} is recorded twice", hint="give one of the two another prefix")
            (self.metrics if isinstance(result, Metric) else self.comparisons).append(result)
        return results

    def __getitem__(self, name: str) -> Metric:
        found = {metric.name: metric for metric in self.metrics}
        if name not in found:
            near = ", ".join(difflib.get_close_matches(name, found)) or "a recorded name"
            raise ParameterError(f"no metric {name!r} is recorded", expected=near)
        return found[name]

    def comparison(self, a: str, b: str, metric: str | None = None) -> Comparison:
        """Return the recorded comparison of `a` with `b`; ParameterError where there is none."""
        found = [c for c in self.comparisons if (c.a, c.b) == (a, b) and metric in (None, c.metric)]
        if not found:
            known = "; ".join(f"{c.a} with {c.b}" for c in self.comparisons)
            raise ParameterError(f"no comparison of {a} with {b} is recorded", expected=f"one of {known}")
        return found[0]

    def metrics_table(self, prefix: str = "") -> pd.DataFrame:
        """Return the metrics whose names start with `prefix`, for a reader."""
        shown = [metric for metric in self.metrics if metric.name.startswith(prefix)]
        rows = [(m.name, f"{m:.4f}", m.n, "" if m.baseline is None else f"{m.baseline:.4f}", m.averaging) for m in shown]
        return pd.DataFrame(rows, columns=["metric", "value, 95 % interval", "n", "baseline", "averaging"])

    def comparisons_table(self) -> pd.DataFrame:
        """Return the comparisons for a reader; a difference is significant where its interval excludes 0."""
        rows = [(c.a, c.b, c.metric, f"{c:+.4f}", c.n, "yes" if c.excludes_zero else "no") for c in self.comparisons]
        return pd.DataFrame(rows, columns=["a", "b", "metric", "a minus b, 95 % interval", "n", "significant"])

    def claims(self, remark: str = "", others: dict[str, str] | None = None) -> pd.DataFrame:
        """Judge the report's claims by what was measured so far; remarks as in claims.judge_all."""
        self.published, table = claims.judge_all(self, remark, others)
        return table

    def published_values(self) -> dict[str, float]:
        """Return published values by the metric that reproduces them; none but on photographs."""
        judged = [c for c in claims.read_experiment(self.task).claims if c.reproduced and c.value is not None and c.comparable]
        return {c.reproduced: c.value for c in judged[::-1]} if self.kind == "photographs" else {}

    def expected(self) -> None:
        """Print for each metric that the profile expects whether this run is within its range, and what else was tried."""
        found, profile = {metric.name: metric.value for metric in self.metrics}, read_profile(self.task, self.profile)
        for row in profile.expected:
            answer = "yes" if row.includes(found.get(row.metric)) else "no" if row.value is not None else "never measured"
            print(f"{row.metric} within the expected range: {answer}")
        if profile.tried:
            print("", "Tried, with values on validation images:", *profile.tried, sep="\n")

    def save_predictions(self, predictions: pd.DataFrame, name: str = "predictions.csv") -> None:
        """Write one row per image: path and predictions; the true class on synthetic data only.

        Columns: path (relative to the data folder), y_pred, y_pred_<head>, y_prob_<class or head>, y_true; or Class and ID, as
        one report names them. DataError where another one could be a label, or a path is not relative.
        """
        kept = predictions if self.kind == "synthetic" else predictions.drop(columns="y_true", errors="ignore")
        if others := [c for c in kept if c not in COLUMNS and not str(c).startswith(("y_pred_", "y_prob_"))]:
            raise DataError(f"{name}: column {others[0]!r}", expected=f"{', '.join(COLUMNS)}, y_pred_... or y_prob_...")
        if absolute := [path for path in kept.get("path", ()) if Path(path).is_absolute()]:
            raise DataError(f"{name}: path {absolute[0]}", expected="a path relative to the data folder")
        write_text(self.folder / name, kept.to_csv(index=False, float_format="%.6f", lineterminator="\n"))

    def save_history(self, fits: dict[str, Any]) -> pd.DataFrame:
        """Write history.csv, one row per epoch and stage, and return the rows of these fits (stage to training.Fit)."""
        for stage, fit in fits.items():
            self.seconds[stage], ended = fit.seconds, (fit.folder / "history.json").stat().st_mtime
            self.before[stage] = max(0.0, fit.seconds - max(0.0, ended - self.started.timestamp()))
            self.histories[stage] = fit.history.drop(columns="seconds", errors="ignore")  # which no two equal runs share
        table = pd.concat(self.histories, names=["stage", "row"]).reset_index("stage").reset_index(drop=True)
        write_text(self.folder / "history.csv", table.to_csv(index=False, lineterminator="\n"))
        return table[table["stage"].isin(list(fits))].reset_index(drop=True)

    def save_figure(self, figure: Figure, name: str, *, real: bool | None = None) -> Any:
        """Write a figure to figures/ and return it for the notebook to show, byte for byte the same image.

        A figure that plots.py marked as made of faces is neither written nor shown where the faces are `real` (None: where the
        run's are) and the parameter `show_faces` is off; it is emptied, and a sentence is returned. `name` starts with the
        figure's section, such as `8-confusion`.
        """
        alt = " ".join(figure.get_suptitle().split()) or name
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(figure)  # else IPython shows it a second time
        real = self.kind != "synthetic" if real is None else real
        if figure.get_gid() == FACES and real and not self.parameters.get("show_faces", False):
            figure.clear()
            same = f"[the same of synthetic faces](../../sample/{self.task}/figures/{name}.png)"
            return display.Markdown(f"*{alt}: faces of real people, not shown (`show_faces` is off); {same}.*")
        path = self.folder / "figures" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, pil_kwargs={"compress_level": 0})  # written anew below
        # 256 colours keep reports light. Median cut would choose them by area, and a colour bar is small.
        full, options = Image.open(path).convert("RGB"), {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 3}
        if figure.get_gid() == FACES:  # of so many colours that choosing from every eighth pixel saves a second
            eighth = full.resize((full.width // 8, full.height // 8), Image.Resampling.NEAREST)
            options = {"palette": eighth.quantize(256, **options), "dither": Image.Dither.NONE}
        full.quantize(256, **options).save(path, optimize=True)
        return display.Image(data=path.read_bytes(), format="png", alt=alt)

    def save_model(self, model, name: str = "model", **card: Any) -> None:
        """Write model/<name>.keras, which Keras alone opens, and its entry in model/card.json.

        The model, which takes RGB 0..255, is saved without optimizer and losses. `card` is what one must know to use it:
        `classes` (in the order of its outputs) or `heads` ({head: classes}), `thresholds` ({head: numbers}), `cascade`
        ({"then": name, "threshold": t}).
        """
        import keras

        from facekit.models.weights import describe_start

        path, card_path = self.folder / "model" / f"{name}.keras", self.folder / "model" / "card.json"
        path.parent.mkdir(exist_ok=True)
        # One input stays one and not a list of one, at which Keras warns when it is given an array.
        inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
        plain = keras.Model(inputs, model.outputs[0] if len(model.outputs) == 1 else model.output, name=model.name)
        plain.save(path)
        size = next((list(tensor.shape[1:3]) for tensor in plain.inputs if len(tensor.shape) == 4), None)
        known = json.loads(card_path.read_text(encoding="utf-8")) if card_path.is_file() else {}
        network = {"network": self.backbone.get("network"), "input_size": size, "outputs": plain.output_names}
        entry = {"file": path.name, "sha256": hash_file(path)} | network | card
        if start := describe_start(model, entry["network"]):
            entry["start"] = start["start"]
        models = known.get("models", {}) | {name: entry}
        made = {"task": self.task, "profile": self.profile, "dataset": self.data.get("dataset"), "kind": self.kind}
        write_text(card_path, dump_json(known | made | {"models": models}))

    def close(self) -> Path:
        """Write metrics.json and return its path; call it last, for peak memory and times are taken here."""
        if not self.published:
            self.claims()
        self.seconds["whole run"] = (datetime.now(UTC) - self.started).total_seconds() + sum(self.before.values())
        seconds = {name: round(value, 1) for name, value in self.seconds.items()}
        self.run = {"started": self.started.isoformat(timespec="seconds"), "seconds": seconds} | describe_machine()
        content = {part.name: getattr(self, part.name) for part in fields(Record)}
        return write_text(self.folder / "metrics.json", dump_json(content))


def open_run(task: str, namespace: dict[str, Any]) -> Run:
    """Begin the record of a notebook with these globals(), in the folder that the runner gives, or else in the cache.

    What an earlier run left there is removed. From here on pandas shows texts in full.
    """
    parameters, question = collect(task, namespace), claims.read_experiment(task).question
    folder = Path(os.environ.get("FACEKIT_RUN_FOLDER") or cache_folder("runs", parameters["profile"], task))
    for pattern in ("metrics.json", "history.csv", "predictions*.csv", "figures", "model"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pd.set_option("display.max_rows", 100, "display.max_colwidth", None)  # pandas would cut a claim's reasons, sentences
    return Run(task, parameters["profile"], question, parameters, folder=folder)


def describe_machine() -> dict[str, Any]:
    """Return what differs between machines, as metrics.json holds it, and this process's peak memory in MiB."""
    versions = {"python": platform.python_version(), "facekit": __version__}
    for package in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[package] = version(package)
    memory, gpu_memory, device = None, None, "cpu"
    with contextlib.suppress(ImportError):  # on Windows
        import resource

        unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
        memory = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit)
    tensorflow = sys.modules.get("tensorflow")  # asked only where it is loaded anyway
    if gpus := tensorflow and tensorflow.config.list_physical_devices("GPU"):
        device = tensorflow.config.experimental.get_device_details(gpus[0]).get("device_name", "gpu")
        gpu_memory = round(tensorflow.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20)
    if tensorflow and tensorflow.distribute.has_strategy():
        strategy = tensorflow.distribute.get_strategy()
        device = f"{strategy.num_replicas_in_sync} x {device} ({type(strategy).__name__.lstrip('_')})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    machine = {"system": f"{platform.system()} {platform.machine()}", "cores": cores}
    machine["memory_mb"] = round(psutil.virtual_memory().total / 2**20)
    found = {"peak_memory_mb": memory, "peak_gpu_memory_mb": gpu_memory, "device": device}
    return found | {"machine": machine, "versions": versions}


def dump_json(record: Any) -> str:
    """Return JSON as metrics.json holds it: sorted keys, two spaces, null for NaN; in names what is not UTF-8 is escaped."""
    plain = json.loads(json.dumps(record, default=_make_plain), parse_constant=lambda _: None)
    text = json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False)
    return re.sub("[\ud800-\udfff]", lambda match: f"\\\\u{ord(match[0]):x}", text) + "\n"


def _make_plain(value: Any) -> Any:
    if is_dataclass(value):
        return vars(value)
    return None if value is pd.NA or value is pd.NaT else value.tolist()  # numpy's arrays and numbers
