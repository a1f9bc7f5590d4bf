"""Plain FITS files are read without astropy, and mean the same as with it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from morphoscope.errors import MorphoscopeError
from morphoscope.images import fits_bands
from morphoscope.images.decode import FITS_SUFFIXES
from morphoscope.images.fits import read_fits
from morphoscope.images.fits_headers import plain_image

RNG = np.random.default_rng(5)
PICTURE = (RNG.normal(100, 3, (24, 31)) + 50 * np.eye(24, 31)).astype(np.float32)
SKY = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRVAL1": 359.99,
    "CRVAL2": -12.5,
    "CRPIX1": 12.0,
    "CRPIX2": 7.5,
    "CD1_1": 7.3e-5,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": 7.3e-5,
}


def file_of(pixels: np.ndarray, cards: dict[str, Any] | None = None, *more: Any) -> bytes:
    unit = fits.PrimaryHDU(pixels)
    for keyword, value in (cards or {}).items():
        unit.header[keyword] = value
    content = io.BytesIO()
    fits.HDUList([unit, *more]).writeto(content, output_verify="ignore")
    return content.getvalue()


def outcome(content: bytes, **options: Any) -> Any:
    found: dict[str, Any] = {}
    try:
        return read_fits(content, name="x", found=found, **options), found
    except MorphoscopeError as error:
        return str(error), found


def by_astropy(content: bytes, **options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fits_bands, "plain_image", lambda _content: None)
        return outcome(content, **options)


def assert_same(content: bytes, **options: Any) -> None:
    (ours, found), (theirs, expected) = outcome(content, **options), by_astropy(content, **options)
    np.testing.assert_array_equal(ours, theirs)
    assert found == expected


CUBE = np.stack([PICTURE, 2 * PICTURE, 3 * PICTURE])
INTEGERS = np.rint(PICTURE).astype(np.int16)
PLAIN = {
    "float": file_of(PICTURE, SKY),
    "double": file_of(PICTURE.astype(np.float64)),
    "bytes": file_of(INTEGERS.astype(np.uint8)),
    "scaled integers": file_of(INTEGERS, {"BSCALE": 0.5, "BZERO": 100}),
    "unsigned integers": file_of(INTEGERS.astype(np.uint16)),
    "blank": file_of(np.where(np.eye(24, 31, dtype=bool), -999, INTEGERS), {"BLANK": -999}),
    "cube": file_of(CUBE, {"BANDS": "grz", "SURVEY": "DECaLS"}),
    "wide": file_of(np.ascontiguousarray(CUBE.transpose(1, 2, 0))),
    "five planes": file_of(np.concatenate([CUBE, CUBE[:2]])),
    "quotes": file_of(PICTURE, {"FILTER": "r'", "OBJECT": "a / b = 'c'", "BUNIT": "nanomaggy"}),
    "comments": file_of(PICTURE, {"HISTORY": "made by hand", "COMMENT": "END", "ORIGIN": ""}),
    "numbers": file_of(PICTURE, {**SKY, "MAGZERO": 22.5, "EXPTIME": 30, "SIMULATE": True, "EQUINOX": 1e-3}),
    "mirrored": file_of(PICTURE, {**SKY, "CD1_1": -7.3e-5}),
    "galactic": file_of(PICTURE, {**SKY, "CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN"}),
    "top row first": file_of(PICTURE, {"ROWORDER": "TOP-DOWN"}),
    "a mask": file_of(INTEGERS, {"EXTNAME": "MASK"}),
    "NaN": file_of(np.where(np.eye(24, 31, dtype=bool), np.nan, PICTURE)),
    "no data": file_of(np.full((24, 31), np.nan, np.float32)),
}


@pytest.mark.parametrize("kind", PLAIN)
def test_plain_files_mean_what_astropy_reads(kind: str) -> None:
    content = PLAIN[kind]
    assert plain_image(content) is not None
    assert_same(content)
    assert_same(content, stretch="asinh", bands=("1",))
    assert_same(content, bands=("r",))


def replaced(card: bytes, other: bytes, kind: str = "numbers") -> bytes:
    """A plain file with one card changed, in place."""
    content = PLAIN[kind]
    at = content.index(card)
    assert at < 2880
    return content[:at] + other.ljust(80)[:80] + content[at + 80 :]


OTHERS = {
    "an extension": file_of(PICTURE, None, fits.ImageHDU(PICTURE)),
    "an image in an extension": file_of(np.zeros((0,), np.float32), None, fits.ImageHDU(PICTURE)),
    "a long string": file_of(PICTURE, {"OBJECT": "galaxy " * 20}),
    "HIERARCH": file_of(PICTURE, {"HIERARCH ESO TEL ALT": 60.0}),
    "four axes": file_of(PICTURE[None, None]),
    "cut off": PLAIN["float"][:-2880],
    "no end": PLAIN["float"][:2880].replace(b"END ", b"    ") + PLAIN["float"][2880:],
    "a repeated keyword": replaced(b"EXPTIME =", b"CRVAL1  =                 10.0"),
    "no quotes": replaced(b"EXPTIME =", b"FILTER  = g-band"),
    "no value": replaced(b"EXPTIME =", b"EXPTIME ="),
    "a complex number": replaced(b"EXPTIME =", b"EXPTIME =         (1.0, 2.0)"),
    "letters beyond ASCII": replaced(b"EXPTIME =", "OBJECT  = 'é'".encode("latin-1")),
    "a tab": replaced(b"EXPTIME =", b"OBJECT  = 'a\tb'"),
    "a side of no pixels": replaced(b"NAXIS1  =", b"NAXIS1  =                    0"),
    "a header that goes on for ever": b"COMMENT".ljust(80) * 36 * 201,
    "no word for standard": replaced(b"SIMPLE  =", b"SIMPLE  = 'a'"),
    "lower case": replaced(b"EXPTIME =", b"exptime =                 30.0"),
    "further bytes": PLAIN["float"] + bytes(2880),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_all_other_files_are_left_to_astropy(kind: str) -> None:
    assert plain_image(OTHERS[kind]) is None


VALUES = st.one_of(
    st.integers(-(10**17), 10**17),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60),
)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.from_regex(r"X[A-Z0-9_-]{1,7}", fullmatch=True), VALUES, max_size=8))
def test_values_of_cards(cards: dict[str, Any]) -> None:
    content = file_of(INTEGERS[:2, :2], cards)
    image, header = plain_image(content), fits.Header.fromstring(content)
    if image is None:
        assert any("CONTINUE" in str(card) for card in header.cards)
        return
    for keyword in cards:
        assert image.header[keyword] == header[keyword], keyword
        assert type(image.header[keyword]) is type(header[keyword])


@pytest.mark.parametrize("folder", ["fits_cutouts", "real_files"])
def test_real_files_mean_what_astropy_reads(folder: str, shared_data: Path) -> None:
    files = [
        path
        for path in sorted((shared_data / folder).rglob("*"))
        if path.name.lower().endswith(FITS_SUFFIXES) and path.stat().st_size < 4_000_000
    ]
    contents = [path.read_bytes() for path in files]
    plain = [content for content in contents if plain_image(content) is not None]
    assert len(plain) >= 6
    for content in plain:
        assert_same(content)
