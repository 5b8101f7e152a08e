"""Figures for many attributes and for a grid of settings, in the one style of plots.py.

The trap this prevents: forty accuracies in alphabetical order, where 0.98 on an attribute that 98 % of the pictures lack
looks like the best result. Sorted by the gain over always saying the more frequent answer, it stands at the bottom.
"""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from facekit.plots import BLUES, COLOURS, style_figure


@style_figure
def plot_attributes(table: pd.DataFrame, title: str = "What the model gains on each attribute") -> Figure:
    """Draw each attribute's accuracy over the baseline, and its average precision over the prevalence, best gain first.

    Args:
        table: of multilabel.tabulate_attributes.
        title: of the whole.
    """
    table = table.assign(gain=table["accuracy"] - table["baseline"]).sort_values("gain", kind="stable")
    places = np.arange(len(table))
    figure = Figure(figsize=(9.4, 1.7 + 0.21 * len(table)))
    panels = figure.subplots(1, 2, sharey=True)
    sides = (
        ("accuracy", "baseline", "accuracy", "always the more frequent answer"),
        ("average_precision", "prevalence", "average precision", "prevalence, which a random order reaches"),
    )
    for number, (panel, (name, chance, label, reached)) in enumerate(zip(panels, sides, strict=True)):
        colour = COLOURS[0]
        panel.hlines(places, table[chance], table[name], color="#BBBBBB", linewidth=1)
        panel.hlines(places, table[f"{name}_low"], table[f"{name}_high"], color=colour, linewidth=3)
        panel.plot(table[name], places, "o", color=colour, markersize=4.5, label=f"{label}, with 95 % interval")
        panel.plot(table[chance], places, "|", color="#000000", markersize=8, markeredgewidth=2, label=reached)
        panel.set(xlabel=label, ylim=(-0.8, len(table) - 0.2))
        panel.grid(axis="y", visible=False)
        panel.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=8.5)
        if not number:
            panel.set(yticks=places, yticklabels=[str(name).replace("_", " ") for name in table.index])
            panel.tick_params(axis="y", labelsize=8)
    figure.suptitle(f"{title}\nthe largest gain in accuracy on top")
    return figure


@style_figure
def plot_grid(grid: pd.DataFrame, title: str, *, row: str, column: str, panel: str = "", percent: bool = True) -> Figure:
    """Draw a grid of settings as heat maps of one scale: darker is higher, the best cell is framed.

    Args:
        grid: one row a cell: `row`, `column` and (where there is one) `panel` hold the settings, `value` the result,
            NaN where it is not known yet.
        title: of the whole.
        row: the column of `grid` whose values stand one below the other, in the order in which they first appear.
        column: the one whose values stand side by side.
        panel: the one whose values get a heat map each; empty: one heat map.
        percent: values are shares.
    """
    parts = dict(tuple(grid.groupby(panel, sort=False))) if panel else {"": grid}
    rows, columns = grid[row].unique(), grid[column].unique()
    low, high = grid["value"].min(), grid["value"].max()
    best = grid["value"].idxmax() if grid["value"].notna().any() else None
    figure = Figure(figsize=(max(4.2, 1.4 + len(parts) * (0.5 + 1.05 * len(columns))), 1.9 + 0.62 * len(rows)))
    panels = figure.subplots(1, len(parts), sharey=True, squeeze=False)[0]
    for area, (name, part) in zip(panels, parts.items(), strict=True):
        values = part.pivot(index=row, columns=column, values="value").reindex(index=rows, columns=columns).to_numpy()
        shown = area.imshow(values, cmap=BLUES, vmin=low, vmax=high, aspect="auto")
        for place in np.ndindex(values.shape):
            value = values[place]
            text = "not run" if np.isnan(value) else f"{value:.2%}" if percent else f"{value:.4g}"
            dark = value > low + 0.6 * (high - low)
            area.text(place[1], place[0], text, ha="center", va="center", fontsize=9, color="white" if dark else "black")
            if np.isnan(value):  # white is also the lowest value
                area.add_patch(Rectangle((place[1] - 0.5, place[0] - 0.5), 1, 1, fill=False, hatch="///", edgecolor="#BBBBBB"))
        if best in part.index:
            spot = (list(columns).index(grid.loc[best, column]) - 0.47, list(rows).index(grid.loc[best, row]) - 0.47)
            area.add_patch(Rectangle(spot, 0.94, 0.94, fill=False, edgecolor=COLOURS[1], linewidth=3))
        area.set(title=str(name), xlabel=column.replace("_", " "), xticks=range(len(columns)), yticks=range(len(rows)))
        area.set_xticklabels([f"{value:g}" if isinstance(value, float) else str(value) for value in columns])
        area.set_yticklabels([f"{value:g}" if isinstance(value, float) else str(value) for value in rows])
        area.grid(visible=False)
        area.tick_params(length=0)
    panels[0].set_ylabel(row.replace("_", " "))
    bar = figure.colorbar(shown, ax=panels.tolist(), aspect=14)
    if percent:
        bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    figure.suptitle(f"{title}\nthe best is framed")
    return figure
