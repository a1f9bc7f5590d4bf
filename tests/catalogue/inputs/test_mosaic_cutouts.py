from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from morphoscope.catalogue.detection.catalogue import classify_sky
from morphoscope.catalogue.detection.tiles import find_sources, source_items
from morphoscope.catalogue.inputs.mosaic_cutouts import Frame, cutout_items
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.positions import SourceTable

SCALE = 0.5  # arcsec a pixel


def header(shape: tuple[int, int]) -> fits.Header:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [30.0, -20.0]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [-SCALE / 3600, SCALE / 3600]
    return wcs.to_header()


def sky(shape: tuple[int, int], blobs: list[tuple[float, float, float]], seed: int = 0) -> np.ndarray:
    """Noise of 1 with Gaussian blobs of sigma 6 pixels at (x, y) with a peak."""
    picture = np.random.default_rng(seed).normal(0, 1, shape)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for at_x, at_y, peak in blobs:
        near = (slice(max(0, int(at_y) - 40), int(at_y) + 41), slice(max(0, int(at_x) - 40), int(at_x) + 41))
        picture[near] += peak * np.exp(-((x[near] - at_x) ** 2 + (y[near] - at_y) ** 2) / 72)
    return picture.astype(np.float32)


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """300 × 400 pixels, one object 30 pixels right of and 20 above the middle, a blank lower left corner."""
    pixels = sky((300, 400), [(229.5, 169.5, 300)])
    pixels[:60, :80] = np.nan
    path = tmp_path / "field.fits"
    fits.writeto(path, pixels, header(pixels.shape))
    return path


def place(x: float, y: float, shape: tuple[int, int] = (300, 400)) -> tuple[float, float]:
    ra, dec = WCS(header(shape)).all_pix2world(x, y, 0)
    return float(ra), float(dec)


def write_sources(
    path: Path,
    pixels: dict[str, tuple[float, float]],
    shape: tuple[int, int] = (300, 400),
    **columns: list[float],
) -> Path:
    places = [place(*at, shape=shape) for at in pixels.values()]
    Table(
        {"objid": list(pixels), "RA": [ra for ra, _ in places], "DEC": [dec for _, dec in places], **columns}
    ).write(path)
    return path


def test_sources_are_cut_out_where_they_are(mosaic: Path, tmp_path: Path) -> None:
    table = write_sources(tmp_path / "t.fits", {"on": (229.5, 169.5), "beside": (219.5, 169.5)})
    items, count = cutout_items(open_mosaics(mosaic), SourceTable(table, 20.0), Frame(40, "linear"))
    on, beside = items
    assert count == 2
    assert (on.row["id"], on.source) == ("on", "on in field.fits")
    assert (on.row["ra"], on.row["dec"]) == pytest.approx(place(229.5, 169.5))
    peaks = [np.unravel_index(one.load()[:, :, 0].argmax(), (40, 40)) for one in (on, beside)]
    np.testing.assert_allclose(peaks[0], (19.5, 19.5), atol=3)
    np.testing.assert_allclose(peaks[1], (19.5, 29.5), atol=3)  # to the west, which is right
    assert on.row["on_mosaic"] == 1.0


def test_edges_are_padded_or_listed_and_what_lies_off_is_left_out(
    mosaic: Path, tmp_path: Path, make_predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_sources(
        tmp_path / "t.ecsv",
        {
            "middle": (200, 150),
            "edge": (395, 150),
            "outside": (420, 150),  # its cutout reaches in
            "off": (700, 150),
            "blank": (30, 20),
        },
    )
    predictor = make_predictor(pixel_scale=1.0)
    summary = predict_catalogue(predictor, CatalogueRequest(mosaic, tmp_path / "c.parquet", sources=table))
    rows = {row["id"]: row for row in pq.read_table(tmp_path / "c.parquet").to_pylist()}
    assert list(rows) == ["middle", "edge"]
    assert rows["middle"]["cutout"] == 32.0  # as the training: 32 pixels of 1″
    assert rows["middle"]["on_mosaic"] == 1.0
    assert 0.5 < rows["edge"]["on_mosaic"] < 0.65
    assert summary.unreadable_list is not None
    with open(summary.unreadable_list, newline="") as file:
        reasons = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert list(reasons) == ["outside", "blank"]
    assert all("the mosaic covers only" in reason for reason in reasons.values())
    said = capsys.readouterr().err
    assert "cutouts of 32″, as the training's images" in said
    assert "1 of 5 sources lie off field.fits and are left out" in said


def test_every_source_has_its_own_size_and_bad_rows_are_listed(
    mosaic: Path, tmp_path: Path, predictor
) -> None:
    ra, dec = place(200, 150)
    (tmp_path / "t.csv").write_text(
        f"ra,dec,size\n{ra},{dec},10\n{ra},{dec},55.5\nnowhere,{dec},10\n{ra},{dec},-3\n{ra},,8\n"
    )
    summary = predict_catalogue(
        predictor,
        CatalogueRequest(mosaic, tmp_path / "c.parquet", sources=tmp_path / "t.csv", size_column="size"),
    )
    rows = pq.read_table(tmp_path / "c.parquet")
    assert rows["id"].to_pylist() == ["row 1", "row 2"]
    assert rows["cutout"].to_pylist() == [10.0, 55.5]
    assert summary.unreadable_list is not None
    with open(summary.unreadable_list, newline="") as file:
        reasons = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons == {
        "row 3": "ra is 'nowhere'; degrees were expected",
        "row 4": "size is '-3'; arcsec above 0 were expected",
        "row 5": "dec is missing; degrees were expected",
    }
    with pytest.raises(UsageError, match="contradict each other"):
        predict_catalogue(
            predictor,
            CatalogueRequest(
                mosaic, tmp_path / "d.csv", sources=tmp_path / "t.csv", size_column="size", cutout_arcsec=3
            ),
        )


@pytest.mark.parametrize("mark", [0.0, 0.4, np.nan, -32768.0, 1e30])
@pytest.mark.parametrize("compressed", [False, True])
def test_the_covered_part_looks_as_if_nothing_were_missing(
    tmp_path: Path, mark: float, compressed: bool
) -> None:
    """A galaxy beside the end of the exposure, in whatever way the end is marked."""
    y, x = np.mgrid[:140, :140]
    pixels = 50 * np.exp(-np.hypot(x - 69.5, y - 69.5) / 8) + np.random.default_rng(1).normal(0, 1, x.shape)
    table = write_sources(tmp_path / "t.fits", {"it": (69.5, 69.5)}, shape=(140, 140))
    images = {}
    for columns in (0, 5, 20):
        part = pixels.astype(np.float32)
        if columns:
            part[:, 120 - columns :] = mark
        unit = fits.ImageHDU(part, header(part.shape))
        if compressed:
            unit = fits.CompImageHDU(part, unit.header, compression_type="GZIP_2", quantize_level=0.0)
        path = tmp_path / f"{columns}.fits"
        fits.HDUList([fits.PrimaryHDU(), unit]).writeto(path)
        (item,), _ = cutout_items(open_mosaics(path), SourceTable(table, 50.0), Frame(100, "lupton"))
        images[columns] = item.load().astype(int)
        assert item.row["on_mosaic"] == pytest.approx(1 - columns / 100, abs=0.011)
        share = 1 - item.row["on_mosaic"]
        assert item.quality == ((f"no data {share:.0%}",) if columns else ())
    for columns in (5, 20):
        difference = np.abs(images[columns] - images[0])
        assert difference[:, : 98 - columns].max() <= 12  # noise of sky and its level are measured on less
        assert difference[:, : 98 - columns].mean() < 3
        missing = images[columns][:, 101 - columns :]
        assert np.ptp(missing) == 0
        assert abs(missing.mean() - np.median(images[0][:, :20])) < 4  # as bright as the sky


def test_every_chip_of_a_camera_is_used(
    tmp_path: Path, predictor, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sky of 300 × 400 pixels on two chips, with a gap of 10 columns."""
    whole = sky((300, 400), [(100.5, 150.5, 300), (300.5, 99.5, 200)])
    units: list[fits.PrimaryHDU | fits.ImageHDU] = [fits.PrimaryHDU()]
    for name, left, right in (("N1", 0, 195), ("N2", 205, 400)):
        cards = header((300, 400))
        cards["CRPIX1"] -= left
        units.append(fits.ImageHDU(whole[:, left:right], cards, name=name))
    path = tmp_path / "camera.fits"
    fits.HDUList(units).writeto(path)
    table = write_sources(
        tmp_path / "t.fits",
        {"left": (100.5, 150.5), "right": (300.5, 99.5), "gap": (199.5, 150.0), "off": (900.0, 150.0)},
    )
    items, count = cutout_items(open_mosaics(path), SourceTable(table, 20.0), Frame(40, "linear"))
    left, right, gap = items
    assert count == 3
    for item in (left, right):
        peak = np.unravel_index(item.load()[:, :, 0].argmax(), (40, 40))
        np.testing.assert_allclose(peak, (19.5, 19.5), atol=3)
    gap.load()
    assert gap.row["on_mosaic"] == pytest.approx(0.7, abs=0.06)  # both sides of it
    assert "1 of 4 sources lie off camera.fits" in capsys.readouterr().err
    classify_sky(predictor, path, tmp_path / "c.parquet")
    rows = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert [(row["id"], row["chip"]) for row in rows] == [("0", "N1"), ("1", "N2")]
    assert (rows[1]["x"], rows[1]["y"]) == pytest.approx((300.5 - 205, 99.5), abs=0.2)
    assert (rows[1]["ra"], rows[1]["dec"]) == pytest.approx(place(300.5, 99.5), abs=0.2 * SCALE / 3600)
    with pytest.raises(UsageError, match=r"several chips cannot be drawn together; choose .* \(N1, N2\)"):
        classify_sky(predictor, path, tmp_path / "d.parquet", drawn=True)
    classify_sky(predictor, path, tmp_path / "d.parquet", bands="N2", drawn=True)
    (row,) = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert row["x"] == pytest.approx(300.5 - 205, abs=0.2)


def test_row_order_turns_what_has_no_coordinates(tmp_path: Path) -> None:
    """One file says that its first row is the top: its cutouts and its picture are not turned over."""
    pixels = sky((120, 120), [(60, 40, 300), (60, 52, 120)])
    shown = {}
    for order in ("BOTTOM-UP", "TOP-DOWN"):
        path = tmp_path / f"{order}.fits"
        fits.writeto(path, pixels, fits.Header({"ROWORDER": order}))
        mosaics = open_mosaics(path)
        found = find_sources(mosaics)
        shown[order] = next(iter(source_items(mosaics, found, Frame(40, "linear")))).load().astype(int)
    np.testing.assert_allclose(shown["TOP-DOWN"], shown["BOTTOM-UP"][::-1], atol=2)
    assert shown["TOP-DOWN"][:, 20, 0].argmax() < 18  # the brighter one lies in the file's earlier rows


def test_a_mosaic_that_is_mirrored_on_the_sky_is_drawn_as_it_is_seen(tmp_path: Path, predictor) -> None:
    pixels = sky((150, 200), [(60.5, 40.5, 300)])
    cards = header((150, 200))
    fits.writeto(tmp_path / "m.fits", pixels, cards)
    cards["CDELT1"] *= -1
    fits.writeto(tmp_path / "mirrored.fits", pixels[:, ::-1].copy(), cards)
    plain, mirrored = (
        classify_sky(predictor, tmp_path / f"{name}.fits", tmp_path / f"{name}.csv", drawn=True)
        for name in ("m", "mirrored")
    )
    np.testing.assert_array_equal(plain.image(), mirrored.image())
    np.testing.assert_allclose(plain.boxes(), mirrored.boxes(), atol=0.1)
    assert plain.table["ra"][0].as_py() == pytest.approx(mirrored.table["ra"][0].as_py(), abs=1e-5)


def test_adapting_sees_the_cutouts_of_what_was_detected(tmp_path: Path, predictor) -> None:
    blobs = [(40.0 + 70 * column, 40.0 + 70 * row, 200.0) for column in range(4) for row in range(3)]
    fits.writeto(tmp_path / "m.fits", sky((230, 300), blobs), header((230, 300)))
    picture = (np.clip(20 + sky((230, 300), blobs), 0, 255)[:, :, None] * np.ones(3)).astype(np.uint8)
    for source in (tmp_path / "m.fits", picture):
        seen: list[np.ndarray] = []
        classify_sky(predictor, source, tmp_path / "c.parquet", adapt=seen.extend, overwrite=True)
        assert len(seen) == 12
        assert all(image.shape == (32, 32, 3) for image in seen)
        assert min(image[14:18, 14:18].mean() for image in seen) > 100  # each shows its source


def test_bands_on_different_pixels_are_laid_on_each_other(tmp_path: Path) -> None:
    """The blue mosaic is shifted and coarser; the object must be at one place in the picture."""
    fits.writeto(tmp_path / "r.fits", sky((300, 400), [(229.5, 169.5, 300)]), header((300, 400)))
    coarse = header((150, 200))
    coarse["CDELT1"], coarse["CDELT2"] = -1.0 / 3600, 1.0 / 3600
    coarse["CRPIX1"] += 11
    x, y = WCS(coarse).all_world2pix(*place(229.5, 169.5), 0)
    fits.writeto(tmp_path / "g.fits", sky((150, 200), [(float(x), float(y), 300)]), coarse)
    table = write_sources(tmp_path / "t.fits", {"it": (229.5, 169.5)})
    mosaics = open_mosaics(f"{tmp_path}/{{band}}.fits", ("g", "r"))
    (item,), _ = cutout_items(mosaics, SourceTable(table, 40.0), Frame(80, "linear"))
    image = item.load().astype(float)
    for channel in (0, 2):
        light = np.maximum(image[:, :, channel] - 100, 0)
        middle = [(light.sum(axis=axis) @ np.arange(80)) / light.sum() for axis in (0, 1)]
        np.testing.assert_allclose(middle, 39.5, atol=0.7)


def test_bands_on_pixels_of_other_sizes_keep_their_colour(tmp_path: Path) -> None:
    """One galaxy of equal flux in both bands; the pixels of the blue mosaic have four times the area."""
    y, x = np.mgrid[:120, :120]
    fine = 300 * np.exp(-((x - 59.5) ** 2 + (y - 59.5) ** 2) / 200)
    noise = np.random.default_rng(5).normal(0, 1, fine.shape)
    red = (fine + noise).astype(np.float32)
    blue = red.reshape(60, 2, 60, 2).sum(axis=(1, 3))  # counts of four pixels
    coarse = header((60, 60))
    coarse["CDELT1"], coarse["CDELT2"] = -1.0 / 3600, 1.0 / 3600
    for name, pixels, cards in (("r", red, header((120, 120))), ("g", blue, coarse)):
        cards["BUNIT"] = "nanomaggy"
        fits.writeto(tmp_path / f"{name}.fits", pixels, cards)
    table = write_sources(tmp_path / "t.fits", {"it": (59.5, 59.5)}, shape=(120, 120))
    mosaics = open_mosaics(f"{tmp_path}/{{band}}.fits", ("g", "r"))
    (item,), _ = cutout_items(mosaics, SourceTable(table, 40.0), Frame(40, "lupton"))
    (detected,) = source_items(mosaics, find_sources(mosaics), Frame(40, "lupton"))
    for one in (item, detected):
        middle = one.load()[10:30, 10:30].astype(float)
        assert middle[8:12, 8:12].min() > 150
        assert np.abs(middle[:, :, 0] - middle[:, :, 2]).mean() < 8  # white, as equal fluxes are


def test_what_cannot_be_matched_is_refused_in_one_sentence(mosaic: Path, tmp_path: Path, predictor) -> None:
    (tmp_path / "far.csv").write_text("ra,dec\n200,45\n201,46\n")
    with pytest.raises(
        UsageError, match=r"none of the 2 sources of .*far\.csv lie on field\.fits, .* RA 30\.0.*RA 200\.0"
    ):
        predict_catalogue(
            predictor,
            CatalogueRequest(mosaic, tmp_path / "c.csv", sources=tmp_path / "far.csv", cutout_arcsec=20.0),
        )
    (tmp_path / "words.csv").write_text("ra,dec\na,b\n")
    with pytest.raises(UsageError, match="no source has an angle in degrees"):
        predict_catalogue(
            predictor,
            CatalogueRequest(mosaic, tmp_path / "c.csv", sources=tmp_path / "words.csv", cutout_arcsec=20.0),
        )
    (tmp_path / "x.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match="'ra' and 'dec' in degrees were expected"):
        predict_catalogue(
            predictor,
            CatalogueRequest(mosaic, tmp_path / "c.csv", sources=tmp_path / "x.csv", cutout_arcsec=20.0),
        )
    fits.writeto(tmp_path / "bare.fits", sky((50, 50), []))
    with pytest.raises(UsageError, match="no world coordinates"):
        predict_catalogue(
            predictor,
            CatalogueRequest(
                tmp_path / "bare.fits", tmp_path / "c.csv", sources=tmp_path / "far.csv", cutout_arcsec=20.0
            ),
        )


def test_sources_of_a_mosaic_have_places_and_tiles_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same galaxies in the same order, whether the mosaic is searched at once or in six tiles."""
    blobs = [
        (40.0 + 62 * column, 35.0 + 57 * row, 40.0 + 7 * column + 60 * row)
        for column in range(7)
        for row in range(5)
    ]
    pixels = sky((320, 450), blobs)
    pixels[200:, 420:] = np.nan
    fits.writeto(tmp_path / "m.fits", pixels, header(pixels.shape))
    mosaics = open_mosaics(tmp_path / "m.fits")
    whole = find_sources(mosaics)
    expected = sorted(blobs, key=lambda blob: -blob[2])
    expected = [blob for blob in expected if not (blob[0] > 390 and blob[1] > 180)]
    kept = whole.x < 390
    inner = [blob for blob in expected if blob[0] < 390]
    np.testing.assert_allclose(np.stack([whole.x, whole.y])[:, kept].T, [b[:2] for b in inner], atol=0.5)
    ra, dec = np.array([place(*blob[:2], shape=(320, 450)) for blob in inner]).T
    np.testing.assert_allclose(whole.ra[kept], ra, atol=0.5 * SCALE / 3600 / np.cos(np.radians(20)))
    np.testing.assert_allclose(whole.dec[kept], dec, atol=0.5 * SCALE / 3600)
    monkeypatch.setattr("morphoscope.catalogue.detection.tiles.TILE", 300)
    monkeypatch.setattr("morphoscope.catalogue.detection.tiles.OVERLAP", 60)
    tiled = find_sources(mosaics)
    assert len(tiled) == len(whole)
    order, other = (
        np.lexsort((np.rint(whole.x), np.rint(whole.y))),
        np.lexsort((np.rint(tiled.x), np.rint(tiled.y))),
    )
    np.testing.assert_allclose(tiled.x[other], whole.x[order], atol=0.2)
    np.testing.assert_allclose(tiled.side[other], whole.side[order], rtol=0.15)


def test_a_mosaic_alone_becomes_a_catalogue_and_a_picture(
    mosaic: Path, tmp_path: Path, make_predictor
) -> None:
    predictor = make_predictor(stretch="asinh")
    seen = classify_sky(predictor, mosaic, tmp_path / "c.parquet", drawn=True)
    (row,) = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert (row["x"], row["y"]) == pytest.approx((229.5, 169.5), abs=0.2)
    assert (row["ra"], row["dec"]) == pytest.approx(place(229.5, 169.5), abs=0.2 * SCALE / 3600)
    image, ((x, y, _),) = seen.image(), seen.boxes()
    assert image.shape == (300, 400, 3)
    assert image[round(float(y)), round(float(x))].min() > 250  # the box is where the object is drawn
    with pytest.raises(UsageError, match="exists already"):
        classify_sky(predictor, mosaic, tmp_path / "c.parquet")
    fits.writeto(tmp_path / "empty.fits", sky((60, 60), []))
    with pytest.raises(MorphoscopeError, match="no source was detected"):
        classify_sky(predictor, tmp_path / "empty.fits", tmp_path / "d.csv")
    bare = tmp_path / "bare.fits"
    fits.writeto(bare, sky((120, 120), [(60, 50, 300)]))
    classify_sky(predictor, bare, tmp_path / "e.parquet")
    (row,) = pq.read_table(tmp_path / "e.parquet").to_pylist()
    assert (row["ra"], row["x"]) == (None, pytest.approx(60, abs=0.2))


def test_what_is_wrong_with_a_detected_source_s_cutout_is_in_its_quality(
    tmp_path: Path, make_predictor
) -> None:
    pixels = sky((300, 400), [(229.5, 169.5, 300), (80.5, 80.5, 300)])
    pixels[:, 254:260] = np.nan  # a gap between chips, beside the first
    fits.writeto(tmp_path / "gap.fits", pixels, header(pixels.shape))
    classify_sky(make_predictor(stretch="asinh"), tmp_path / "gap.fits", tmp_path / "c.parquet")
    rows = sorted(pq.read_table(tmp_path / "c.parquet").to_pylist(), key=lambda row: row["x"])
    assert [round(row["x"]) for row in rows] == [80, 230]
    assert "no data" in rows[1]["quality"]
    assert "no data" not in (rows[0]["quality"] or "")
    assert sorted(row["id"] for row in rows) == ["0", "1"]


def test_a_picture_of_the_sky_that_cannot_be_used_is_said(
    mosaic: Path, tmp_path: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    dark, out = np.zeros((60, 60, 3), np.uint8), tmp_path / "c.csv"
    with pytest.raises(UsageError, match="--bands chooses bands of FITS files"):
        classify_sky(predictor, dark, out, bands="g,r")
    with pytest.raises(UsageError, match="no stretch 'luptn'"):
        classify_sky(predictor, mosaic, out, stretch="luptn")
    with pytest.raises(UsageError, match=r"none\.png: no such file; one picture of the sky was expected"):
        classify_sky(predictor, tmp_path / "none.png", out)
    with pytest.raises(MorphoscopeError, match="no source was detected"):
        classify_sky(predictor, dark, out)
    for band, side in (("g", 40), ("r", 50)):
        fits.writeto(tmp_path / f"m_{band}.fits", sky((side, side), []))
    with pytest.raises(UsageError, match="bands of different sizes cannot"):
        classify_sky(predictor, str(tmp_path / "m_{band}.fits"), out, bands="g,r", drawn=True)
    monkeypatch.setattr("morphoscope.catalogue.detection.catalogue.MOST_TO_DRAW", 1000)
    with pytest.raises(UsageError, match=r"field\.fits"):
        classify_sky(predictor, mosaic, out, drawn=True)
    assert not out.exists()
