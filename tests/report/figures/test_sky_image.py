from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from morphoscope.errors import UsageError
from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.report.figures import sky_image, style
from morphoscope.report.figures.sky_image import labelled_picture, short_name


def test_marks_are_the_corners_of_the_square_and_leave_the_galaxy_free(tmp_path: Path) -> None:
    sky = np.zeros((100, 200, 3), np.uint8)
    out = labelled_picture(sky, [(99.5, 59.5, 20.0)], ["Merging"], [1.0], tmp_path / "sky.png")
    with Image.open(out) as image:
        drawn = np.asarray(image.convert("RGB")).astype(int)
    scale = drawn.shape[1] / 200

    def at(x: float, y: float) -> int:
        middle = np.round(np.array([y, x]) * scale).astype(int)
        return drawn[middle[0] - 3 : middle[0] + 4, middle[1] - 3 : middle[1] + 4].max()

    assert min(at(80, 40), at(120, 40), at(80, 80), at(120, 80)) > 120
    assert max(at(100, 60), at(100, 40), at(80, 60), at(150, 60)) < 30


@style.styled
def test_labels_give_way_to_one_another() -> None:
    rng = np.random.default_rng(2)
    boxes = np.column_stack([rng.uniform(0, 7, (60, 2)), np.full(60, 0.1)])
    figure, axes = style.canvas(7.0, 7.0)
    left_out = sky_image._draw_labels(axes, boxes, ["in-between 54"] * 60, ["#ffffff"] * 60, (7.0, 7.0))
    axes.set(xlim=(0, 7), ylim=(7, 0))
    assert len(axes.texts) + left_out == 60
    assert len(axes.texts) > 30
    figure.set_dpi(300)
    renderer = FigureCanvasAgg(figure).get_renderer()
    places = [text.get_window_extent(renderer) for text in axes.texts]
    area = figure.bbox
    for number, one in enumerate(places):
        assert area.x0 <= one.x0
        assert one.x1 <= area.x1
        assert not any(one.overlaps(other) for other in places[number + 1 :])


@style.styled
def test_a_crowd_keeps_its_first_label() -> None:
    boxes = np.array([[1.0, 1.0, 0.05]] * 30)
    _, axes = style.canvas(2.0, 2.0)
    words = [f"galaxy {number}" for number in range(30)]
    left_out = sky_image._draw_labels(axes, boxes, words, ["#ffffff"] * 30, (2.0, 2.0))
    assert axes.texts[0].get_text() == "galaxy 0"
    assert 0 < left_out < 30


def test_fainter_is_less_sure(tmp_path: Path) -> None:
    def brightest(probability: float) -> int:
        where = tmp_path / f"{probability}.png"
        labelled_picture(np.zeros((30, 120, 3), np.uint8), [(60, 15, 12)], ["x"], [probability], where)
        with Image.open(where) as image:
            picture = np.asarray(image.convert("L"))
        scale = picture.shape[1] / 120
        # The lower corners alone: the label stands above the square.
        return int(picture[int(20 * scale) : int(26 * scale), : int(80 * scale)].max())

    assert brightest(0.2) < brightest(0.6) < brightest(1.0)


@style.styled
def test_a_class_not_to_rely_on_is_grey_and_counted_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[str] = []

    def looked_at(figure, path: Path | str, **_: object) -> Path:
        words.extend(text.get_text() for axes in figure.axes for text in axes.texts)
        inks.extend(figure.axes[-1].collections[0].get_colors()[::4, :3])
        return Path(path)

    inks: list[np.ndarray] = []
    monkeypatch.setattr(style, "save", looked_at)
    sources = [(20, 20, 8), (60, 20, 8), (100, 20, 8)]
    names, sky = ["Merging", "Disturbed", "Disturbed"], np.zeros((40, 120, 3), np.uint8)
    labelled_picture(
        sky,
        sources,
        names,
        [0.9, 0.99, 0.7],
        tmp_path / "a.png",
        classes=GALAXY10.classes,
        sure=[1, 0, 1],
        left_out={"too small": 7, "too faint": 0, "like a star": 2},
    )
    assert "merging 90" in words
    assert "disturbed 70" in words
    assert "disturbed 99" not in words
    assert any(text.startswith("Disturbed") and text.endswith(" 1") for text in words)
    assert any(text.startswith("no class to rely on") and text.endswith(" 1") for text in words)
    assert any(text.startswith("3 marked sources.") for text in words)
    assert "not marked: 7 too small, 2 like a star" in words
    assert np.ptp(inks[1]) < 0.1 < min(np.ptp(inks[0]), np.ptp(inks[2]))  # grey amid colours


def test_no_sources_unknown_probabilities_and_grey_pictures_are_drawn(tmp_path: Path) -> None:
    grey = np.full((20, 30), 9, np.uint8)
    assert labelled_picture(grey, np.empty((0, 3)), [], [], tmp_path / "a.png").is_file()
    assert labelled_picture(grey, [(5, 5, 4)], ["a"], [np.nan], tmp_path / "b.png").is_file()


def test_as_many_names_as_sources(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 sources, 1 names, 2 probabilities and 2 values of sure"):
        labelled_picture(
            np.zeros((9, 9, 3), np.uint8), [(1, 1, 1), (5, 5, 1)], ["a"], [1, 1], tmp_path / "a.png"
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("classes", [GALAXY10.classes, FIVE_CLASS.classes])
def test_short_names_are_short_and_distinct(classes: tuple[str, ...]) -> None:
    short = [short_name(name) for name in classes]
    assert len(set(short)) == len(classes)
    assert max(map(len, short)) <= 14
