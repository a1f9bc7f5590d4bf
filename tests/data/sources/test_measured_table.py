"""Tables with measurements: units and UCDs from any format, errors, missing values, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table
from typer.testing import CliRunner

from morphoscope.cli import app
from morphoscope.data.sources.table import ingest_table
from morphoscope.data.store import describe, description_lines, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels import MeasuredColumns
from morphoscope.labels.scheme import Measurements

COUNT = 8
COLUMNS: dict[str, list] = {
    "file": [f"{number}.png" for number in range(COUNT)],
    "z": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, -99],
    "e_z": [0.01, 0.02, 0.01, 0.02, 0.01, 0.02, 0.01, -99],
    "bar": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("measured")
    for number in range(COUNT):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((8, 8, 3), 10 * number, np.uint8))
    return folder


def write_csv(folder: Path, name: str = "table.csv", **changes: list[Any]) -> Path:
    columns = {**COLUMNS, **changes}
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if v is None else str(v) for v in row) for row in rows)]
    (folder / name).write_text("\n".join(lines))
    return folder / name


def test_command_reads_values_errors_units_and_placeholders(folder: Path, tmp_path: Path) -> None:
    arguments = ["data", "ingest", "table", str(write_csv(folder)), str(tmp_path / "s")]
    arguments += ["--value-column", "z", "--error-column", "z=e_z", "--redshift", "z", "--missing", "-99"]
    done = CliRunner().invoke(app, [*arguments, "--value-column", "bar", "--unit", "bar=arcsec"])
    assert done.exit_code == 0, done.output
    store = open_store(tmp_path / "s")
    scheme = store.need_scheme()
    assert isinstance(scheme, Measurements)
    assert [(each.name, each.error, each.unit, each.ucd) for each in scheme.quantities] == [
        ("z", "e_z", "", "src.redshift.phot"),
        ("bar", None, "arcsec", ""),
    ]
    assert scheme.redshifts == ("z",)
    targets = store.targets()
    np.testing.assert_allclose(targets[:7, 0], COLUMNS["z"][:7], rtol=1e-6)
    assert np.isnan(targets[7, 0])
    assert targets[7, 1:].tolist() == [8, 0, 0]
    assert store.labelled().all()
    assert "bar, median" in "\n".join(description_lines(describe(store)))


@pytest.mark.parametrize("kind", ["fits", "vot", "ecsv", "parquet"])
def test_units_and_ucds_are_the_tables_own(folder: Path, tmp_path: Path, kind: str) -> None:
    table = Table(COLUMNS)
    table["bar"] = MaskedColumn(table["bar"], unit=units.arcsec, mask=[True] + [False] * 7)
    table["bar"].meta["ucd"] = "phys.angSize;meta.main"
    path = folder / f"table.{kind}"
    table.write(path, format={"vot": "votable", "ecsv": "ascii.ecsv"}.get(kind, kind), overwrite=True)
    if kind == "fits":
        from astropy.io import fits

        fits.setval(path, "TUCD4", value="phys.angSize;meta.main", ext=1)
    store = ingest_table(path, tmp_path / "s", measured=MeasuredColumns(("bar",)))
    (quantity,) = store.need_scheme().quantities  # type: ignore[attr-defined]
    assert (quantity.unit, quantity.ucd) == ("arcsec", "phys.angSize")
    assert np.isnan(store.targets()[0, 0])
    assert store.labelled().tolist() == [False] + [True] * 7


def test_what_is_missing_and_what_looks_like_a_placeholder_is_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_csv(
        folder,
        bar=[-99, -99, -99, 1.1, 1.2, 1.3, 1.4, None],
        e_z=[0.1, None, 0.1, 0.1, 0.1, 0.1, 0.1, None],
        z=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, None],
    )
    ingest_table(path, tmp_path / "s", measured=MeasuredColumns(("bar", "z"), errors={"z": "e_z"}))
    said = capsys.readouterr().err
    assert "1 of 8 galaxies have no value of any quantity" in said
    assert "1 galaxies have 'z' and no 'e_z'; taken as exact" in said
    ingest_table(path, tmp_path / "t", measured=MeasuredColumns(("bar",)))
    far = write_csv(folder, bar=[-99, -99, -99, *(1.1 + 0.01 * n for n in range(5))], file=COLUMNS["file"])
    ingest_table(far, tmp_path / "u", measured=MeasuredColumns(("bar",)))
    capsys.readouterr()
    many = {name: [*values, *values, *values] for name, values in COLUMNS.items()}
    many["bar"] = [*many["bar"][:20], -99, -99, -99, -99]
    ingest_table(write_csv(folder, **many), tmp_path / "v", measured=MeasuredColumns(("bar",)))
    assert "'bar' is -99 for 4 galaxies, far from all others; if that means 'none'" in capsys.readouterr().err
    many["bar"][-3:] = [1.0, 1.1, 1.2]
    ingest_table(write_csv(folder, **many), tmp_path / "w", measured=MeasuredColumns(("bar",)))
    assert "'bar' is -99 for 1 galaxy, far from all others" in capsys.readouterr().err
    many["bar"][-4] = -98.0  # a wild value by itself is no placeholder
    ingest_table(write_csv(folder, **many), tmp_path / "x", measured=MeasuredColumns(("bar",)))
    assert "far from all others" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "measured", "match"),
    [
        ({"bar": [3.0] * 8}, MeasuredColumns(("bar",)), "'bar' is 3 for all 8 galaxies, so that nothing can"),
        ({"bar": [None] * 8}, MeasuredColumns(("bar",)), r"column 'bar' is empty \(NaN\) in all 8 rows"),
        ({"bar": [2.0] + [None] * 7}, MeasuredColumns(("bar",)), "'bar' is 2 for the only galaxy that has a"),
        (
            {"bar": [*range(7), "wide"]},
            MeasuredColumns(("bar",)),
            "row 8 of column 'bar' is 'wide'; a number",
        ),
        ({"bar": [*range(7), "inf"]}, MeasuredColumns(("bar",)), "galaxy 7: 'bar' is inf; a finite number"),
        (
            {"bar": [*range(7), 1e44]},
            MeasuredColumns(("bar",)),
            r"'bar' is 1e\+44; at most 1e\+30 was",
        ),
        ({}, MeasuredColumns(("z",), redshifts=("z",)), "galaxy 7: 'z' is -99; a redshift is above -1"),
        ({}, MeasuredColumns(("z",), errors={"z": "e_z"}), "galaxy 7: 'e_z' is -99; an error above 0"),
        (
            {"e_z": [0, *[1] * 7]},
            MeasuredColumns(("z",), errors={"z": "e_z"}),
            "galaxy 0: 'e_z' is 0; an error",
        ),
        ({}, MeasuredColumns(("z",), errors={"z": "z_err"}), "has no column 'z_err'"),
        ({}, MeasuredColumns(("zz",)), "has no column 'zz'"),
        (
            {},
            MeasuredColumns(("z",), errors={"bar": "e_z"}),
            "--error-column is given for 'bar', which is no",
        ),
        ({}, MeasuredColumns(("z",), redshifts=("bar",)), "--redshift is given for 'bar', which is no value"),
        ({}, MeasuredColumns(("z",), units={"y": "m"}), "--unit is given for 'y', which is no value column"),
        ({}, MeasuredColumns(("z", "z")), "'z' makes a column 'z' of a catalogue, and there are two of them"),
        ({"ra": [1] * 8}, MeasuredColumns(("ra",)), "'ra' makes a column 'ra' of a catalogue, and a catal"),
        ({"z_error": [1] * 8}, MeasuredColumns(("z", "z_error")), "'z' makes a column 'z_error' of a"),
    ],
)
def test_bad_columns_are_refused_in_one_sentence(
    folder: Path, tmp_path: Path, changes: dict[str, list[Any]], measured: MeasuredColumns, match: str
) -> None:
    with pytest.raises((UsageError, MorphoscopeError), match=match):
        ingest_table(write_csv(folder, **changes), tmp_path / "s", measured=measured)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (["--redshift", "z"], "--redshift needs --value-column"),
        (["--value-column", "z", "--label-column", "file"], "--value-column exclude each other"),
        (["--value-column", "z", "--error-column", "e_z"], "--error-column e_z: VALUE=OTHER was expected"),
        (["--value-column", "z", "--unit", "z=m", "--unit", "z=km"], "--unit is given twice for 'z'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    folder: Path, tmp_path: Path, options: list[str], match: str
) -> None:
    arguments = ["data", "ingest", "table", str(write_csv(folder)), str(tmp_path / "s"), *options]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code != 0
    assert match in (str(done.exception) + done.output)
