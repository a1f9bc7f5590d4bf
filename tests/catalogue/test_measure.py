"""Tables of measured shapes."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from morphoscope.catalogue.measure import MeasureRequest, measure_catalogue
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.measurement import ShapeSettings
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
