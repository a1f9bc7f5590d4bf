"""Tables of measured shapes."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from morphoscope.catalogue import rows, shapes
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.measure import MeasureRequest, measure_catalogue
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.measurement import ShapeSettings
from morphoscope.measurement.shapes import NAMES, Bands
from morphoscope.report.figures.shape_planes import draw_planes


def _galaxy(side: int = 72, seed: int = 0, scale: float = 4.0) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    noise = np.random.default_rng(seed).normal(1.0, 0.05, (side, side))
    return (50 * np.exp(-np.hypot(x, 1.2 * y) / scale) + noise).astype(np.float32)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two galaxies in nanomaggies, and one file that is broken."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(2):
        planes = np.stack([_galaxy(seed=number) * factor for factor in (0.5, 1.0, 2.0)])
        header = fits.Header({"BANDS": "grz", "BUNIT": "nanomaggy"})
        fits.writeto(folder / f"{number}.fits", planes, header)
    (folder / "broken.fits").write_bytes((folder / "0.fits").read_bytes()[:6000])
    return folder


def test_a_folder_becomes_a_table_with_reasons_units_and_provenance(images: Path, tmp_path: Path):
    done = measure_catalogue(MeasureRequest(images, tmp_path / "shapes.parquet", workers=1))
    assert (done.flags, done.measured, done.galaxies) == ({0: 2, 4: 1}, 2, 3)
    table = pq.read_table(tmp_path / "shapes.parquet")
    good, _, broken = table.to_pylist()
    assert (good["id"], good["band"], broken["id"]) == ("0", "r", "broken")
    assert broken["concentration"] is None
    assert broken["reason"]
    assert good["g_r"] == pytest.approx(2.5 * np.log10(2), abs=0.02)
    assert good["r_z"] == pytest.approx(2.5 * np.log10(2), abs=0.02)
    assert table.schema.field("rpetro_circ").metadata[b"unit"] == b"pix"
    about = {name.decode(): text.decode() for name, text in table.schema.metadata.items()}
    assert about["morphoscope.measured_by"].startswith("statmorph ")
    draw_planes(tmp_path / "shapes.parquet", tmp_path / "planes.svg")
    assert "Lotz et al. 2008" in (tmp_path / "planes.svg").read_text()


@pytest.mark.slow
def test_processes_measure_the_same_as_one(images: Path, tmp_path: Path):
    for workers in (1, 2):
        measure_catalogue(MeasureRequest(images, tmp_path / f"{workers}.parquet", workers=workers))
    assert pq.read_table(tmp_path / "1.parquet").equals(pq.read_table(tmp_path / "2.parquet"))


def test_sources_of_a_mosaic_are_cut_out_at_its_own_pixels(tmp_path: Path):
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval, wcs.wcs.crpix = ["RA---TAN", "DEC--TAN"], [150.0, 2.0], [100.5, 100.5]
    wcs.wcs.cdelt = [-0.5 / 3600, 0.5 / 3600]
    field = np.random.default_rng(5).normal(1.0, 0.05, (200, 200)).astype(np.float32)
    field[28:100, 64:136] += _galaxy() - 1.0
    fits.writeto(tmp_path / "field.fits", field, wcs.to_header())
    ra, dec = wcs.pixel_to_world_values(99.5, 63.5)
    (tmp_path / "sources.csv").write_text(f"id,ra,dec\n7,{ra},{dec}\n")
    request = MeasureRequest(
        tmp_path / "field.fits",
        tmp_path / "shapes.parquet",
        sources=tmp_path / "sources.csv",
        cutout_arcsec=36.0,
        workers=1,
    )
    assert measure_catalogue(request).measured == 1
    row = pq.read_table(tmp_path / "shapes.parquet").to_pylist()[0]
    assert (row["id"], row["ra"]) == ("7", pytest.approx(float(ra)))
    assert row["rhalf_ellip"] == pytest.approx(1.678 * 4.0, rel=0.06)


WRONG = [
    ({"source": "jpegs"}, "is a stretched picture; shapes are measured on fluxes, as FITS has them"),
    ({"cutout_arcsec": 3.0}, "--sources is missing"),
    ({"sources": "s.csv"}, "--sources needs --cutout-arcsec"),
    ({"settings": ShapeSettings(seconds=0)}, "numbers above 0 were expected"),
    ({"source": "blank"}, "none of 1 galaxies could be measured"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_what_cannot_be_measured_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, words: str
):
    monkeypatch.chdir(tmp_path)
    for name in ("jpegs", "blank", "images"):
        Path(name).mkdir()
    cv2.imwrite("jpegs/a.jpg", np.repeat(_galaxy()[:, :, None], 3, axis=2))
    fits.writeto("blank/a.fits", np.random.default_rng(0).normal(0, 1, (40, 40)))
    fits.writeto("images/a.fits", _galaxy())
    given = {"source": "images", "out": "shapes.parquet", "workers": 1, **options}
    with pytest.raises((UsageError, MorphoscopeError), match=re.escape(words)):
        measure_catalogue(MeasureRequest(**given))
    assert not Path("shapes.parquet").exists()


def test_an_interrupted_table_is_continued_and_equal_to_one_in_one_go(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (images / "broken.fits").rename(images / "1broken.fits")
    whole = MeasureRequest(images, tmp_path / "whole.parquet", workers=1)
    measure_catalogue(whole)
    out = tmp_path / "killed.parquet"
    real, measured = shapes.measure_shape, []

    def ended(bands: Bands, settings: ShapeSettings) -> dict:
        if len(measured) == 1:
            raise KeyboardInterrupt
        measured.append(bands)
        return real(bands, settings)

    monkeypatch.setattr(shapes, "measure_shape", ended)
    with pytest.raises(KeyboardInterrupt):
        measure_catalogue(MeasureRequest(images, out, workers=1))
    assert not out.exists()
    monkeypatch.setattr(shapes, "measure_shape", real)
    with pytest.raises(
        UsageError, match="an earlier run was interrupted after 1 galaxies; continue it with --res"
    ):
        measure_catalogue(MeasureRequest(images, out, workers=1))
    with pytest.raises(
        UsageError, match=r"options differ .*threshold was '1.5 noises of the sky' and is '2 "
    ):
        measure_catalogue(MeasureRequest(images, out, workers=1, resume=True, settings=ShapeSettings(2.0)))
    done = measure_catalogue(MeasureRequest(images, out, workers=1, resume=True))
    assert (done.resumed, done.galaxies) == (1, 3)
    assert pq.read_table(out).equals(pq.read_table(whole.out), check_metadata=True)
    assert not list(tmp_path.glob(".*partial"))


MEASURE = """
import sys
from morphoscope.catalogue import checkpoint
from morphoscope.catalogue import rows, shapes
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.measure import MeasureRequest, measure_catalogue
checkpoint.PART_SECONDS = 0.0
measure_catalogue(MeasureRequest(sys.argv[1], sys.argv[2], workers=1, resume=True))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_leaves_what_was_measured(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for number in range(6):
        fits.writeto(tmp_path / "images" / f"{number:02d}.fits", _galaxy(48, seed=number, scale=3.0))
    measure_catalogue(MeasureRequest(tmp_path / "images", tmp_path / "whole.parquet", workers=1))
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "images"), str(tmp_path / "killed.parquet")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    folder = tmp_path / ".killed.parquet.partial"
    deadline = time.monotonic() + 400
    while len(list(folder.glob("*.parquet"))) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    kept = len(list(folder.glob("*.parquet")))
    assert 2 <= kept < 6
    done = measure_catalogue(
        MeasureRequest(tmp_path / "images", tmp_path / "killed.parquet", workers=1, resume=True)
    )
    assert done.resumed == kept
    assert pq.read_table(tmp_path / "killed.parquet").equals(pq.read_table(tmp_path / "whole.parquet"))


def test_a_network_and_the_measurements_make_one_catalogue(
    images: Path, tmp_path: Path, predictor: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rows, "measuring", lambda workers, settings, apart: shapes.measuring(1, settings))
    out = tmp_path / "both.fits"
    request = CatalogueRequest(images, out, measure=True, workers=1)
    done = predict_catalogue(predictor, request)
    assert (done.predicted, done.unreadable) == (2, 1)
    table = Table.read(out)
    alone = tmp_path / "alone.parquet"
    measure_catalogue(MeasureRequest(images, alone, workers=1))
    shape = [row for row in pq.read_table(alone).to_pylist() if row["flag"] != 4]
    for name in (*NAMES, "g_r", "r_z"):
        expected = [np.nan if row[name] is None else row[name] for row in shape]
        np.testing.assert_allclose(np.ma.filled(table[name].astype(float), np.nan), expected, rtol=1e-12)
    assert list(table["shape_flag"]) == [0, 0]
    assert [str(band) for band in table["shape_band"]] == ["r", "r"]
    assert str(table["rpetro_circ"].unit) == "pix"
    assert "predicted" in table.colnames
    assert read_provenance(out)["measured_by"].startswith("statmorph ")
    draw_planes(out, tmp_path / "planes.svg")
    assert "(n = 2)" in (tmp_path / "planes.svg").read_text()


@pytest.mark.slow
def test_processes_measure_beside_a_network(images: Path, tmp_path: Path, predictor: Any):
    predict_catalogue(predictor, CatalogueRequest(images, tmp_path / "c.parquet", measure=True, workers=1))
    assert pq.read_table(tmp_path / "c.parquet")["shape_flag"].to_pylist() == [0, 0]


def test_measurements_beside_a_network_are_refused_for_pictures(tmp_path: Path, predictor: Any):
    (tmp_path / "jpegs").mkdir()
    cv2.imwrite(str(tmp_path / "jpegs" / "a.jpg"), np.repeat(_galaxy()[:, :, None], 3, axis=2))
    with pytest.raises(UsageError, match=r"a\.jpg is a stretched picture; shapes are measured on fluxes"):
        predict_catalogue(
            predictor, CatalogueRequest(tmp_path / "jpegs", tmp_path / "c.parquet", measure=True)
        )
    assert not list(tmp_path.glob("*c.parquet*"))
    with pytest.raises(UsageError, match="use 'morphoscope measure' with --sources"):
        CatalogueRequest("m.fits", "c.parquet", sources="s.csv", measure=True)
    with pytest.raises(UsageError, match="--survey sends pictures unless --bands"):
        CatalogueRequest("p.csv", "c.parquet", survey="sdss", measure=True)
