"""A contact sheet: galaxies side by side in one image, each with its caption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morphoscope.errors import UsageError
from morphoscope.extras import DRAWING, need
from morphoscope.progress import note
from morphoscope.report.figures import style
from morphoscope.report.figures.data import image_cards

if TYPE_CHECKING:
    from morphoscope.catalogue.similar import Neighbour

COLUMNS = 5
_LONGEST = 26  # characters in a line of a caption


def write_contact_sheet(
    images: Sequence[np.ndarray], captions: Sequence[Sequence[str]], out: Path | str
) -> Path:
    """Draw galaxies in rows of five, with lines of text under each.

    Args:
        images: (H, W, 3) uint8, of any sizes.
        captions: the lines under each.
        out: PNG file to write.

    Returns:
        Its path.
    """
    texts = ["\n".join(_short(line) for line in lines) for lines in captions]
    out = Path(out)
    style.save(image_cards(images, texts, COLUMNS), out, dpi=style.PICTURE_DPI)
    return out


def check_sheet(out: Path, *, overwrite: bool = False) -> None:
    """Refuse a picture that could not be written, before any work.

    Raises:
        UsageError: another ending than .png, or something is there already.
    """
    need(DRAWING, "report", "a picture of galaxies")
    if out.suffix.lower() != ".png":
        raise UsageError(f"{out}: the galaxies are drawn as PNG; choose a name that ends in .png")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists already; choose another name or pass --overwrite")


def draw_neighbours(catalogue: Path | str, neighbours: Sequence[Neighbour], out: Path) -> bool:
    """Draw those of the galaxies whose images are still where the catalogue found them, and say how many
    lack.

    Returns:
        Whether there was anything to draw.
    """
    from morphoscope.catalogue.similar import EmbeddedCatalogue, pictures_of

    images, captions = [], []
    for neighbour, image in zip(
        neighbours, pictures_of(EmbeddedCatalogue(catalogue), neighbours), strict=True
    ):
        if image is not None:
            values = neighbour.values
            lines = [str(values.get("id")), str(values.get("predicted") or ""), f"{neighbour.similarity:.3f}"]
            images.append(image)
            captions.append([line for line in lines if line])
    missing = len(neighbours) - len(images)
    if missing:
        note(f"{missing} of {len(neighbours)} images are not where the catalogue found them")
    if not images:
        note(f"nothing to draw: {out} was not written")
        return False
    write_contact_sheet(images, captions, out)
    note(f"picture → {out}")
    return True


def _short(line: str) -> str:
    """A line that fits under a picture; of a long name the end tells more than the beginning."""
    return line if len(line) <= _LONGEST else f"…{line[1 - _LONGEST :]}"
