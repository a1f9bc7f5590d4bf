"""``predict --detect``: the sources of a picture or FITS mosaic, detected, classified, written and drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.columns import FullColumns, catalogue_schema, sets_of
from morphoscope.catalogue.detection.detect import MIN_AREA
from morphoscope.catalogue.detection.images import classify_mosaic, classify_picture, write_picture_catalogue
from morphoscope.catalogue.formats.write import check_output, target_of
from morphoscope.catalogue.request import check_quality
from morphoscope.errors import UsageError
from morphoscope.extras import DETECTION, need
from morphoscope.images.bands import MOST_BANDS, is_pattern, parse_bands
from morphoscope.images.decode import holds_fits, is_fits_name
from morphoscope.images.mosaic import Mosaic, open_mosaics
from morphoscope.images.planes import chosen_planes, kind_of, shown_planes
from morphoscope.images.stretch import MOST_PLANES, PLANES, check_stretch, stretched
from morphoscope.inference.preprocess import bands_asked, stretch_asked

if TYPE_CHECKING:
    from morphoscope.inference.ensemble import Ensemble
    from morphoscope.inference.predictor import Predictor

MOST_TO_DRAW = 40_000_000  # pixels
LIKELY = 0.5  # a class as likely as all others together


@dataclass(frozen=True)
class DetectedSky:
    """Sources of an image or mosaic, and the image to draw them on.

    Attributes:
        table: the catalogue.
        shown: the image, or the bands of a mosaic, reddest first.
        stretch: of a mosaic.
        picture: which of the bands are drawn, red first; empty: any.
    """

    table: pa.Table
    shown: np.ndarray | list[Mosaic]
    stretch: str
    picture: tuple[int, ...] = ()

    def image(self) -> np.ndarray:
        """The sky to draw on, (H, W, 3) uint8, row 0 at the top."""
        if isinstance(self.shown, np.ndarray):
            return self.shown
        bands = [self.shown[band] for band in self.picture or shown_planes(len(self.shown))]
        planes = [band.box(slice(0, band.shape[0]), slice(0, band.shape[1])) for band in bands]
        stretch = "lupton" if self.stretch in PLANES else self.stretch
        picture = stretched(planes, stretch, name=bands[0].name, flux=[band.flux for band in bands])
        return picture[_turned(self.shown[0])].copy()

    def boxes(self) -> np.ndarray:
        """x, y and half the side of each cutout on :meth:`image`, pixels, (S, 3)."""
        x, y, side = (np.asarray(self.table[name]) for name in ("x", "y", "cutout"))
        if not isinstance(self.shown, np.ndarray):
            (height, width), (rows, columns) = self.shown[0].shape, _turned(self.shown[0])
            x = width - 1 - x if columns.step == -1 else x
            y = height - 1 - y if rows.step == -1 else y
        return np.stack([x, y, side / 2], axis=1)

    def sure(self) -> np.ndarray:
        """Whether each class can be relied on, (S,): as likely as all others together, and its source no
        farther from the training galaxies than nearly all of their own kind (``out_of_distribution``).
        """
        likely = np.asarray(self.table["probability"], np.float64) >= LIKELY
        if "out_of_distribution" not in self.table.schema.names:
            return likely
        return likely & (np.asarray(self.table["out_of_distribution"]) <= 1)


def _turned(mosaic: Mosaic) -> tuple[slice, slice]:
    """How a mosaic is flipped for drawing, so that it is not mirrored according to its WCS.

    FITS counts rows from the bottom.
    """
    as_stored, turned = slice(None), slice(None, None, -1)
    if mosaic.wcs is None:
        return as_stored if mosaic.top_first else turned, as_stored
    height, width = mosaic.shape
    middle = mosaic.positions_of(np.array([(width - 1) / 2]), np.array([(height - 1) / 2]))
    mirrored = np.linalg.det(mosaic.pixels_per_arcsec(*middle)[0]) > 0
    return turned, turned if mirrored else as_stored


def classify_sky(
    predictor: Predictor | Ensemble,
    picture: Path | str | np.ndarray,
    out: Path | str,
    *,
    bands: str | Sequence[str] | None = None,
    stretch: str | None = None,
    overwrite: bool = False,
    coverage: float | None = None,
    per_class: bool = False,
    drawn: bool = False,
    adapt: Callable[[Sequence[np.ndarray]], None] | None = None,
    min_area: int = MIN_AREA,
    quality: str = "auto",
) -> DetectedSky:
    """Detect the sources of a picture or mosaic, classify each, and write the catalogue.

    Args:
        predictor: a run's network.
        picture: an image file, (H, W, 3) uint8, or a FITS mosaic (one per band, with ``{band}`` in its name).
        out: the catalogue.
        bands: of a FITS mosaic.
        stretch: of a FITS mosaic or a 32-bit TIFF; None: as in the run's training.
        overwrite: replace a catalogue that is there.
        coverage: add the column ``set``.
        per_class: as for :func:`morphoscope.catalogue.predict.predict_catalogue`.
        drawn: it will be drawn, so it must not be too large for that.
        adapt: see :func:`morphoscope.catalogue.detection.images.classify_picture`.
        min_area: least pixels of a source above the sky.
        quality: "auto" or "off", as of :class:`morphoscope.catalogue.request.CatalogueRequest`.

    Raises:
        UsageError: no such file, a least area below one pixel, an unknown stretch, bands of something that is
            no FITS file, a mosaic that cannot be drawn.
        MorphoscopeError: it cannot be read, or nothing was detected.
    """
    need(DETECTION, "detect", "finding sources")
    if min_area < 1:
        raise UsageError(f"--min-area {min_area}: at least 1 pixel was expected")
    if stretch is not None:
        check_stretch(stretch)
    target = target_of(out)
    check_output(target, overwrite=overwrite)
    sets = sets_of(predictor, coverage, per_class=per_class)
    target.check(catalogue_schema(predictor.scheme, sets, FullColumns(predictor).extras))
    facts = predictor.run.header.store
    mosaic = not isinstance(picture, np.ndarray) and _is_mosaic(picture)
    if not facts.pictures and not mosaic:
        raise UsageError(
            f"this run was trained on {kind_of(facts)}, so --detect needs a FITS mosaic with them, not a "
            "picture"
        )
    names = parse_bands(bands, MOST_BANDS if facts.pictures else MOST_PLANES)
    wanted = {"coverage": coverage, "per_class": per_class}
    check = check_quality(quality) == "auto"
    options: dict[str, Any] = {"overwrite": overwrite, "check": check, **wanted}
    if isinstance(picture, np.ndarray) or not mosaic:
        if names:
            raise UsageError("--bands chooses bands of FITS files; a picture has its colours already")
        name = "picture" if isinstance(picture, np.ndarray) else Path(picture).name
        table, _, image = classify_picture(
            predictor,
            picture,
            name=name,
            stretch=stretch,
            adapt=adapt,
            min_area=min_area,
            check=check,
            **wanted,
        )
        write_picture_catalogue(predictor, table, out, name=name, **options)
        return DetectedSky(table, image, "as-served")
    stretch = stretch_asked(stretch, facts)
    if not facts.pictures:
        names = bands_asked(names, facts)
    if drawn:
        _check_drawable(open_mosaics(picture, names))
    table, mosaics = classify_mosaic(
        predictor,
        picture,
        bands=names,
        stretch=stretch,
        adapt=adapt,
        min_area=min_area,
        check=check,
        **wanted,
    )
    write_picture_catalogue(predictor, table, out, name=Path(picture).name, stretch=stretch, **options)
    return DetectedSky(table, mosaics, stretch, chosen_planes(facts) if facts.shown else ())


def _is_mosaic(source: Path | str) -> bool:
    """Whether a file is a FITS mosaic, by its name or content."""
    return is_fits_name(str(source)) or is_pattern(str(source)) or holds_fits(Path(source))


def _check_drawable(mosaics: list[Mosaic]) -> None:
    """Refuse to draw what cannot be drawn, before any work."""
    if any(len(mosaic.chips) > 1 for mosaic in mosaics):
        chips = ", ".join(chip.chip for chip in mosaics[0].chips)
        raise UsageError(
            f"{mosaics[0].name}: several chips cannot be drawn together; choose one by --bands ({chips}), or "
            "leave --picture out"
        )
    height, width = mosaics[0].shape
    if height * width > MOST_TO_DRAW:
        raise UsageError(
            f"{mosaics[0].name}: {width}×{height} pixels are too many to draw; leave --picture out"
        )
    if any(mosaic.shape != mosaics[0].shape for mosaic in mosaics):
        raise UsageError(f"{mosaics[0].name}: bands of different sizes cannot be drawn; leave --picture out")
