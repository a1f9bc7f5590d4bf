from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from morphoscope.images.fits import read_fits
from morphoscope.images.wcs import sky_position

RNG = np.random.default_rng(3)
PIXELS = RNG.normal(0, 1, (24, 32)).astype(np.float32)
PIXELS[4:8, 20:26] = 300


def header_of(matrix: object, **cards: object) -> fits.Header:
    header = fits.Header({"NAXIS": 2, "NAXIS1": 32, "NAXIS2": 24, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header.update({"CRVAL1": 150.25, "CRVAL2": 2.5, "CRPIX1": 10.0, "CRPIX2": 20.0})
    for (row, column), value in np.ndenumerate(np.asarray(matrix, float) * 7e-5):
        header[f"CD{row + 1}_{column + 1}"] = value
    header.update(cards)
    return header


def picture(pixels: np.ndarray, header: fits.Header) -> tuple[np.ndarray, dict[str, object]]:
    buffer, said = io.BytesIO(), {}
    fits.PrimaryHDU(pixels, header).writeto(buffer)
    return read_fits(buffer.getvalue(), name="x", found=said), said


def turned(pixels: np.ndarray, mirrored: bool, quarters: int) -> tuple[np.ndarray, np.ndarray]:
    """A file that shows the same sky otherwise, and its matrix from pixels (x, y) to east and north."""
    matrix = np.array([[-1.0, 0.0], [0.0, 1.0]])
    if mirrored:
        pixels, matrix = pixels[:, ::-1], matrix @ np.diag([-1.0, 1.0])
    for _ in range(
        quarters
    ):  # each turns the array's rows 0, 1, … (from the bottom) counterclockwise as seen
        pixels = np.rot90(pixels[::-1])[::-1]
        matrix = matrix @ np.array([[0.0, 1.0], [-1.0, 0.0]])
    return pixels, matrix


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_every_flip_and_turn_of_one_sky_is_the_same_picture(mirrored: bool, quarters: int):
    expected, said = picture(PIXELS, header_of([[-1, 0], [0, 1]]))
    assert said["orientation"] == "as stored"
    assert expected[24 - 6, 22, 0] == 255  # rows run from the bottom
    pixels, matrix = turned(PIXELS, mirrored, quarters)
    image, said = picture(pixels, header_of(matrix))
    np.testing.assert_array_equal(image, expected)
    assert ("mirrored" in said["orientation"]) == mirrored
    tilt = np.radians(30)
    tilted = matrix @ [[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]]
    np.testing.assert_array_equal(picture(pixels, header_of(tilted))[0], expected)  # the nearest of the eight


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"},
        {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 2.5, "CRVAL2": 150.25},
        {"CTYPE1": "GLON-CAR", "CTYPE2": "GLAT-CAR"},
        {"RADESYS": "FK4", "EQUINOX": 1950.0},
        {"PC1_1": 1.0, "CDELT1": 1.0, "CDELT2": 1.0},  # beside CD, as some programs write it
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 2, "B_ORDER": 2, "A_2_0": 1e-5},
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV", "PV1_1": 1.0, "PV2_1": 1.0, "PV1_4": 1e-3},
    ],
)
def test_the_place_is_that_of_astropy(cards: dict[str, object]):
    header = header_of([[-1, 0.2], [0.2, 1]], **cards)
    sky = WCS(fits.Header({k: v for k, v in header.items() if k[:2] != "PC" and k[:5] != "CDELT"}))
    place = sky.pixel_to_world(15.5, 11.5).icrs
    found = sky_position(header, (24, 32))
    assert found.ra == pytest.approx(place.ra.deg, abs=0.02 / 3600)
    assert found.dec == pytest.approx(place.dec.deg, abs=0.02 / 3600)
    assert found.orientation.known


def test_without_a_wcs_rows_run_from_the_bottom_unless_the_file_says_otherwise():
    plain, said = picture(PIXELS, fits.Header())
    assert "orientation" not in said
    assert "wcs_ra" not in said
    flipped, said = picture(PIXELS[::-1], fits.Header({"ROWORDER": "TOP-DOWN"}))
    np.testing.assert_array_equal(flipped, plain)
    assert said["orientation"] == "top row first"
    broken, said = picture(PIXELS, header_of([[1, 0], [0, 1]], CTYPE1="LINEAR", CTYPE2="LINEAR"))
    np.testing.assert_array_equal(broken, plain)


@pytest.mark.parametrize(
    "cards",
    [
        {"CRVAL1": "150.25", "CRVAL2": "2.5"},
        {"CRVAL1": "10:01:00", "CRVAL2": "+02:30:00"},
        {"PV1_0": 0.0, "PV1_1": 1.0, "PV2_0": 0.0, "PV2_1": 1.0},  # SCAMP's, of first order
        {"A_ORDER": 2, "A_2_0": 1e-2, "B_ORDER": 2, "B_0_2": 1e-2},  # left over: CTYPE has no -SIP
    ],
)
def test_a_single_image_is_placed_as_a_mosaic_is(cards: dict[str, object]):
    matrix = [[1, 0.2], [0.2, 1]]
    expected, found = (
        sky_position(header_of(matrix), (24, 32)),
        sky_position(header_of(matrix, **cards), (24, 32)),
    )
    assert found.orientation == expected.orientation
    assert (found.ra, found.dec) == pytest.approx((expected.ra, expected.dec), abs=0.02 / 3600)


def test_a_wcs_under_a_letter_alone_places_an_image(capsys: pytest.CaptureFixture[str]):
    header = header_of([[1, 0], [0, 1]])
    lettered = fits.Header([(k if k.startswith("NAXIS") else k + "A", v) for k, v in header.items()])
    assert sky_position(lettered, (24, 32)) == sky_position(header, (24, 32))
    both = header_of([[1, 0], [0, 1]], CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2)
    both.update({f"{k}A": v for k, v in header.items() if not k.startswith("NAXIS")})
    assert sky_position(both, (24, 32)).orientation == sky_position(header, (24, 32)).orientation
    assert capsys.readouterr() == ("", "")  # astropy would say at length that SIP has no place under A


def test_the_primary_header_places_an_image_in_an_extension():
    header = header_of([[1, 0], [0, 1]])
    del header["NAXIS*"]
    buffer, said = io.BytesIO(), {}
    fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(PIXELS, name="SCI")]).writeto(buffer)
    read_fits(buffer.getvalue(), name="x", found=said)
    assert said["orientation"] == "mirrored"


@pytest.mark.parametrize(
    "cards",
    [{"CRVAL2": 200.0}, {"CTYPE1": "RA---AIT", "CTYPE2": "DEC--AIT", "CD1_1": 90.0, "CD2_2": 90.0}],
)
def test_coordinates_that_give_no_place_leave_the_rows_as_they_are(cards: dict[str, object]):
    header = header_of(np.eye(2), **cards)
    found = sky_position(header, PIXELS.shape)
    assert (found.ra, found.dec) == (None, None)
    assert not found.orientation.known
