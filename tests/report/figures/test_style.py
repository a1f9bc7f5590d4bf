from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from morphoscope.errors import MorphoscopeError
from morphoscope.report.figures import evaluation, style
from morphoscope.report.figures.data import class_counts
from morphoscope.report.html import document


@style.styled
def small_figure() -> Figure:
    figure = style.new_figure(2.0, 1.0)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=style.SERIES[0])
    axes.set_title("A title")
    return figure


def test_settings_hold_inside_alone() -> None:
    before = dict(matplotlib.rcParams)
    with style.applied():
        assert matplotlib.rcParams["axes.edgecolor"] == style.RULE
    assert dict(matplotlib.rcParams) == before


def test_saved_at_print_quality_and_twice_the_same(tmp_path: Path) -> None:
    one, two = (style.save(small_figure(), tmp_path / name) for name in ("a.png", "b.png"))
    with Image.open(one) as image:
        assert image.size == (600, 300)
        assert image.info["dpi"][0] == pytest.approx(300, abs=0.1)
    assert one.read_bytes() == two.read_bytes()
    assert style.save(small_figure(), tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_long_names_beside_an_axis_are_whole_in_the_file(tmp_path: Path) -> None:
    figure = class_counts({"train": {"Completely Round Smooth": 400, "In-between Round Smooth": 300}})
    with Image.open(style.save(figure, tmp_path / "a.png")) as image:
        assert np.asarray(image.convert("L"))[:, :6].min() == 255  # of 18 pixels of margin


def test_nothing_half_written(tmp_path: Path) -> None:
    figure = small_figure()
    figure.axes[0].set_title("$\\broken$", parse_math=True)
    with pytest.raises(ValueError, match="broken"):
        style.save(figure, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_page_chart_takes_the_pages_colours() -> None:
    svg = style.inline_svg(small_figure(), "curves", 'a "line" & more')
    assert svg.startswith("<svg ")
    assert 'aria-label="a &quot;line&quot; &amp; more"' in svg
    assert f"stroke: var(--series-1, {style.SERIES[0]})" in svg
    assert all(name.startswith("curves-") for name in re.findall(r'\bid="([^"]*)"', svg))
    references = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', svg)
    assert references
    assert all(f'id="{one or other}"' in svg for one, other in references)
    assert svg == style.inline_svg(small_figure(), "curves", 'a "line" & more')


def test_colours_of_the_page_are_defined_in_both_themes() -> None:
    css = (Path(document.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = css.split("prefers-color-scheme: dark", 1)
    for colour, variable in style._CSS_VARIABLES.items():
        assert f"{variable}: {colour};" in light
        assert f"{variable}: #" in dark


def test_an_unknown_script_is_no_reason_to_stop(tmp_path: Path) -> None:
    figure = small_figure()
    figure.axes[0].set_title("銀河 ᚠᚢ")
    assert style.save(figure, tmp_path / "a.png").is_file()


def test_long_names() -> None:
    assert style.wrapped("Edge-on with Bulge", 10) == "Edge-on\nwith Bulge"
    assert style.wrapped("a very long name of a class", 10, lines=1) == "a very…"
    assert all(len(line) <= 10 for line in style.wrapped("x" * 55, 10).splitlines())
    assert style.wrapped("") == ""


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(MorphoscopeError, match="the disk is full"):
        style.save(small_figure(), tmp_path / "a.png")


FAMILIES = ("DejaVu Sans", "DejaVu Sans Mono", "DejaVu Serif", "STIXGeneral")


@pytest.mark.parametrize("family", FAMILIES)  # they come with matplotlib
def test_text_is_measured_in_the_fonts_that_draw_it(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "_fonts", lambda: [family])
    figure = measured_figure()
    (text,) = figure.axes[0].texts
    figure.set_dpi(300)
    with style.applied():
        figure.draw_without_rendering()
    wide = text.get_window_extent().width / figure.dpi
    assert style.text_width("Unbarred Loose Spiral", 7, "bold") == pytest.approx(wide, rel=0.05)  # hinting
    lines, size = style.fitted("Unbarred Loose Spiral", 0.8, 7)
    assert " ".join(lines) == "Unbarred Loose Spiral"
    assert len(lines) > 1
    assert max(style.text_width(line, size) for line in lines) <= 0.8
    (line,), size = style.fitted("Unbarred\u00a0Loose", 0.6, 7, lines=1)
    assert 3.5 <= size < 7
    assert style.text_width(line, size) <= 0.6


@style.styled
def measured_figure() -> Figure:
    figure, axes = style.canvas(3.0, 1.0)
    axes.text(0, 0.5, "Unbarred Loose Spiral", fontsize=7, fontweight="bold")
    return figure


def test_names_are_not_read_as_formulae(tmp_path: Path) -> None:
    name = r"$\frac{a$ & 5$"
    figure = evaluation.confusion_matrix([[3, 1], [0, 2]], [name, "$x^$"])
    svg = style.inline_svg(figure, "confusion", name)
    assert svg.startswith("<svg ")
    assert style.save(figure, tmp_path / "a.pdf").is_file()
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert name in " ".join(shown)
