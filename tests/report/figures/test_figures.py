from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from morphoscope.explanation.explain import Maps
from morphoscope.labels.kind import Chart
from morphoscope.report import figures
from morphoscope.report.examples import Mistake
from morphoscope.report.figures import style
from morphoscope.report.figures.data import rgb
from morphoscope.report.figures.described import described_chart
from morphoscope.report.figures.maps import DEAD_WORDS, faithfulness_bars, map_columns

NAN = float("nan")


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    with style.applied():
        figure.savefig(buffer, format="png", dpi=80)
    return np.asarray(Image.open(buffer).convert("RGB"))


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_confusion_matrix_says_counts_and_shares_of_rows() -> None:
    figure = figures.confusion_matrix([[3, 1], [0, 1200]], ["Round", "Spiral"])
    shown = texts(figure)
    assert shown == ["3", "75 %", "1", "25 %", "1\u202f200", "100 %", "n = 4", "n = 1\u202f200"]
    strengths = {
        patch.get_xy(): patch.get_alpha()
        for patch in figure.axes[0].patches
        if isinstance(patch, Rectangle) and patch.get_facecolor()[:3] != (0.9019607843137255,) * 3
    }
    at = {(round(x), round(y)): strength for (x, y), strength in strengths.items()}
    assert at[0, 0] > at[1, 0] > 0.2  # x is the prediction
    assert at[1, 1] == 1.0
    assert figure.axes[0].get_ylim() == (2, 0), "the first row is at the top"


def test_confusion_matrix_of_a_class_without_galaxies_and_of_many_classes() -> None:
    assert "n = 0" in texts(figures.confusion_matrix([[0, 0], [1, 1]], ["a", "b"]))
    many = figures.confusion_matrix(
        np.eye(33, dtype=int), [f"a very long name, number {k}" for k in range(33)]
    )
    assert pixels(many).std() > 0
    assert many.get_figwidth() <= style.WIDTH


def test_training_curves_draw_what_was_measured() -> None:
    history = {
        "epoch": np.arange(1.0, 6),
        "lr": np.full(5, 2e-4),
        "train_loss": np.array([3.0, 2, NAN, 1, 1]),
        "validation_loss": np.full(5, NAN),
        "train_metric": np.linspace(0.1, 0.5, 5),
        "validation_metric": np.linspace(0.1, 0.4, 5),
    }
    loss, quality, rate = figures.training_curves(history, "accuracy", best_epoch=4).axes
    assert [line.get_label() for line in loss.lines] == ["training (augmented)", "weights kept"]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), history["train_loss"])
    assert loss.lines[1].get_xdata() == [4, 4]
    assert len(quality.lines) == 3
    assert rate.get_title(loc="left") == "Learning rate (10⁻⁴)"
    np.testing.assert_allclose(rate.lines[0].get_ydata(), 2.0)


def test_training_curves_of_one_epoch_and_of_none() -> None:
    one = {"epoch": np.array([1.0]), "train_loss": np.array([1.5]), "lr": np.array([NAN])}
    loss, quality, _ = figures.training_curves(one, "rmse", best_epoch=1).axes
    assert loss.lines[0].get_marker() == "o"
    assert [text.get_text() for text in quality.texts] == ["not measured"]
    assert pixels(figures.training_curves({}, "rmse")).std() > 0


def test_reliability_draws_the_bins_that_hold_galaxies() -> None:
    empty = {"lower": 0.0, "upper": 0.5, "count": 0, "confidence": None, "accuracy": None}
    full = {"lower": 0.5, "upper": 1.0, "count": 8, "confidence": 0.8, "accuracy": 0.75}
    interval = {"accuracy_low": 0.4, "accuracy_high": 0.93}
    metrics = {
        "reliability": [empty, full | interval],
        "ece": {"value": 0.05, "low": None, "high": None},
        "n": 8,
    }
    above, below = figures.reliability(metrics).axes
    assert above.get_title(loc="left") == "ECE 0.050, n = 8"
    bars = [patch for patch in below.patches if isinstance(patch, Rectangle)]
    assert [bar.get_height() for bar in bars] == [8]
    segment = above.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(segment, [[0.8, 0.4], [0.8, 0.93]])
    assert pixels(figures.reliability({"reliability": [], "n": 0})).std() > 0


def test_class_counts_add_up() -> None:
    counts = {"train": {"Round": 6, "Spiral": 30}, "test": {"Round": 2, "Spiral": 8, "New": 1}}
    axes = figures.class_counts(counts).axes[0]
    assert [text.get_text() for text in axes.texts] == ["8", "38", "1"]
    test_bars = axes.containers[1]
    assert [bar.get_x() for bar in test_bars] == [6, 30, 0]


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 5)])
def test_any_number_of_bands_can_be_looked_at(shape: tuple[int, ...]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    shown = rgb(image)
    assert shown.shape == (8, 8, 3)
    np.testing.assert_array_equal(shown[..., 0], image.reshape(8, 8, -1)[..., 0])


def test_a_grid_shows_its_pictures_in_their_places() -> None:
    red, blue = (np.full((16, 16, 3), colour, np.uint8) for colour in ([200, 0, 0], [0, 0, 200]))
    figure = figures.image_grid([figures.GridRow("", [red, blue]), figures.GridRow("", [blue])])
    picture = pixels(figure)
    height, width = picture.shape[:2]
    assert tuple(picture[height // 4, width // 4]) == (200, 0, 0)
    assert tuple(picture[height // 4, 3 * width // 4]) == (0, 0, 200)
    assert tuple(picture[3 * height // 4, width // 4]) == (0, 0, 200)
    assert tuple(picture[3 * height // 4, 3 * width // 4]) == (255, 255, 255)


def test_an_empty_grid_is_a_figure() -> None:
    assert (pixels(figures.image_grid([])) == 255).all()


def test_mistakes_name_truth_answer_and_probability() -> None:
    mistake = Mistake(3, "id", "Round", "Edge-on with Bulge", 0.981, 0.01)
    shown = texts(figures.most_wrong([np.zeros((8, 8, 3), np.uint8)], [mistake]))
    assert shown == ["Round\u00a0→\nEdge-on with Bulge (98\u00a0%)"]


def test_captions_are_no_wider_than_their_pictures() -> None:
    long = [
        Mistake(row, "id", "Unbarred Tight Spiral", "In-between Round Smooth", 0.98, 0.01) for row in range(4)
    ]
    endless = Mistake(4, "id", "A" * 80, "a class of words that goes on" + " and on" * 30, 0.5, 0.4)
    figure = figures.most_wrong([np.zeros((8, 8, 3), np.uint8)] * 5, [*long, endless])
    figure.canvas.draw()
    axes = figure.axes[0]
    boxes = [text.get_window_extent() for text in axes.texts]
    pictures = [image.get_window_extent() for image in axes.images]
    assert len(boxes) == len(pictures) == 5
    for box, picture in zip(boxes, pictures, strict=True):
        assert box.x0 > picture.x0 - 2
        assert box.x1 < picture.x1 + 2
        assert box.y1 <= picture.y0
        assert box.y0 >= 0
    said = axes.texts[0].get_text().replace("\n", " ")
    assert said == "Unbarred Tight Spiral\u00a0→ In-between Round Smooth (98\u00a0%)"
    assert axes.texts[4].get_text().count("…") == 2


def test_vote_bars_are_the_errors() -> None:
    rows = [{"name": "How rounded is it?", "rmse": 0.1, "low": 0.08, "high": 0.13, "answers": ["a"]}]
    metrics = {"rmse": {"value": 0.1}, "per_question": rows, "n": 9}
    axes = figures.votes_per_question(metrics).axes[0]
    assert axes.patches[0].get_width() == pytest.approx(0.1)
    np.testing.assert_allclose(axes.collections[0].get_paths()[0].vertices[:, 0], [0.08, 0.13])
    answers = [{"name": "a", "rmse": 0.1, "low": None, "high": None, "spread": 0.2}]
    axes = figures.votes_per_answer(metrics | {"per_answer": answers}, {"a": "round"}).axes[0]
    assert axes.get_yticklabels()[0].get_text() == "a  round"
    assert list(axes.lines[0].get_xdata()) == [0.2]
    assert np.ptp(axes.collections[0].get_paths()[0].vertices[:, 0]) == 0


def test_few_votes_are_dots_and_many_a_density() -> None:
    rng = np.random.default_rng(0)
    few = rng.uniform(size=(20, 1))
    axes = figures.votes_scatter(few, few, ["bar"]).axes[0]
    assert len(axes.lines[1].get_xdata()) == 20
    truth = np.concatenate([np.full((300, 1), 0.2), np.full((5, 1), 0.8)])
    axes = figures.votes_scatter(truth, truth, ["bar"]).axes[0]
    crowded, lonely = axes.collections[0].get_alpha()
    assert crowded == 1.0
    assert 0.1 < lonely < crowded
    assert axes.texts[0].get_text() == "RMSE 0.000"


def test_votes_that_are_not_finite_are_left_out() -> None:
    truth, predicted = np.array([[0.5], [NAN], [0.5]]), np.array([[0.5], [0.2], [NAN]])
    axes = figures.votes_scatter(truth, predicted, ["bar"]).axes[0]
    assert len(axes.lines[1].get_xdata()) == 1


def test_bars_without_a_mean_need_no_legend() -> None:
    rows = [{"name": "Is there a bar?", "rmse": 0.1, "low": 0.08, "high": 0.13, "answers": ["a"]}]
    figure = figures.votes_per_question({"per_question": rows})
    assert not figure.axes[0].lines[1:]
    assert not figure.legends
    assert figures.votes_per_question({"per_question": rows, "rmse": {"value": 0.1}}).legends


def test_panels_that_are_left_over_are_empty() -> None:
    shares = np.tile([[0.2, 0.4, 0.6, NAN]], (3, 1))
    axes = figures.votes_scatter(shares, shares, ["bar", "ring", "tail", "arm"]).axes
    assert [each.axison for each in axes] == [True] * 4 + [False] * 2
    assert [len(each.texts) for each in axes[:4]] == [1, 1, 1, 0]  # there is no error of no galaxy


def test_described_charts_have_the_intervals_that_are_known() -> None:
    values, low, high = {"mine": [0.2, 0.4]}, {"mine": [0.1, NAN]}, {"mine": [0.4, 0.5]}
    bars = described_chart(Chart(["a", "b"], values, "", "size", low=low, high=high)).axes[0]
    ends = [path.vertices[:, 0].tolist() for path in bars.collections[0].get_paths()]
    assert ends[0] == pytest.approx([0.1, 0.4])
    assert ends[1] == pytest.approx([0.4, 0.5])
    assert not described_chart(Chart(["a", "b"], values, "", "size", low=low)).axes[0].collections


def _maps(values: np.ndarray) -> Maps:
    images = np.zeros((len(values), 4, 4, 3), np.uint8)
    return Maps("saliency", "", values, images, ("a",) * len(values), np.ones((len(values), 1)), ("a",))


def test_a_map_of_zeros_is_said_to_be_one() -> None:
    alive, dead = np.ones((2, 4, 4), np.float32), np.zeros((2, 4, 4), np.float32)
    dead[0] = 1
    figure = map_columns(_maps(alive).images, {"Saliency": _maps(alive), "Grad-CAM": _maps(dead)})
    assert texts(figure) == ["Image", "Saliency", "Grad-CAM", DEAD_WORDS]


def test_scores_of_maps_are_drawn_as_far_as_they_are_known() -> None:
    names = ("deletion", "insertion", "pointing", "energy", "on_galaxy")
    whole = {name: {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3} for name in names}
    bare = {name: {"value": 0.3, "low": None, "high": None, "n": 3} for name in names}
    axes = faithfulness_bars({"saliency": whole, "light": bare, "random": {}}).axes
    assert [each.axison for each in axes] == [True] * 5 + [False]
    assert [len(line.get_xdata()) for line in axes[0].lines] == [1, 2, 1]
