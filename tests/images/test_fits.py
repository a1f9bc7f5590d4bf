from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.visualization import AsinhStretch, LuptonAsinhStretch, make_lupton_rgb

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import read_image
from morphoscope.images.fits import read_bands, read_fits
from morphoscope.images.stretch import SKY_LEVEL, SKY_NOISE, SOFTENING, stretched

RNG = np.random.default_rng(11)


def sky(shape: tuple[int, ...] = (64, 48), level: float = 120.0, noise: float = 4.0) -> np.ndarray:
    return RNG.normal(level, noise, shape).astype(np.float32)


def file_of(*units: object) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList([*units]).writeto(buffer)
    return buffer.getvalue()


def primary(data: np.ndarray, **cards: object) -> bytes:
    unit = fits.PrimaryHDU(data)
    unit.header.update(cards)
    return file_of(unit)


def test_lupton_is_astropys_lupton_in_the_surveys_units():
    bands = [sky(level=level, noise=noise) for level, noise in ((10, 1), (500, 20), (0, 0.1))]
    for band, noise in zip(bands, (1, 20, 0.1), strict=True):
        band[20:30, 20:30] += 300 * noise * RNG.random((10, 10), np.float32)
    image = stretched(bands, "lupton", name="x")

    def in_survey_units(band: np.ndarray) -> np.ndarray:
        level = np.median(band)
        for _ in range(5):  # the same clipping, written as one would by hand
            low = band[band <= level]
            noise = 1.4826 * np.median(level - low)
            inside = band[np.abs(band - level) <= 3 * noise]
            level = np.median(inside)
        noise = 1.4826 * np.median(level - inside[inside <= level])
        return SKY_LEVEL + SKY_NOISE * (band - level) / noise

    curve = LuptonAsinhStretch(stretch=1, Q=SOFTENING)
    curve._slope = 1 / np.sqrt(SOFTENING)  # astropy's own slope differs by a constant
    scaled = [in_survey_units(band) for band in bands]
    expected = make_lupton_rgb(*scaled, stretch_object=curve, output_dtype=np.float64)
    assert np.abs(image - 255 * expected).max() <= 1.0
    assert (image.max(axis=2) == 255).any()


def test_lupton_brings_sky_and_noise_to_the_surveys():
    for level, noise in ((0.0, 0.01), (1200.0, 35.0), (-3.0, 1.0)):
        image = stretched([sky((128, 128), level, noise)], "lupton", name="x")[:, :, 0].astype(float)
        assert abs(np.median(image) - 33) <= 2
        assert abs(image.std() - 10) <= 1.5


def test_lupton_keeps_the_colour_of_a_saturated_star():
    bands = [sky(level=0, noise=1) for _ in range(3)]
    for band, flux in zip(bands, (4000, 2000, 1000), strict=True):
        band[30, 20] = flux
    red, green, blue = stretched(bands, "lupton", name="x")[30, 20].astype(float)
    assert red == 255
    assert green / red == pytest.approx(0.5, abs=0.06)
    assert blue / red == pytest.approx(0.25, abs=0.06)


def test_a_picture_without_noise_just_saturates():
    picture = np.zeros((32, 32), np.float32)
    picture[10:20, 10:20] = np.linspace(0.1, 7.0, 100, dtype=np.float32).reshape(10, 10)
    image = stretched([picture], "lupton", name="x")[:, :, 0]
    assert image.max() == 255
    assert (image == 255).sum() < 10
    assert len(np.unique(image)) > 50


def test_an_even_image_is_even_in_every_stretch():
    for stretch in ("lupton", "asinh", "linear"):
        assert len(np.unique(stretched([np.full((9, 9), 5.0)], stretch, name="x"))) == 1


def test_asinh_is_astropys():
    band = sky() ** 2
    low, high = np.percentile(band, (1.0, 99.5))
    expected = 255 * AsinhStretch(a=0.1)(np.clip((band - low) / (high - low), 0, 1))
    assert np.abs(stretched([band], "asinh", name="x")[:, :, 0] - expected).max() <= 1.0


def test_linear_runs_from_percentile_to_percentile():
    band = sky()
    image = stretched([band], "linear", name="x")[:, :, 0]
    low, high = np.sort(band, axis=None)[[31, -16]]  # of 3,072 pixels 1 % lie below, 0.5 % above
    expected = 255 * np.clip((band - low) / (high - low), 0, 1)
    assert np.abs(image - expected).max() <= 2.0


def test_as_served_takes_grey_levels_and_nothing_else():
    levels = RNG.integers(0, 256, (8, 9)).astype(np.uint8)
    assert np.array_equal(stretched([levels], "as-served", name="x")[:, :, 1], levels)
    with pytest.raises(MorphoscopeError, match=r"x: values run from 0 to 465.*choose lupton"):
        stretched([np.array([[0.0, 465.0]])], "as-served", name="x")


def test_rows_run_from_the_top():
    band = sky()
    band[-4:] = 1000  # the last rows of a FITS image are its top
    image = read_fits(primary(band), name="x")
    assert image.shape == (64, 48, 3)
    assert image[:4].min() == 255
    assert image[4:].max() < 255


@pytest.mark.parametrize("kind", [">f4", "<f8", ">i2", ">i4", "u1"])
def test_number_types_and_byte_orders_give_the_same_picture(kind: str):
    counts = RNG.integers(20, 120, (32, 32))
    expected = read_fits(primary(counts.astype(">f8")), name="x")
    assert np.array_equal(read_fits(primary(counts.astype(kind)), name="x"), expected)


def test_bscale_and_bzero_are_applied():
    counts = RNG.normal(50_000, 900, (32, 32))
    unit = fits.PrimaryHDU(counts)
    unit.scale("int16", bscale=0.5, bzero=50_000)
    content = file_of(unit)
    assert b"BSCALE" in content
    assert fits.getheader(io.BytesIO(content))["BITPIX"] == 16
    difference = read_fits(content, name="x").astype(int) - read_fits(primary(counts), name="x")
    assert np.abs(difference).max() <= 1
    unsigned = RNG.integers(0, 65536, (16, 16)).astype(np.uint16)  # BZERO 32768 by convention
    assert np.array_equal(
        read_fits(primary(unsigned), name="x"), read_fits(primary(unsigned.astype(float)), name="x")
    )


@pytest.mark.parametrize("stretch", ["lupton", "asinh", "linear"])
@pytest.mark.parametrize("level", [120.0, -120.0])
def test_pixels_without_data_are_painted_as_sky_and_change_nothing_else(stretch: str, level: float):
    band = sky(level=level)
    with_holes = band.copy()
    with_holes[:10, :7], with_holes[50, 3] = np.nan, np.inf
    image = stretched([with_holes], stretch, name="x")
    holes = ~np.isfinite(with_holes)
    middle = np.median(image[~holes])
    assert np.abs(image[holes].astype(int) - middle).max() <= 2
    difference = image[~holes].astype(int) - stretched([band], stretch, name="x")[~holes]
    assert np.abs(difference).max() <= 12  # the sky was measured on fewer pixels


@pytest.mark.parametrize("columns", [5, 10, 20])
@pytest.mark.parametrize("filler", [0.0, np.nan, -32768.0, 1e30, "BLANK"])
@pytest.mark.parametrize("packed", [False, True])
def test_the_covered_part_does_not_depend_on_the_rest(columns: int, filler: float | str, packed: bool):
    y, x = np.mgrid[:100, :100]
    galaxy = 50 * np.exp(-np.hypot(x - 50, y - 50) / 8) + RNG.normal(0, 1, (100, 100))
    cards: dict[str, object] = {}
    pixels = galaxy.astype(np.float32)
    if filler == "BLANK":
        pixels, filler, cards = np.rint(100 * galaxy).astype(np.int16), -32767, {"BLANK": -32767}
    gaps = pixels.copy()
    gaps[:, 100 - columns :] = filler
    images = []
    for data in (pixels, gaps):
        unit: object = fits.PrimaryHDU(data)
        if packed:
            options = {} if data.dtype.kind == "i" else {"compression_type": "GZIP_2", "quantize_level": 0}
            unit = fits.CompImageHDU(data, **options)
        unit.header.update(cards)
        content = file_of(*([fits.PrimaryHDU(), unit] if packed else [unit]))
        said: dict[str, object] = {}
        images.append(read_fits(content, name="x", found=said).astype(int))
    assert said["no_data"] == pytest.approx(columns / 100, abs=1e-6)
    covered, empty = images[1][:, : 100 - columns], images[1][:, 100 - columns :]
    assert np.abs(covered - images[0][:, : 100 - columns]).max() <= 4
    assert np.ptp(empty) == 0
    assert abs(empty.mean() - 33) <= 2


def test_blank_counts_in_unsigned_integers_too():
    counts = RNG.integers(300, 400, (32, 32)).astype(np.uint16)
    unit = fits.PrimaryHDU(counts)
    unit.header["BLANK"] = 350 - 32768
    said: dict[str, object] = {}
    read_fits(file_of(unit), name="x", found=said)
    assert said["no_data"] == pytest.approx((counts == 350).mean())


def test_an_image_without_data_is_an_error():
    for pixels in (np.full((8, 8), np.nan), np.zeros((30, 30))):
        with pytest.raises(MorphoscopeError, match=r"hole\.fits: no pixel has a value"):
            read_fits(primary(pixels), name="hole.fits")


def test_cubes_are_red_green_blue_unless_the_header_says_otherwise():
    cube = np.stack([sky(level=0, noise=1) for _ in range(3)])
    cube[0, 30, 20] = 3000.0
    rgb = read_fits(primary(cube), name="x")[63 - 30, 20]
    assert rgb.argmax() == 0
    assert np.array_equal(read_fits(primary(cube.transpose(1, 2, 0)), name="x")[63 - 30, 20], rgb)
    assert np.array_equal(read_fits(primary(cube[None]), name="x")[63 - 30, 20], rgb)
    grz = read_fits(primary(cube, BANDS="grz"), name="x")[63 - 30, 20]
    assert grz.tolist() == rgb[::-1].tolist()  # g comes first and is blue
    assert np.array_equal(read_fits(primary(cube, BANDS="zrg"), name="x")[63 - 30, 20], rgb)


def test_three_files_are_red_green_blue(tmp_path: Path):
    bands = [sky(level=0, noise=1) for _ in range(3)]
    bands[2][5, 6] = 2000.0
    paths = [tmp_path / f"{name}.fits" for name in "irg"]
    for path, band in zip(paths, bands, strict=True):
        path.write_bytes(primary(band))
    image = read_bands(paths)
    assert np.array_equal(image, read_fits(primary(np.stack(bands)), name="x"))
    assert image[63 - 5, 6].argmax() == 2
    paths[1].write_bytes(primary(sky((20, 48))))
    with pytest.raises(MorphoscopeError, match=r"i\.fits: the bands differ in size \(64×48, 20×48, 64×48\)"):
        read_bands(paths)
    paths[1].write_bytes(primary(np.stack(bands)))
    with pytest.raises(MorphoscopeError, match=r"r\.fits: has 3 planes; one band"):
        read_bands(paths)


def test_the_first_image_is_found_wherever_it_is():
    band = sky()
    expected = read_fits(primary(band), name="x")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    assert np.array_equal(
        read_fits(file_of(fits.PrimaryHDU(), table, fits.ImageHDU(band)), name="x"), expected
    )
    packed = file_of(fits.PrimaryHDU(), fits.CompImageHDU(band, compression_type="GZIP_2", quantize_level=0))
    assert np.abs(read_fits(packed, name="x").astype(int) - expected).max() <= 1
    assert np.array_equal(read_image(gzip.compress(primary(band)), name="x"), expected)


def test_bad_files_are_named():
    with pytest.raises(MorphoscopeError, match=r"a\.fits: the image is 5×8×8; one to three planes"):
        read_fits(primary(np.zeros((5, 8, 8))), name="a.fits")
    with pytest.raises(MorphoscopeError, match=r"a\.fits: holds no image"):
        read_fits(file_of(fits.PrimaryHDU()), name="a.fits")
    with pytest.raises(MorphoscopeError, match=r"a\.fits: is damaged or cut off"):
        read_fits(primary(sky((200, 200)))[:30_000], name="a.fits")
    with pytest.raises(MorphoscopeError, match=r"a\.fits: is damaged"):
        read_fits(b"SIMPLE  =  nonsense" * 200, name="a.fits")
    with pytest.raises(MorphoscopeError, match=r"a\.gz: is damaged"):
        read_fits(gzip.compress(primary(sky()))[:500], name="a.gz")
    with pytest.raises(MorphoscopeError, match=r"a\.gz: is not an image"):
        read_image(gzip.compress(b"words"), name="a.gz")
    with pytest.raises(UsageError, match=r"no stretch 'luptan' \(did you mean 'lupton'"):
        read_fits(primary(sky()), name="a.fits", stretch="luptan")


def test_a_file_without_its_padding_is_read():
    band = sky((30, 30))
    content = primary(band)
    assert np.array_equal(read_fits(content[: 2880 + band.nbytes], name="x"), read_fits(content, name="x"))


def test_real_cutouts(shared_data: Path):
    for path in (shared_data / "fits_cutouts").iterdir():
        image = read_image(path)
        assert image.shape == (256, 256, 3)
        assert 25 < np.median(image) < 45
        assert image.min() > 0 or (image == 0).mean() < 0.02  # no black border beyond the chip
        assert image.max() > 150
