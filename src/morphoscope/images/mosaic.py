"""A survey's mosaic: pixels mapped into memory, the position of each on the sky, and square cutouts with
north up.

Shape letters: H × W pixels of the mosaic, S × S of a cutout, or S sources; B bands. Pixel coordinates are
(x, y) = (column, row), counted from 0 at the centre of the first pixel of the file.
"""

from __future__ import annotations

import io
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.bands import (
    band_label,
    file_of_band,
    find_bands,
    is_pattern,
    known_band,
    reddest_first,
)
from morphoscope.images.coverage import FillValues, fill_values, is_grainy, uncovered
from morphoscope.images.fits_bands import (
    STARTS,
    card,
    labels_of,
    part_of,
    pictures,
    softened,
    softening_of,
    unpacked,
)
from morphoscope.images.fits_headers import FITS_START, check_counts, check_headers
from morphoscope.images.photometry import flux_of
from morphoscope.images.stretch import Flux
from morphoscope.images.wcs import celestial_of, rows_from_top
from morphoscope.progress import note

_ARCSEC = 1 / 3600  # degrees
_CONTEXT = 16  # pixels around a part that are also read, to decide whether zeros are data
_SAMPLE = 32  # side of the squares that are sampled for fill values, pixels
_INNER = 0.25  # images show the same sky if their centres are this close, in units of the side
_Read = Callable[[slice, slice], np.ndarray]


class Mosaic:
    """One band of a survey's mosaic, or one chip of a camera.

    Attributes:
        name: name used in messages.
        shape: (H, W).
        wcs: astropy's celestial WCS; None if the header has no usable one.
        no_wcs: why not.
        top_first: whether the first row is the top of the image; only used without a WCS.
        flux: what is known about the unit of its pixels.
        chip: name of this image in the file, if there are several.
        chips: this and the file's other images of the same band, which show other parts of the sky.
    """

    def __init__(
        self,
        name: str,
        shape: tuple[int, int],
        wcs: Any,
        read: _Read,
        *,
        no_wcs: str = "the header has no world coordinates (CTYPE1, CRVAL1, …)",
        top_first: bool = False,
        flux: Flux | None = None,
        chip: str = "",
    ) -> None:
        self.name, self.shape, self.wcs, self.no_wcs = name, shape, wcs, no_wcs
        self.top_first, self.flux, self.chip = top_first, flux or Flux(), chip
        self.chips: tuple[Mosaic, ...] = (self,)
        self._read = read

    def box(self, rows: slice, columns: slice) -> np.ndarray:
        """A section of the pixels as float32, scaled; NaN where no exposure covers them. Thread-safe.

        See :func:`morphoscope.images.coverage.uncovered`.
        """
        height, width = self.shape
        top, bottom, _ = rows.indices(height)
        left, right, _ = columns.indices(width)
        first, start = max(top - _CONTEXT, 0), max(left - _CONTEXT, 0)
        pixels = self._read(
            slice(first, min(bottom + _CONTEXT, height)), slice(start, min(right + _CONTEXT, width))
        )
        pixels[uncovered(pixels, self._fill)] = np.nan
        return pixels[top - first : bottom - first, left - start : right - start]

    @cached_property
    def _fill(self) -> FillValues:
        """Fill values from pixels all over the mosaic, since a section may contain nothing else."""
        height, width = self.shape
        parts = [
            self._read(slice(top, top + _SAMPLE), slice(left, left + _SAMPLE))
            for top in np.linspace(0, max(height - _SAMPLE, 0), 6, dtype=int)
            for left in np.linspace(0, max(width - _SAMPLE, 0), 6, dtype=int)
        ]
        sample = np.concatenate(parts)
        return replace(fill_values(sample.ravel()), grainy=is_grainy(sample))

    def pixels_of(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixel positions x and y of sources, (S,); NaN far from the mosaic, where projections repeat or
        fail.
        """
        from astropy.coordinates import SkyCoord

        x, y = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
        centre, radius = self._extent()
        near = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90))
        positions = SkyCoord(ra[near], dec[near], unit="deg")
        within = np.asarray(positions.separation(centre).deg, float) <= radius
        near = near[within]
        if len(near):
            x[near], y[near] = _world_to_pixel(self.wcs, positions[within])
        return x, y

    def positions_of(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension, from 0 to 360, and declination of pixel positions, degrees (S,)."""
        sky = self.wcs.pixel_to_world(x, y).icrs
        return np.atleast_1d(sky.ra.deg), np.atleast_1d(sky.dec.deg)

    def pixels_per_arcsec(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """The local axes at sources: (S, 2, 2), [[x to the east, x to the north], [y …, y …]]."""
        from astropy.coordinates import SkyCoord

        dec = np.clip(dec, -90 + 2 * _ARCSEC, 90 - 2 * _ARCSEC)
        half = 0.5 * _ARCSEC
        east = half / np.cos(np.radians(dec))

        def at(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
            return np.stack(_world_to_pixel(self.wcs, SkyCoord(ra, dec, unit="deg")), axis=1)

        return np.stack(
            [at(ra + east, dec) - at(ra - east, dec), at(ra, dec + half) - at(ra, dec - half)], axis=2
        )

    def where(self) -> str:
        """Which part of the sky it shows, for messages."""
        centre, radius = self._extent()
        return f"within {radius:.2f}° of RA {centre.ra.deg:.4f}°, Dec {centre.dec.deg:.4f}°"

    def _extent(self) -> tuple[Any, float]:
        """The centre of the mosaic and the distance to its farthest corner, degrees, with a margin."""
        height, width = self.shape
        sky = self.wcs.pixel_to_world(
            [(width - 1) / 2, -0.5, width - 0.5, -0.5, width - 0.5],
            [(height - 1) / 2, -0.5, -0.5, height - 0.5, height - 0.5],
        ).icrs
        corners = np.asarray(sky[1:].separation(sky[0]).deg)
        if not np.isfinite(corners).all():  # the corners of an all-sky projection are not on the sky
            return sky[0], 180.0
        return sky[0], float(1.5 * corners.max() + 0.02)


def open_mosaics(source: Path | str, bands: Sequence[str] = ()) -> list[Mosaic]:
    """Open the bands of a mosaic, reddest first.

    Args:
        source: a FITS file, which may be compressed by tiles or as a whole (then it is decompressed into
            memory, see :mod:`morphoscope.images.packed`); or a pattern with ``{band}``, one file per band.
            Bands may be on different pixels.
        bands: bands of the pattern, or extensions or planes of the one file (see
            :func:`morphoscope.images.bands.find_bands`). None: the file's first image that is not a mask,
            error or weight; further images of other parts of the sky become its ``chips``.

    Raises:
        UsageError: there is no such file or band, or no bands were given for a pattern or cube.
        MorphoscopeError: damaged, or no image in it.
    """
    names = [bands[band] for band in reddest_first(bands)]
    if is_pattern(str(source)):
        if not names:
            raise UsageError(f"{source}: --bands is needed with a pattern, such as --bands g,r,z")
        return [_open(Path(file_of_band(str(source), band)), (), band)[0] for band in names]
    return _open(Path(source), tuple(bands))


@dataclass(frozen=True, eq=False)
class _File:
    """An open FITS file; it stays open while a mosaic reads compressed tiles from it."""

    path: Path
    units: Any
    content: bytes | None  # of a file compressed as a whole

    @classmethod
    def of(cls, path: Path) -> _File:
        from astropy.io import fits

        with open(path, "rb") as stream:
            start = stream.read(len(FITS_START))
        if not start.startswith(STARTS):
            raise MorphoscopeError(f"{path}: is not a FITS file; a FITS mosaic was expected")
        content = None if start == FITS_START else unpacked(path.read_bytes(), str(path))
        if content is None:
            check_headers(path)
        else:
            check_counts(content, str(path))
        source: Any = path if content is None else io.BytesIO(content)
        # Pixels are scaled here: astropy 8 cannot scale memory-mapped integer tiles.
        units = fits.open(
            source, memmap=content is None, output_verify="ignore", do_not_scale_image_data=True
        )
        file = cls(path, units, content)
        weakref.finalize(file, units.close)
        return file


def _open(path: Path, bands: tuple[str, ...], band: str = "") -> list[Mosaic]:
    """Bands of one file; ``band`` names its only image if the file is one of a pattern."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; a FITS mosaic was expected")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _mosaics(_File.of(path), bands, band)
    except MorphoscopeError:
        raise
    except Exception as error:  # astropy may raise anything on unexpected bytes
        reason = reason_of(error)
        raise MorphoscopeError(f"{path}: cannot be read as a FITS mosaic ({reason})") from error


def _mosaics(file: _File, bands: tuple[str, ...], band: str) -> list[Mosaic]:
    images = pictures(file.units)
    if not images:
        raise MorphoscopeError(f"{file.path}: holds no image; a FITS mosaic was expected")
    parts = [part_of(unit) for unit in images]
    if bands:
        try:
            found = find_bands(parts, bands, str(file.path))
        except MorphoscopeError as error:
            raise UsageError(str(error)) from error
        order = reddest_first(bands)
        return [
            _with_chips(file, images, part, plane, bands[order[number]])
            for number, (part, plane) in enumerate(found)
        ]
    if parts[0].depth != 1:
        letters = f" (bands there: {', '.join(parts[0].letters)})" if parts[0].letters else ""
        raise UsageError(
            f"{file.path}: {parts[0].depth} planes, choose some with --bands, by name or by number "
            f"(as --bands 3,2,1){letters}"
        )
    mosaic = _with_chips(file, images, 0, 0, band)
    others = len(images) - len(mosaic.chips)
    if others:
        note(
            f"{file.path.name}: {_name_of(images[0], 1)} of {len(images)} images is taken; --bands chooses "
            "others by name or by number"
        )
    return [mosaic]


def _with_chips(file: _File, images: list[Any], number: int, plane: int, band: str) -> Mosaic:
    """One band, with the file's other images of other parts of the sky in that band."""
    first = images[number]
    alone = len(images) == 1 or len({unit.shape for unit in images}) == 1
    mosaic = _mosaic(file, first, plane, band, images.index(first) + 1, alone=alone)
    if mosaic.wcs is None or len(first.shape) != 2 or band.isdigit():
        return mosaic
    chips = [mosaic]
    for place, unit in enumerate(images, start=1):
        if unit is first or len(unit.shape) != 2 or not _same_band(first, unit, band):
            continue
        chip = _mosaic(file, unit, 0, band, place, alone=False)
        if chip.wcs is not None and not any(_same_sky(chip, other) for other in chips):
            chips.append(chip)
    mosaic.chips = tuple(chips)
    return mosaic


def _same_band(first: Any, unit: Any, band: str) -> bool:
    """Whether another image may be a chip of the same band, by the given name or else by filter."""
    if band:
        return band_label(band) in labels_of(unit)
    filters = [
        {band_label(card(one.header, name)) for name in ("FILTER", "BAND") if card(one.header, name).strip()}
        or {label for label in labels_of(one) if known_band(label)}
        for one in (first, unit)
    ]
    return not (filters[0] and filters[1]) or bool(filters[0] & filters[1])


def _same_sky(one: Mosaic, other: Mosaic) -> bool:
    height, width = one.shape
    (ra,), (dec,) = one.positions_of(np.array([(width - 1) / 2]), np.array([(height - 1) / 2]))
    (x,), (y,) = other.pixels_of(np.array([ra]), np.array([dec]))
    height, width = other.shape
    return bool(abs(x / width - 0.5) < _INNER and abs(y / height - 0.5) < _INNER)


def _name_of(unit: Any, number: int) -> str:
    return card(unit.header, "EXTNAME").strip() or f"image {number}"


def _mosaic(file: _File, unit: Any, plane: int, band: str, number: int, *, alone: bool) -> Mosaic:
    height, width = unit.shape[:2] if _colours_last(unit) else unit.shape[-2:]
    primary = file.units[0].header if alone and unit is not file.units[0] else None
    celestial = celestial_of(unit.header, file.units, primary=primary)
    label = band_label(band) if band and known_band(band) else ""
    for one in (unit, file.units[0]):  # the primary header may name the filter for all
        label = label or next((label for label in sorted(labels_of(one)) if known_band(label)), "")
    return Mosaic(
        file.path.name,
        (height, width),
        celestial.wcs,
        _reader(file, unit, plane),
        no_wcs=celestial.reason,
        top_first=rows_from_top(unit.header if "ROWORDER" in unit.header else file.units[0].header),
        flux=flux_of(lambda name: card(unit.header, name) or card(file.units[0].header, name), label),
        chip=_name_of(unit, number),
    )


def _colours_last(unit: Any) -> bool:
    """Whether an image has three values per pixel, (H, W, 3), instead of three planes."""
    shape = unit.shape
    return len(shape) == 3 and shape[0] != part_of(unit).depth == shape[-1]


def _reader(file: _File, unit: Any, plane: int) -> _Read:
    """A reader of sections of one plane; plain files are mapped, compressed tiles decompressed as needed."""
    shape, header, last = unit.shape, unit.header, _colours_last(unit)
    scaled = _scaling(header, file.units[0].header)
    if type(unit).__name__ == "CompImageHDU":
        lock = threading.Lock()  # all tiles come from one open file
        leading = (0,) * (len(shape) - 3) + ((plane,) if len(shape) > 2 and not last else ())

        def section(rows: slice, columns: slice) -> np.ndarray:
            with lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    raw = unit.section[(*leading, rows, columns, *((plane,) * last))]
                except Exception as error:
                    raise MorphoscopeError(f"{file.path}: is damaged or cut off") from error
            return scaled(np.asarray(raw))

        return section
    kinds = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
    kind, start = kinds[int(card(header, "BITPIX"))], unit.fileinfo()["datLoc"]
    if file.content is None:
        planes = np.memmap(file.path, kind, "r", start, shape)
    else:
        planes = np.frombuffer(file.content, kind, int(np.prod(shape)), start).reshape(shape)
    pixels = planes[:, :, plane] if last else planes.reshape(-1, *shape[-2:])[plane]
    # The file stays open as long as its pixels are used.
    return lambda rows, columns, _file=file: scaled(pixels[rows, columns])


def _scaling(header: Any, primary: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The conversion from raw to measured values: BSCALE, BZERO, BLANK, and Pan-STARRS1's asinh."""
    numbers = {name: _number(card(header, name)) for name in ("BSCALE", "BZERO", "BLANK")}
    softening = softening_of(header, primary)
    scale = 1.0 if numbers["BSCALE"] is None else numbers["BSCALE"]
    zero, blank = numbers["BZERO"] or 0.0, numbers["BLANK"]

    def scaled(raw: np.ndarray) -> np.ndarray:
        pixels = softened(raw.astype(np.float64) * scale + zero, *softening)
        with np.errstate(over="ignore"):
            box = np.asarray(pixels, np.float32)
        if blank is not None and raw.dtype.kind in "iu":
            box[raw == blank] = np.nan
        return box

    return scaled


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _world_to_pixel(wcs: Any, positions: Any) -> tuple[np.ndarray, np.ndarray]:
    from astropy.wcs import NoConvergence

    try:
        x, y = wcs.world_to_pixel(positions)
    except NoConvergence as error:  # some are far off the mosaic, where the distortion cannot be inverted
        x, y = np.array(error.best_solution).T
        lost = np.concatenate([part for part in (error.divergent, error.slow_conv) if part is not None])
        x[lost.astype(int)] = y[lost.astype(int)] = np.nan
    return np.atleast_1d(x), np.atleast_1d(y)


MOST_PIXELS = 30_000  # of the mosaic along one side of a cutout: OpenCV's limit
_FINEST = 4096  # pixels along a side before averaging, so that a very large cutout fits into memory


def sky_square(
    mosaic: Mosaic, x: float, y: float, steps: np.ndarray, *, arcsec: float, side: int
) -> np.ndarray:
    """Cut out a square around a position, oriented by the mosaic's local axes.

    The projection is treated as linear across the square. If the mosaic's pixels are smaller than the
    square's, they are averaged (after linear sampling at least as fine as the pixels), which keeps the mean
    surface brightness; larger ones are interpolated linearly.

    Args:
        mosaic: one band.
        x: column of the centre, pixels from 0 at the centre of the first.
        y: row of the centre.
        steps: the local axes, [[x to the east, x to the north], [y …, y …]], pixels per arcsec, (2, 2).
        arcsec: side of the square on the sky.
        side: S.

    Returns:
        (S, S) float32 in the mosaic's units; NaN beyond its edge and where no exposure covers it.

    Raises:
        MorphoscopeError: the square covers more pixels than can be handled.
    """
    pixels = arcsec * np.sqrt(abs(np.linalg.det(steps)))
    finer = int(np.clip(np.ceil(pixels / side), 1, max(1, _FINEST // side)))
    count = side * finer
    step = arcsec / count
    middle = (count - 1) / 2
    # Column i lies (middle − i) steps to the east, row j (middle − j) steps to the north.
    matrix = np.empty((2, 3))
    matrix[:, :2] = -step * steps
    matrix[:, 2] = np.array([x, y]) + middle * step * steps.sum(axis=1)
    corners = matrix @ np.array([[0, count, 0, count], [0, 0, count, count], [1, 1, 1, 1]])
    low = np.maximum(np.floor(corners.min(axis=1)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 3, mosaic.shape[::-1])
    if (high <= low).any():
        return np.full((side, side), np.nan, np.float32)
    if (high - low).max() > MOST_PIXELS:
        raise MorphoscopeError(f"a cutout of {arcsec:g}″ is {pixels:.0f} pixels of {mosaic.name}: too large")
    box = mosaic.box(slice(low[1], high[1]), slice(low[0], high[0]))
    matrix[:, 2] -= low
    fine = cv2.warpAffine(
        np.ascontiguousarray(box),
        matrix,
        (count, count),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    return fine.reshape(side, finer, side, finer).mean(axis=(1, 3))
