"""Figures in one style: readable by the colour-blind and in grey print, with intervals, classes in the order given.

Each function returns a matplotlib Figure; importing this module gives a notebook's own plots the same look. Functions that draw
faces mark the figure with FACES, by which record.py keeps real people out of what is shown and committed.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from facekit.evaluation.metric import Comparison

FACES = "shows-faces"  # the figure's gid
FEWEST, FEWEST_IN_BIN = 100, 10  # images in a mean (of fewer it might show a person), and in a point of a calibration curve
COLOURS = ("#0072B2", "#E69F00", "#000000", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")
# What tells series apart in grey print.
LINES, MARKERS, HATCHES = ("-", "--", ":", "-.") * 2, "os^DvPX", ("", "///", "...", "xxx", "\\\\\\", "+++", "ooo")
BLUES = seaborn.blend_palette(["#FFFFFF", COLOURS[0]], as_cmap=True)
matplotlib.style.use(Path(__file__).with_name("facekit.mplstyle"))


def open_figure(width: float, height: float, rows: int = 1, columns: int = 1, **options) -> tuple[Figure, list[Axes]]:
    """Return a figure (inches) and the list of its panels, also for a notebook's own plot; `options` go to Figure.subplots."""
    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).ravel())


def finish_figure(figure: Figure, title: str, panels: Sequence[Axes] = ()) -> Figure:
    """Put the title above and one legend for all panels below, each label once."""
    entries = {}
    for panel in panels:
        entries = dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True)) | entries
    if entries:
        figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(4, len(entries)))
    figure.suptitle(title)
    return figure


def plot_counts(counts: dict[str, pd.DataFrame], title: str = "Images of each class") -> Figure:
    """Draw the images of each class in each split: title of the panel -> counts, classes as index, splits as columns."""
    figure, panels = open_figure(4.8 * len(counts), 3.8, columns=len(counts), sharey=True)
    for panel, (name, table) in zip(panels, counts.items(), strict=True):
        named = table.set_axis(_name(table.index, 12))
        named.plot.bar(ax=panel, width=0.84, rot=0, legend=False, title=_name([name])[0], color=COLOURS, edgecolor="white")
        for bars, hatch in zip(panel.containers, HATCHES, strict=False):
            matplotlib.artist.setp(bars.patches, hatch=hatch)
            panel.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
        panel.grid(axis="x", visible=False)
        panel.set(xlabel="class", ylabel="images" if panel is panels[0] else "", ymargin=0.12)
    return finish_figure(figure, title, panels)


def plot_images(images: Sequence, captions: Sequence[str], title: str, *, columns: int = 6, height: float = 1.9) -> Figure:
    """Draw images (uint8, of any sizes) in a grid, each with its caption below; marked as showing faces."""
    figure = _draw_grid(images, captions, title, columns, height)
    figure.set_gid(FACES)
    return figure


def plot_augmentation(image: np.ndarray, versions: Sequence, title: str, *, caption: str = "original") -> Figure:
    """Draw an image and its augmented versions (0..255); marked as showing faces."""
    return plot_images([image, *versions], [caption, *(f"version {n + 1}" for n in range(len(versions)))], title)


def plot_gradcam(images: Sequence, maps: Sequence, captions: Sequence[str], title: str, *, line: bool = True) -> Figure:
    """Draw images (uint8) above their Grad-CAMs (0..1), with a line at half of the maximum; marked as showing faces."""
    n = len(images)
    # The map's light and dark must outdo the image's: the image is grey and of low contrast here.
    grey = [np.repeat(50 + 0.5 * np.mean(image, axis=2, keepdims=True), 3, axis=2) for image in images]
    figure = plot_images([*images, *grey], [*[""] * n, *captions], title, columns=n)
    for panel, heat in zip(figure.axes[n:], maps, strict=True):
        shown = panel.imshow(heat, cmap="magma", vmin=0, vmax=1, alpha=0.55)
        if line and heat.min() < 0.5 < heat.max():
            panel.contour(heat, levels=[0.5], colors="white", linewidths=1.2)
    figure.colorbar(shown, ax=figure.axes, shrink=0.5, ticks=[0, 0.5, 1], label="influence (1: each image's maximum)")
    figure.set_size_inches(figure.get_size_inches() + [0.8, -0.4])  # room for the bar, none for captions of the upper row
    return figure


def plot_mean_images(images: np.ndarray, labels, title: str = "The mean image of each class", *, maps=None) -> Figure:
    """Draw the mean image, uint8 (n, h, w, 3), and mean Grad-CAM, `maps` (n, h, w), of each class of FEWEST images or more."""
    means, heats, captions = [], [], []
    for name, rows in pd.Series(range(len(images))).groupby(np.asarray(labels), sort=False):
        if len(rows) >= FEWEST:
            # One by one, as a copy of a whole class would fill the memory.
            means.append(sum(images[row].astype(float) for row in rows) / len(rows))
            heats += [] if maps is None else [maps[rows].mean(axis=0)]
            captions.append(f"{name}\n{len(rows):,} images")
    figure = plot_gradcam(means, heats, captions, title, line=False) if heats else _draw_grid(means, captions, title, 6, 1.9)
    figure.set_gid(None)  # a mean shows nobody's face
    return figure


def plot_filters(kernel: np.ndarray, title: str = "Filters of the first convolution") -> Figure:
    """Draw a convolution's filters, (h, w, 3, n), as small colour images, each in its own range; they show no face."""
    low, span = kernel.min(axis=(0, 1, 2)), np.ptp(kernel, axis=(0, 1, 2))
    filters = np.moveaxis((kernel - low) / np.where(span > 0, span, 1), -1, 0)
    return _draw_grid(255 * filters, [""] * len(filters), title, 16, 0.55)


def plot_history(history: pd.DataFrame, title: str = "Loss and accuracy by epoch") -> Figure:
    """Draw training and validation loss and accuracy by epoch, a row of panels per `stage`, and the epoch kept (`best`)."""
    stages = history.groupby("stage", sort=False)
    measures = ["loss", *(name for name in history if name.endswith("accuracy") and not name.startswith("val_"))]
    figure, panels = open_figure(4.7 * len(measures), 2.9 * len(stages) + 0.7, len(stages), len(measures), sharey="col")
    cells = [(*stage, measure) for stage in stages for measure in measures]
    for panel, (stage, table, measure) in zip(panels, cells, strict=True):
        for number, (label, column) in enumerate({"training": measure, "validation": f"val_{measure}"}.items()):
            if column in table and table[column].notna().any():
                panel.plot(table["epoch"], table[column], label=label, markersize=4, **_look(number))
        for kept in table.loc[table["best"], "epoch"]:
            panel.axvline(kept, color="#777777", linewidth=6, alpha=0.25, label="epoch kept")
        name = "accuracy" if len(measures) == 2 and measure != "loss" else measure.replace("_", " ")
        panel.set(title=textwrap.fill(f"{stage}: {name}", 44), xlabel="epoch", ylabel=name.split()[-1])
        panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return finish_figure(figure, title, panels)


def plot_confusion(confusion: np.ndarray, classes: Sequence[str], title: str = "Confusion matrix") -> Figure:
    """Draw a confusion matrix, int (k, k) with true classes down, as counts and as proportions of the true class."""
    totals, names = confusion.sum(axis=1), _name(classes, 12)
    rates = confusion / np.maximum(totals[:, None], 1)
    texts = [f"{count:,}\n{rate:.1%}" for count, rate in zip(confusion.flat, rates.flat, strict=True)]
    rows = [f"{name}\n(n = {total:,})" for name, total in zip(names, totals, strict=True)]
    size = 1.7 + 1.15 * len(classes)
    figure, (panel,) = open_figure(size + 0.6, size)
    _draw_heat(panel, rates, texts, cmap=BLUES, vmin=0, vmax=1, cbar=False, xticklabels=names, yticklabels=rows)
    panel.set(xlabel="predicted", ylabel="true")
    return finish_figure(figure, f"{title}\ncount, and proportion of the true class")


def plot_calibration(curves: dict[str, pd.DataFrame], title: str = "Calibration (reliability) curve") -> Figure:
    """Draw calibration curves (model -> table of classification.calibration), without small bins, and images in each bin."""
    figure, (upper, lower) = open_figure(5.6, 5.4, rows=2, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color="#777777", linewidth=1, label="perfectly calibrated")
    for number, (name, table) in enumerate(curves.items()):
        curve, shift = table[table["n"] >= FEWEST_IN_BIN], number - (len(curves) - 1) / 2
        ece = np.average(abs(table["accuracy"] - table["confidence"]), weights=table["n"])
        label = f"{name}: ECE {ece:.3f} (n = {table['n'].sum():,})"
        places = curve["confidence"] + shift * 0.006  # so that intervals do not hide each other
        upper.vlines(places, curve["low"], curve["high"], color=COLOURS[number], linewidth=1.2)
        upper.plot(places, curve["accuracy"], label=label, markersize=5, **_look(number))
        look = {"color": COLOURS[number], "hatch": HATCHES[number], "edgecolor": "white"}
        bars = lower.bar(table["confidence"] + shift * 0.05 / len(curves), table["n"], 0.05 / len(curves), **look)
        if len(curves) == 1:
            lower.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=1)
    upper.set(ylabel="observed accuracy", ylim=(-0.02, 1.02), xlim=(0, 1.05))
    upper.legend(loc="upper left")
    lower.set(xlabel="predicted probability of the predicted class", ylabel="images", ymargin=0.2)
    return finish_figure(figure, title)


def plot_metrics(metrics: dict, title: str, *, published: dict[str, float] | None = None, xlabel: str = "accuracy") -> Figure:
    """Draw metrics or comparisons (by label) of one scale, their baselines, and `published` values (by metric or label)."""
    published, metrics = published or {}, {label: each for label, each in metrics.items() if np.isfinite(float(each))}
    figure, (panel,) = open_figure(7.6, 1.5 + (0.42 if len(metrics) < 20 else 0.24) * len(metrics))
    places = range(len(metrics), 0, -1)
    for place, metric in zip(places, metrics.values(), strict=True):
        if metric.interval is not None:
            panel.hlines(place, *metric.interval, color=COLOURS[0], linewidth=2.5)
        text = f"{float(metric):{'+' if isinstance(metric, Comparison) else ''}.3f} (n = {metric.n:,})"
        panel.annotate(text, (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=9)
    panel.plot(list(map(float, metrics.values())), places, "o", color=COLOURS[0], markersize=6, label="ours, 95 % interval")
    baselines = [getattr(metric, "baseline", None) for metric in metrics.values()]
    reports = [published.get(label, published.get(getattr(each, "name", ""))) for label, each in metrics.items()]
    for values, name, marker, size, edge in ((baselines, "baseline", "|", 13, 2), (reports, "published", "D", 7, 1)):
        if points := [point for point in zip(values, places, strict=True) if point[0] is not None]:
            panel.plot(*zip(*points, strict=True), marker, color=COLOURS[1], mec="black", mew=edge, markersize=size, label=name)
    if any(isinstance(metric, Comparison) for metric in metrics.values()):
        panel.axvline(0, color="#444444", linewidth=1)
    panel.set(yticks=places, yticklabels=_name(metrics), xlabel=xlabel, ylim=(0.4, len(metrics) + 0.6))
    panel.xaxis.set_major_locator(MaxNLocator(6))
    panel.grid(axis="y", visible=False)
    return finish_figure(figure, title, [panel])


def plot_heatmap(table: pd.DataFrame, title: str, *, signed: bool = False, form: str = ".2f", bar: str = "") -> Figure:
    """Draw a table as a heat map; `bar` labels the colour bar, and `signed` makes the colours diverge from 0."""
    values, names = table.to_numpy(float), [str(axis.name or "").replace("_", " ") for axis in (table.index, table.columns)]
    look = {"xticklabels": _name(table.columns), "yticklabels": _name(table.index), "cbar": bool(bar), "cmap": BLUES}
    if signed:
        look |= {"cmap": "RdBu_r", "vmin": -np.nanmax(np.abs(values)), "vmax": np.nanmax(np.abs(values))}
    figure, (panel,) = open_figure(2.6 + 0.7 * table.shape[1], 1.8 + 0.45 * table.shape[0])
    _draw_heat(panel, values, [f"{value:{form}}" for value in values.ravel()], cbar_kws={"label": bar}, **look)
    panel.set(xlabel=names[1], ylabel=names[0])
    if table.shape[1] > 6:
        matplotlib.artist.setp(panel.get_xticklabels(), rotation=60, ha="right", rotation_mode="anchor")
    return finish_figure(figure, title)


def plot_curves(curves: dict[str, pd.DataFrame], title: str, *, xlabel: str, ylabel: str) -> Figure:
    """Draw values by a setting: tables with the setting as index, `value`, and `low` and `high` (95 %) where known."""
    figure, (panel,) = open_figure(6.2, 3.9)
    for number, (name, curve) in enumerate(curves.items()):
        panel.plot(curve.index, curve["value"], label=name, markersize=5 if len(curve) < 30 else 0, **_look(number))
        if "low" in curve:
            panel.fill_between(curve.index, curve["low"], curve["high"], color=COLOURS[number], alpha=0.18, linewidth=0)
    panel.set(xlabel=xlabel, ylabel=ylabel)
    return finish_figure(figure, title, [panel])


def _draw_grid(images: Sequence, captions: Sequence[str], title: str, columns: int, height: float) -> Figure:
    columns = min(columns, max(1, len(images)))
    captions = ["\n".join(_name(str(text).split("\n"), int(12 * height))) for text in captions]
    rows, lines = max(1, -(-len(images) // columns)), max((text.count("\n") + 1 for text in captions if text), default=0)
    figure, panels = open_figure(max(4.0, height * columns), (height + 0.17 * lines) * rows + 0.5, rows, columns)
    for panel in panels:
        panel.axis("off")
    for panel, image, caption in zip(panels, images, captions, strict=False):
        panel.imshow(np.clip(image, 0, 255).astype(np.uint8), interpolation="nearest" if len(image) < 64 else "antialiased")
        panel.text(0.5, -0.03, caption, transform=panel.transAxes, ha="center", va="top", fontsize=8.5)
    return finish_figure(figure, title)


def _draw_heat(panel: Axes, values: np.ndarray, texts: Sequence[str], **look) -> None:
    panel.set_facecolor("#DDDDDD")
    texts = np.reshape(np.array(texts, dtype=object), values.shape)
    seaborn.heatmap(values, annot=texts, fmt="", ax=panel, linewidths=0.8, linecolor="#888888", annot_kws={"size": 9}, **look)
    panel.tick_params(rotation=0)


def _look(number: int) -> dict:
    return {"color": COLOURS[number], "linestyle": LINES[number], "marker": MARKERS[number]}


def _name(labels: Sequence, width: int = 44) -> list[str]:
    return [textwrap.fill(f"{x:g}" if isinstance(x, float) else str(x).replace("_", " "), width) for x in labels]
