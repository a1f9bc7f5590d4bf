"""Every format, written block by block and read back by its usual readers."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.io.votable import parse
from astropy.table import Table, meta

from morphoscope.catalogue.columns import Extra, Sets, catalogue_schema, catalogue_table
from morphoscope.catalogue.formats import parquet_csv as formats
from morphoscope.catalogue.formats.parquet_csv import MARK
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import FORMATS, Target, read_provenance, target_of, written
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes

SCHEME = Classes(name="three", classes=("Round Smooth", "Größer", "Edge-on"))
SETS = Sets(0.9, False, np.full(3, 0.3))
EXTRAS = (
    Extra("strangeness", pa.float64(), "how unlike the training", ucd="stat.value"),
    Extra("features", pa.list_(pa.float32(), 4), "of the last layer"),
    Extra("side", pa.float32(), "of the cutout", "arcsec", "phys.angSize"),
    Extra("members", pa.int32(), "networks asked"),
)
SCHEMA = catalogue_schema(SCHEME, SETS, EXTRAS)
PROVENANCE = {
    "program_version": "0.1",
    "date": "2026-11-21T10:00:00+00:00",
    "run": "größter Lauf \\ 7",
    "weights_sha256": "f" * 64,
    "scheme": SCHEME.model_dump_json() + "x" * 200,
    "weights_of_the_second": "a",
    "weights_of_the_third": "b",
    "crop": "",
}
COUNT = 50
IDS = ['J12 "a", <b> & c', "größe-星", "-7", "587722981742215240", "nan"]


def _block(start: int, count: int) -> pa.Table:
    random = np.random.default_rng(start)
    answers = random.dirichlet(np.ones(3), count).astype(np.float32)
    items = []
    for number in range(start, start + count):
        row = {"id": f"{IDS[number % 5]} {number}", "side": 1.5, "members": number}
        if number % 3:
            row |= {"ra": number / 7, "dec": -number / 11}
        if number % 4 == 0:
            row |= {"side": None, "members": None}
        items.append(Item(f"folder/{number}.jpg", lambda: answers, row))
    values = {"strangeness": random.normal(size=count) * 1e-9, "features": random.normal(size=(count, 4))}
    values["features"][0, 1] = np.nan
    return catalogue_table(SCHEME, items, answers, SETS, EXTRAS, values)


BLOCKS = [_block(0, 7), _block(7, 30), _block(37, 13)]
WHOLE = pa.concat_tables(BLOCKS)


def _write(target: Target) -> Path:
    with written(target, target.path, SCHEMA, PROVENANCE, Extent.of(WHOLE)) as writer:
        for block in BLOCKS:
            writer.write(block)
    return target.path


@pytest.fixture(params=sorted(FORMATS))
def catalogue(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return _write(target_of(tmp_path / f"catalogue{request.param}"))


def test_provenance_comes_back_whole(catalogue: Path) -> None:
    if catalogue.suffix != ".csv":
        assert read_provenance(catalogue) == PROVENANCE


def test_the_same_rows_in_other_blocks_are_the_same_file(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "ROW_GROUP", 11)
    first, target = catalogue.read_bytes(), target_of(catalogue)
    catalogue.unlink()
    with written(target, catalogue, SCHEMA, PROVENANCE, Extent.of(WHOLE)) as writer:
        for start in range(0, COUNT, 9):
            writer.write(WHOLE.slice(start, 9))
    if catalogue.suffix == ".parquet":
        again = target_of(catalogue.with_stem("again"))
        first = _write(again).read_bytes()
        groups = pq.ParquetFile(catalogue).metadata
        assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [11, 11, 11, 11, 6]
    assert catalogue.read_bytes() == first


def _check_values(table: Table, *, text: str = "id") -> None:
    """What astropy reads is what was written, to the last digit; unknown is masked."""
    assert len(table) == COUNT
    assert [str(value) for value in table[text]] == WHOLE["id"].to_pylist()
    for name in ("ra", "dec", "side"):
        truth = WHOLE[name].to_pylist()
        mask = np.ma.getmaskarray(np.ma.asarray(table[name])) | ~np.isfinite(np.ma.getdata(table[name]))
        np.testing.assert_array_equal(mask, [value is None for value in truth])
        known = [value for value in truth if value is not None]
        np.testing.assert_array_equal(np.ma.getdata(table[name])[~mask], known)
    np.testing.assert_array_equal(np.ma.filled(table["members"], -1), WHOLE["members"].fill_null(-1))
    np.testing.assert_array_equal(np.ma.getdata(table["strangeness"]), WHOLE["strangeness"])
    features = np.stack(WHOLE["features"].to_pylist()).astype(np.float32)
    found = np.ma.filled(np.ma.asarray(table["features"]), np.nan)
    np.testing.assert_array_equal(found, features)
    for name in ("p_Round_Smooth", "entropy"):
        np.testing.assert_array_equal(np.ma.getdata(table[name]), WHOLE[name])
    assert [str(value) for value in table["predicted"]] == WHOLE["predicted"].to_pylist()
    assert [str(value) for value in table["set"]] == WHOLE["set"].to_pylist()


def _check_columns(table: Table) -> None:
    assert table["ra"].unit == "deg"
    assert table["side"].unit == "arcsec"
    assert table["entropy"].unit is None
    assert table["ra"].description == "right ascension"
    assert table["strangeness"].description == "how unlike the training"
    kinds = {"ra": "f8", "p_Round_Smooth": "f4", "side": "f4", "members": "i4", "features": "f4"}
    assert {name: table[name].dtype.newbyteorder("=").str[1:] for name in kinds} == kinds


def test_fits_through_astropy(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.fits"))
    with fits.open(place) as file:
        file.verify("exception")
        header = file[1].header
        assert header["EXTNAME"] == "CATALOGUE"
        assert header["RUN"] == r"gr\xf6\xdfter Lauf \\ 7"  # FITS headers are ASCII
        assert header["WEIGHTS"] == "f" * 64
        assert header["TUCD3"] == "pos.eq.ra;meta.main"
        assert header["TCOMM3"] == "right ascension"
    assert place.stat().st_size % 2880 == 0
    table = Table.read(place)
    _check_values(table)
    _check_columns(table)
    assert table["ra"].meta["ucd"] == "pos.eq.ra;meta.main"


def test_votable_through_astropy(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.vot"))
    found = parse(place, verify="exception").get_first_table()
    by_name = {field.name: field for field in found.fields}
    assert list(by_name) == SCHEMA.names  # "p_Größer" too
    assert by_name["ra"].ucd == "pos.eq.ra;meta.main"
    table = found.to_table(use_names_over_ids=True)
    _check_values(table)
    _check_columns(table)


def test_ecsv_through_astropy(tmp_path: Path) -> None:
    table = Table.read(_write(target_of(tmp_path / "c.ecsv")))
    _check_values(table)
    _check_columns(table)
    assert table.meta == PROVENANCE
    assert table["ra"].meta == {"ucd": "pos.eq.ra;meta.main"}


def test_csv_through_pyarrow_and_python(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.csv"))
    with open(place, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == SCHEMA.names
    expected = WHOLE.to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in expected]
    assert [row["ra"] and float(row["ra"]) for row in rows] == [
        "" if row["ra"] is None else row["ra"] for row in expected
    ]
    assert [np.float32(row["p_Größer"]) for row in rows] == [np.float32(row["p_Größer"]) for row in expected]
    assert rows[0]["features"].count(",") == 3
    assert pyarrow.csv.read_csv(place)["dec"].to_pylist() == WHOLE["dec"].to_pylist()


def test_parquet_through_pyarrow(tmp_path: Path) -> None:
    place = _write(target_of(tmp_path / "c.parquet"))
    found = pq.read_table(place)
    assert found.schema.remove_metadata() == SCHEMA.remove_metadata()
    assert found.drop_columns(["features"]).to_pylist() == WHOLE.drop_columns(["features"]).to_pylist()
    np.testing.assert_array_equal(
        np.stack(found["features"].to_numpy()), np.stack(WHOLE["features"].to_numpy())
    )
    said = found.schema.field("ra").metadata
    assert (said[b"unit"], said[b"description"], said[b"ucd"]) == (
        b"deg",
        b"right ascension",
        b"pos.eq.ra;meta.main",
    )


def test_parquet_says_what_astropy_asks(tmp_path: Path) -> None:
    """``Table.read`` of Parquet needs pandas, which Morphoscope does not; its own parts read the header."""
    metadata = pq.read_schema(_write(target_of(tmp_path / "c.parquet"))).metadata
    header = meta.get_header_from_yaml(metadata[b"table_meta_yaml"].decode().split("\n"))
    columns = {column["name"]: column for column in header["datatype"]}
    assert columns["ra"]["unit"] == "deg"
    assert columns["entropy"]["description"] == "entropy of the class probabilities, in nats"
    assert dict(header["meta"]) == PROVENANCE
    longest = max(len(identity.encode()) for identity in WHOLE["id"].to_pylist())
    assert metadata[b"table::len::id"].decode() == str(longest)


def test_shards_are_one_table(tmp_path: Path) -> None:
    folder = _write(target_of(tmp_path / "catalogue", 12))
    assert sorted(place.name for place in folder.iterdir()) == [
        MARK,
        *(f"part-0000{number}.parquet" for number in range(5)),
    ]
    rows = [pq.read_metadata(folder / f"part-0000{number}.parquet").num_rows for number in range(5)]
    assert rows == [12, 12, 12, 12, 2]
    found = pyarrow.dataset.dataset(folder).to_table()
    assert found["id"].to_pylist() == WHOLE["id"].to_pylist()
    assert read_provenance(folder) == PROVENANCE == read_provenance(folder / "part-00004.parquet")
    assert pq.read_schema(folder / MARK).field("ra").metadata[b"unit"] == b"deg"


@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv"])
def test_numbers_that_are_none_and_texts_that_xml_forbids(tmp_path: Path, ending: str) -> None:
    rows = pa.table(
        {
            "id": ["a\x01b", "c"],
            "x": pa.array([np.inf, -np.inf], pa.float32()),
            "y": pa.array([np.nan, 1e-300], pa.float64()),
        }
    )
    target = target_of(tmp_path / f"c.{ending}")
    with written(target, target.path, rows.schema, {}, Extent.of(rows)) as writer:
        writer.write(rows)
    table = Table.read(target.path)
    assert np.ma.getdata(table["x"]).tolist() == [np.inf, -np.inf]
    assert np.ma.getdata(table["y"])[1] == 1e-300
    assert np.ma.is_masked(table["y"][0]) or np.isnan(table["y"][0])
    assert str(table["id"][0]) == ("a\ufffdb" if ending == "vot" else "a\x01b")
