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
from morphoscope.images.fits_headers import check_counts, check_headers
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.stretch import SKY_LEVEL, SKY_NOISE, SOFTENING, rendered, stretched

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
@pytest.mark.parametrize("filler", [0.0, 0.4, np.nan, -32768.0, 1e30, "BLANK"])
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
    half = sky((30, 30))
    half[:, 14:] = 0
    with pytest.raises(MorphoscopeError, match=r"hole\.fits: only 0\.47 of the pixels hold data; half"):
        read_fits(primary(half), name="hole.fits")
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


@pytest.mark.parametrize(
    "role",
    ["MASK", "OBJMASK", "BADPIX", "ERR", "DQ", "WHT", "INVVAR", "VARIANCE", "SIGMA", "RMS", "EXPMAP", "NOBS"],
)
def test_what_is_no_picture_of_the_sky_is_left_out_wherever_it_stands(role: str):
    band = sky()
    other = fits.ImageHDU(np.ones(band.shape, np.float32), name=role)
    said: dict[str, object] = {}
    image = read_fits(
        file_of(fits.PrimaryHDU(), other, fits.ImageHDU(band, name="SCI")), name="x", found=said
    )
    assert np.array_equal(image, read_fits(primary(band), name="x"))
    assert "bands" not in said


def test_the_first_header_says_for_all_images_how_rows_run(tmp_path: Path):
    band = sky()
    first = fits.PrimaryHDU(header=fits.Header({"ROWORDER": "TOP-DOWN"}))
    content = file_of(first, fits.ImageHDU(band[::-1]))
    assert np.array_equal(read_fits(content, name="x"), read_fits(primary(band), name="x"))
    (tmp_path / "m.fits").write_bytes(content)
    assert [mosaic.top_first for mosaic in open_mosaics(tmp_path / "m.fits")] == [True]


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


def equal_flux(noises: tuple[float, ...] = (1.0, 2.0, 4.0)) -> list[np.ndarray]:
    """A galaxy of the same flux in z, r and g, whose noises differ."""
    y, x = np.mgrid[:64, :64]
    galaxy = 60 * np.exp(-np.hypot(x - 32, y - 32) / 5)
    return [(galaxy + RNG.normal(0, noise, galaxy.shape)).astype(np.float32) for noise in noises]


def hue(image: np.ndarray) -> np.ndarray:
    """Red and blue over green of the brighter pixels."""
    rgb = image.astype(float).reshape(-1, 3) + 1
    rgb = rgb[rgb.sum(axis=1) > 240]
    return np.log(rgb[:, [0, 2]] / rgb[:, [1]])


def units(bands: list[np.ndarray], **cards: object) -> bytes:
    """Extensions z, r, g with cards, of which tuples hold one value a band."""
    extensions = [fits.ImageHDU(band, name=name) for band, name in zip(bands, "zrg", strict=True)]
    for number, unit in enumerate(extensions):
        unit.header.update({k: v[number] if isinstance(v, tuple) else v for k, v in cards.items()})
    return file_of(fits.PrimaryHDU(), *extensions)


def test_equal_flux_in_every_band_is_white():
    bands = equal_flux()
    for content in (units(bands), units(bands, BUNIT="nJy"), primary(np.stack(bands), BANDS="zrg")):
        said: dict[str, object] = {}
        core = read_fits(content, name="x", found=said)[30:34, 30:34].reshape(-1, 3).mean(axis=0)
        assert said["scaling"] == "lupton, one scale"
        assert np.ptp(core) < 16, core
    # Zero points bring different units together: a magnitude is a factor of 2.512.
    shifted = [band * 10 ** (0.4 * step) for band, step in zip(bands, (0.0, 1.0, -2.0), strict=True)]
    content = units(shifted, MAGZERO=(22.5, 23.5, 20.5))
    assert np.abs(read_fits(content, name="x").astype(int) - read_fits(units(bands), name="x")).max() <= 2
    content = units(bands, BUNIT=("nJy", "Jy", "MJy/sr"))
    read_fits(content, name="x", found=said)
    assert said["scaling"] == "lupton, by noise"


def test_files_of_counts_are_scaled_by_their_noise(tmp_path: Path):
    bands = equal_flux()
    for cards, scaling in (
        ({}, "lupton, one scale"),
        ({"EXPTIME": 90.0, "GAIN": 2.0}, "lupton, by noise"),
        ({"BUNIT": "electrons/s"}, "lupton, by noise"),
        ({"BUNIT": "nJy"}, "lupton, one scale"),
    ):
        said: dict[str, object] = {}
        read_bands([primary(band, **cards) for band in bands], name="x", found=said)
        assert said["scaling"] == scaling


def test_legacy_is_the_published_formula():
    flux = np.stack([RNG.normal(0, s, (40, 40)) for s in (0.009, 0.004, 0.002)]).astype(np.float32)
    y, x = np.mgrid[:40, :40]
    flux += np.array([1.6, 1.0, 0.5])[:, None, None] * np.exp(-np.hypot(x - 20, y - 20) / 4)
    # As the Legacy Surveys' viewer makes its pictures: z red, r green, g blue, m = 0.03, Q = 20.
    planes = [np.maximum(0, band * scale + 0.03) for band, scale in zip(flux, (2.2, 3.4, 6.0), strict=True)]
    mean = np.mean(planes, axis=0)
    gain = np.arcsinh(20 * mean) / np.sqrt(20) / (mean + (mean == 0) * 1e-6)
    expected = 255 * np.clip(np.stack(planes) * gain, 0, 1).transpose(1, 2, 0)[::-1]
    for content, stretch in (
        (units(list(flux), BUNIT="nanomaggy"), "legacy"),
        (units(list(flux), SURVEY="DECaLS"), "lupton"),
    ):
        said: dict[str, object] = {}
        image = read_fits(content, name="x", stretch=stretch, found=said)
        assert said["scaling"] == "legacy"
        assert np.abs(image - expected).max() <= 1
    janskys = units(list((flux * np.float32(3631e-9)).astype(np.float32)), BUNIT="Jy")
    assert np.abs(read_fits(janskys, name="x", stretch="legacy") - expected).max() <= 1
    one_scale = read_fits(units(list(flux), BUNIT="nJy"), name="x")
    assert not np.allclose(hue(one_scale).mean(axis=0), hue(expected).mean(axis=0), atol=0.2)
    with pytest.raises(
        MorphoscopeError, match=r"stretch legacy has scales for the bands g, r, i, z, and the im"
    ):
        read_fits(primary(flux[0]), name="x", stretch="legacy")


def test_real_legacy_cutouts_have_the_survey_s_colours(shared_data: Path):
    path = shared_data / "real_files" / "legacysurvey-pysersic" / "cutout_59.1067_-30.4848.fits"
    with fits.open(path) as file:
        flux = {unit.header["BAND"]: unit.data for unit in file[1:] if unit.header["IMAGETYP"] == "image"}
    planes = np.stack([np.maximum(0, flux[b] * s + 0.03) for b, s in (("z", 2.2), ("r", 3.4), ("g", 6.0))])
    mean = planes.mean(axis=0)
    expected = (
        255 * np.clip(planes * np.arcsinh(20 * mean) / np.sqrt(20) / mean, 0, 1).transpose(1, 2, 0)[::-1]
    )
    said: dict[str, object] = {}
    image = read_image(path, found=said)
    assert (said["scaling"], said["bands"]) == ("legacy", "z, r, g")  # and not the inverse variances
    assert np.abs(image - expected).max() <= 1


@pytest.mark.parametrize("place", ["primary", "extension", "tiles", "primary of tiles"])
def test_pan_starrs_stacks_are_linear_again(tmp_path: Path, place: str):
    flux = RNG.normal(0, 5, (32, 32)) + 1000 * np.exp(-np.hypot(*(np.mgrid[:32, :32] - 16)) / 3)
    soften, offset = 4.0, 1.5
    stored = 2.5 / np.log(10) * np.arcsinh((flux - offset) / (2 * soften))
    cards, stored = fits.Header({"BSOFTEN": soften, "BOFFSET": offset}), stored.astype(np.float32)
    first = fits.PrimaryHDU(header=cards if place == "primary of tiles" else None)
    units = {
        "primary": [fits.PrimaryHDU(stored, cards)],
        "extension": [first, fits.ImageHDU(stored, cards)],
        "tiles": [first, fits.CompImageHDU(stored, cards, compression_type="GZIP_2", quantize_level=0)],
        "primary of tiles": [first, fits.CompImageHDU(stored, compression_type="GZIP_2", quantize_level=0)],
    }
    content = file_of(*units[place])
    plain = read_fits(primary(flux.astype(np.float32)), name="x").astype(int)
    assert np.abs(read_fits(content, name="x") - plain).max() <= 1
    (tmp_path / "m.fits").write_bytes(content)
    (mosaic,) = open_mosaics(tmp_path / "m.fits")
    np.testing.assert_allclose(mosaic.box(slice(0, 32), slice(0, 32)), flux, atol=1e-3)


def test_a_card_that_bends_the_standard_does_not_reject_a_file():
    band = sky()
    content = primary(band, FILTER="g-band", BAND="r")
    bent = content.replace(b"FILTER  = 'g-band  '", b"FILTER  = g-band    ")
    assert bent != content
    assert np.array_equal(read_fits(bent, name="x"), read_fits(content, name="x"))


@pytest.mark.parametrize("program", ["bz2", "lzma", "gzip"])
def test_compressed_files_are_read_whatever_the_program(program: str):
    import importlib

    counts = RNG.integers(0, 65536, (16, 16)).astype(np.uint16)  # BZERO 32768
    content = primary(counts)
    packed = importlib.import_module(program).compress(content)
    assert np.array_equal(read_image(packed, name="x"), read_image(content, name="x"))
    with pytest.raises(MorphoscopeError, match=r"x\.fits: is damaged"):
        read_image(packed[: len(packed) // 2], name="x.fits")


def test_compressions_that_are_not_read_are_said():
    with pytest.raises(MorphoscopeError, match=r"a\.fits\.Z: is compressed with compress \(\.Z\)"):
        read_image(b"\x1f\x9d\x90" + bytes(50), name="a.fits.Z")
    with pytest.raises(MorphoscopeError, match=r"Zstandard"):
        read_image(b"\x28\xb5\x2f\xfd" + bytes(50), name="a.fits.zst")
    unit = fits.CompImageHDU(RNG.integers(0, 9000, (256, 256)).astype(np.int32))
    content = file_of(fits.PrimaryHDU(), unit)
    for share in (0.3, 0.6, 0.9):
        with pytest.raises(MorphoscopeError, match=r"c\.fits\.fz: is damaged or cut off"):
            read_image(content[: int(share * len(content))], name="c.fits.fz")


def test_the_primary_header_names_the_filter_of_its_extensions():
    """As of DECam, UKIDSS and JWST."""
    said: dict[str, object] = {}
    content = file_of(
        fits.PrimaryHDU(header=fits.Header({"FILTER": "r DECam SDSS c0002"})), fits.ImageHDU(sky())
    )
    read_fits(content, name="x", found=said, stretch="legacy")
    assert (said["bands"], said["scaling"]) == ("r", "legacy")
    band, weight = sky(), fits.ImageHDU(sky(), name="WEIGHT MAP")
    content = file_of(fits.PrimaryHDU(), weight, fits.ImageHDU(band))
    assert np.array_equal(read_fits(content, name="x"), read_fits(primary(band), name="x"))


def test_planes_by_number_and_more_than_three_bands():
    cube = np.stack([sky(level=0, noise=1) for _ in range(5)])
    cube[3, 30, 20] = 3000
    image = read_fits(primary(cube), name="x", bands=("4", "2", "1"))
    assert image[63 - 30, 20].argmax() == 0
    with pytest.raises(MorphoscopeError, match="has 5 planes, so --bands 6,2,1"):
        read_fits(primary(cube), name="x", bands=("6", "2", "1"))
    four = [fits.ImageHDU(sky(), name=name) for name in ("F115W", "F150W", "F277W", "F444W")]
    said: dict[str, object] = {}
    read_fits(file_of(fits.PrimaryHDU(), *four), name="x", found=said)
    assert said["bands"] == "F115W (of 4 bands)"


def test_compressed_files_are_refused_by_the_size_they_unpack_to(monkeypatch: pytest.MonkeyPatch):
    data = sky()
    packed = gzip.compress(primary(data))
    tiled = file_of(fits.PrimaryHDU(), fits.CompImageHDU(data))
    for content in (packed, tiled):
        assert read_fits(content, name="x").shape == (64, 48, 3)
    monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", "3000")
    with pytest.raises(MorphoscopeError, match=r"x: unpacks to more than 12,000 bytes; set MORPHOSCOPE_MOST"):
        read_fits(packed, name="x")
    with pytest.raises(MorphoscopeError, match=r"x: declares 64 × 48 pixels, more than the 1,920"):
        read_fits(tiled, name="x")


@pytest.mark.parametrize("keyword", ["NAXIS", "ZNAXIS", "TFIELDS"])
def test_numbers_of_axes_beyond_the_standard_are_refused_at_once(keyword: str):
    content = primary(sky(), ZNAXIS=2, TFIELDS=1)
    at = content.index(f"{keyword:<8}=".encode()) + 10
    many = content[:at] + b"%20d" % 10**12 + content[at + 20 :]
    with pytest.raises(MorphoscopeError, match=rf"x: is damaged \({keyword} = 1000000000000; at most 999"):
        read_fits(many, name="x")


@pytest.mark.parametrize("keyword", ["NAXIS2", "PCOUNT"])
def test_negative_sizes_are_refused(keyword: str):
    """astropy would go back by them and read the same unit for ever."""
    content = file_of(fits.PrimaryHDU(), fits.ImageHDU(sky(), name="r"))
    assert read_fits(content, name="x").shape == (64, 48, 3)
    at = content.index(f"{keyword:<8}=".encode(), 2880) + 10
    with pytest.raises(MorphoscopeError, match=rf"x: is damaged \({keyword} = -64; no negative number"):
        read_fits(content[:at] + b"%20d" % -64 + content[at + 20 :], name="x")


@pytest.mark.parametrize("end", [b"", b"END"])
def test_a_header_that_astropy_would_read_for_minutes_is_refused(tmp_path: Path, end: bytes):
    content = primary(sky())
    at = content.index(b"END" + b" " * 77)
    long = content[:at] + b"COMMENT x".ljust(80) * 40_000 + end.ljust(80)
    with pytest.raises(MorphoscopeError, match=r"x: is damaged \(a header of more than 2,880,000 bytes"):
        read_fits(gzip.compress(long.ljust(-(-len(long) // 2880) * 2880), 1), name="x")
    (tmp_path / "t.fits").write_bytes(long.ljust(-(-len(long) // 2880) * 2880))
    with pytest.raises(
        MorphoscopeError, match=r"t\.fits: is damaged \(a header of more than 2,880,000 bytes"
    ):
        check_headers(tmp_path / "t.fits")


def test_parameters_of_a_compression_that_do_not_exist_are_refused():
    """The decoders take them as they are."""
    content = file_of(fits.PrimaryHDU(), fits.CompImageHDU(sky(), compression_type="RICE_1"))
    check_counts(content, "x")
    at = content.index(b"ZVAL2   =")
    assert b"BYTEPIX" in content
    damaged = content[: at + 10] + b"3".rjust(20) + content[at + 30 :]
    with pytest.raises(
        MorphoscopeError, match=r"x: is damaged \(BYTEPIX = 3; one of 1, 2, 4, 8 was expected"
    ):
        check_counts(damaged, "x")


def test_values_too_far_apart_for_a_stretch_are_named():
    values = np.where(sky() > np.median(sky()), 3e38, -3e38).astype(np.float32)
    with pytest.raises(MorphoscopeError, match=r"x: its values, -3e\+38 to 3e\+38, are too far apart"):
        rendered([values], "asinh", name="x")


def test_cards_of_another_kind_than_the_standards_are_no_coordinates():
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": "A", "CRPIX2": True})
    found: dict[str, object] = {}
    content = file_of(fits.PrimaryHDU(sky(), header))
    assert read_fits(content, name="x", found=found).shape == (64, 48, 3)
    assert "CTYPE1" not in found


def cards(**values: int) -> bytes:
    words = [f"{name:<8}= {value:>20}" for name, value in values.items()]
    return b"".join(word.encode().ljust(80) for word in [*words, "END"]).ljust(2880)


def test_headers_are_gone_through_up_to_the_last(tmp_path: Path):
    """Random groups have a first axis of no length, and their size is counted by the others."""
    path, last = tmp_path / "a.fits", b"XTENSION= 'IMAGE   '".ljust(80) + cards(NAXIS=5000)
    first = b"SIMPLE  =                    T".ljust(80)
    groups = first + cards(BITPIX=8, NAXIS=2, NAXIS1=0, NAXIS2=3000, PCOUNT=100, GCOUNT=1)
    path.write_bytes(groups[:2880] + bytes(2 * 2880) + last[:2880])
    with pytest.raises(MorphoscopeError, match="NAXIS = 5000"):
        check_headers(path)
    endless = first + cards(BITPIX=64, NAXIS=2, NAXIS1=10**14, NAXIS2=10**14)
    path.write_bytes(endless[:2880] + last[:2880])
    check_headers(path)  # nothing can lie behind
    path.write_bytes(groups[:2880].replace(b"END ", b"    ") + b"more")
    check_headers(path)  # a header without an end is left to astropy
