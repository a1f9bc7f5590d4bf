"""A survey's mosaic: pixels mapped into memory, and the place of each on the sky.

Shape letters: H × W pixels of the mosaic, S sources, B bands. Pixel coordinates are (x, y) = (column, row),
counted from 0 at the centre of the first pixel of the file.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.bands import file_of_band, find_bands, is_pattern, reddest_first
from morphoscope.images.fits_bands import part_of, pictures

_ARCSEC = 1 / 3600  # degrees


class Mosaic:
    """One band of a survey's picture.

    Attributes:
        name: what messages call it.
        shape: (H, W).
        wcs: astropy's celestial WCS; None where the header has none.
    """

    def __init__(
        self, name: str, shape: tuple[int, int], wcs: Any, read: Callable[[slice, slice], np.ndarray]
    ) -> None:
        self.name, self.shape, self.wcs = name, shape, wcs
        self._read = read

    def box(self, rows: slice, columns: slice) -> np.ndarray:
        """A part of the pixels as float32, scaled; NaN where there is none. Any thread may ask."""
        return self._read(rows, columns)

    def pixels_of(self, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where sources lie, x and y (S,); NaN far from the mosaic, where projections repeat or fail."""
        from astropy.coordinates import SkyCoord

        x, y = np.full(len(ra), np.nan), np.full(len(ra), np.nan)
        centre, radius = self._extent()
        near = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec) & (np.abs(dec) <= 90))
        places = SkyCoord(ra[near], dec[near], unit="deg")
        within = np.asarray(places.separation(centre).deg, float) <= radius
        near = near[within]
        if len(near):
            x[near], y[near] = _world_to_pixel(self.wcs, places[within])
        return x, y

    def places_of(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Right ascension and declination of pixels, degrees (S,)."""
        sky = self.wcs.pixel_to_world(x, y).icrs
        return np.atleast_1d(sky.ra.deg), np.atleast_1d(sky.dec.deg)

    def steps_of(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Pixels an arcsec at sources: (S, 2, 2), [[x to the east, x to the north], [y …, y …]]."""
        from astropy.coordinates import SkyCoord

        dec = np.clip(dec, -90 + 2 * _ARCSEC, 90 - 2 * _ARCSEC)
        half = 0.5 * _ARCSEC
        east = half / np.cos(np.radians(dec))

        def at(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
            return np.stack(_world_to_pixel(self.wcs, SkyCoord(ra, dec, unit="deg")), axis=1)

        return np.stack(
            [at(ra + east, dec) - at(ra - east, dec), at(ra, dec + half) - at(ra, dec - half)], axis=2
        )

    def words(self) -> str:
        """Where on the sky it lies, for messages."""
        centre, radius = self._extent()
        return f"within {radius:.2f}° of RA {centre.ra.deg:.4f}°, Dec {centre.dec.deg:.4f}°"

    def _extent(self) -> tuple[Any, float]:
        """The middle of the mosaic and the distance of its farthest corner, degrees, with a margin."""
        height, width = self.shape
        sky = self.wcs.pixel_to_world(
            [(width - 1) / 2, -0.5, width - 0.5, -0.5, width - 0.5],
            [(height - 1) / 2, -0.5, -0.5, height - 0.5, height - 0.5],
        ).icrs
        corners = np.asarray(sky[1:].separation(sky[0]).deg)
        if not np.isfinite(corners).all():  # an all-sky projection has no sky at its corners
            return sky[0], 180.0
        return sky[0], float(1.5 * corners.max() + 0.02)


def open_mosaics(source: Path | str, bands: Sequence[str] = ()) -> list[Mosaic]:
    """The bands of a mosaic, the reddest first.

    Args:
        source: a FITS file, or a pattern with ``{band}``, one file a band; bands may lie on different pixels.
        bands: of the pattern, or the extensions or planes of the one file (by EXTNAME, FILTER, BAND, or the
            letters of BANDS; else in order). None: the file's first image.

    Raises:
        UsageError: no such file, or no such band.
        MorphoscopeError: damaged, or no image in it.
    """
    names = [bands[band] for band in reddest_first(bands)]
    if is_pattern(str(source)):
        if not names:
            raise UsageError(f"{source}: --bands was expected beside a pattern, such as --bands g,r,z")
        return [_open_band(Path(file_of_band(str(source), band)), "", ()) for band in names]
    return [_open_band(Path(source), name, tuple(bands)) for name in names or [""]]


def _open_band(path: Path, band: str, bands: tuple[str, ...]) -> Mosaic:
    from astropy.io import fits

    if not path.is_file():
        raise UsageError(f"{path}: no such file; a FITS mosaic was expected")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            units = fits.open(path, memmap=True, output_verify="ignore")
            try:
                mosaic = _mosaic(path, units, band, bands)
            except BaseException:
                units.close()
                raise
    except MorphoscopeError:
        raise
    except Exception as error:  # astropy raises anything at all on bytes that are not what it expects
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise MorphoscopeError(f"{path}: cannot be read as a FITS mosaic ({reason})") from error
    # Compressed tiles are read from the open file as long as the mosaic is used.
    weakref.finalize(mosaic, units.close)
    return mosaic


def _mosaic(path: Path, units: Any, band: str, bands: tuple[str, ...]) -> Mosaic:
    images = pictures(units)
    if not images:
        raise MorphoscopeError(f"{path}: holds no image; a FITS mosaic was expected")
    unit, plane = _unit_of(images, band, bands, path)
    height, width = unit.shape[-2:]
    return Mosaic(path.name, (height, width), _celestial(unit.header, units), _reader(path, unit, plane))


def _unit_of(images: list[Any], band: str, bands: tuple[str, ...], path: Path) -> tuple[Any, int]:
    """The extension and the plane in it (of a cube) that are a band."""
    parts = [part_of(unit) for unit in images]
    if not band and parts[0].depth > 1:
        raise UsageError(
            f"{path}: {parts[0].depth} planes, of which --bands must choose, by name or "
            "by number (as --bands 3,2,1)"
        )
    number, plane = 0, 0
    if band:
        try:
            found = find_bands(parts, bands, str(path))
        except MorphoscopeError as error:
            raise UsageError(str(error)) from error
        number, plane = found[[bands[position] for position in reddest_first(bands)].index(band)]
    shape = images[number].shape
    if parts[number].depth != np.prod(shape[:-2], dtype=int):
        raise UsageError(
            f"{path}: the image is {'×'.join(map(str, shape))}; planes of height by width were expected"
        )
    return images[number], plane


def _reader(path: Path, unit: Any, plane: int) -> Callable[[slice, slice], np.ndarray]:
    """What reads a part of one plane; plain files are mapped, compressed tiles unpacked as needed."""
    shape, header = unit.shape, unit.header
    if type(unit).__name__ == "CompImageHDU":
        lock = threading.Lock()  # the tiles come from one open file
        leading = (0,) * (len(shape) - 3) + ((plane,) if len(shape) > 2 else ())

        def section(rows: slice, columns: slice) -> np.ndarray:
            with lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return np.asarray(unit.section[(*leading, rows, columns)], np.float32)

        return section
    if path.name.lower().endswith(".gz"):
        whole = np.asarray(unit.data.reshape(-1, *shape[-2:])[plane], np.float32)
        return lambda rows, columns: whole[rows, columns].copy()
    kinds = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
    planes = np.memmap(path, kinds[header["BITPIX"]], "r", unit.fileinfo()["datLoc"], shape)
    scale, zero, blank = header.get("BSCALE", 1.0), header.get("BZERO", 0.0), header.get("BLANK")
    pixels = planes.reshape(-1, *shape[-2:])[plane]

    def mapped(rows: slice, columns: slice) -> np.ndarray:
        raw = pixels[rows, columns]
        box = (raw.astype(np.float64) * scale + zero).astype(np.float32)
        if blank is not None and raw.dtype.kind in "iu":
            box[raw == blank] = np.nan
        return box

    return mapped


def _celestial(header: Any, units: Any) -> Any:
    from astropy.wcs import WCS

    wcs = WCS(header, fobj=units)
    return wcs.celestial if wcs.has_celestial else None


def _world_to_pixel(wcs: Any, places: Any) -> tuple[np.ndarray, np.ndarray]:
    from astropy.wcs import NoConvergence

    try:
        x, y = wcs.world_to_pixel(places)
    except NoConvergence as error:  # some lie where the distortion cannot be undone: far off the mosaic
        x, y = np.array(error.best_solution).T
        lost = np.concatenate([part for part in (error.divergent, error.slow_conv) if part is not None])
        x[lost.astype(int)] = y[lost.astype(int)] = np.nan
    return np.atleast_1d(x), np.atleast_1d(y)
