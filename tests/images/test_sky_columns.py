from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable, Table

from morphoscope.data.audit import audit_path
from morphoscope.errors import UsageError
from morphoscope.images.image_table import open_table
from morphoscope.images.sky_columns import SkyReader, found_sky, position_of
from morphoscope.images.tables import Columns, columns_of, read_table

RA, DEC = np.array([187.5625, 344.93, 0.0]), np.array([-1.5, 22.25, -0.0042])
HMS = ["12:30:15", "22 59 43.2", "0h0m0s"]
DMS = ["-01:30:00", "+22 15 00.0", "-0d0m15.12s"]


def places(path: Path) -> tuple[np.ndarray, np.ndarray]:
    sky = found_sky(columns_of(path), "t")
    assert sky is not None
    return SkyReader("t", sky)(read_table(path, sky.names), 0)


def check(path: Path) -> None:
    ra, dec = places(path)
    np.testing.assert_allclose(ra, RA, atol=1e-6)
    np.testing.assert_allclose(dec, DEC, atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "factor"), [("deg", 1), ("h", 1 / 15), ("rad", np.pi / 180), ("arcsec", 3600), ("mas", 3.6e6)]
)
@pytest.mark.parametrize("kind", ["fits", "ecsv", "vot", "parquet"])
def test_units_of_columns(tmp_path: Path, kind: str, unit: str, factor: float) -> None:
    path = tmp_path / f"t.{kind}"
    table = Table({"RA": RA * factor, "DEC": DEC if unit == "h" else DEC * factor})
    table["RA"].unit, table["DEC"].unit = unit, "deg" if unit == "h" else unit
    table.write(path, format={"ecsv": "ascii.ecsv", "vot": "votable"}.get(kind, kind))
    check(path)


def test_hour_angles_of_ecsv_and_coordinates_as_objects(tmp_path: Path) -> None:
    table = QTable({"ra": RA / 15 * u.hourangle, "dec": DEC * u.deg})
    table.write(tmp_path / "h.ecsv")
    check(tmp_path / "h.ecsv")
    QTable({"sky": SkyCoord(RA, DEC, unit="deg")}).write(tmp_path / "s.ecsv")
    check(tmp_path / "s.ecsv")


def test_units_in_parquet_metadata_and_in_names(tmp_path: Path) -> None:
    hours = pa.field("ra", pa.float64(), metadata={"unit": "h"})
    columns = [pa.array(RA / 15), pa.array(DEC)]
    pq.write_table(
        pa.table(columns, pa.schema([hours, pa.field("dec", pa.float64())])), tmp_path / "t.parquet"
    )
    check(tmp_path / "t.parquet")
    rows = "".join(f"{ra / 15!r},{dec!r}\n" for ra, dec in zip(RA.tolist(), DEC.tolist(), strict=True))
    (tmp_path / "t.csv").write_text(f"# RA (hours),DEC [deg]\n{rows}")
    check(tmp_path / "t.csv")


def test_a_unit_that_is_no_angles_is_refused(tmp_path: Path) -> None:
    for ra, dec, words in (
        ("pixel", "deg", "'ra' is in 'pixel'; an angle in h, deg"),
        ("deg", "h", "'dec' is"),
    ):
        columns = [fits.Column("ra", "D", ra, array=RA), fits.Column("dec", "D", dec, array=DEC)]
        fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "t.fits", overwrite=True)
        with pytest.raises(UsageError, match=words):
            places(tmp_path / "t.fits")


@pytest.mark.parametrize("kind", ["csv", "fits", "parquet", "vot"])
def test_decimals_are_taken_before_sexagesimal_text(tmp_path: Path, kind: str) -> None:
    text = {"RAJ2000": HMS, "DEJ2000": DMS}
    for names in (("DRAJ2000", "DDECJ2000"), ("_RAJ2000", "_DEJ2000"), ()):
        table = Table(text | dict(zip(names, (RA, DEC), strict=False)))
        if not names:
            table["RAJ2000"].unit = None
        path = tmp_path / f"t.{kind}"
        table.write(path, format={"vot": "votable", "csv": "ascii.csv"}.get(kind, kind), overwrite=True)
        sky = found_sky(columns_of(path), "t")
        assert sky is not None
        assert sky.names == (names or ("RAJ2000", "DEJ2000"))
        check(path)


def test_galactic_columns(tmp_path: Path) -> None:
    galactic = SkyCoord(RA, DEC, unit="deg").galactic
    for longitude, latitude in (("GLON", "GLAT"), ("l", "b")):
        Table({longitude: galactic.l.deg, latitude: galactic.b.deg}).write(
            tmp_path / "g.fits", overwrite=True
        )
        check(tmp_path / "g.fits")


def test_coordinates_in_parts_as_vizier_prints_them(tmp_path: Path) -> None:
    parts = {"RAh": [12, 22, 0], "RAm": [30, 59, 0], "RAs": [15.0, 43.2, 0.0]}
    parts |= {"DE-": ["-", "+", "-"], "DEd": [1, 22, 0], "DEm": [30, 15, 0], "DEs": [0.0, 0.0, 15.12]}
    Table(parts).write(tmp_path / "p.fits")
    check(tmp_path / "p.fits")


def test_one_place_has_one_right_ascension(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "ra,dec,label\n-15.07,22,a\n344.93,22,b\n360,1,\n-1e-18,2,\n-99,-99,\n7,,\n"
    )
    ra, dec = places(tmp_path / "t.csv")
    np.testing.assert_allclose(ra, [344.93, 344.93, 0, 0, np.nan, np.nan])
    np.testing.assert_allclose(dec, [22, 22, 1, 2, np.nan, np.nan])
    found = audit_path(tmp_path / "t.csv", radii=(0.1,))
    assert (found["with_coordinates"], found["radii"][0]["pairs"], found["radii"][0]["conflicting"]) == (
        4,
        1,
        1,
    )


@pytest.mark.parametrize(
    "names",
    [
        "s_ra,s_dec",
        "TARGET_RA,TARGET_DEC",
        "ra_1,dec_1",
        "RA (deg),Dec (deg)",
        "# RA,DEC",
        "RA(deg),DEC(deg)",
    ],
)
def test_names_that_people_have(tmp_path: Path, names: str) -> None:
    rows = "".join(f"{ra!r}, {dec!r}\n" for ra, dec in zip(RA.tolist(), DEC.tolist(), strict=True))
    (tmp_path / "t.csv").write_text(f"{names}\n{rows}")
    check(tmp_path / "t.csv")


def test_odd_cells_are_named_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("ra,dec\n1,1\nnone of it,2\n12:75:00,3\n4,91\n")
    ra, _ = places(tmp_path / "t.csv")
    assert np.isfinite(ra).tolist() == [True, False, False, False]
    assert capsys.readouterr().err.count("ra is 'none of it' in row 2, which is not an angle") == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("ra,dec\n1,1\n2,south\n", "dec is 'south' in row 2, which is not an angle"),
        ("ra,dec\n361,1\n", "ra is '361' in row 1"),
        ("glon,glat\n12h30m15s,1\n", "glon is '12h30m15s' in row 1"),  # Galactic ones have no hours
        (
            "RAh,RAm,RAs,DE-,DEd,DEm,DEs\n12,30,15,-,91,0,0\n",
            "RAh is '12', RAm is '30', RAs is '15', DE- is '-', DEd is '91', DEm is '0', DEs is '0' in row 1",
        ),
    ],
)
def test_the_cell_that_is_no_coordinate_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "t.csv").write_text(content)
    ra, _ = places(tmp_path / "t.csv")
    assert np.isnan(ra[-1])
    assert said in capsys.readouterr().err


def test_a_column_alone_is_no_position() -> None:
    """Neither named by an option nor found by its name is the other."""
    there = Columns(["east", "north", "RAJ2000"], {}, {"east": '"h:m:s"'}, {})
    for given, lacking in (({"ra": "east"}, "--dec-column"), ({"dec": "north"}, "--ra-column")):
        with pytest.raises(UsageError, match=f"alone is not a position; {lacking} was expected as well"):
            found_sky(there, "t", **given)
    sky = found_sky(there, "t", ra="east", dec="north")
    assert sky is not None
    assert sky.units == (1.0, 1.0)  # '"h:m:s"', as VizieR calls sexagesimal text, is no unit of a number
    assert found_sky(there, "t") is None


def test_a_place_in_named_values() -> None:
    assert position_of({"RA": -15.0, "Dec": "+01:30:00"}) == {"ra": 345.0, "dec": 1.5}
    for values in ({"ra": 1.0}, {"ra": "x", "dec": 1}, {"ra": 1, "dec": -99}, {"ra": [1], "dec": 2}):
        assert position_of(values) == {}


@pytest.mark.parametrize("unknown", [-99.0, -999.0, -9999.0, -99.99])
def test_numbers_that_stand_for_no_position(
    tmp_path: Path, unknown: float, capsys: pytest.CaptureFixture[str]
) -> None:
    """−99 beside a declination would be 261°."""
    path = tmp_path / "t.csv"
    path.write_text(f"id,ra,dec\n1,{unknown},2.5\n2,-15.07,-9\n3,,3\n4,99,4\n5,5,-99\n")
    ra, dec = places(path)
    np.testing.assert_array_equal(np.isfinite(ra), [False, True, False, True, False])
    np.testing.assert_array_equal(np.isfinite(ra), np.isfinite(dec))
    assert ra[1] == pytest.approx(344.93)
    said = capsys.readouterr().err
    assert said.count(f"ra is '{unknown}' in row 1, which is a placeholder for an unknown one") == 1
    Table({"ra": np.array([unknown, 10], np.float32), "dec": [1.0, 2.0]}).write(tmp_path / "t.fits")
    np.testing.assert_array_equal(np.isfinite(places(tmp_path / "t.fits")[0]), [False, True])
    assert position_of({"ra": unknown, "dec": 2.5}) == {}


def test_units_with_a_number_and_names_of_source_extractor(tmp_path: Path) -> None:
    """ "15 deg" is what astropy writes into a VOTable for hour angles."""
    table = Table({"id": [1], "ra": [12.5], "dec": [-1.5]})
    table["ra"].unit = "hourangle"
    table.write(tmp_path / "h.vot", format="votable")
    assert places(tmp_path / "h.vot")[0] == pytest.approx(187.5)
    for names in ("X_WORLD,Y_WORLD", "RA2000,DE2000", "ALPHAPEAK_J2000,DELTAPEAK_J2000", "alpha,delta"):
        (tmp_path / "n.csv").write_text(f"id,{names}\n1,187.5,-1.5\n")
        assert places(tmp_path / "n.csv")[0] == pytest.approx(187.5)


@pytest.mark.parametrize(
    ("names", "factor"),
    [("ra_hours,dec", 15), ("RA_hr,DEC_degrees", 15), ("ra_rad,dec_rad", 180 / np.pi), ("ra_degrees,dec", 1)],
)
def test_units_after_an_underscore(tmp_path: Path, names: str, factor: float) -> None:
    down = factor if names.endswith("_rad") else 1
    rows = [f"{ra / factor!r},{dec / down!r}" for ra, dec in zip(RA.tolist(), DEC.tolist(), strict=True)]
    (tmp_path / "t.csv").write_text("\n".join([names, *rows]) + "\n")
    check(tmp_path / "t.csv")


@pytest.mark.parametrize(("names", "lone"), [("id,image,dec", "dec"), ("id,image,RAJ2000", "RAJ2000")])
def test_one_coordinate_alone_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], names: str, lone: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"{names}\n1,a.png,2\n")
    assert open_table(path).sky is None
    assert f"column '{lone}' alone is not a position; ra and dec stay empty" in capsys.readouterr().err
    path.write_text("id,image,alpha\n1,a.png,2\n")
    assert open_table(path).sky is None
    assert capsys.readouterr().err == ""
