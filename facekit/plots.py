"""Figures, in one style: what every notebook and report shows.

The trap this prevents: figures that cannot be read by the colour-blind or in a grey print, that leave out how sure a
value is, or that order the classes anew each time. So every series also differs by marker, line or hatch, intervals are
drawn, and classes keep the order they are given in.

Each function returns a matplotlib Figure and never shows or saves one; a title says what is seen. Figures that show
faces carry the mark FACES, by which record.py keeps real photographs out of what is committed.
"""

import functools
import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from facekit.metrics import BINS, Metric, compute_ece

FACES = "shows-faces"  # the figure's gid
# Okabe and Ito's colours without the yellow, which vanishes on paper; in this order neighbours also differ in grey.
COLOURS = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")
LINES = ("-", "--", ":", "-.")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
BLUES = LinearSegmentedColormap.from_list("blues", ["#FFFFFF", "#0072B2"])
STYLE = seaborn.axes_style("whitegrid") | {
    "axes.edgecolor": "#444444",
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "figure.constrained_layout.use": True,
    "figure.dpi": 110,
    "figure.facecolor": "white",
    "figure.titlesize": 12,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same figure on every machine
    "font.size": 10,
    "grid.color": "#DDDDDD",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "savefig.dpi": 110,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
}


def style_figure(plot):
    """Give everything that a function draws the one style, without changing matplotlib's settings for others."""

    @functools.wraps(plot)
    def draw(*args, **kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return plot(*args, **kwargs)

    return draw


@style_figure
def plot_counts(counts: dict[str, pd.DataFrame], title: str = "How many pictures of each class") -> Figure:
    """Draw the rows of each class in each split, one panel a state: as published, after balancing.

    Args:
        counts: title of the panel -> DataFrame of whole numbers, classes as index, splits as columns.
        title: of the whole.
    """
    figure = Figure(figsize=(4.8 * len(counts), 3.8))
    panels = figure.subplots(1, len(counts), sharey=True, squeeze=False)[0]
    for panel, (name, table) in zip(panels, counts.items(), strict=True):
        width = 0.84 / len(table.columns)
        for number, split in enumerate(table.columns):
            places = np.arange(len(table)) + (number - (len(table.columns) - 1) / 2) * width
            bars = panel.bar(places, table[split], width * 0.92, label=split, color=COLOURS[number])
            for bar in bars:
                bar.set(hatch=HATCHES[number], edgecolor="white")
            labels = [f"{int(value):,}" for value in table[split]]
            panel.bar_label(bars, labels, fontsize=8, padding=2)
        panel.set(title=name, xticks=range(len(table)), xticklabels=_wrap(table.index, 12))
        panel.grid(axis="x", visible=False)
        panel.margins(y=0.12)
        panel.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    panels[0].set_ylabel("pictures")
    _place_legend(figure, panels)
    figure.suptitle(title)
    return figure


@style_figure
def plot_pictures(
    pictures: Sequence[np.ndarray], captions: Sequence[str], title: str, *, columns: int = 6, height: float = 1.9
) -> Figure:
    """Draw pictures in a grid, each with its caption below.

    Args:
        pictures: uint8 (height, width, 3), of any sizes.
        captions: one a picture; long ones are wrapped.
        title: of the whole.
        columns: pictures in a row.
        height: of a picture in inches.
    """
    columns = min(columns, max(1, len(pictures)))
    rows = -(-len(pictures) // columns)
    captions = _wrap(captions, int(12 * height))
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    figure = Figure(figsize=(max(4.0, height * columns), (height + 0.17 * lines) * rows + 0.5))
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.axis("off")
    for panel, picture, caption in zip(panels, pictures, captions, strict=False):
        _show_picture(panel, picture, caption)
    figure.suptitle(title)
    figure.set_gid(FACES)
    return figure


@style_figure
def plot_augmentation(picture: np.ndarray, versions: Sequence[np.ndarray], title: str, *, caption: str = "") -> Figure:
    """Draw one photograph large and its augmented versions beside it, in two rows.

    Args:
        picture: uint8 (height, width, 3), as read.
        versions: the augmented ones, uint8 or float 0..255, of the same size.
        title: of the whole.
        caption: below the photograph, such as its labels.
    """
    columns = -(-len(versions) // 2)
    caption = "\n".join(["as read", *_wrap([caption], 38)]).strip()
    figure = Figure(figsize=(3.2 + 1.45 * columns, 3.6 + 0.17 * caption.count("\n")))
    grid = figure.add_gridspec(2, 2 + columns)
    _show_picture(figure.add_subplot(grid[:, :2]), picture, caption)
    for number, version in enumerate(versions):
        place = grid[number // columns, 2 + number % columns]
        _show_picture(figure.add_subplot(place), version, f"version {number + 1}")
    figure.suptitle(title)
    figure.set_gid(FACES)
    return figure


@style_figure
def plot_gradcam(pictures: np.ndarray, maps: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Draw pictures above, and below what in them spoke for the class, with a line at half of the most.

    Args:
        pictures: uint8 (n, height, width, 3).
        maps: float (n, height, width), 0..1, as explain.compute_gradcam makes them.
        captions: one a picture.
        title: of the whole.
    """
    count = len(pictures)
    captions = _wrap(captions, 22)
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    figure = Figure(figsize=(max(4.6, 1.9 * count + 0.8), 4.1 + 0.17 * lines))
    panels = figure.subplots(2, count, squeeze=False)
    for column in range(count):
        _show_picture(panels[0, column], pictures[column], "")
        # The map's light and dark must outdo the picture's: the picture is grey and of low contrast here.
        _show_picture(panels[1, column], 50 + 0.5 * pictures[column].mean(axis=2), captions[column])
        shown = panels[1, column].imshow(maps[column], cmap="magma", vmin=0, vmax=1, alpha=0.55)
        if maps[column].min() < 0.5 < maps[column].max():
            panels[1, column].contour(maps[column], levels=[0.5], colors="white", linewidths=1.2)
    bar = figure.colorbar(shown, ax=panels.ravel().tolist(), shrink=0.5, aspect=14, ticks=[0, 0.5, 1])
    bar.set_label("share of the most")
    figure.suptitle(title)
    figure.set_gid(FACES)
    return figure


@style_figure
def plot_history(history: pd.DataFrame, title: str = "Loss and accuracy by epoch") -> Figure:
    """Draw training and validation loss and accuracy by epoch, one row of panels a stage, and the epoch that was kept.

    Args:
        history: one row an epoch: epoch, loss, val_loss, any columns that end in accuracy (validation's begin with
            val_, test's with test_); `stage` names the stage and `best` marks epochs kept, where they are there.
        title: of the whole.
    """
    stages = {"": history} if "stage" not in history else dict(tuple(history.groupby("stage", sort=False)))
    accuracies = [name for name in history if name.endswith("accuracy") and not name.startswith(("val_", "test_"))]
    measures = ["loss", *accuracies]
    figure = Figure(figsize=(4.7 * len(measures), 2.9 * len(stages) + 0.7))
    panels = figure.subplots(len(stages), len(measures), squeeze=False, sharex="row")
    for row, (stage, table) in zip(panels, stages.items(), strict=True):
        for panel, measure in zip(row, measures, strict=True):
            names = {measure: "training", f"val_{measure}": "validation", f"test_{measure}": "test"}
            for number, (column, label) in enumerate(names.items()):
                if column in table and table[column].notna().any():
                    look = {"color": COLOURS[number], "linestyle": LINES[number], "marker": MARKERS[number]}
                    panel.plot(table["epoch"], table[column], label=label, markersize=4, **look)
            if "best" in table and table["best"].any():
                for kept in table.loc[table["best"].astype(bool), "epoch"]:
                    panel.axvline(kept, color="#777777", linewidth=6, alpha=0.25, label="epoch kept")
            name = "accuracy" if "accuracy" in measure and len(accuracies) == 1 else measure.replace("_", " ")
            panel.set(title=f"{stage}: {name}" if stage else name, xlabel="epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    _place_legend(figure, panels.ravel())
    figure.suptitle(title)
    return figure


@style_figure
def plot_confusion(confusion: np.ndarray, classes: Sequence[str], title: str = "What is taken for what") -> Figure:
    """Draw a confusion matrix: counts, and their share of the row, which also gives the shade.

    Args:
        confusion: int (k, k), true classes down, predicted ones across.
        classes: the k names, in the order of the matrix.
        title: of the figure.
    """
    k = len(classes)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    size = 1.7 + 1.15 * k
    figure = Figure(figsize=(size + 0.6, size))
    panel = figure.subplots()
    panel.imshow(shares, cmap=BLUES, vmin=0, vmax=1)
    for row, column in np.ndindex(k, k):
        dark = shares[row, column] > 0.6
        text = f"{confusion[row, column]:,}\n{shares[row, column]:.1%}"
        panel.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    counts = [f"{name}\n(n = {total:,})" for name, total in zip(_wrap(classes, 12), confusion.sum(axis=1), strict=True)]
    panel.set(xticks=range(k), yticks=range(k), xticklabels=_wrap(classes, 12), yticklabels=counts)
    panel.set(xlabel="predicted", ylabel="true")
    panel.set_xticks(np.arange(k + 1) - 0.5, minor=True)
    panel.set_yticks(np.arange(k + 1) - 0.5, minor=True)
    panel.grid(which="major", visible=False)
    panel.grid(which="minor", color="#888888", linewidth=0.8)
    panel.tick_params(which="both", length=0)
    figure.suptitle(f"{title}\ncount, and share of the true class", fontsize=11)
    return figure


@style_figure
def plot_calibration(curves: dict[str, pd.DataFrame], title: str = "How often the model is right when it is so sure") -> Figure:
    """Draw reliability curves with their intervals, and below how many rows stand behind each point.

    Args:
        curves: name of the model -> what metrics.compute_calibration returns.
        title: of the whole; each curve's expected calibration error stands in the legend.
    """
    figure = Figure(figsize=(5.6, 5.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="#777777", linewidth=1, label="perfectly calibrated")
    width = 0.09 / len(curves)
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number]
        label = f"{name}: ECE {compute_ece(curve):.3f} (n = {curve['n'].sum():,})"
        look = {"color": colour, "linestyle": LINES[number % len(LINES)], "marker": MARKERS[number]}
        places = curve["confidence"] + (number - (len(curves) - 1) / 2) * 0.006  # so that intervals do not hide each other
        upper.vlines(places, curve["low"], curve["high"], color=colour, linewidth=1.2)
        upper.plot(places, curve["accuracy"], label=label, markersize=5, **look)
        centres = (np.ceil(curve["confidence"] * BINS) - 0.5) / BINS
        bars = lower.bar(
            centres + (number - (len(curves) - 1) / 2) * width,
            curve["n"],
            width,
            color=colour,
            hatch=HATCHES[number],
            edgecolor="white",
        )
        if len(curves) == 1:
            lower.bar_label(bars, [f"{value:,}" for value in curve["n"]], fontsize=8, padding=1)
    upper.set(ylabel="share that is right", ylim=(-0.02, 1.02), xlim=(0, 1.03))
    upper.legend(loc="upper left")
    lower.set(xlabel="probability given to the predicted class", ylabel="pictures")
    lower.margins(y=0.2)
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.suptitle(title)
    return figure


@style_figure
def plot_metrics(
    metrics: Sequence[Metric],
    title: str,
    *,
    published: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    xlabel: str = "share",
) -> Figure:
    """Draw metrics as points with their 95 % intervals, what a constant reaches, and the published value.

    Args:
        metrics: top to bottom; of one scale, so no losses between shares.
        title: of the figure.
        published: name of the metric -> the report's figure.
        labels: name of the metric -> what to write for it; its name without this.
        xlabel: what the scale is.
    """
    published, labels = published or {}, labels or {}
    metrics = [metric for metric in metrics if metric.value is not None]
    names = [labels.get(metric.name, metric.name) for metric in metrics]
    figure = Figure(figsize=(7.6, 1.5 + 0.42 * len(metrics)))
    panel = figure.subplots()
    places = np.arange(len(metrics))[::-1]
    for place, metric in zip(places, metrics, strict=True):
        if metric.interval is not None:
            panel.hlines(place, *metric.interval, color=COLOURS[0], linewidth=2.5)
        text = f"{metric.value:.3f} (n = {metric.n:,})"
        panel.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    values = [metric.value for metric in metrics]
    panel.plot(values, places, "o", color=COLOURS[0], markersize=6, label="ours, with 95 % interval")
    _draw_marks(panel, [metric.baseline for metric in metrics], places, marker="|", label="a constant prediction")
    reports = [published.get(metric.name) for metric in metrics]
    _draw_marks(panel, reports, places, marker="D", label="published")
    panel.set(yticks=places, yticklabels=_wrap(names, 44))
    panel.set(xlabel=xlabel, ylim=(-0.6, len(metrics) - 0.4))
    panel.margins(x=0.05)
    panel.grid(axis="y", visible=False)
    _place_legend(figure, [panel])
    figure.suptitle(title)
    return figure


@style_figure
def plot_thresholds(
    curve: pd.DataFrame,
    chosen: float,
    title: str = "The threshold, chosen on validation",
    *,
    ylabel: str = "accuracy on validation",
) -> Figure:
    """Draw a figure of merit against the threshold, and the threshold that was chosen.

    Args:
        curve: columns threshold and value; low and high (95 % interval) where they are known.
        chosen: the threshold chosen.
        title: of the figure.
        ylabel: what the value is.
    """
    figure = Figure(figsize=(5.8, 3.7))
    panel = figure.subplots()
    if {"low", "high"} <= set(curve.columns):
        panel.fill_between(curve["threshold"], curve["low"], curve["high"], color=COLOURS[3], alpha=0.35, linewidth=0)
        panel.plot([], [], color=COLOURS[3], alpha=0.35, linewidth=8, label="95 % interval")
    panel.plot(curve["threshold"], curve["value"], color=COLOURS[0], label=ylabel)
    nearest = (curve["threshold"] - chosen).abs().idxmin()
    value = curve["value"].loc[nearest]
    panel.axvline(chosen, color=COLOURS[2], linestyle="--", linewidth=1)
    panel.plot([chosen], [value], "D", color=COLOURS[1], markeredgecolor="black", label=f"chosen: {chosen:.3g} ({value:.3f})")
    panel.set(xlabel="threshold", ylabel=ylabel)
    panel.legend(loc="best")
    figure.suptitle(title)
    return figure


def _draw_marks(panel: Axes, values: Sequence[float | None], places: np.ndarray, *, marker: str, label: str) -> None:
    points = [(value, place) for value, place in zip(values, places, strict=True) if value is not None]
    if points:
        look = {"markeredgecolor": "black", "markeredgewidth": 2 if marker == "|" else 1}
        panel.plot(
            *zip(*points, strict=True),
            marker,
            color=COLOURS[1],
            markersize=13 if marker == "|" else 7,
            label=label,
            **look,
        )


def _show_picture(panel: Axes, picture: np.ndarray, caption: str) -> None:
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255} if picture.ndim == 2 else {}
    picture = picture if picture.ndim == 2 else np.clip(picture, 0, 255).astype(np.uint8)
    panel.imshow(picture, interpolation="nearest" if picture.shape[0] < 64 else "antialiased", **grey)
    panel.axis("off")
    panel.text(0.5, -0.03, caption, transform=panel.transAxes, ha="center", va="top", fontsize=8.5)


def _place_legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Put one legend below all panels, each label once."""
    entries = {}
    for panel in panels:
        handles, labels = panel.get_legend_handles_labels()
        entries = dict(zip(labels, handles, strict=True)) | entries
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(4, len(entries)))


def _wrap(texts: Sequence[str], width: int) -> list[str]:
    return ["\n".join(textwrap.fill(line, width) for line in str(text).split("\n")) for text in texts]
