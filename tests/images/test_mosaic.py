from __future__ import annotations

import bz2
import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.mosaic import Mosaic, open_mosaics, sky_square

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
    return sky_square(mosaic, x, y, mosaic.pixels_per_arcsec(*place)[0], arcsec=arcsec, side=side)


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
    ra, dec = mosaic.positions_of(np.array([3.0, 70.0]), np.array([50.0, 10.0]))
    x, y = mosaic.pixels_of(ra, dec)
    np.testing.assert_allclose([x, y], [[3, 70], [50, 10]], atol=1e-6)
    steps = mosaic.pixels_per_arcsec(ra, dec)
    np.testing.assert_allclose(np.abs(np.linalg.det(steps)), 16, rtol=1e-4)  # 4 pixels an arcsec, squared


KINDS = {"float": ">f8", "scaled": ">i2", "unsigned": "uint16", "blank": ">i2", "blank unsigned": "uint16"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "packed", ["plain", "gz", "bz2", "xz", "rice", "hcompress", "gzip tiles", "rice in gz"]
)
def test_parts_of_every_kind_of_file_are_the_numbers_that_were_measured(
    tmp_path: Path, kind: str, packed: str
):
    """Compressed as a whole or by tiles, with BSCALE, BZERO and BLANK: one set of numbers."""
    if kind == "float" and packed in ("rice", "hcompress", "rice in gz"):
        pytest.skip("tiles of floats are kept exactly by gzip alone")
    counts = RNG.integers(1, 3000, (50, 70))
    expected = np.asarray(counts, np.float32)
    header = sky_header(counts.shape)
    pixels = counts.astype(KINDS[kind])
    if "blank" in kind:
        counts[20, 30] = 7
        pixels = counts.astype(KINDS[kind])
        expected = np.where(counts == 7, np.nan, counts).astype(np.float32)
        header["BLANK"] = 7 - 32768 if "unsigned" in kind else 7  # of the number that is stored
    if kind == "scaled":
        header["BSCALE"], header["BZERO"] = 2.0, 100.0
        expected = expected * 2 + 100
    write_fits(tmp_path / "m.fits", pixels, header, packed)
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    assert mosaic.wcs is not None
    np.testing.assert_array_equal(mosaic.box(slice(15, 40), slice(22, 70)), expected[15:40, 22:70])
    np.testing.assert_array_equal(mosaic.box(slice(0, 50), slice(0, 70)), expected)


def write_fits(path: Path, pixels: np.ndarray, header: fits.Header, packed: str) -> None:
    """A file as it is to be stored, without astropy's scaling."""
    tiles = {"rice": "RICE_1", "hcompress": "HCOMPRESS_1", "gzip tiles": "GZIP_2", "rice in gz": "RICE_1"}
    cards = {card: header.pop(card) for card in ("BSCALE", "BZERO", "BLANK") if card in header}
    if packed in tiles:
        options = {"quantize_level": 0.0} if pixels.dtype.kind == "f" else {}
        unit = fits.CompImageHDU(pixels, header, compression_type=tiles[packed], **options)
        fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
    else:
        fits.PrimaryHDU(pixels, header).writeto(path)
    for card, value in cards.items():
        fits.setval(path, card, value=value, ext=0 if packed not in tiles else 1, **RAW)
    pack = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "rice in gz": gzip.compress}
    if packed in pack:
        path.write_bytes(pack[packed](path.read_bytes()))


RAW = {"disable_image_compression": True, "do_not_scale_image_data": True}


def test_a_name_does_not_say_whether_a_file_is_compressed(tmp_path: Path):
    pixels = smooth((20, 30))
    fits.writeto(tmp_path / "plain.fits", pixels, sky_header((20, 30)))
    content = (tmp_path / "plain.fits").read_bytes()
    for name, pack in (("a.fits", bz2.compress), ("b.fits.fz", gzip.compress), ("c.fits.gz", bytes)):
        (tmp_path / name).write_bytes(pack(content))
        (mosaic,) = open_mosaics(tmp_path / name)
        np.testing.assert_array_equal(mosaic.box(slice(20), slice(30)), pixels)
    for name, broken, words in (
        ("d.fits.Z", b"\x1f\x9d" + content, "compress"),
        ("e.fits.bz2", bz2.compress(content)[:-400], "damaged"),
        ("f.fits", content[:4000], "cannot be read|cut off"),
    ):
        (tmp_path / name).write_bytes(broken)
        with pytest.raises(MorphoscopeError, match=words):
            open_mosaics(tmp_path / name)


@pytest.mark.parametrize("packed", ["plain", "gz", "gzip tiles"])
@pytest.mark.parametrize("mark", [0.0, np.nan, -32768.0, 1e30])
def test_pixels_that_no_exposure_covers_are_nan(tmp_path: Path, mark: float, packed: str):
    pixels = RNG.normal(0, 1, (80, 90)).astype(np.float32)
    pixels[:, 60:] = mark
    pixels[10, 10] = 0.0  # a measured zero
    write_fits(tmp_path / "m.fits", pixels, sky_header(pixels.shape), packed)
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    whole = mosaic.box(slice(0, 80), slice(0, 90))
    np.testing.assert_array_equal(np.isfinite(whole), np.broadcast_to(np.arange(90) < 60, (80, 90)))
    part = mosaic.box(slice(30, 50), slice(50, 70))
    np.testing.assert_array_equal(part, whole[30:50, 50:70])
    assert not np.isfinite(mosaic.box(slice(10, 20), slice(80, 90))).any()  # a part without any data


def test_headers_as_surveys_write_them(tmp_path: Path):
    pixels = smooth((40, 50))
    plain = sky_header(pixels.shape)
    fits.writeto(tmp_path / "plain.fits", pixels, plain)
    (expected,) = open_mosaics(tmp_path / "plain.fits")
    text = plain.copy()
    text["CRVAL1"] = str(RA)
    leftover = plain.copy()
    leftover.update({"A_ORDER": 2, "A_2_0": 1e-2, "B_ORDER": 2, "B_0_2": 1e-2})
    first_order = plain.copy()
    first_order.update({"PV1_1": 1.0, "PV2_1": 1.0})
    letter = fits.Header([(f"{card}A", value) for card, value in plain.items() if card[:4] in WORLD])
    for number, header in enumerate((text, leftover, first_order, letter)):
        fits.writeto(tmp_path / f"{number}.fits", pixels, header)
    fits.HDUList([fits.PrimaryHDU(header=plain), fits.ImageHDU(pixels, name="SCI")]).writeto(
        tmp_path / "4.fits"
    )
    x, y = np.array([3.0, 44.0]), np.array([38.0, 0.0])
    for number in range(5):
        (mosaic,) = open_mosaics(tmp_path / f"{number}.fits")
        np.testing.assert_allclose(mosaic.positions_of(x, y), expected.positions_of(x, y), atol=1e-7)
    unknown = plain.copy()
    unknown["CTYPE1"], unknown["CTYPE2"], unknown["ROWORDER"] = "RA---FOO", "DEC--FOO", "TOP-DOWN"
    fits.writeto(tmp_path / "unknown.fits", pixels, unknown)
    (mosaic,) = open_mosaics(tmp_path / "unknown.fits")
    assert mosaic.wcs is None
    assert "RA---FOO" in mosaic.no_wcs
    assert mosaic.top_first


WORLD = ("CTYP", "CRVA", "CRPI", "CDEL", "CUNI", "PC1_", "PC2_")


def test_chips_of_a_camera_belong_to_one_band(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    units = [fits.PrimaryHDU()]
    for number, name in enumerate(("N1", "N2", "S1")):
        header = sky_header((30, 40))
        header["CRPIX1"] += 45 * number
        units.append(fits.ImageHDU(np.full((30, 40), number + 1, np.float32), header, name=name))
        units.append(fits.ImageHDU(np.ones((30, 40), np.int16), header, name=f"{name}_MASK"))
    fits.HDUList(units).writeto(tmp_path / "camera.fits")
    (mosaic,) = open_mosaics(tmp_path / "camera.fits")
    assert [chip.chip for chip in mosaic.chips] == ["N1", "N2", "S1"]
    assert [chip.box(slice(1), slice(1))[0, 0] for chip in mosaic.chips] == [1, 2, 3]
    (one,) = open_mosaics(tmp_path / "camera.fits", ("N2",))
    assert [chip.chip for chip in one.chips] == ["N2"]
    header = sky_header((30, 40))
    same = [fits.ImageHDU(np.ones((30, 40), np.float32), header, name=name) for name in ("A", "B")]
    fits.HDUList([fits.PrimaryHDU(), *same]).writeto(tmp_path / "same.fits")
    (first,) = open_mosaics(tmp_path / "same.fits")
    assert len(first.chips) == 1
    assert "same.fits: A of 2 images is taken; --bands chooses others" in capsys.readouterr().err


def test_bands_in_files_extensions_and_planes(tmp_path: Path):
    planes = {name: np.full((20, 30), level, np.float32) for level, name in enumerate("grz", start=1)}
    header = sky_header((20, 30))
    for name, pixels in planes.items():
        fits.writeto(tmp_path / f"f-{name}.fits", pixels, header)
    units = [fits.ImageHDU(pixels, header, name=name) for name, pixels in planes.items()]
    fits.HDUList([fits.PrimaryHDU(), *units]).writeto(tmp_path / "many.fits")
    header["BANDS"] = "grz"
    fits.writeto(tmp_path / "cube.fits", np.stack(list(planes.values())), header)
    for source in (f"{tmp_path}/f-{{band}}.fits", tmp_path / "many.fits", tmp_path / "cube.fits"):
        mosaics = open_mosaics(source, ("g", "z"))
        assert [band.box(slice(1), slice(1))[0, 0] for band in mosaics] == [3, 1]  # red first
        assert all(band.shape == (20, 30) and band.wcs is not None for band in mosaics)
    for source, bands, words in (
        (tmp_path / "cube.fits", (), "3 planes, choose some with --bands"),
        (tmp_path / "many.fits", ("i",), "no band i"),
        (tmp_path / "none.fits", (), "no such file"),
        (f"{tmp_path}/f-{{band}}.fits", (), "--bands is needed"),
        (f"{tmp_path}/f-{{band}}.fits", ("i",), r"f-i\.fits: no such file"),
    ):
        with pytest.raises(UsageError, match=words):
            open_mosaics(source, bands)
    (tmp_path / "text.fits").write_text("no mosaic")
    with pytest.raises(MorphoscopeError, match="is not a FITS file; a FITS mosaic was expected"):
        open_mosaics(tmp_path / "text.fits")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    with pytest.raises(MorphoscopeError, match="holds no image"):
        open_mosaics(tmp_path / "empty.fits")


def test_a_part_that_holds_one_constant_only_has_no_data(tmp_path: Path):
    pixels = np.random.default_rng(3).normal(33, 1, (300, 300)).astype(np.float32)
    pixels[100:200, 100:200] = 33.5
    fits.writeto(tmp_path / "m.fits", pixels)
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    assert np.isnan(mosaic.box(slice(130, 160), slice(130, 160))).all()
    assert np.isfinite(mosaic.box(slice(0, 90), slice(0, 90))).all()
    fits.writeto(tmp_path / "f.fits", np.full((300, 300), 7, np.float32))
    (flat,) = open_mosaics(tmp_path / "f.fits")
    assert np.isfinite(flat.box(slice(130, 160), slice(130, 160))).all()


def test_a_square_beyond_the_mosaic_is_empty_and_all_of_the_sky_is_everywhere(tmp_path: Path):
    pixels = smooth((60, 80))
    fits.writeto(tmp_path / "m.fits", pixels, sky_header(pixels.shape))
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    steps = mosaic.pixels_per_arcsec(np.array([RA]), np.array([DEC]))[0]
    assert np.isnan(sky_square(mosaic, 300.0, 30.0, steps, arcsec=4.0, side=10)).all()
    assert not np.isnan(sky_square(mosaic, 40.0, 30.0, steps, arcsec=4.0, side=10)).any()
    assert mosaic.where().startswith("within 0.0")
    header = WCS(naxis=2)
    header.wcs.ctype, header.wcs.crpix, header.wcs.cdelt = ["RA---AIT", "DEC--AIT"], [40.5, 30.5], [-5, 5]
    fits.writeto(tmp_path / "all.fits", pixels, header.to_header())
    (everything,) = open_mosaics(tmp_path / "all.fits")
    assert everything.where().startswith("within 180.00°")
