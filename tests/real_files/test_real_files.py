"""Real files of surveys and services, each by the function behind the command an astronomer would use.

The table in ``expected.yaml`` says what must come out. The files themselves belong to their authors and are
not in the repository.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from astropy.wcs import WCS
from scipy.stats import rankdata

from morphoscope.catalogue.formats.convert import convert
from morphoscope.catalogue.inputs.open import open_input
from morphoscope.data.sources.galaxy10 import ingest_galaxy10
from morphoscope.errors import MorphoscopeError
from morphoscope.images.bands import parse_bands
from morphoscope.images.decode import read_image
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.positions import SourceColumns, SourceTable
from morphoscope.images.tables import columns_of, iterate_table


def _module_beside(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pictures = _module_beside("pictures")
EXPECTED = yaml.safe_load((Path(__file__).parent / "expected.yaml").read_text(encoding="utf-8"))


def rows(kind: str) -> list[Any]:
    return [pytest.param(row, id=row.get("file") or row["pattern"]) for row in EXPECTED[kind]]


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    found = shared_data / "real_files"
    if not found.is_dir():
        pytest.skip("the real files (../shared/data/real_files) are not here")
    return found


def file_of(folder: Path, row: dict[str, Any]) -> Path:
    path = folder / row["file"]
    if not path.exists():
        pytest.skip(f"{row['file']} is not here")
    return path


def test_every_file_has_an_expected_answer(folder: Path):
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"INDEX.md"}
    said = {name for part in EXPECTED.values() for row in part for name in named(row)}
    folders = tuple(name + "/" for name in said)
    assert {name for name in there - said if not name.startswith(folders)} == set()


def named(row: dict[str, Any]) -> list[str]:
    return row.get("files", []) + ([row["file"]] if "file" in row else [])


# Single images


@pytest.mark.parametrize("row", rows("images"))
def test_single_images(folder: Path, row: dict[str, Any]):
    bands, found = parse_bands(row.get("bands")), {}
    if "pattern" in row:
        (item,) = open_input(f"{folder}/{row['pattern']}", bands=bands).items
        image, found = item.load(), item.found
    else:
        image = read_image(file_of(folder, row), bands=bands, found=found)
    assert (found.get("bands"), found.get("orientation")) == (row.get("shown"), row.get("way"))
    assert "; ".join(found.get("quality", ())) == row.get("quality", "")
    assert image.dtype == np.uint8
    if "planes" not in row and "files" not in row:
        assert image.shape == (*row["shape"], 3)
        return
    planes = list(planes_of(folder, row))
    turned = best_turn(planes[0][1]) if row["sky"] else as_stored
    assert image.shape[:2] == turned(planes[0][0]).shape
    for channel, (pixels, _) in zip(np.moveaxis(image, 2, 0), planes * (3 // len(planes)), strict=True):
        expected = turned(pixels)
        likeness = correlation(channel, expected)
        assert likeness > 0.9
        others = [
            correlation(channel, turn(expected))
            for turn in TURNS[1:]
            if turn(expected).shape == channel.shape
        ]
        assert likeness > max(others) + 0.02, "another way round fits as well"
    assert (len(planes) == 1) == bool((image == image[:, :, :1]).all())
    (grey,) = np.unique(image[~np.isfinite(turned(planes[0][0]))], axis=0) if row.get("dark") else ([],)
    assert not len(grey)


def planes_of(folder: Path, row: dict[str, Any]) -> Iterator[tuple[np.ndarray, WCS]]:
    """The planes as measured, and their coordinates, by astropy."""
    places = (
        [(name, 0, 0) for name in row["files"]]
        if "files" in row
        else [(row["file"], unit, plane) for unit, plane in row["planes"]]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, unit, plane in places:
            with fits.open(folder / name, memmap=False) as units:
                data = np.asarray(units[unit].data, float)
                yield (
                    data.reshape(-1, *data.shape[-2:])[plane],
                    WCS(units[unit].header, fobj=units).sub([1, 2]),
                )


def as_stored(pixels: np.ndarray) -> np.ndarray:
    return pixels[::-1]


def best_turn(wcs: WCS) -> Any:
    """Of the eight ways to show an image's rows, the one with north up and east left, by astropy's places."""
    x, y = np.meshgrid([0.0, 50.0], [0.0, 50.0])
    sky = wcs.pixel_to_world(x, y).icrs
    dec, ra = sky.dec.deg, (sky.ra.deg - sky.ra.deg[0, 0] + 180) % 360

    def north_up_and_east_left(turn: Any) -> float:
        d, r = turn(dec[::-1]), turn(ra[::-1])
        size = np.hypot(np.ptp(d, axis=0).max(), np.ptp(d, axis=1).max())
        north = (d[0] - d[1]).mean() / size
        east = (r[:, 0] - r[:, 1]).mean() / np.hypot(np.ptp(r, axis=0).max(), np.ptp(r, axis=1).max())
        return float(north + east)

    best = max(TURNS, key=north_up_and_east_left)
    return lambda pixels: best(pixels[::-1])


TURNS = [
    lambda image, k=k, mirror=mirror: np.rot90(image[:, ::-1] if mirror else image, k)
    for mirror in (False, True)
    for k in range(4)
]


def correlation(shown: np.ndarray, measured: np.ndarray) -> float:
    """Of ranks, which no stretch changes, where both the sky's noise and black are left behind."""
    step = max(1, measured.size // 40_000)
    known = np.isfinite(measured)
    bright = known & (measured > np.median(measured[known]))
    return float(
        np.corrcoef(rankdata(shown[bright][::step]), rankdata(measured[bright][::step]))[0, 1]
        if bright.any()
        else 0.0
    )


# Beside the surveys' own pictures


def test_a_hips_tile_shows_the_sky_of_its_jpeg_the_same_way_up(folder: Path):
    image = read_image(file_of(folder, {"file": "hips-dss/Npix448.fits"}))[:, :, 0]
    jpeg = read_image(file_of(folder, {"file": "hips-dss/Npix448.jpg"})).mean(axis=2)
    likeness = [correlation(image, turn(jpeg)) for turn in TURNS]
    assert likeness[0] > 0.85
    assert likeness[0] > max(likeness[1:]) + 0.3


@pytest.mark.parametrize("case", [0, 4, 5, 6], ids=["Legacy Surveys", "2MASS", "JWST", "HSC"])
def test_hues_are_those_of_the_published_formula(folder: Path, case: int):
    """Of the Legacy Surveys' viewer, else of Lupton et al. (2004), made with astropy alone."""
    shown = pictures.CASES[case]
    file_of(folder, {"file": shown.planes[0][0]})
    image = pictures.ours(folder, shown)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = pictures.theirs(folder, shown, image.shape)
    likeness, pixels = pictures.hue_likeness(image, other)
    assert pixels > 100
    assert likeness > 0.95


# Mosaics


@pytest.mark.parametrize("row", rows("mosaics"))
def test_mosaics(folder: Path, row: dict[str, Any]):
    (mosaic,) = open_mosaics(file_of(folder, row), parse_bands(row.get("bands")))
    height, width = row["shape"]
    assert mosaic.shape == (height, width)
    assert len(mosaic.chips) == row.get("chips", 1)
    left, bottom, right, top = row.get("part", [0, 0, width, height])
    box = mosaic.box(slice(bottom, top), slice(left, right))
    assert np.isfinite(box).mean() == pytest.approx(row["covered"], abs=6e-5)
    if "value" in row:
        x, y, value = row["value"]
        assert mosaic.box(slice(y, y + 1), slice(x, x + 1))[0, 0] == pytest.approx(value, rel=1e-5)
    assert mosaic.flux.unit == {"counts": "", "none": "assumed"}.get(row["unit"], row["unit"])
    assert mosaic.flux.nanomaggies == (
        pytest.approx(row["nanomaggies"], rel=1e-5) if "nanomaggies" in row else None
    )
    assert (mosaic.wcs is not None) == ("place" in row)
    for x, y, ra, dec in row.get("place", []):
        (found_x,), (found_y,) = mosaic.pixels_of(np.array([ra]), np.array([dec]))
        assert (found_x, found_y) == pytest.approx((x, y), abs=0.1)
        (found_ra,), (found_dec,) = mosaic.positions_of(np.array([x]), np.array([y]))
        assert (found_ra, found_dec) == pytest.approx((ra, dec), abs=2e-6)


# Tables


@pytest.mark.parametrize("row", rows("tables"))
def test_tables_of_sources(folder: Path, row: dict[str, Any], capsys: pytest.CaptureFixture[str]):
    columns = columns_of_sources(file_of(folder, row))
    units = columns_of(columns.files[0]).units
    assert {name: units.get(name, "") for name in columns.sky.names} == row["position"]
    nulls = row.get("nulls", {})
    pieces = [piece for file in columns.files for piece in iterate_table(file, list(nulls))] if nulls else []
    assert {name: sum(piece[name].null_count for piece in pieces) for name in nulls} == nulls
    ids, ra, dec = sources_in(columns)
    assert len(ids) == row["rows"]
    if "ids" in row:
        assert [ids[0], ids[-1]] == row["ids"]
    assert re.search(row.get("note", ""), capsys.readouterr().err)
    placed = np.isfinite(ra) & np.isfinite(dec)
    assert int((~placed).sum()) == row["unplaced"]
    assert np.all((ra[placed] >= 0) & (ra[placed] < 360))
    if "place" in row:
        number, expected_ra, expected_dec = row["place"]
        assert int(np.flatnonzero(placed)[0]) == number
        assert (ra[number], dec[number]) == pytest.approx((expected_ra, expected_dec), abs=5e-6)


def columns_of_sources(path: Path) -> SourceColumns:
    return SourceColumns.of(SourceTable(path, 10.0))


def sources_in(columns: SourceColumns) -> tuple[list[str], np.ndarray, np.ndarray]:
    pieces = list(columns.rows())
    return (
        [name for piece in pieces for name in piece.ids],
        np.concatenate([piece.ra for piece in pieces]),
        np.concatenate([piece.dec for piece in pieces]),
    )


@pytest.mark.parametrize("row", rows("archives"))
def test_archives(folder: Path, row: dict[str, Any]):
    items = list(open_input(file_of(folder, row)).items)
    assert [item.row["id"] for item in items] == row["ids"]
    for item in items:
        with pytest.raises(MorphoscopeError, match=row["words"]):
            item.load()


@pytest.mark.parametrize("row", rows("hats"))
def test_hats(folder: Path, tmp_path: Path, row: dict[str, Any]):
    pytest.importorskip("cdshealpix")
    assert convert(file_of(folder, row), tmp_path / "c.parquet") == row["rows"]
    table = pq.read_table(tmp_path / "c.parquet")
    assert table.num_rows == row["rows"]
    assert {name: str(table.schema.field(name).type) for name in row["id"]} == row["id"]


# Refusals


WAYS = {
    "image": read_image,
    "mosaic": open_mosaics,
    "table": columns_of_sources,
    "input": open_input,
    "galaxy10": lambda path: ingest_galaxy10(path, path.parent / "store"),
}


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row['file']} as {row['as']}") for row in EXPECTED["refused"]]
)
def test_refusals_are_one_sentence_that_names_the_file(folder: Path, row: dict[str, Any]):
    path = file_of(folder, row)
    with pytest.raises(MorphoscopeError, match=row["words"]) as raised:
        WAYS[row["as"]](path)
    said = str(raised.value)
    assert path.name in said or path.parent.name in said
    assert "\n" not in said
