"""Bands of one galaxy on different pixels become one picture in which every source is white."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from morphoscope.errors import MorphoscopeError
from morphoscope.images.fits import read_bands, read_fits

RA, DEC = 150.0, 2.0


def header(
    side: int, scale: float, *, turned: float = 0, mirrored: bool = False, shift: float = 0
) -> fits.Header:
    """A WCS with pixels of ``scale`` arcsec."""
    cosine, sine = np.cos(np.radians(turned)), np.sin(np.radians(turned))
    east = (1 if mirrored else -1) * scale / 3600
    return fits.Header(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRVAL1": RA,
            "CRVAL2": DEC,
            "CRPIX1": side / 2 + 0.5 + shift,
            "CRPIX2": side / 2 + 0.5,
            "BUNIT": "nJy",
            "CD1_1": east * cosine,
            "CD1_2": -east * sine,
            "CD2_1": scale / 3600 * sine,
            "CD2_2": scale / 3600 * cosine,
        }
    )


def seen(head: fits.Header, side: int) -> np.ndarray:
    """A galaxy in the middle and a star at its north-west, flux per pixel."""
    y, x = np.mgrid[:side, :side]
    wcs = WCS(head)
    sky: Any = wcs.pixel_to_world(x, y)
    east = (sky.ra.deg - RA) * 3600 * np.cos(np.radians(DEC))
    north = (sky.dec.deg - DEC) * 3600
    light = 300 * np.exp(-np.hypot(east, north) / 3) + 600 * np.exp(-(np.hypot(east + 8, north - 4) ** 2) / 4)
    area = abs(np.linalg.det(wcs.pixel_scale_matrix)) * 3600**2
    return (light * area + np.random.default_rng(side).normal(0, 0.5, light.shape)).astype(np.float32)


def file_of(pixels: np.ndarray, head: fits.Header | None = None) -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(pixels, head).writeto(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "others",
    [
        [{"side": 100, "scale": 0.3, "shift": 4.4}],  # the same pixels, shifted
        [{"side": 64, "scale": 0.5, "turned": 30}, {"side": 100, "scale": 0.3, "mirrored": True}],
        [{"side": 300, "scale": 0.1, "turned": 90}],  # the finest of them decides
    ],
)
def test_sources_are_white_wherever_the_bands_lie(others: list[dict[str, float]]) -> None:
    heads = [({"side": 100, "scale": 0.3}), *others]
    bands = [file_of(seen(head := header(**one), one["side"]), head) for one in heads]  # type: ignore[arg-type]
    found: dict[str, object] = {}
    image = read_bands(bands, bands=("z", "r", "g")[: len(bands)], name="x", found=found)
    finest = min(heads, key=lambda one: one["scale"])
    assert image.shape == (finest["side"], finest["side"], 3)
    assert found["regridded"] is True
    assert (found["wcs_ra"], found["wcs_dec"]) == pytest.approx((RA, DEC), abs=2e-4)
    bright = image.max(axis=2) > 120
    spread = np.ptp(image[bright].astype(int), axis=1)
    assert bright.sum() > 150
    assert np.median(spread) < 20  # of 255; noise alone
    # north up, east left: the star lies above the middle and to the right in every band
    middle = (finest["side"] - 1) / 2
    for up, right in ((1, -1), (-1, 1), (-1, -1)):
        here, there = (
            image[round(middle - u * 4 / finest["scale"]), round(middle + r * 8 / finest["scale"])].astype(
                int
            )
            for u, r in ((1, 1), (up, right))
        )
        assert (here > there + 40).all()


def test_bands_on_the_same_pixels_stay_as_they_are() -> None:
    head = header(64, 0.3)
    bands = [file_of(seen(head, 64), head) for _ in range(3)]
    found: dict[str, object] = {}
    image = read_bands(bands, name="x", found=found)
    assert "regridded" not in found
    assert np.array_equal(image[:, :, 0], image[:, :, 1])


def test_one_header_says_which_way_up_all_bands_are() -> None:
    """A second band without a WCS lies on the pixels of the first; it is turned as that one is."""
    head = header(64, 0.3, mirrored=True)
    pixels = seen(head, 64)
    both = read_bands([file_of(pixels, head), file_of(pixels, head)], name="x")
    for bands in ([head, None], [None, head]):
        assert np.array_equal(read_bands([file_of(pixels, one) for one in bands], name="x"), both)


def test_sizes_that_differ_without_positions_are_refused() -> None:
    first, second = np.ones((64, 64), np.float32), np.ones((32, 32), np.float32)
    with pytest.raises(MorphoscopeError, match=r"x: the bands differ in size \(64×64, 32×32\) and cannot be"):
        read_bands([file_of(first), file_of(second)], name="x")


def test_extensions_of_one_file_on_different_pixels() -> None:
    heads = {"r": header(100, 0.3), "g": header(64, 0.5, turned=30)}
    units = [
        fits.ImageHDU(seen(head, side), head, name=band)
        for (band, head), side in zip(heads.items(), (100, 64), strict=True)
    ]
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(file)
    image = read_fits(file.getvalue(), name="x", bands=("g", "r"))
    bright = image.max(axis=2) > 120
    assert image.shape == (100, 100, 3)
    assert np.median(np.ptp(image[bright].astype(int), axis=1)) < 12


def test_fluxes_per_steradian_need_no_factor() -> None:
    bands = []
    for side, scale in ((100, 0.3), (50, 0.6)):
        head = header(side, scale)
        area = scale**2
        head["BUNIT"] = "MJy/sr"
        bands.append(file_of(seen(head, side) / np.float32(area), head))
    image = read_bands(bands, name="x")
    bright = image.max(axis=2) > 120
    assert np.median(np.ptp(image[bright].astype(int), axis=1)) < 12


def test_cards_with_odd_letters_are_like_no_other() -> None:
    """astropy reads them and cannot write them."""
    pixels = np.full((32, 32), 5, np.float32)
    odd = file_of(pixels, header(32, 0.3)).replace(b"'RA---TAN'", b"'RA---TA\x9a'")
    assert read_bands([file_of(pixels, header(32, 0.3)), odd]).shape == (32, 32, 3)


def test_headers_that_say_the_same_in_other_cards_move_nothing() -> None:
    first = header(64, 0.3)
    second = WCS(first).to_header()
    second["BUNIT"] = "nJy"
    assert "CD1_1" not in second
    found: dict[str, object] = {}
    image = read_bands([file_of(seen(first, 64), one) for one in (first, second)], name="x", found=found)
    assert "regridded" not in found
    assert np.array_equal(image[:, :, 0], image[:, :, 2])
