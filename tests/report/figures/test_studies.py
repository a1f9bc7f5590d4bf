from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from morphoscope.augment.cpu import Augmenter
from morphoscope.recipes import Augment
from morphoscope.report.figures import style
from morphoscope.report.figures.comparison import confusion_change, oversampling_bars, runtime_bars, sweep
from morphoscope.report.figures.preprocessing import processing_strip, standardised
from morphoscope.report.figures.studies import Compared, all_curves, published_and_measured

NAN = float("nan")


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    with style.applied():
        figure.savefig(buffer, format="png", dpi=60)
    assert figure.get_figwidth() <= style.WIDTH + 1e-9, "wider than a page"
    return np.asarray(Image.open(buffer).convert("RGB"))


def texts(figure: Figure) -> list[str]:
    return [text.get_text().replace("\n", " ") for axes in figure.axes for text in axes.texts]


def places(figure: Figure) -> list[tuple[str, Bbox]]:
    """Every visible text, and where it stands in inches, at the resolution of print."""
    figure.set_dpi(style.DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    to_inches = figure.dpi_scale_trans.inverted()
    return [(text.get_text(), text.get_window_extent().transformed(to_inches)) for text in shown]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def history(accuracies: list[float], loss: float = 1.0) -> dict[str, np.ndarray]:
    values = np.array(accuracies)
    losses = np.full(len(values), loss)
    return {"epoch": np.arange(1.0, len(values) + 1)} | {
        f"{part}_{what}": column
        for part in ("train", "validation")
        for what, column in (("metric", values), ("loss", losses))
    }


def test_curves_are_the_mean_as_far_as_all_seeds_went() -> None:
    seeds = [history([0.2, 0.4, 0.6]), history([0.4, 0.6])]
    figure = all_curves({"cheng/resnet18": seeds, "cheng/vgg16": [history([0.1, 0.1])]})
    quality = figure.axes[3]
    mean, late, other = quality.lines
    np.testing.assert_allclose(mean.get_ydata(), [0.3, 0.5])
    np.testing.assert_allclose(late.get_ydata(), [0.4, 0.6])
    assert list(late.get_xdata()) == [2, 3], "the longer seed goes on alone"
    assert other.get_label() == "cheng/vgg16"
    band = quality.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(0.5 + np.std([0.4, 0.6], ddof=1))
    assert legend(figure) == ["cheng/resnet18 (n = 2)", "cheng/vgg16"]


def test_the_legend_of_the_curves_has_whole_names() -> None:
    long = "ConvNeXt Large, pretrained on ImageNet-1K v1"  # of ng's Table II
    names = [long, *(f"model {k}" for k in range(9))]
    figure = all_curves({name: [history([0.1, 0.2])] for name in names}, "rmse")
    assert legend(figure) == names
    boxes = dict(places(figure))
    assert boxes[long].x1 <= figure.get_figwidth()
    assert not boxes[long].overlaps(boxes["model 4"])


def test_curves_of_twelve_models_differ_in_more_than_colour() -> None:
    figure = all_curves({f"model {k}": [history([0.1 * k, 0.2 * k])] for k in range(12)}, "rmse")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[2].lines}
    assert len(looks) == 12
    assert figure.axes[2].get_title(loc="left") == "RMSE, training (augmented)"
    assert pixels(figure).std() > 0


def test_a_wild_epoch_leaves_the_frame_and_is_said() -> None:
    tame = {f"model {k}": [history([0.5] * 20)] for k in range(3)}
    wild = history([0.5] * 20)
    wild["validation_loss"] = np.array([900.0, *[1.0] * 19])
    figure = all_curves(tame | {"wild": [wild]})
    training, validation = figure.axes[:2]
    assert validation.get_ylim()[1] < 3
    assert [text.get_text() for text in validation.texts] == ["up to 900 above"]
    assert not training.texts


def test_curves_of_nothing_and_of_one_epoch() -> None:
    figure = all_curves({"not run": [], "nothing": [history([NAN, NAN], NAN)]})
    assert texts(figure) == ["not measured"] * 4
    assert pixels(figure).std() > 0
    assert all_curves({"one": [history([0.5])]}).axes[2].lines[0].get_marker() == "o"
    assert pixels(all_curves({})).std() > 0


def test_published_values_stand_beside_measured_ones() -> None:
    rows = [
        Compared("ResNet-18", 0.7851, (0.77, 0.79)),
        Compared("ResNet-50", 0.7888),
        Compared("without shortcuts", None, (0.5,)),
    ]
    figure = published_and_measured(rows)
    axes, numbers = figure.axes
    published = [line for line in axes.lines if line.get_markerfacecolor() == "none"]
    np.testing.assert_allclose([line.get_xdata()[0] for line in published], [78.51, 78.88])
    assert [text.get_text() for text in numbers.texts][:6] == [
        *("78.51", "78.00 ± 1.41 (n = 2)"),
        *("78.88", "not run"),
        *("–", "50.00 (n = 1)"),
    ]
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is at the top"
    assert legend(figure)[-1] == "single seeds"
    assert pixels(figure).std() > 0


def test_rows_that_were_not_run_show_nothing_measured() -> None:
    figure = published_and_measured([Compared("a", 0.08), Compared("b")], "rmse")
    assert len(figure.axes[0].lines) == 1
    assert legend(figure) == ["published"]
    assert texts(figure)[:4] == ["0.0800", "not run", "–", "not run"]
    assert "lower is better" in figure.axes[0].get_xlabel()
    assert pixels(published_and_measured([])).std() > 0


def test_sweep_shows_seeds_means_and_the_paper() -> None:
    measured = np.array([[0.6, 0.8, NAN], [0.7, 0.8, NAN]])
    figure = sweep([0, 0.5, 1], {"test": measured, "other": [0.1, NAN, 0.2]}, {"test": [0.65, 0.79, 0.48]})
    axes = figure.axes[0]
    paper, mean = axes.lines[:2]
    np.testing.assert_allclose(paper.get_ydata(), [0.65, 0.79, 0.48])
    np.testing.assert_allclose(mean.get_ydata(), [0.65, 0.8, NAN])
    assert paper.get_color() == mean.get_color()
    assert legend(figure) == ["test, published", "test, measured (n = 2)", "other, measured (n = 1)"]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0\u00a0%", "50\u00a0%", "100\u00a0%"]
    assert pixels(figure).std() > 0


def test_confusions_change_by_percentage_points() -> None:
    before, after = [[8, 2, 0], [5, 5, 0], [0, 0, 0]], [[9, 1, 0], [6, 4, 0], [0, 0, 0]]
    figure = confusion_change(before, after, ["Round", "Cigar", "Spiral"], ("plain", "with attention"))
    _, first, second, change = figure.axes
    assert [text.get_text() for text in first.texts][:4] == ["80.0", "20.0", "50.0", "50.0"]
    assert second.get_title(loc="left") == "with attention"
    assert [text.get_text() for text in change.texts] == ["+10.0", "−10.0", "no galaxies"]
    bars = [patch.get_width() for patch in change.patches if isinstance(patch, Rectangle)]
    np.testing.assert_allclose(bars, [10, -10])
    assert first.get_position().y0 == pytest.approx(change.get_position().y0), "bars stand at their rows"
    assert pixels(figure).std() > 0


def test_confusions_of_many_classes_fit_the_page() -> None:
    names = [f"a class with a long name, number {k}" for k in range(20)]
    assert pixels(confusion_change(np.eye(20), np.eye(20), names, ("a" * 60, "b"))).std() > 0


def test_oversampling_adds_up_to_the_largest_class() -> None:
    figure = oversampling_bars({"Round": 200, "Cigar": 25}, {"Round": 200, "Cigar": 200})
    own, copies = figure.axes[0].containers
    assert [bar.get_width() for bar in own] == [200, 25]
    assert [bar.get_width() for bar in copies] == [0, 175]
    assert texts(figure) == ["200", "25 → 200  ×\u00a08.00"]
    assert legend(figure) == ["galaxies (225)", "repetitions (175)"]


def test_run_times_from_zero_or_as_dots() -> None:
    figure = runtime_bars({"a": (80.0, 500.0), "b": (None, None)}, {"b": 125.0})
    assert figure.axes[0].get_xlim()[0] == 0
    assert texts(figure) == ["80.0", "not run", "500", "not run"]
    far = runtime_bars({"a": (2.0, 500.0), "b": (1500.0, 3.0)})
    assert far.axes[0].get_xscale() == "log"
    assert not far.axes[0].patches, "a bar has no zero to start from"
    assert not far.legends
    assert pixels(runtime_bars({"a": (None, None)})).std() > 0


def test_changes_of_recall_stay_on_the_page() -> None:
    classes = ["Completely Round Smooth", "Spiral"]
    figure = confusion_change([[0, 5], [0, 5]], [[5, 0], [5, 0]], classes, ("ResNet-50", "CS_ResNet50"))
    found = dict(places(figure))
    for text, place in found.items():
        assert place.x0 >= 0, text
        assert place.x1 <= figure.get_figwidth(), text
    beside = next(label for label in figure.axes[1].get_yticklabels() if label.get_text().startswith("Compl"))
    ends = beside.get_window_extent().transformed(figure.dpi_scale_trans.inverted())
    assert found["truth (cells: % of the row)"].x1 < ends.x0


def test_the_legend_of_a_sweep_stays_on_the_page() -> None:
    series = {f"EfficientNet-Lite0, {part}": [0.5, 0.6] for part in ("test", "training")}
    figure = sweep([0, 1], series, series)
    assert max(place.x1 for _, place in places(figure)) <= figure.get_figwidth()


def test_words_below_the_strip_stay_below_their_pictures() -> None:
    image = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    figure = processing_strip(image, Augmenter(Augment(crop=149, size=64), 0))
    below = sorted((place for _, place in places(figure) if place.y1 < 0.4), key=lambda place: place.x0)
    assert len(below) == 4
    assert all(one.x1 < other.x0 for one, other in pairwise(below))
    assert below[-1].x1 <= figure.get_figwidth()


def test_standardised_pictures_have_mean_zero() -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(100, 10, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    shown = standardised(image)
    assert shown.mean() == pytest.approx(255 / 3, abs=1), "0 lies a third of the way from −2 to 4"
    assert shown.std() == pytest.approx(255 / 6, rel=0.05)
    flat = standardised(np.full((4, 4, 1), 9, np.uint8))
    assert (flat == 85).all()
    np.testing.assert_array_equal(standardised(np.full((1, 1, 1), 255, np.uint8), [0.5], [0.125]), [[[255]]])


def test_the_strip_shows_crop_and_draws() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    augmenter = Augmenter(Augment(crop=24, size=24, flip_horizontal=True), 0)
    figure = processing_strip(image, augmenter, samples=2)
    axes = figure.axes[0]
    assert len(axes.images) == 5
    np.testing.assert_array_equal(axes.images[1].get_array(), image[12:36, 12:36])
    frame = next(patch for patch in axes.patches if isinstance(patch, Rectangle))
    assert frame.get_width() == pytest.approx(axes.images[0].get_extent()[1] / 2, rel=0.1)
    assert {"48 × 48 px", "centre 24 × 24 px", "2 draws of the training"} <= set(texts(figure))
    assert pixels(figure).std() > 0


def test_the_strip_of_rescaled_grey_levels_shows_them_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8)
    figure = processing_strip(image, Augmenter(Augment(size=48), 0), samples=1, mean=[0.0], std=[1.0])
    shown = figure.axes[0].images
    np.testing.assert_array_equal(shown[-1].get_array(), shown[-2].get_array())
    assert {"Rescaled", "grey levels divided by 255"} <= set(texts(figure))


def test_the_strip_of_a_whole_grey_picture_has_no_crop() -> None:
    image = np.random.default_rng(0).integers(0, 255, (32, 32, 1), np.uint8)
    figure = processing_strip(image, Augmenter(Augment(size=16), 0), samples=0)
    assert not [patch for patch in figure.axes[0].patches if isinstance(patch, Rectangle)]
    assert len(figure.axes[0].images) == 3
    assert "centre 32 × 32 px, resized to 16 × 16" in texts(figure)


def test_a_sweep_of_errors_and_of_nothing() -> None:
    figure = sweep([0, 1], {"test": [NAN, NAN]}, {"test": [0.08, 0.09]}, metric="rmse")
    assert figure.axes[0].get_ylabel() == "RMSE"
    assert legend(figure) == ["test, published"]  # nothing was measured
    assert not sweep([0, 1], {}).legends


def test_a_wide_range_of_losses_is_drawn_on_a_logarithmic_axis() -> None:
    losses = {"train_loss": np.array([8.0, 0.1]), "validation_loss": np.array([6.0, 0.2])}
    wide = history([0.5, 0.6]) | losses
    assert all_curves({"a": [wide]}, "accuracy").axes[0].get_yscale() == "log"
    assert all_curves({"a": [history([0.5, 0.6])]}, "accuracy").axes[0].get_yscale() == "linear"
