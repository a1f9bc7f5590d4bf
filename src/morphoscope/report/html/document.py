"""A page: sections of numbered figures, tables, galleries and text, rendered as one HTML document.

Images of galaxies are embedded in the document.

Shape letters: H × W pixels, C channels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.report.figures import style
from morphoscope.report.figures.data import rgb
from morphoscope.report.summary import Headline
from morphoscope.report.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_HERE = Path(__file__).parent
_SCREEN_PIXELS_PER_INCH = 117  # a figure of journal width then fills the page's column


@dataclass(frozen=True)
class Block:
    """A chart, gallery, table or paragraph, with its caption."""

    kind: str
    """"chart", "rows", "cards", "table", "facts", "code" or "text"."""
    content: Any
    caption: str = ""
    number: str = ""
    """"Figure 3" or "Table 2"; empty for what is not numbered."""
    width: int = 0
    folded: str = ""
    """The title of the fold it is hidden in; empty: not folded."""


@dataclass
class Section:
    """A heading and its blocks."""

    key: str
    title: str
    blocks: list[Block] = field(default_factory=list)


class Page:
    """Collects sections; numbers and saves figures as they are added.

    Args:
        figures: the folder for the PNG files.
    """

    def __init__(self, figures: Path) -> None:
        self.folder = figures
        self.sections: list[Section] = []
        self._figures = 0
        self._tables = 0

    def section(self, key: str, title: str) -> None:
        """Begin a section."""
        self.sections.append(Section(key, title))

    def text(self, words: str) -> None:
        """Add a paragraph."""
        self._add(Block("text", words))

    def chart(self, name: str, figure: Figure, caption: str) -> None:
        """Add a chart; it is also saved as ``figures/NAME.png``."""
        style.save(figure, self.folder / f"{name}.png")
        width = round(figure.get_figwidth() * _SCREEN_PIXELS_PER_INCH)
        svg = style.inline_svg(figure, name.replace("_", "-"), caption)
        self._add(Block("chart", svg, caption, self._next_figure(), width))

    def drawing(self, name: str, svg: str, caption: str) -> None:
        """Add an SVG drawing, its width in points; it is also saved as ``figures/NAME.svg``."""
        with files.atomic_file(self.folder / f"{name}.svg") as partial:
            partial.write_text(svg, encoding="utf-8")
        points = float(svg.split(' width="', 1)[1].split("pt", 1)[0])
        width = round(points / 72 * _SCREEN_PIXELS_PER_INCH)
        themed = style.themed_svg(svg, name.replace("_", "-"), caption)
        self._add(Block("chart", themed, caption, self._next_figure(), width))

    def gallery(
        self, name: str, figure: Figure, rows: list[GalleryRow], caption: str, *, cards: bool = False
    ) -> None:
        """Add images with text captions; ``figure``, the same for print, is saved as PNG."""
        style.save(figure, self.folder / f"{name}.png", dpi=style.PICTURE_DPI)
        self._add(Block("cards" if cards else "rows", rows, caption, self._next_figure()))

    def table(self, table: Table, *, folded: str = "") -> None:
        """Add a table, numbered where it has a caption."""
        number = ""
        if table.caption:
            self._tables += 1
            number = f"Table {self._tables}"
        self._add(Block("table", table, table.caption, number, folded=folded))

    def facts(self, facts: list[tuple[str, str]]) -> None:
        """Add names with their values."""
        self._add(Block("facts", facts))

    def code(self, text: str, *, folded: str = "") -> None:
        """Add text to be copied."""
        self._add(Block("code", text, folded=folded))

    def _add(self, block: Block) -> None:
        self.sections[-1].blocks.append(block)

    def _next_figure(self) -> str:
        self._figures += 1
        return f"Figure {self._figures}"


@dataclass(frozen=True)
class PageHeader:
    """The header of a page.

    Attributes:
        kind: "report" or "study".
        eyebrow: a line above the title.
        title: of the page.
        about: a sentence below the title.
        headline: the main result; None: nothing was measured.
        version: of the program.
    """

    kind: str
    eyebrow: str
    title: str
    about: str
    headline: Headline | None
    version: str = ""


def rendered(page: Page, header: PageHeader, *, notes: Sequence[str] = ()) -> str:
    """The page as one self-contained HTML document.

    Args:
        page: its sections; those without content are left out.
        header: of the page.
        notes: caveats, at the end.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["trusted"] = Markup  # SVG made by this package
    try:
        template = environment.get_template("page.html.j2")
    except jinja2.TemplateNotFound as error:
        raise MorphoscopeError(f"{_HERE / str(error)} is missing; install morphoscope again") from error
    filled = [section for section in page.sections if section.blocks]
    return template.render(header=header, headline=header.headline, sections=filled, notes=notes)


LARGEST = 224  # pixels; shown at about half of that, sharp on fine screens and in print
QUALITY = 90


@dataclass(frozen=True)
class Picture:
    """One galaxy: its image as a data URI, its alternative text, its caption."""

    uri: str
    alt: str
    lines: Sequence[str] = ()
    """Caption: the first line is emphasised."""


@dataclass(frozen=True)
class GalleryRow:
    """A row of images with a title."""

    title: str
    note: str
    pictures: Sequence[Picture]


def data_uri(image_HWC: np.ndarray) -> str:
    """An image as a ``data:`` address, JPEG, at most :data:`LARGEST` pixels along a side."""
    import cv2

    image = np.ascontiguousarray(rgb(image_HWC)[:, :, ::-1])
    height, width = image.shape[:2]
    scale = LARGEST / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    # Full resolution of colour: galaxies are a few pixels of colour on a dark sky.
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR]
    done, encoded = cv2.imencode(".jpg", image, [*options, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444])
    if not done:
        raise MorphoscopeError(f"an image of {image_HWC.shape} could not be written into the report")
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
