"""plots.py: figures are drawn, hold what they must, leave no state behind and say whether they show faces."""

from functools import cache

import matplotlib.pyplot
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from facekit.evaluation.classification import calibration
from facekit.evaluation.metric import Comparison, Metric
from facekit.reporting import plots

CLASSES = ("NOT smile", "positive smile", "negative smile")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8)
HISTORY = pd.DataFrame(
    {
        "stage": ["stage 1"] * 3 + ["stage 2"] * 2,
        "epoch": [1, 2, 3, 1, 2],
        "loss": [1.0, 0.7, 0.5, 0.9, 0.6],
        "val_loss": [1.1, 0.8, 0.9, 1.0, 0.7],
        "categorical_accuracy": [0.5, 0.6, 0.7, 0.5, 0.8],
        "val_categorical_accuracy": [0.5, 0.6, 0.6, 0.4, 0.7],
        "seconds": [9.0] * 5,
        "best": [False, True, False, False, True],
    }
)
METRICS = {
    "cascade": Metric("test/cascade/accuracy", 0.83, (0.81, 0.85), 1611, 0.7),
    "second_stage": Metric("test/stage2/accuracy", 0.75, (0.71, 0.79), 483, 0.704),
    "not_defined": Metric("test/cascade/recall/none", None, None, 0),
}
COUNTS = pd.DataFrame({"train": [3356, 988, 487], "test": [1128, 340, 143]}, index=CLASSES)


def draw_calibration():
    rng = np.random.default_rng(0)
    y_true, y_prob = rng.integers(0, 2, 200), rng.dirichlet([1, 1], 200)
    return plots.plot_calibration({"model": calibration(y_true, y_prob)})


GRID = pd.DataFrame([[0.5, -0.8], [np.nan, 0.1]], index=pd.Index([0.01, 0.1], name="learning_rate"), columns=["a_b", "c"])
CURVE = pd.DataFrame({"value": [0.7, 0.8], "low": [0.6, 0.7], "high": [0.8, 0.9]}, index=[0.4, 0.5])
FIGURES = {
    "counts": lambda: plots.plot_counts({"as published": COUNTS, "after": COUNTS}),
    "images": lambda: plots.plot_images(IMAGES, ["a smile"] * 5, "Five images", columns=3),
    "augmentation": lambda: plots.plot_augmentation(IMAGES[0], [IMAGES[0] * 1.0] * 10, "Ten versions"),
    "gradcam": lambda: plots.plot_gradcam(IMAGES[:1], np.linspace(0, 1, 768).reshape(1, 24, 32), ["smile"], "Where"),
    "mean images": lambda: plots.plot_mean_images(np.tile(IMAGES, (40, 1, 1, 1)), ["calm", "happy"] * 100),
    "filters": lambda: plots.plot_filters(np.random.default_rng(0).random((3, 3, 3, 20))),
    "history": lambda: plots.plot_history(HISTORY),
    "confusion": lambda: plots.plot_confusion(np.array([[90, 7, 3], [5, 4, 1], [0, 0, 0]]), CLASSES),
    "calibration": draw_calibration,
    "metrics": lambda: plots.plot_metrics(METRICS, "The test set", published={"test/cascade/accuracy": 0.792}),
    "heatmap": lambda: plots.plot_heatmap(GRID, "Correlations", signed=True, bar="correlation"),
    "curves": lambda: plots.plot_curves({"validation": CURVE}, "Threshold", xlabel="threshold", ylabel="accuracy"),
}


def list_texts(figure):
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


def list_visible(figure):
    """The texts that are drawn: ticks beyond the limits of their axis exist too, but are not."""
    hidden = set()
    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        low, high = sorted(axis.get_view_interval())
        hidden |= {tick.label1 for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high}
    return [text for text in figure.findobj(matplotlib.text.Text) if text.get_text() and text not in hidden]


@cache
def draw(name: str) -> Figure:
    """A figure that is only looked at."""
    return FIGURES[name]()


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_drawn_within_its_frame_and_leaves_nothing_behind(name):
    settings = dict(matplotlib.rcParams)
    figure = draw(name)
    assert figure.get_suptitle()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    for text in list_visible(figure):
        box = text.get_window_extent(canvas.get_renderer())
        assert box.x0 > -2 and box.y0 > -2, text.get_text()
        assert box.x1 < figure.bbox.x1 + 2 and box.y1 < figure.bbox.y1 + 2, text.get_text()
    assert matplotlib.pyplot.get_fignums() == []  # a figure known to pyplot would be shown by a notebook unasked
    assert dict(matplotlib.rcParams) == settings


@pytest.mark.parametrize("name", ["counts", "calibration"])
def test_same_input_same_bytes(name, tmp_path):
    for part in ("first", "second"):
        FIGURES[name]().savefig(tmp_path / part, format="png", metadata={"Software": None})
    assert (tmp_path / "first").stat().st_size > 5_000
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_figures_with_faces_say_so():
    marked = {name for name in FIGURES if draw(name).get_gid() == plots.FACES}
    assert marked == {"images", "augmentation", "gradcam"}


def test_counts_stand_over_the_bars_in_the_order_of_the_classes():
    figure = draw("counts")
    first, second = figure.axes
    assert [label.get_text() for label in first.get_xticklabels()] == [
        "NOT smile",
        "positive\nsmile",
        "negative\nsmile",
    ]
    assert [text.get_text() for text in second.texts] == ["3,356", "988", "487", "1,128", "340", "143"]


def test_confusion_shows_counts_proportions_and_rows():
    texts = list_texts(draw("confusion"))
    assert {"90\n90.0%", "5\n50.0%", "0\n0.0%"} <= set(texts)
    assert {"NOT smile\n(n = 100)", "negative\nsmile\n(n = 0)"} <= set(texts)


def test_history_has_a_row_a_stage_and_marks_the_epoch_kept():
    figure = draw("history")
    titles = ["stage 1: loss", "stage 1: accuracy", "stage 2: loss", "stage 2: accuracy"]
    assert [panel.get_title(loc="left") for panel in figure.axes] == titles
    kept = [line for line in figure.axes[0].lines if line.get_label().startswith("epoch kept")]
    assert [line.get_xdata()[0] for line in kept] == [2]
    training, validation = figure.axes[3].lines[:2]
    assert list(training.get_ydata()) == [0.5, 0.8]
    assert list(validation.get_ydata()) == [0.4, 0.7]
    assert training.get_linestyle() != validation.get_linestyle()


def test_history_marks_every_epoch_that_is_kept_and_names_the_mark_once():
    figure = plots.plot_history(HISTORY.loc[:2].assign(best=[True, False, True]))
    marks = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_label() == "epoch kept"]
    assert marks == list(HISTORY.loc[[0, 2], "epoch"])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation", "epoch kept"]


def test_metrics_draw_interval_baseline_and_published():
    (panel,) = draw("metrics").axes
    segments = [collection.get_segments()[0] for collection in panel.collections]
    assert [(segment[0][0], segment[1][0]) for segment in segments] == [(0.81, 0.85), (0.71, 0.79)]
    points = {line.get_label(): list(line.get_xdata()) for line in panel.lines}
    assert points == {
        "ours, 95 % interval": [0.83, 0.75],
        "baseline": [0.7, 0.704],
        "published": [0.792],
    }
    assert "0.830 (n = 1,611)" in [text.get_text() for text in panel.texts]


def test_metrics_show_differences_with_their_sign():
    difference = Comparison("cascade", "single", "accuracy", 0.008, (-0.002, 0.018), 1611)
    (panel,) = plots.plot_metrics({"cascade exceeds single": difference}, "Differences", xlabel="difference").axes
    assert [text.get_text() for text in panel.texts] == ["+0.008 (n = 1,611)"]
    assert [0, 0] in [list(line.get_xdata()) for line in panel.lines]


def test_calibration_leaves_out_small_bins_but_counts_them():
    curve = pd.DataFrame({"confidence": [0.35, 0.55, 0.95], "accuracy": [1.0, 0.5, 0.9], "n": [9, 10, 81]})
    upper, lower = plots.plot_calibration({"model": curve.assign(low=0.4, high=1.0)}).axes
    assert upper.get_legend().get_texts()[1].get_text() == "model: ECE 0.104 (n = 100)"
    assert list(upper.lines[1].get_ydata()) == [0.5, 0.9]
    assert [bar.get_height() for bar in lower.patches] == [9, 10, 81]


def test_mean_images_show_nobody():
    images = np.repeat(np.array([10, 30, 200], np.uint8), [50, 50, 300])[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    figure = plots.plot_mean_images(images, ["calm"] * 100 + ["happy"] * 300)
    assert [panel.images[0].get_array()[0, 0, 0] for panel in figure.axes] == [20, 200]
    assert "calm\n100 images" in list_texts(figure)
    texts = list_texts(plots.plot_mean_images(images, ["calm"] * 99 + ["happy"] * 301))
    assert "happy\n301 images" in texts and not any("calm" in text for text in texts)
    maps = np.repeat([0.2, 0.6], [100, 300])[:, None, None] * np.ones((1, 4, 4))
    figure = plots.plot_mean_images(images, ["calm"] * 100 + ["happy"] * 300, maps=maps)
    assert [panel.images[-1].get_array().max() for panel in figure.axes[2:4]] == pytest.approx([0.2, 0.6])
    for nobody in (plots.plot_mean_images(images[:0], []), plots.plot_mean_images(images[:9], ["calm"] * 9, maps=maps[:9])):
        assert list_texts(nobody)[-1:] == ["The mean image of each class"] and nobody.get_gid() is None


def test_signed_values_have_diverging_colours():
    mesh = draw("heatmap").axes[0].collections[0]
    assert (mesh.get_cmap().name, *mesh.get_clim()) == ("RdBu_r", -0.8, 0.8)


def test_axes_are_named_and_no_raw_keys_are_shown():
    for name in set(FIGURES) - {"images", "augmentation", "gradcam", "mean images", "filters", "confusion"}:
        figure = draw(name)
        assert figure.axes[-1].get_xlabel() or figure.axes[0].get_xlabel() or name == "heatmap", name
        assert not [text for text in list_texts(figure) if "_" in text], name


def test_first_three_colours_stay_apart_in_grey():
    grey = sorted(float(np.dot(to_rgb(colour), [0.299, 0.587, 0.114])) for colour in plots.COLOURS[:3])
    assert min(np.diff(grey)) > 0.2
