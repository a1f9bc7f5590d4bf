"""Shapes of the sources of a mosaic, which are cut out in its own pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from morphoscope.catalogue.detection.images import classify_mosaic
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.inputs.mosaic_cutouts import native_square
from morphoscope.catalogue.measure import MeasureRequest, measure_catalogue
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.stretch import Flux
from morphoscope.measurement import ShapeSettings, measure_shape
from morphoscope.measurement.shapes import NAMES, Bands

SIDE, SCALE = 240, 0.5
PLACES = ((70.0, 160.0, 2.6), (170.0, 64.0, 2.2))  # x, y, scale length; the first is the brighter


def _wcs(turned: float = 0.0, mirrored: bool = False) -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [SIDE / 2] * 2
    cos, sin = np.cos(np.radians(turned)), np.sin(np.radians(turned))
    flip = np.diag([1.0 if mirrored else -1.0, 1.0])
    wcs.wcs.cd = flip @ np.array([[cos, -sin], [sin, cos]]) * SCALE / 3600
    return wcs


def _field(seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    field = np.random.default_rng(seed).normal(1.0, 0.05, (SIDE, SIDE))
    for at_x, at_y, scale in PLACES:
        field += 5 * np.exp(-np.hypot(x - at_x, 1.3 * (y - at_y)) / scale)
    return field.astype(np.float32)


@pytest.fixture
def mosaic(tmp_path: Path) -> Path:
    """Two discs in two bands, red twice as bright, in nanomaggies."""
    for band, factor in (("g", 1.0), ("r", 2.0)):
        header = _wcs().to_header()
        header.update(FILTER=band, BUNIT="nanomaggy")
        fits.writeto(tmp_path / f"field_{band}.fits", _field() * np.float32(factor), header)
    return tmp_path / "field_{band}.fits"


def _rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_every_source_of_a_mosaic_has_a_row_with_its_place_and_statmorph_s_numbers(
    mosaic: Path, tmp_path: Path, predictor: Any
):
    out = tmp_path / "shapes.parquet"
    done = measure_catalogue(MeasureRequest(mosaic, out, bands="g,r", detect=True, workers=1))
    assert done.flags == {0: 2}
    rows = _rows(out)
    for row, (x, y, _) in zip(rows, PLACES, strict=True):
        assert (row["x"], row["y"]) == (pytest.approx(x, abs=0.1), pytest.approx(y, abs=0.1))
        at = _wcs().pixel_to_world_values(x, y)
        assert [row["ra"], row["dec"]] == pytest.approx(np.array(at), abs=3e-5)
        assert (row["band"], row["flag"], row["reason"]) == ("r", 0, "")
        assert row["g_r"] == pytest.approx(2.5 * np.log10(2), abs=0.01)
        assert row["sky_sigma"] == pytest.approx(0.1, rel=0.1)  # the file's noise, not that of interpolation
    side, x, y = int(rows[0]["cutout"]), rows[0]["x"], rows[0]["y"]
    assert side >= 64
    left, top = (round(float(at) - (side - 1) / 2) for at in (x, y))
    as_stored = fits.getdata(tmp_path / "field_r.fits")[top : top + side, left : left + side]
    by_hand = measure_shape(Bands([as_stored[::-1]], [Flux("r")]), ShapeSettings())
    assert {name: rows[0][name] for name in NAMES if name in by_hand} == {
        name: by_hand[name] for name in NAMES if name in by_hand
    }
    schema = pq.read_schema(out)
    assert schema.names[:9] == ["id", "source", "ra", "dec", "band", "x", "y", "radius", "cutout"]
    assert schema.field("x").metadata[b"unit"] == b"pix"
    assert read_provenance(out)["detected"] == "sources of 150 pixels or more"
    classes, _ = classify_mosaic(predictor, str(mosaic), bands=["r", "g"], check=False)
    assert classes["id"].to_pylist() == [row["id"] for row in rows]  # so that the two can be joined
    np.testing.assert_allclose(classes["x"].to_numpy(), [row["x"] for row in rows], atol=1e-3)


@pytest.mark.slow
def test_an_interrupted_mosaic_is_continued(mosaic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from morphoscope.catalogue import shapes

    whole = MeasureRequest(mosaic, tmp_path / "whole.parquet", bands="g,r", detect=True, workers=1)
    measure_catalogue(whole)
    real, measured = shapes.measure_shape, []

    def ended(bands: Bands, settings: ShapeSettings) -> dict[str, Any]:
        if measured:
            raise KeyboardInterrupt
        measured.append(bands)
        return real(bands, settings)

    monkeypatch.setattr(shapes, "measure_shape", ended)
    out = tmp_path / "killed.parquet"
    options: dict[str, Any] = {"bands": "g,r", "detect": True, "workers": 1}
    with pytest.raises(KeyboardInterrupt):
        measure_catalogue(MeasureRequest(mosaic, out, **options))
    monkeypatch.setattr(shapes, "measure_shape", real)
    assert measure_catalogue(MeasureRequest(mosaic, out, resume=True, **options)).resumed == 1
    assert pq.read_table(out).equals(pq.read_table(whole.out))


@pytest.mark.parametrize("turned", [0.0, 20.0, 90.0, 200.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_native_square_has_the_file_s_pixels_and_north_up(tmp_path: Path, turned: float, mirrored: bool):
    wcs = _wcs(turned, mirrored)
    fits.writeto(tmp_path / "a.fits", _field(), wcs.to_header())
    (band,) = open_mosaics(tmp_path / "a.fits")
    x, y, _ = PLACES[0]
    ra, dec = band.positions_of(np.array([x]), np.array([y]))
    north = band.pixels_of(ra, dec + 5 * SCALE / 3600)  # five pixels to the north
    square = native_square(band, x, y, band.pixels_per_arcsec(ra, dec)[0], 41)
    assert np.array_equal(np.sort(square, axis=None), np.sort(_field()[140:181, 50:91], axis=None))
    marked = _field()
    marked[round(float(north[1][0])), round(float(north[0][0]))] = 1e6
    fits.writeto(tmp_path / "b.fits", marked, wcs.to_header())
    (band,) = open_mosaics(tmp_path / "b.fits")
    row, column = np.unravel_index(
        native_square(band, x, y, band.pixels_per_arcsec(ra, dec)[0], 41).argmax(), (41, 41)
    )
    assert row < 20 - 3  # above the middle
    assert abs(column - 20) <= 3


def test_a_square_at_the_border_has_no_data_beyond_it(tmp_path: Path):
    fits.writeto(tmp_path / "a.fits", _field(), _wcs().to_header())
    (band,) = open_mosaics(tmp_path / "a.fits")
    steps = np.array([[-1.0, 0.0], [0.0, 1.0]])
    square = native_square(band, 0.0, 5.0, steps, 21)
    assert np.isnan(square[:, :10]).all()
    assert np.isnan(square[-5:]).all()  # below row 0 of the file
    assert np.isfinite(square[:-5, 10:]).all()
    assert np.isnan(native_square(band, -500.0, 5.0, steps, 21)).all()


WRONG = [
    (
        {"sources": "s.csv", "cutout_arcsec": 3.0},
        "--detect finds the sources of a mosaic itself; leave out",
    ),
    ({"source": "a.jpg"}, "is not a FITS file; a FITS mosaic was expected"),
    ({"min_area": 0}, "--min-area 0: at least 1 pixel was expected"),
    ({"min_area": 100_000}, "no source of 100000 pixels or more was detected"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_detected_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], words: str
):
    monkeypatch.chdir(tmp_path)
    fits.writeto("a.fits", _field(), _wcs().to_header())
    Path("a.jpg").write_bytes(b"\xff\xd8\xff")
    given = {"source": "a.fits", "out": "shapes.parquet", "detect": True, "workers": 1, **options}
    with pytest.raises((UsageError, MorphoscopeError), match=re.escape(words)):
        measure_catalogue(MeasureRequest(**given))
    assert not Path("shapes.parquet").exists()


def test_of_one_large_image_it_is_remarked_that_one_galaxy_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    from morphoscope.catalogue import measure

    monkeypatch.setattr(measure, "_LARGE", 160)
    field = np.roll(_field(), (-40, 50), axis=(0, 1))[40:200, 40:200]  # the first disc is in the middle
    fits.writeto(tmp_path / "a.fits", field, _wcs().to_header())
    measure_catalogue(MeasureRequest(tmp_path / "a.fits", tmp_path / "out.parquet", workers=1))
    said = capsys.readouterr().err
    assert "of 160×160 pixels only the galaxy in the middle is measured; --detect measures every" in said
