"""Style of all figures: size, type and colour, for print and for both themes of a page.

Figures are drawn without pyplot, which would keep them in memory. Colours are
Okabe & Ito's (2008), which readers with any colour vision tell apart, and lines differ in more than hue.
"""

from __future__ import annotations

import contextlib
import functools
import io
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from morphoscope import files
from morphoscope.extras import DRAWING, need

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.1  # inches: two columns of a journal (180 mm), or the text of an A4 page
COLUMN = 3.46  # inches: one column (88 mm)
DPI = 300
PICTURE_DPI = 240  # pictures of galaxies hold fewer pixels than this; more would only be larger files

INK = "#1d1f24"
MUTED = "#63676f"
RULE = "#c9ccd2"
GRID = "#e6e8eb"
PAPER = "#ffffff"
FILL = "#0b62a8"  # areas whose strength is their opacity
ERROR_FILL = "#cf5404"
ON_FILL = "#fffffe"  # text on a strong area, in both themes
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#806a00")

# Names of the page's CSS variables for colours that change with its theme (see page.css).
_CSS_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    GRID: "--grid",
    PAPER: "--paper",
    FILL: "--fill",
    ERROR_FILL: "--error-fill",
} | {colour: f"--series-{number}" for number, colour in enumerate(SERIES, start=1)}

_FONTS = ("Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@functools.cache
def _fonts() -> list[str]:
    """The installed ones of the preferred fonts; the last comes with matplotlib and has most characters."""
    from matplotlib import font_manager

    here = {entry.name for entry in font_manager.fontManager.ttflist}
    return [name for name in _FONTS if name in here] or ["DejaVu Sans"]


def _settings() -> dict[str, object]:
    return {
        "font.family": _fonts(),
        "font.size": 8,
        "text.parse_math": False,  # names of classes and files are no formulae
        "text.color": INK,
        "axes.titlesize": 8.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 7,
        "axes.labelsize": 8,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": RULE,
        "axes.facecolor": "none",
        "axes.linewidth": 0.7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "axes.unicode_minus": True,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.width": 0.7,
        "ytick.major.width": 0.7,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "lines.linewidth": 1.5,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": 7.5,
        "legend.handlelength": 1.6,
        "patch.linewidth": 0,
        "figure.facecolor": PAPER,
        "savefig.facecolor": "auto",
        "svg.fonttype": "path",
        "svg.hashsalt": "morphoscope",
        "image.interpolation": "antialiased",
    }


@contextlib.contextmanager
def applied() -> Iterator[None]:
    """Use the project's matplotlib settings inside this block."""
    need(DRAWING, "report", "a figure")
    import matplotlib

    with matplotlib.rc_context(cast("Any", _settings())), warnings.catch_warnings():
        # A class name in a script that no installed font has is drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def styled(draw: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator: draw in the project's style."""

    @functools.wraps(draw)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with applied():
            return draw(*args, **kwargs)

    return inside


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (size in inches) with constrained layout. Call it inside the style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.set_layout_engine("constrained", w_pad=0.06, h_pad=0.05, wspace=0.06, hspace=0.05)
    return figure


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure for manual placement: one area without axes, in inches, y downwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def save(figure: Figure, path: Path | str, *, dpi: int = DPI) -> Path:
    """Write a figure atomically; the file's extension selects PNG, PDF or SVG."""
    path = Path(path)
    kind = path.suffix.lstrip(".").lower() or "png"
    # Without a date the same figure gives the same bytes.
    metadata = {"png": {"Software": "morphoscope"}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    with applied(), files.atomic_file(path) as partial:
        _settle(figure)
        figure.savefig(partial, dpi=dpi, format=kind, metadata=metadata.get(kind))
    return path


def _settle(figure: Figure) -> None:
    """Lay the parts out once for good: matplotlib would do it twice for every file, the slowest part.

    At the resolution of print: at a low one hinting makes text narrower than it is in the file.
    """
    if figure.get_layout_engine() is not None:
        figure.set_dpi(DPI)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def inline_svg(figure: Figure, name: str, description: str) -> str:
    """A figure as an ``<svg>`` element to stand in a page, in the colours of the page's theme.

    Args:
        figure: what to draw.
        name: distinguishes its internal references from those of other figures on the page.
        description: what it shows, for readers who do not see it.
    """
    buffer = io.StringIO()
    with applied():
        _settle(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return themed_svg(buffer.getvalue(), name, description)


def themed_svg(text: str, name: str, description: str) -> str:
    """The ``<svg>`` element of an SVG file as :func:`inline_svg` returns it; the same arguments."""
    import html

    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'href="#', f'href="#{name}-', text)
    text = re.sub(r"url\(#", f"url(#{name}-", text)
    for colour, variable in _CSS_VARIABLES.items():
        text = text.replace(colour, f"var({variable}, {colour})")
    text = re.sub(r">\s+<", "><", text)
    label = html.escape(description, quote=True)
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{label}" ', text, count=1).strip()


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text in inches, in the fonts that figures are drawn with; size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family=_fonts(), size=size, weight=weight)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return width / 72


def fitted(
    text: str, width: float, size: float, *, lines: int = 99, weight: str = "normal"
) -> tuple[list[str], float]:
    """Text broken into lines that fit a width in inches, and the font size at which they do.

    The size is reduced, to half at most, where a word is too wide or more than ``lines`` lines are needed.
    """
    smallest = size / 2
    width /= 1.04  # hinting widens letters at low resolution
    while True:
        broken = [""]
        for word in text.split(" "):
            longer = f"{broken[-1]} {word}".strip()
            if broken[-1] and text_width(longer, size, weight) > width:
                broken.append(word)
            else:
                broken[-1] = longer
        fits = len(broken) <= lines and all(text_width(line, size, weight) <= width for line in broken)
        if fits or size - 0.25 < smallest:
            return broken, size
        size -= 0.25


def held_within(text: str, width: float, size: float, lines: int = 2) -> str:
    """Text whose lines are no wider than a width in inches; unlike :func:`fitted`, its size stays.

    Each of its lines is broken between words onto at most ``lines``; what goes beyond ends with ….
    """
    width /= 1.04  # hinting widens letters at low resolution
    held: list[str] = []
    for line in text.split("\n"):
        broken, _ = fitted(line, width, size)
        beyond = len(broken) > lines
        for number, piece in enumerate(broken[:lines]):
            ending = "…" if beyond and number == lines - 1 else ""
            while piece and text_width(piece + ending, size) > width:
                piece, ending = piece[:-1].rstrip(), "…"
            held.append(piece + ending)
    return "\n".join(held)


def wrapped(name: str, width: int = 18, lines: int = 2) -> str:
    """A long name on at most ``lines`` lines, ended with … where that is not enough."""
    parts = textwrap.wrap(name, width, break_long_words=True) or [""]
    if len(parts) > lines:
        parts = [*parts[: lines - 1], parts[lines - 1][: width - 1].rstrip() + "…"]
    return "\n".join(parts)
