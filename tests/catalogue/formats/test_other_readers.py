"""Ids, units, unknown values, descriptions and provenance as other programs read them; skipped without these.

STILTS and fitsverify come from Debian (``apt install stilts starlink-ecsv-java fitsverify``). The Python
readers want an environment of their own, for LSDB alone brings 25 packages::

    uv venv readers
    uv pip install -p readers lsdb polars duckdb fitsio fastparquet astropy
    MORPHOSCOPE_READERS=readers/bin/python .venv/bin/pytest tests/catalogue/formats/test_other_readers.py
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.catalogue.columns import catalogue_schema, catalogue_table
from morphoscope.catalogue.formats.convert import convert
from morphoscope.catalogue.formats.write import read_provenance, target_of, write_catalogue
from morphoscope.images.stream import Item
from morphoscope.labels.scheme import Classes, Column

READERS = os.environ.get("MORPHOSCOPE_READERS")
COUNT = 12
FIRST = 587722981742215240  # an SDSS objID: more digits than a double holds
SCHEME = Classes(name="two", classes=("In-between Round Smooth", "Größer"))
EXTRAS = (
    Column("name", pa.string(), "of the catalogue"),
    Column("members", pa.int32(), "networks"),
    Column("embedding", pa.list_(pa.float32(), 3), "features of the network before its head"),
)
PROVENANCE = {
    "program": "morphoscope",
    "date": "2026-11-21T10:00:00+00:00",
    "run": "größter Lauf \\ 7",
    "scheme": SCHEME.model_dump_json() + "x" * 100,
    "weights_sha256": "f" * 64,
}
IDS = [FIRST + number for number in range(COUNT)]
NAMES = ["größe-星" if number % 3 else f"<{number}> & 'J12'" for number in range(COUNT)]
ASCII = [name.encode("ascii", "backslashreplace").decode() for name in NAMES]
RA = [150.0 + number / 100 if number % 5 else None for number in range(COUNT)]
MEMBERS = [number if number % 4 else None for number in range(COUNT)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("catalogues")
    items = []
    for number in range(COUNT):
        row: dict[str, Any] = {"id": IDS[number], "name": NAMES[number], "members": MEMBERS[number]}
        if RA[number] is not None:
            row |= {"ra": RA[number], "dec": 2.0}
        items.append(Item(f"{number}.jpg", lambda: np.zeros((1, 1, 3), np.uint8), row))
    answers = np.random.default_rng(0).dirichlet(np.ones(2), COUNT).astype(np.float32)
    values = {"embedding": np.random.default_rng(1).normal(size=(COUNT, 3)).astype(np.float32)}
    table = catalogue_table(SCHEME, items, answers, None, EXTRAS, values, integer_ids=True)
    for name in ("c.fits", "c.vot", "c.ecsv", "c.csv", "c.hats"):
        write_catalogue(target_of(folder / name, 5 if name == "c.hats" else None), table, PROVENANCE)
    half = pa.list_(pa.float16(), 3)
    fields = list(catalogue_schema(SCHEME, None, EXTRAS, integer_ids=True))
    fields[-1] = fields[-1].with_type(half)
    halved = table.set_column(table.num_columns - 1, fields[-1], table["embedding"].cast(half))
    write_catalogue(target_of(folder / "c.parquet"), halved.cast(pa.schema(fields)), PROVENANCE)
    write_catalogue(target_of(folder / "parts", 5), halved.cast(pa.schema(fields)), PROVENANCE)
    convert(folder / "c.parquet", folder / "single.parquet", float32=True)
    return folder


def _stilts(*arguments: str) -> str:
    if shutil.which("stilts") is None:
        pytest.skip("STILTS is not installed")
    done = subprocess.run(
        ["stilts", "-Dfile.encoding=UTF-8", *arguments], capture_output=True, text=True, timeout=120
    )
    if "No table handler available for" in done.stderr:
        pytest.skip("this STILTS is without the package of a format (Debian: starlink-ecsv-java)")
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_votlint_finds_nothing(folder: Path) -> None:
    assert _stilts("votlint", str(folder / "c.vot")) == ""


@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv", "csv"])
def test_stilts_reads_values_and_joins_integer_ids(folder: Path, tmp_path: Path, ending: str) -> None:
    other = tmp_path / "other.csv"
    other.write_text("objid,z\n" + "".join(f"{i},0.{i % 10}\n" for i in IDS[3:]), encoding="utf-8")
    joined = tmp_path / "joined.csv"
    _stilts(
        *("tmatch2", f"in1={folder / f'c.{ending}'}", f"ifmt1={_FORMATS.get(ending, ending)}"),
        *(f"in2={other}", "ifmt2=csv", "matcher=exact", "values1=id", "values2=objid"),
        *(f"out={joined}", "ofmt=csv"),
    )
    with open(joined, newline="", encoding="utf-8") as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    assert sorted(rows) == IDS[3:]
    for number in range(3, COUNT):
        row = rows[IDS[number]]
        assert (float(row["ra"]) if row["ra"] else None) == RA[number]
        assert (int(row["members"]) if row["members"] else None) == MEMBERS[number]
        if ending == "fits":
            assert row["name"] == ASCII[number]


_FORMATS = {"vot": "votable"}


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["fits", "vot", "ecsv"])
@pytest.mark.parametrize("saved", ["vot", "fits", "ecsv"])
def test_provenance_units_and_descriptions_survive_stilts(
    folder: Path, tmp_path: Path, ending: str, saved: str
) -> None:
    out = tmp_path / f"saved.{saved}"
    _stilts("tcopy", str(folder / f"c.{ending}"), str(out), f"ifmt={_FORMATS.get(ending, ending)}")
    expected = PROVENANCE
    if (ending, saved) != (
        "fits",
        "ecsv",
    ) and saved == "ecsv":  # where STILTS 3.4.7 writes ? for other letters
        expected = {name: text.encode("ascii", "replace").decode() for name, text in PROVENANCE.items()}
    assert read_provenance(out).items() >= expected.items()
    listed = _stilts("tpipe", f"in={out}", "omode=meta", f"ifmt={_FORMATS.get(saved, saved)}")
    ra = next(line for line in listed.splitlines() if " ra(" in line or " ra " in line)
    assert "deg" in ra
    assert "right ascension" in ra


def test_fitsverify_warns_of_names_alone(folder: Path) -> None:
    if shutil.which("fitsverify") is None:
        pytest.skip("fitsverify is not installed")
    done = subprocess.run(["fitsverify", str(folder / "c.fits")], capture_output=True, text=True, timeout=60)
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("***")]
    assert said
    assert all("Warning: Column #" in line and 'Name "p_' in line for line in said[:-1]), said
    assert "0 error(s)" in done.stdout


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    if READERS is None:
        pytest.skip("MORPHOSCOPE_READERS names no Python with lsdb, polars, duckdb, fitsio and fastparquet")
    script = Path(__file__).with_name("read_back.py")
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [READERS, str(script), str(folder)], capture_output=True, text=True, timeout=250, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _values(names: list[str] = NAMES, *, keep: list[int] | None = None, **change: Any) -> dict[str, Any]:
    rows = range(COUNT) if keep is None else keep
    columns = {"id": IDS, "name": names, "ra": RA, "members": MEMBERS} | change
    return {name: [values[row] for row in rows] for name, values in columns.items()}


PLACED = [number for number in range(COUNT) if RA[number] is not None]


def test_astropy(found: dict[str, Any]) -> None:
    said = {"unit": "deg", "description": "right ascension"}
    run = PROVENANCE["run"]
    escaped = run.encode("unicode_escape").decode()
    assert found["of_astropy"] == {
        "c.fits": _values(ASCII) | said | {"run": escaped},
        "c.vot": _values() | said | {"run": None},  # astropy's tables leave INFO elements out
        "c.ecsv": _values() | said | {"run": run},
        "c.parquet": _values() | said | {"run": run},
    }


def test_fitsio(found: dict[str, Any]) -> None:
    null = int(np.iinfo(np.int32).min)
    numbers = [null if value is None else value for value in MEMBERS]
    run = PROVENANCE["run"].encode("unicode_escape").decode()
    assert found["of_fitsio"] == {"c.fits": _values(ASCII, members=numbers) | {"unit": "deg", "run": run}}


def test_polars(found: dict[str, Any]) -> None:
    whole = _values()
    assert found["of_polars"] == {
        "c.parquet": whole,
        "parts/*.parquet": whole,
        "c.hats/dataset/**/*.parquet": _values(keep=PLACED),
        "c.csv": whole,
        "parts": "directory contained paths with different file extensions",
    }


def test_duckdb(found: dict[str, Any]) -> None:
    assert found["of_duckdb"] == dict.fromkeys(
        ("c.parquet", "c.csv", "parts/*.parquet", "c.hats/**/*.parquet"), _values()
    )


def test_fastparquet_needs_single_precision(found: dict[str, Any]) -> None:
    said = found["of_fastparquet"]
    assert said["c.parquet"].pop("embedding") == "bytes_"
    assert said["single.parquet"]["embedding"] == "float32"
    assert said["c.parquet"] == _values()


def test_lsdb(found: dict[str, Any]) -> None:
    said = found["of_lsdb"]["c.hats"]
    assert said.pop("valid") is True
    assert said.pop("matched") == len(PLACED)
    assert said == _values(keep=PLACED) | {
        "cone": [],
        "unit": "deg",
        "description": "right ascension",
        "run": PROVENANCE["run"],
    }


def test_hats_that_lsdb_wrote(found: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    del found
    for name in ("alone", "collection", "folders"):
        assert convert(folder / "lsdb" / name, tmp_path / f"{name}.fits") == len(PLACED)
