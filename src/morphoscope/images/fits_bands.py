"""The bands of one FITS file: planes of a cube, or extensions.

Masks, errors, weights and the like are skipped if the file has another image. Which of the rest are read is
decided by :func:`morphoscope.images.bands.find_bands` if bands were named.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from morphoscope.errors import MorphoscopeError, reason_of
from morphoscope.images import packed
from morphoscope.images.bands import (
    MOST_BANDS,
    Part,
    band_label,
    by_number,
    find_bands,
    known_band,
    names_of,
    reddest_first,
)
from morphoscope.images.coverage import uncovered
from morphoscope.images.fits_headers import FITS_START, check_counts, plain_image
from morphoscope.images.limits import check_pixels, most_bytes, too_many_bytes
from morphoscope.images.photometry import flux_of
from morphoscope.images.stretch import Flux

if TYPE_CHECKING:
    from astropy.io.fits import Header

_LOCK = threading.RLock()  # silencing warnings is not safe in two threads at once
_LABELS = ("EXTNAME", "FILTER", "BAND")
_ROLES = ("EXTNAME", "IMAGETYP", "IMTYPE", "HDUNAME")
_NO_PICTURE = re.compile(
    r"(?:.*mask|dqf?|bpm|bpix|bad[ _]?pix(?:els?)?|wht|wt|weights?|err(?:or)?s?|var(?:iance)?s?|i(?:n)?var|"
    r"ivm|invvar|rms|sig(?:ma)?|std(?:dev)?|unc(?:ert(?:ainty)?)?|stat|noise|seg(?:m(?:entation)?)?(?:map)?|flags?|"
    r"ctx|con|cov(?:erage)?|conf(?:idence)?|area|n?exp(?:time|osures?|map)?|nimages?|psf.*|chi2?|d2imarr|"
    r"wcsdvarr|wcscorr|samp|time|quality|sky|skybg|bkg|background|model|maskbits|hits?|nobs|(?:gal)?depth|"
    r"blobs?|blobmodel|resid(?:ual)?s?)(?:[ _\-]?map)?[_\-]?\d*"
    r"|(?:var|err|dq|rms|wht|psf|mask|invvar|ivar)[_\-].*"
    r"|.*[_\-](?:var|err|dq|rms|wht|weight|mask|invvar|ivar)"
)
_MEMORY_OF_TILES = 25  # measured memory per pixel during decompression and stretching, bytes
STARTS = (FITS_START, *packed.STARTS)  # first bytes of FITS files, compressed or not


@dataclass(frozen=True)
class Plane:
    """One band of a FITS file.

    Attributes:
        pixels: (H, W), scaled by BSCALE and BZERO, in native byte order, rows as in the file; NaN where
            there is no data.
        header: the header with its WCS or ROWORDER: that of its HDU, else the primary one.
        flux: what the header says about the unit.
    """

    pixels: np.ndarray
    header: Header
    flux: Flux

    def in_unit(self, unit: str) -> Plane:
        """The same plane with a flux unit."""
        return replace(self, flux=replace(self.flux, unit=unit))

    def named(self, label: str) -> Plane:
        """The same plane with a band name that is not from the file."""
        return replace(self, flux=replace(self.flux, band=label))


@dataclass(frozen=True)
class Taken:
    """The bands of an image.

    Attributes:
        planes: one to three, reddest first.
        words: their names, if the file names them or has more: "z, r, g", "F115W (of 4 bands)"; else empty.
    """

    planes: list[Plane]
    words: str = ""


def read_bands_of(content: bytes, name: str, bands: Sequence[str] = ()) -> Taken:
    """Read the bands of a FITS file as measured, reddest first.

    Args:
        content: the file; it is decompressed if :mod:`morphoscope.images.packed` can.
        name: name used in messages.
        bands: bands to read; if empty, see :func:`morphoscope.images.fits.read_fits`.

    Raises:
        MorphoscopeError: damaged, no image in it, more than three planes, or a band is not there.
    """
    content = unpacked(content, name, most=most_bytes())
    plain = plain_image(content)
    if plain is None:
        check_counts(content, name)
    try:
        with nullcontext([plain]) if plain is not None else opened_parts(content) as units:
            images = pictures(units)
            if not images:
                raise MorphoscopeError(
                    f"{name}: holds no image; a FITS image of one to three planes was expected"
                )
            for unit in images:
                if type(unit).__name__ == "CompImageHDU":  # others are not larger than the file
                    check_pixels(unit.shape, name, _MEMORY_OF_TILES)
            chosen = _named(images, bands, name) if bands else _all(images, name)
            chosen = _in_the_primarys_filter(chosen, units[0])
            raw, primary = [unit.data for unit, _, _ in chosen.found], _header_of(units[0])
        planes = [plane_of(*band, data, primary) for band, data in zip(chosen.found, raw, strict=True)]
        if len(planes) > 1:  # bands in one file have the same unit, unless it says otherwise
            planes = [plane if plane.flux.unit else plane.in_unit("the file's") for plane in planes]
        return Taken(planes, chosen.words)
    except MorphoscopeError:
        raise
    except Exception as error:  # astropy raises anything at all on bytes that are not what it expects
        reason = reason_of(error)
        raise MorphoscopeError(f"{name}: is damaged or cut off ({reason})") from error


@contextmanager
def opened_parts(content: bytes) -> Iterator[Any]:
    """The HDUs of any FITS file, by astropy; pixels are not scaled. One thread at a time."""
    from astropy.io import fits

    options: dict[str, Any] = {"output_verify": "ignore", "do_not_scale_image_data": True}
    with without_warnings(), fits.open(io.BytesIO(content), memmap=False, **options) as units:
        yield units


def _header_of(unit: Any) -> Header:
    return unit.header


@contextmanager
def without_warnings() -> Iterator[None]:
    """Silence warnings about headers that bend the standard; what cannot be read raises.

    One thread at a time, since warning filters belong to the whole process.
    """
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def unpacked(content: bytes, name: str, most: int | None = None) -> bytes:
    """Decompress a FITS file.

    Args:
        content: the file.
        name: name used in messages.
        most: bytes that it may have when decompressed.

    Raises:
        MorphoscopeError: it is longer than that, damaged, a zip file of several files, needs a package that
            is not installed, or is not a FITS file.
    """
    packing = packed.packing_of(content)
    if packing is not None:
        try:
            with packed.opened(content) as stream:
                content = stream.read() if most is None else packed.read_up_to(stream, most)
        except MorphoscopeError as error:
            raise MorphoscopeError(f"{name}: {error}") from error
        except packed.DAMAGE as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise MorphoscopeError(f"{name}: is damaged ({packing.program}: {reason})") from error
        if most is not None and len(content) > most:
            raise MorphoscopeError(f"{name}: {too_many_bytes()}")
    if not content.startswith(FITS_START):
        raise MorphoscopeError(f"{name}: is not an image (JPEG, PNG, TIFF, WebP, AVIF or FITS)")
    return content


def is_image(unit: Any) -> bool:
    """Whether an HDU is an image with pixels."""
    return bool(unit.is_image and len(unit.shape) >= 2 and np.prod(unit.shape))


def pictures(units: Any) -> list[Any]:
    """The images of a FITS file; masks, errors and weights only if it has no others."""
    images = [unit for unit in units if is_image(unit)]
    return [unit for unit in images if not _no_picture(unit.header)] or images


def _no_picture(header: Header) -> str:
    """The role that an image's name gives it, if that is a mask, an error, a weight or the like; else
    empty.
    """
    roles = (card(header, name).strip() for name in _ROLES)
    return next((role for role in roles if role and _NO_PICTURE.fullmatch(role.lower())), "")


def card(header: Header, name: str) -> str:
    """A card's value as text, verbatim if it does not follow the standard; empty if absent or not ASCII."""
    if name not in header:
        return ""
    try:
        value = header[name]
    except Exception:  # a VerifyError, for instance for FILTER = g-band without quotes
        try:
            with without_warnings():
                return str(header.cards[name])[10:].split("/")[0].strip().strip("'").strip()
        except Exception:  # not ASCII
            return ""
    return "" if value is None else str(value)


def labels_of(unit: Any) -> set[str]:
    """The labels by which an HDU can be requested as a band."""
    words = (card(unit.header, name) for name in _LABELS)
    return set().union(*(names_of(band_label(word)) for word in words if word))


def plane_letters(header: Header) -> str:
    """The bands of a cube's planes, from the letters of the header's BANDS; empty if it has none."""
    letters = card(header, "BANDS").strip().lower()
    return letters if letters and all(map(known_band, letters)) else ""


def part_of(unit: Any) -> Part:
    """What a part of a FITS file says of the bands in it."""
    return Part(frozenset(labels_of(unit)), _depth(unit.shape), plane_letters(unit.header))


def _depth(shape: tuple[int, ...]) -> int:
    """The number of planes of an image; three values per pixel, (H, W, 3), are three planes."""
    depth = int(np.prod(shape[:-2]))
    return shape[-1] if len(shape) == 3 and depth > MOST_BANDS and shape[-1] <= MOST_BANDS else depth


def _band_of(unit: Any) -> str:
    """An image's filter as written in the header; empty if there is none."""
    words = [card(unit.header, name) for name in reversed(_LABELS)]
    return next((word for word in words if word and known_band(word)), "")


@dataclass(frozen=True)
class _Chosen:
    """HDU, plane and filter of each band, reddest first; and a description of them."""

    found: list[tuple[Any, int, str]]
    words: str


def _all(images: list[Any], name: str) -> _Chosen:
    first = images[0]
    bands = [_band_of(unit) for unit in images]
    labels = [band_label(band) for band in bands]
    together = (
        all(labels)
        and len(set(labels)) == len(labels) > 1
        and len({unit.shape for unit in images}) == 1
        and len(first.shape) == 2
    )
    if together and len(images) <= MOST_BANDS:
        order = reddest_first(labels)
        return _Chosen([(images[band], 0, bands[band]) for band in order], _listed(bands, order))
    depth, letters = _depth(first.shape), plane_letters(first.header)
    if depth > MOST_BANDS:
        shape = "×".join(map(str, first.data.shape))  # reading them reveals a truncated file
        raise MorphoscopeError(
            f"{name}: the image is {shape}; one to three planes were expected, or --bands "
            "to choose some of them by name or by number, as --bands 3,2,1"
        )
    if len(letters) == depth > 1:
        order = reddest_first(letters)
        return _Chosen([(first, plane, letters[plane]) for plane in order], _listed(letters, order))
    words = bands[0] and band_name_of(bands[0])
    role = _no_picture(first.header)
    if role:  # the file has no other images
        words = f"{role} (not an image of the sky)"
    elif len(images) > 1:
        words = f"{words or 'image 1'} (of {len(images)} {'bands' if together else 'images'})"
    return _Chosen([(first, plane, bands[0]) for plane in range(depth)], words)


def _in_the_primarys_filter(chosen: _Chosen, first: Any) -> _Chosen:
    """A single band that does not name its filter has that of the primary header."""
    (unit, plane, band), *others = chosen.found
    filtered = "" if band or others else _band_of(first)
    if not filtered:
        return chosen
    return _Chosen([(unit, plane, filtered)], chosen.words or band_name_of(filtered))


def _named(images: list[Any], bands: Sequence[str], name: str) -> _Chosen:
    found = find_bands([part_of(unit) for unit in images], bands, name)
    order = reddest_first(bands)
    chosen = []
    for band, (part, plane) in zip(order, found, strict=True):
        unit, letters = images[part], plane_letters(images[part].header)
        of_number = letters[plane] if plane < len(letters) else _band_of(unit)
        chosen.append((unit, plane, of_number if by_number(bands) else bands[band]))
    return _Chosen(chosen, _listed(bands, order))


def _listed(bands: Sequence[str], order: Sequence[int]) -> str:
    return ", ".join(band_name_of(bands[band]) for band in order)


def band_name_of(band: str) -> str:
    """A band's name for display: the first word of the header's value."""
    return band.split()[0].strip("'") if band.split() else band


def plane_of(unit: Any, plane: int, band: str, data: np.ndarray, primary: Header) -> Plane:
    """One plane of an HDU as measured.

    Args:
        unit: the HDU.
        plane: its number.
        band: the filter; empty if unknown.
        data: pixels of the HDU as stored, or a part of each plane.
        primary: the file's first header.
    """
    pixels = _scaled(data, unit.header, plane)
    pixels = softened(pixels, *softening_of(unit.header, primary))
    lost = uncovered(pixels)
    if lost.any():
        pixels = pixels.astype(np.result_type(pixels.dtype, np.float32))
        pixels[lost] = np.nan
    label = band_label(band) if known_band(band) else ""
    flux = flux_of(lambda name: card(unit.header, name) or card(primary, name), label)
    headers = (unit.header, primary)
    telling = (header for tells in (_on_the_sky, _orders_rows) for header in headers if tells(header))
    return Plane(pixels, next(telling, unit.header), flux)


def _on_the_sky(header: Header) -> bool:
    """Whether a header has world coordinates, perhaps only under a letter."""
    return any(name.startswith("CTYPE1") for name in header)


def _orders_rows(header: Header) -> bool:
    return "ROWORDER" in header


def _scaled(data: np.ndarray, header: Header, plane: int) -> np.ndarray:
    """One plane, scaled by BSCALE and BZERO; NaN for BLANK.

    astropy does the same, but ignores BLANK of unsigned integers.
    """
    if data.ndim > 2:
        leading = data.reshape(-1, *data.shape[-2:])
        alone = len(leading) > MOST_BANDS and data.ndim == 3 and data.shape[-1] <= MOST_BANDS
        data = data[:, :, plane] if alone else leading[plane]
    raw = data.astype(data.dtype.newbyteorder("="), copy=False)
    number = {name: _number(header, name) for name in ("BSCALE", "BZERO", "BLANK")}
    scale, zero = number["BSCALE"] or 1.0, number["BZERO"] or 0.0
    pixels = raw
    if (scale, zero) != (1.0, 0.0):
        # Numbers of 16 bits fit float32; those of 32 bits do not.
        pixels = raw.astype(np.float32 if raw.dtype.itemsize < 4 or raw.dtype == np.float32 else np.float64)
        pixels = pixels * pixels.dtype.type(scale) + pixels.dtype.type(zero)
    if number["BLANK"] is not None and raw.dtype.kind in "iu" and (blank := raw == number["BLANK"]).any():
        pixels = pixels.astype(np.result_type(pixels.dtype, np.float32))
        pixels[blank] = np.nan
    return pixels


def softening_of(*headers: Header) -> tuple[float | None, float | None]:
    """BSOFTEN and BOFFSET of the first header that has both; of an image's own, then of the file's first."""
    found = ((_number(header, "BSOFTEN"), _number(header, "BOFFSET")) for header in headers)
    return next((pair for pair in found if None not in pair), (None, None))


def softened(pixels: np.ndarray, soften: float | None, offset: float | None) -> np.ndarray:
    """Linear flux of Pan-STARRS1's stacks, which are stored as asinh magnitudes: BOFFSET +
    2·BSOFTEN·sinh(x/a).

    a = 2.5·log₁₀(e), as in Lupton, Gunn & Szalay (1999), AJ 118, 1406; Waters et al. (2020), ApJS 251, 4.
    Unchanged without both cards.
    """
    if not soften or offset is None:
        return pixels
    with np.errstate(over="ignore", invalid="ignore"):
        linear = offset + 2 * soften * np.sinh(np.asarray(pixels, np.float64) * (np.log(10) / 2.5))
    return linear.astype(np.float32)


def _number(header: Header, name: str) -> float | None:
    try:
        return float(card(header, name))
    except ValueError:
        return None
