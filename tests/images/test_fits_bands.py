from __future__ import annotations

import gzip
import io
from collections.abc import Sequence

import numpy as np
import pytest
from astropy.io import fits

from morphoscope.errors import MorphoscopeError
from morphoscope.images.decode import read_image
from morphoscope.images.fits import read_fits
from morphoscope.images.fits_bands import read_bands_of
from morphoscope.images.stretch import stretched

RNG = np.random.default_rng(5)
GRZ = {name: RNG.normal(level, 1, (24, 32)).astype(np.float32) for level, name in enumerate("grz")}


def file_of(*units: object) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([*units]).writeto(buffer)
    return buffer.getvalue()


def extensions(named: str = "EXTNAME", names: str = "grz", **more: np.ndarray) -> bytes:
    units = [fits.ImageHDU(pixels) for pixels in GRZ.values()]
    for unit, name in zip(units, names, strict=True):
        unit.header[named] = name
    return file_of(fits.PrimaryHDU(), *units, *(fits.ImageHDU(p, name=n) for n, p in more.items()))


def cube(order: str = "grz", **cards: str) -> bytes:
    unit = fits.PrimaryHDU(np.stack([GRZ[name] for name in order]))
    unit.header.update(cards)
    return file_of(unit)


def read_planes(content: bytes, name: str, bands: Sequence[str] = ()) -> list[np.ndarray]:
    return [plane.pixels for plane in read_bands_of(content, name, bands).planes]


@pytest.mark.parametrize("content", [extensions(), extensions("FILTER"), cube(BANDS="grz"), cube()])
@pytest.mark.parametrize("asked", ["grz", "zgr"])
def test_bands_are_found_by_name_wherever_they_are(content: bytes, asked: str):
    if content == cube():
        content = cube(asked)  # planes without names: in the order of the names given
    planes = read_planes(content, "x", tuple(asked))
    for plane, name in zip(planes, "zrg", strict=True):
        np.testing.assert_array_equal(plane, GRZ[name])


def test_some_bands_of_several():
    for content in (extensions(), cube(BANDS="grz")):
        red, blue = read_planes(content, "x", ("g", "z"))
        np.testing.assert_array_equal(red, GRZ["z"])
        np.testing.assert_array_equal(blue, GRZ["g"])
        with pytest.raises(MorphoscopeError, match="no band i "):
            read_planes(content, "x", ("g", "i"))
    with pytest.raises(MorphoscopeError, match="no band g, r "):
        read_planes(cube(), "x", ("g", "r"))
    (only,) = read_planes(file_of(fits.PrimaryHDU(GRZ["r"])), "x", ("r",))
    np.testing.assert_array_equal(only, GRZ["r"])


def test_extensions_named_as_bands_are_one_picture_and_others_are_not():
    np.testing.assert_array_equal(read_planes(extensions(), "x"), [GRZ["z"], GRZ["r"], GRZ["g"]])
    (science,) = read_planes(extensions(names="abc"), "x")
    np.testing.assert_array_equal(science, GRZ["g"])
    for name in ("MASK", "ERR", "DQ", "WHT", "VAR_POISSON", "invvar", "SEGMAP", "exptime", "g_err"):
        assert len(read_planes(extensions(**{name: GRZ["g"]}), "x")) == 3


def test_the_middle_of_two_bands_is_their_mean():
    red, blue = GRZ["z"].copy(), GRZ["g"].copy()
    blue[3, 4] = np.nan
    for stretch in ("linear", "asinh", "lupton"):
        image = stretched([red, blue], stretch, name="x")
        sky = np.median(image, axis=(0, 1))
        assert np.abs(image[3, 4] - sky).max() <= 16  # one band alone has no colour: painted as sky
    levels = np.arange(200.0).reshape(10, 20)
    image = stretched([levels, levels[::-1]], "as-served", name="x").astype(int)
    np.testing.assert_array_equal(image[:, :, 0], levels)
    np.testing.assert_allclose(image[:, :, 1], (levels + levels[::-1]) / 2, atol=0.5)
    # A source in both bands, each in units of its own noise, is grey, whatever the bands' units.
    source = np.zeros((64, 64), np.float32)
    source[30:34, 30:34] = 40
    noisy = [scale * (source + RNG.normal(0, 1, source.shape)) + 7 for scale in (1, 500)]
    patch = stretched(noisy, "lupton", name="x")[30:34, 30:34].reshape(-1, 3).mean(axis=0)
    assert np.ptp(patch) < 8
    assert patch.min() > 100


def test_scaled_big_endian_and_compressed_files_hold_the_same_picture():
    counts = RNG.integers(100, 200, (20, 30))
    plain = read_fits(file_of(fits.PrimaryHDU(counts.astype(">f4"))), name="x")
    unit = fits.PrimaryHDU(counts.astype(np.uint16))  # stored as int16 with BZERO 32768
    unsigned = file_of(unit)
    assert fits.getheader(io.BytesIO(unsigned), do_not_scale_image_data=True)["BZERO"] == 32768
    scaled = fits.PrimaryHDU(counts.astype(np.float64))
    scaled.scale("int16", bscale=0.5, bzero=10)
    packed = fits.CompImageHDU(counts.astype(np.int32), compression_type="RICE_1")
    for content in (
        unsigned,
        file_of(scaled),
        file_of(fits.PrimaryHDU(), packed),
        gzip.compress(unsigned),
    ):
        np.testing.assert_array_equal(read_image(content), plain)


def test_bad_files_say_what_is_wrong():
    deep = file_of(fits.PrimaryHDU(np.zeros((5, 8, 8), np.float32)))
    with pytest.raises(MorphoscopeError, match="5×8×8; one to three planes were expected, or --bands"):
        read_planes(deep, "x")
    with pytest.raises(MorphoscopeError, match="5×8×8"):
        read_image(deep, name="x")
    with pytest.raises(MorphoscopeError, match="no pixel has a value: no exposure"):
        read_image(file_of(fits.PrimaryHDU(np.full((8, 8), np.nan, np.float32))), name="x")
    unit = fits.PrimaryHDU(np.zeros((2, 4), np.float32)).header
    unit["NAXIS1"] = 0
    with pytest.raises(MorphoscopeError, match="holds no image"):
        read_image(unit.tostring().encode("ascii"), name="x")
    with pytest.raises(MorphoscopeError, match="is not a FITS file, and --bands"):
        read_image(b"\x89PNG", name="x", bands=("g",))


def test_images_without_names_are_bands_in_the_order_of_the_names_given():
    planes = read_planes(file_of(fits.PrimaryHDU(), *map(fits.ImageHDU, GRZ.values())), "x", ("g", "r", "z"))
    for plane, name in zip(planes, "zrg", strict=True):
        np.testing.assert_array_equal(plane, GRZ[name])


def test_an_image_of_another_band_or_of_several_planes_is_refused():
    alone = fits.PrimaryHDU(GRZ["r"])
    alone.header["FILTER"] = "r"
    with pytest.raises(MorphoscopeError, match="no band z "):
        read_planes(file_of(alone), "x", ("z",))
    several = [fits.ImageHDU(np.stack([GRZ[name]] * 2), name=name) for name in "gr"]
    with pytest.raises(MorphoscopeError, match="an extension has several planes; one band in each"):
        read_planes(file_of(fits.PrimaryHDU(), *several), "x", ("g", "r"))
