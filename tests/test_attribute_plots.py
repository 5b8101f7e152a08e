"""attribute_plots.py: what is drawn is what the table holds, sorted by gain, the best setting framed."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from facekit.attribute_plots import plot_attributes, plot_grid
from facekit.multilabel import Labels, tabulate_attributes
from facekit.plots import COLOURS

# Gains in accuracy: High_Cheekbones 0.25, Male 0.5, Bald 0.
NAMES = ("High_Cheekbones", "Male", "Bald")
TRUE = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0]])
PROB = np.array([[0.9, 0.8, 0.1], [0.7, 0.2, 0.2], [0.7, 0.6, 0.3], [0.1, 0.2, 0.4]])
GRID = pd.DataFrame(
    [
        ("ResNet50", 0.01, 0.3, 0.85),
        ("ResNet50", 0.01, 0.5, np.nan),
        ("ResNet50", 0.001, 0.3, 0.9),
        ("ResNet50", 0.001, 0.5, 0.89),
    ]
    + [("DenseNet121", rate, dropout, 0.8) for rate in (0.01, 0.001) for dropout in (0.3, 0.5)],
    columns=["network", "learning_rate", "dropout", "value"],
)


def draw_attributes():
    return plot_attributes(tabulate_attributes(Labels(NAMES, TRUE), PROB))


def draw_grid():
    return plot_grid(GRID, "Accuracy on validation", row="learning_rate", column="dropout", panel="network")


@pytest.mark.parametrize("plot", [draw_attributes, draw_grid])
def test_figure_is_drawn_within_its_frame_and_leaves_nothing_behind(plot):
    settings = dict(matplotlib.rcParams)
    figure = plot()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for panel in figure.axes:
        box = panel.get_tightbbox(canvas.get_renderer())
        assert box.x0 > -2 and box.y0 > -2 and box.x1 < figure.bbox.x1 + 2 and box.y1 < figure.bbox.y1 + 2
    assert figure.get_suptitle()
    assert figure.get_gid() is None  # no faces
    assert matplotlib.pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == settings


def test_attributes_are_sorted_by_gain_and_drawn_where_they_lie():
    accuracy, precision = draw_attributes().axes
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["Bald", "High Cheekbones", "Male"]  # upwards
    points, baselines = accuracy.lines
    assert points.get_xdata().tolist() == [1.0, 0.75, 1.0]
    assert baselines.get_xdata().tolist() == [1.0, 0.5, 0.5]
    assert precision.lines[1].get_xdata().tolist() == [0.0, 0.5, 0.5]
    assert (points.get_marker(), baselines.get_marker()) == ("o", "|")


def test_grid_shows_each_cell_and_frames_the_best():
    figure = draw_grid()
    first, second, _ = figure.axes
    assert [text.get_text() for text in first.texts] == ["85.00%", "not run", "90.00%", "89.00%"]
    assert [panel.get_title(loc="left") for panel in (first, second)] == ["ResNet50", "DenseNet121"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["0.01", "0.001"]
    assert first.get_ylabel() == "learning rate" and second.get_ylabel() == ""
    frames = [
        patch
        for panel in (first, second)
        for patch in panel.patches
        if isinstance(patch, Rectangle) and patch.get_edgecolor()[:3] == to_rgb(COLOURS[1])
    ]
    assert [(round(frame.get_x() + 0.47), round(frame.get_y() + 0.47)) for frame in frames] == [(0, 1)]
    assert frames[0] in first.patches
    images = [panel.images[0] for panel in (first, second)]
    assert {image.get_clim() for image in images} == {(0.8, 0.9)}  # one scale, or the panels could not be compared


def test_grid_of_other_numbers_in_one_panel():
    grid = pd.DataFrame({"size": ["64", "96"], "seed": [0, 0], "value": [1.25, 2.5]})
    figure = plot_grid(grid, "Seconds an epoch", row="size", column="seed", percent=False)
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.25", "2.5"]
