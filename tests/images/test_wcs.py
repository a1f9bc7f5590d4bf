from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from morphoscope.images.wcs import celestial_of, rows_from_top, sky_position

PIXELS = np.array([[0.0, 0.0], [99.0, 0.0], [30.0, 80.0]])


def header(**cards: object) -> fits.Header:
    """A gnomonic projection at (150, 2), 0.36″ a pixel, turned by 20°."""
    turned = np.radians(20)
    plain: dict[str, object] = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0}
    plain |= {"CRPIX1": 50.5, "CRPIX2": 40.5}
    plain |= {"CD1_1": -1e-4 * np.cos(turned), "CD1_2": 1e-4 * np.sin(turned)}
    plain |= {"CD2_1": 1e-4 * np.sin(turned), "CD2_2": 1e-4 * np.cos(turned)}
    return fits.Header((plain | cards).items())


def places(header: fits.Header, **options: object) -> np.ndarray:
    found = celestial_of(header, **options)
    assert found.wcs is not None, found.reason
    sky = found.wcs.pixel_to_world(*PIXELS.T).icrs
    return np.stack([sky.ra.deg, sky.dec.deg], axis=1)


EXPECTED = WCS(header()).all_pix2world(PIXELS, 0)
SIP = {"A_ORDER": 2, "A_2_0": 1e-3, "B_ORDER": 2, "B_2_0": 1e-3, "AP_ORDER": 1, "BP_ORDER": 1}


@pytest.mark.parametrize(
    "cards",
    [
        {},
        {
            "CRVAL1": "150.0",
            "CRVAL2": " 2.0 ",
            "CRPIX1": "50.5",
            "CD1_1": str(-1e-4 * np.cos(np.radians(20))),
        },
        {"CRVAL1": "10:00:00.0", "CRVAL2": "+02:00:00"},
        SIP,
        {"PV1_1": 1.0, "PV2_1": 1.0},
        {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_2": 0.0, "PV2_0": 0.0, "PV2_1": 1.0, "PV2_2": 0.0},
        {"PV1_1": 1.0},
        {"PV2_0": 0.0},
        {"PV1_1": 0.0, "PV1_2": 90.0},  # TAN's own terms, as their defaults are
    ],
    ids=lambda cards: ",".join(cards) or "plain",
)
def test_cards_that_must_not_move_anything(cards: dict[str, object]):
    np.testing.assert_allclose(places(header(**cards)), EXPECTED, atol=1e-7)


def test_scamps_polynomial_of_first_order():
    """PVi_0, PVi_1 and PVi_2: a shift, a scale and a shear on the tangent plane (Calabretta et al. 2004)."""
    cards = {"PV1_0": 2e-4, "PV1_1": 1.01, "PV1_2": 3e-4, "PV2_0": -1e-4, "PV2_1": 0.99, "PV2_2": -2e-4}
    plane = (np.stack(PIXELS.T, axis=1) + 1 - [50.5, 40.5]) @ WCS(header()).wcs.cd.T
    xi, eta = plane.T
    bent = np.stack([2e-4 + 1.01 * xi + 3e-4 * eta, -1e-4 + 0.99 * eta - 2e-4 * xi], axis=1)
    np.testing.assert_allclose(places(header(**cards)), _tangent(bent), atol=1e-9)


def _tangent(plane_deg: np.ndarray) -> np.ndarray:
    """The inverse gnomonic projection about (150, 2), by its own formulae."""
    xi, eta = np.radians(plane_deg).T
    dec = np.radians(2.0)
    below = np.cos(dec) - eta * np.sin(dec)
    ra = 150 + np.degrees(np.arctan2(xi, below))
    return np.stack(
        [ra, np.degrees(np.arctan((np.sin(dec) + eta * np.cos(dec)) / np.hypot(xi, below)))], axis=1
    )


def test_sip_applies_where_ctype_says_so():
    bent = header(**SIP, CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP")
    np.testing.assert_allclose(places(bent), WCS(bent).all_pix2world(PIXELS, 0))
    assert np.abs(places(bent) - EXPECTED).max() > 1e-5


@pytest.mark.parametrize("frame", ["ICRS", "FK4"])  # read by wcslib alone, and through astropy
def test_axes_that_nobody_has_are_not_asked_for(frame: str):
    """wcslib would take 3 GB for the square of 20,000."""
    plain, many = header(RADESYS=frame), header(RADESYS=frame, WCSAXES=20_000)
    np.testing.assert_array_equal(places(many), places(plain))
    assert sky_position(many, (80, 100)) == sky_position(plain, (80, 100))
    assert sky_position(plain, (80, 100)).ra is not None


def test_text_of_the_equinox_counts():
    """Left as text it is passed over, and B1950 taken as ICRS: 0.6° off."""
    written, meant = header(EQUINOX="B1950"), header(EQUINOX=1950.0)
    np.testing.assert_allclose(places(written), places(meant))
    assert np.abs(places(written) - EXPECTED).max() > 0.5


def test_a_system_under_a_letter_and_one_in_the_primary_header():
    lettered = fits.Header({f"{card}A": value for card, value in header().items()})
    lettered["CTYPE1"] = lettered["CTYPE2"] = "LINEAR"
    np.testing.assert_allclose(places(lettered), EXPECTED, atol=1e-9)
    bare = fits.Header({"EXTNAME": "SCI", "NAXIS": 2})
    np.testing.assert_allclose(places(bare, primary=header()), EXPECTED, atol=1e-9)
    own = header(CRVAL1=10.0)
    assert places(own, primary=header())[0, 0] == pytest.approx(EXPECTED[0, 0] - 140)


def test_declination_on_the_first_axis_is_no_transposed_picture(tmp_path: Path):
    swapped = header(CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=2.0, CRVAL2=150.0)
    np.testing.assert_allclose(places(swapped), WCS(swapped).all_pix2world(PIXELS, 0)[:, ::-1], atol=1e-9)
    cube = swapped.copy()
    cube["NAXIS"], cube["CTYPE3"], cube["CRVAL3"], cube["CRPIX3"], cube["CD3_3"] = 3, "WAVE", 1.0, 1.0, 1.0
    np.testing.assert_allclose(places(cube), places(swapped), atol=1e-9)


@pytest.mark.parametrize(
    ("cards", "reason"),
    [
        ({"CTYPE1": "RA---FOO", "CTYPE2": "DEC--FOO"}, "'RA---FOO' and 'DEC--FOO', which cannot be used"),
        ({"CTYPE1": "X", "CTYPE2": "Y"}, "not celestial coordinates"),
        ({"CRVAL1": "somewhere"}, "CRVAL1 is 'somewhere', and a number was expected"),
        ({"CUNIT1": "parsnip"}, "cannot be used"),
        (
            {"A_ORDER": 40_000},
            "A_ORDER is 40000, and at most 9 was expected",
        ),  # astropy would try 8·10⁸ terms
        ({"CD1_1": 0, "CD1_2": 0, "CD2_1": 0, "CD2_2": 0}, "pixels have no size"),
    ],
)
def test_what_cannot_be_used_has_a_reason(cards: dict[str, object], reason: str):
    if "A_ORDER" in cards:
        cards = {**cards, "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    found = celestial_of(header(**cards))
    assert found.wcs is None
    assert reason in found.reason
    assert "no world coordinates" in celestial_of(fits.Header({"NAXIS": 2})).reason


def test_a_keyword_that_is_a_pattern_is_passed_over():
    """astropy looks it up as one, which is an error where a bracket stays open."""
    text = header().tostring()
    plain = fits.Header.fromstring(text.replace("END", "A*(B    =                    1".ljust(80) + "END", 1))
    np.testing.assert_array_equal(places(plain), places(header()))


def test_a_card_that_does_not_parse_is_passed_over():
    broken = header()
    broken.append(fits.Card.fromstring("FILTER  = g-band"))
    np.testing.assert_allclose(places(broken), EXPECTED, atol=1e-9)


def test_row_order():
    assert rows_from_top(header(ROWORDER="TOP-DOWN"))
    assert not rows_from_top(header(ROWORDER="BOTTOM-UP"))
    assert not rows_from_top(header())
