from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.mosaic import Mosaic, open_mosaics
from morphoscope.images.sky_cutout import sky_square

RA, DEC = 150.0, 60.0
RNG = np.random.default_rng(3)


def sky_header(
    shape: tuple[int, int], scale: float = 0.25, angle: float = 0.0, flip: bool = False
) -> fits.Header:
    """A gnomonic projection centred on (RA, DEC); ``scale`` in arcsec, ``flip``: east to the right."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [RA, DEC]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    turned = np.radians(angle)
    cosine, sine = np.cos(turned), np.sin(turned)
    mirror = np.diag([1.0 if flip else -1.0, 1.0])
    wcs.wcs.cd = scale / 3600 * mirror @ np.array([[cosine, -sine], [sine, cosine]])
    return wcs.to_header()


def smooth(shape: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    return (50 + 20 * np.sin(x / 9.0) + 15 * np.cos(y / 7.0 + x / 31.0)).astype(np.float32)


def square_at(mosaic: Mosaic, ra: float, dec: float, arcsec: float, side: int) -> np.ndarray:
    place = np.array([ra]), np.array([dec])
    (x,), (y,) = mosaic.pixels_of(*place)
    return sky_square(mosaic, x, y, mosaic.steps_of(*place)[0], arcsec=arcsec, side=side)


@pytest.mark.parametrize(("angle", "flip"), [(0, False), (37, False), (90, True), (200, True)])
def test_squares_are_north_up_and_east_left_whatever_the_mosaics_axes(
    tmp_path: Path, angle: float, flip: bool
):
    """Against astropy, pixel by pixel: each of the square's pixels projected by the whole WCS."""
    pixels = smooth((220, 260))
    header = sky_header(pixels.shape, angle=angle, flip=flip)
    fits.writeto(tmp_path / "m.fits", pixels, header)
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    side, arcsec = 40, 8.0
    square = square_at(mosaic, RA + 0.001, DEC + 0.0005, arcsec, side)
    offset = (np.arange(side) - (side - 1) / 2) * arcsec / side / 3600
    dec = DEC + 0.0005 - offset[:, None] + 0 * offset[None, :]
    ra = RA + 0.001 - offset[None, :] / np.cos(np.radians(dec))
    x, y = WCS(header).all_world2pix(ra, dec, 0)
    expected = map_coordinates(pixels, [y, x], order=1)
    np.testing.assert_allclose(square, expected, atol=0.2)  # OpenCV interpolates in steps of 1/32 pixel
    assert np.ptp(expected) > 30


def test_shrinking_averages_and_keeps_the_brightness(tmp_path: Path):
    pixels = RNG.normal(100, 20, (400, 400)).astype(np.float32)
    fits.writeto(tmp_path / "m.fits", pixels, sky_header(pixels.shape))
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    square = square_at(mosaic, RA, DEC, 80.0, 40)  # 320 pixels to 40
    assert square.mean() == pytest.approx(pixels[40:360, 40:360].mean(), abs=0.2)
    blocks = pixels[40:360, 40:360].reshape(40, 8, 40, 8).mean(axis=(1, 3))
    assert np.corrcoef(square.ravel(), blocks[::-1].ravel())[0, 1] > 0.97
    assert square.std() < 0.2 * 20  # 64 pixels averaged; picking single ones would keep 20


def test_beyond_the_edge_and_unknown_pixels_are_nan(tmp_path: Path):
    pixels = smooth((100, 100))
    pixels[45:55, 45:55] = np.nan
    fits.writeto(tmp_path / "m.fits", pixels, sky_header(pixels.shape))
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    whole = square_at(mosaic, RA, DEC, 50.0, 100)  # twice the mosaic
    known = np.isfinite(whole)
    # 50² pixels, less those whose average reaches over the edge or into the 5² in the middle
    assert 48**2 - 7**2 <= known.sum() <= 50**2 - 5**2
    assert not known[48:52, 48:52].any()
    assert known[30:44, 30:70].all()
    x, y = mosaic.pixels_of(np.array([RA + 180, RA, np.nan]), np.array([-DEC, DEC, 0.0]))
    assert np.isfinite(x).tolist() == [False, True, False]  # the other side of the sky projects here, too
    assert (x[1], y[1]) == pytest.approx((49.5, 49.5))
    monster = Mosaic("m", (10**6, 10**6), None, lambda rows, columns: pixels)
    with pytest.raises(MorphoscopeError, match="too large"):
        sky_square(monster, 5e5, 5e5, np.eye(2), arcsec=40_000.0, side=10)


def test_places_and_pixels_agree(tmp_path: Path):
    fits.writeto(tmp_path / "m.fits", smooth((60, 80)), sky_header((60, 80), angle=20))
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    ra, dec = mosaic.places_of(np.array([3.0, 70.0]), np.array([50.0, 10.0]))
    x, y = mosaic.pixels_of(ra, dec)
    np.testing.assert_allclose([x, y], [[3, 70], [50, 10]], atol=1e-6)
    steps = mosaic.steps_of(ra, dec)
    np.testing.assert_allclose(np.abs(np.linalg.det(steps)), 16, rtol=1e-4)  # 4 pixels an arcsec, squared


@pytest.mark.parametrize("kind", ["float", "scaled", "unsigned", "rice", "gzip", "blank"])
def test_parts_of_every_kind_of_file_are_the_numbers_that_astropy_reads(tmp_path: Path, kind: str):
    counts = RNG.integers(0, 3000, (50, 70))
    path = tmp_path / ("m.fits.gz" if kind == "gzip" else "m.fits")
    header = sky_header(counts.shape)
    if kind == "rice":
        packed = fits.CompImageHDU(counts.astype(np.int32), header, compression_type="RICE_1")
        fits.HDUList([fits.PrimaryHDU(), packed]).writeto(path)
    else:
        pixels = {"float": np.float64, "unsigned": np.uint16, "blank": np.int16}.get(kind, np.float32)
        unit = fits.PrimaryHDU(counts.astype(pixels), header)
        if kind == "scaled":
            unit.scale("int16", bscale=2.0, bzero=100)
        if kind == "blank":
            unit.header["BLANK"] = int(counts[20, 30])
        unit.writeto(path)
    with fits.open(path) as units:
        expected = np.asarray(units["COMPRESSED_IMAGE" if kind == "rice" else 0].data, np.float32)
    (mosaic,) = open_mosaics(path)
    np.testing.assert_array_equal(mosaic.box(slice(15, 40), slice(22, 70)), expected[15:40, 22:70])
    assert np.isnan(expected[20, 30]) == (kind == "blank")


def test_bands_in_files_extensions_and_planes(tmp_path: Path):
    planes = {name: np.full((20, 30), level, np.float32) for level, name in enumerate("grz")}
    header = sky_header((20, 30))
    for name, pixels in planes.items():
        fits.writeto(tmp_path / f"f-{name}.fits", pixels, header)
    units = [fits.ImageHDU(pixels, header, name=name) for name, pixels in planes.items()]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / "many.fits")
    header["BANDS"] = "grz"
    fits.writeto(tmp_path / "cube.fits", np.stack(list(planes.values())), header)
    for source in (f"{tmp_path}/f-{{band}}.fits", tmp_path / "many.fits", tmp_path / "cube.fits"):
        mosaics = open_mosaics(source, ("g", "z"))
        assert [band.box(slice(1), slice(1))[0, 0] for band in mosaics] == [2, 0]  # red first
        assert all(band.shape == (20, 30) and band.wcs is not None for band in mosaics)
    for source, bands, words in (
        (tmp_path / "cube.fits", (), "3 planes, of which --bands must choose"),
        (tmp_path / "many.fits", ("i",), "no band i"),
        (tmp_path / "none.fits", (), "no such file"),
        (f"{tmp_path}/f-{{band}}.fits", (), "--bands was expected"),
        (f"{tmp_path}/f-{{band}}.fits", ("i",), r"f-i\.fits: no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            open_mosaics(source, bands)
    (tmp_path / "text.fits").write_text("no mosaic")
    with pytest.raises(MorphoscopeError, match="cannot be read as a FITS mosaic"):
        open_mosaics(tmp_path / "text.fits")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    with pytest.raises(MorphoscopeError, match="holds no image"):
        open_mosaics(tmp_path / "empty.fits")
