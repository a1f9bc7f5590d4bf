"""Matches by position, compared with astropy's own."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from astropy.table import Table

from morphoscope.catalogue.formats.convert import convert
from morphoscope.catalogue.match import MatchRequest, match
from morphoscope.errors import UsageError


def _sky(count: int, seed: int, centre: tuple[float, float] = (359.99, 60.0)) -> SkyCoord:
    """Positions within an arcminute or so, across 0h."""
    draw = np.random.default_rng(seed)
    dec = centre[1] + draw.uniform(-0.01, 0.01, count)
    ra = centre[0] + draw.uniform(-0.02, 0.02, count) / np.cos(np.radians(dec))
    return SkyCoord(ra % 360, dec, unit="deg")


def _table(sky: SkyCoord, path: Path, **columns: list) -> Path:
    values = {"id": np.arange(len(sky)), "ra": sky.ra.deg, "dec": sky.dec.deg, **columns}
    pq.write_table(pa.table(values), path)
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[SkyCoord, SkyCoord, Path, Path]:
    one, other = _sky(400, 1), _sky(500, 2)
    left = _table(one, tmp_path / "one.parquet", predicted=["spiral"] * 400)
    right = _table(other, tmp_path / "other.parquet", mag=list(np.linspace(10, 20, 500)))
    return one, other, left, right


def _read(path: Path) -> list[dict]:
    return pq.read_table(path).to_pylist()


def test_the_nearest_of_each_row_is_astropys(tables: tuple[SkyCoord, SkyCoord, Path, Path], tmp_path: Path):
    one, other, left, right = tables
    found = match(MatchRequest(left, right, tmp_path / "m.parquet", radius=3, ways="nearest", all_rows=True))
    index, separation, _ = one.match_to_catalog_sky(other)
    arcsec = separation.arcsec
    rows = _read(tmp_path / "m.parquet")
    assert [row["id"] for row in rows] == list(range(400))
    assert [row["id_2"] for row in rows] == [
        int(i) if d <= 3 else None for i, d in zip(index, arcsec, strict=True)
    ]
    near = np.array([row["separation"] for row in rows if row["separation"] is not None])
    assert np.allclose(near, arcsec[arcsec <= 3], atol=1e-7)
    assert (found.rows, found.matched, found.written) == (400, int((arcsec <= 3).sum()), 400)
    assert 50 < found.matched < 350


def test_mutual_matches_are_each_others_nearest(
    tables: tuple[SkyCoord, SkyCoord, Path, Path], tmp_path: Path
):
    one, other, left, right = tables
    match(MatchRequest(left, right, tmp_path / "m.parquet", radius=3))
    forth, separation, _ = one.match_to_catalog_sky(other)
    back = other.match_to_catalog_sky(one)[0]
    expected = [(a, int(b)) for a, b in enumerate(forth) if back[b] == a and separation[a].arcsec <= 3]
    assert [(row["id"], row["id_2"]) for row in _read(tmp_path / "m.parquet")] == expected


def test_all_pairs_are_astropys_and_candidates_counts_them(
    tables: tuple[SkyCoord, SkyCoord, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one, other, left, right = tables
    monkeypatch.setattr("morphoscope.catalogue.match._PAIRS", 50)  # so that the pairs come in many chunks
    match(MatchRequest(left, right, tmp_path / "m.parquet", radius=5, ways="all"))
    first, second, _, _ = search_around_sky(one, other, 5 * u.arcsec)
    rows = _read(tmp_path / "m.parquet")
    assert sorted((row["id"], row["id_2"]) for row in rows) == sorted(
        zip(first.tolist(), second.tolist(), strict=True)
    )
    counts = np.bincount(first, minlength=400)
    assert all(row["candidates"] == counts[row["id"]] for row in rows)


def test_columns_keep_types_units_and_names(tmp_path: Path):
    ours = pa.table(
        {"id": [7, 8], "ra": [10.0, 11.0], "dec": [0.0, 1.0], "p": pa.array([0.5, 0.25], pa.float32())}
    )
    field = pa.field("p", pa.float32(), metadata={"unit": "mag", "description": "a number"})
    schema = ours.schema.set(3, field)
    pq.write_table(
        ours.cast(schema).replace_schema_metadata({"morphoscope.run": "my-run"}), tmp_path / "c.parquet"
    )
    (tmp_path / "t.csv").write_text(
        "objid,RA (hours),dec,name,p,good\n007,0.7333333333,1.0001,b,1,true\n008,5,5,c,2.5,false\n"
    )
    match(MatchRequest(tmp_path / "c.parquet", tmp_path / "t.csv", tmp_path / "m.parquet"))
    table = pq.read_table(tmp_path / "m.parquet")
    (row,) = table.to_pylist()
    assert {k: row[k] for k in ("id", "objid", "name", "p", "p_2", "good")} == {
        "id": 8,
        "objid": "007",
        "name": "b",
        "p": 0.25,
        "p_2": 1.0,
        "good": 1,
    }
    assert row["separation"] == pytest.approx(0.36, abs=0.01)
    assert table.schema.field("p").metadata[b"unit"] == b"mag"
    assert table.schema.field("separation").metadata[b"unit"] == b"arcsec"
    about = table.schema.metadata
    assert (about[b"morphoscope.run"], about[b"morphoscope.match_radius"]) == (b"my-run", b"2 arcsec")
    match(MatchRequest(tmp_path / "c.parquet", tmp_path / "t.csv", tmp_path / "m.fits"))
    assert Table.read(tmp_path / "m.fits")["objid"][0] == "007"


def test_duplicates_and_rows_without_a_position(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    left = pa.table({"id": list("abc"), "ra": [1.0, 1.0, None], "dec": [2.0, 2.0, 2.0]})
    pq.write_table(left, tmp_path / "l.parquet")
    (tmp_path / "r.csv").write_text("name,ra,dec\nx,1,2\nnowhere,nan,2\n")
    request = MatchRequest(tmp_path / "l.parquet", tmp_path / "r.csv", tmp_path / "m.parquet", ways="nearest")
    found = match(request)
    assert (found.matched, found.others) == (2, 1)
    said = capsys.readouterr().err
    assert "1 of 3 rows have no position and no match" in said
    assert "2 rows are matched to 1 objects" in said
    match(MatchRequest(tmp_path / "l.parquet", tmp_path / "r.csv", tmp_path / "one.parquet"))
    assert [row["id"] for row in _read(tmp_path / "one.parquet")] == ["a"]


def test_a_hats_catalogue_is_matched_tile_by_tile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("cdshealpix")
    draw = np.random.default_rng(3)
    everywhere = SkyCoord(
        draw.uniform(0, 360, 3000), np.degrees(np.arcsin(draw.uniform(-1, 1, 3000))), unit="deg"
    )
    one = everywhere[:400].directional_offset_by(30 * u.deg, 0.5 * u.arcsec)
    near = one[one.dec.deg > 65]
    _table(everywhere, tmp_path / "all.parquet")
    convert(tmp_path / "all.parquet", tmp_path / "all.hats", shard_rows=200)
    left = _table(near, tmp_path / "near.parquet")
    looked_at: list[str] = []
    from morphoscope.catalogue import match_tables

    plain = match_tables.iterate_table
    monkeypatch.setattr(
        match_tables, "iterate_table", lambda path, *rest: looked_at.append(path.name) or plain(path, *rest)
    )
    found = match(MatchRequest(left, tmp_path / "all.hats", tmp_path / "m.parquet"))
    tiles = list((tmp_path / "all.hats").glob("dataset/**/Npix=*.parquet"))
    assert found.matched == len(near)
    assert np.allclose([row["separation"] for row in _read(tmp_path / "m.parquet")], 0.5, atol=1e-6)
    assert 0 < len(set(looked_at) - {"near.parquet"}) < len(tiles) / 2


WRONG = [
    ({"radius": 0.0}, "arcsec above 0"),
    ({"ways": "best"}, "mutual, nearest or all was expected"),
    ({"other": "none.csv"}, "none.csv: no such file"),
    ({"other": "bare.csv"}, "columns 'ra' and 'dec' in degrees were expected"),
    ({"sky": ("RA", "dec")}, "has no column 'RA'"),
    ({"radius": 0.001}, "lies within 0.001″ of one of"),
    ({"out": "one.parquet", "overwrite": True}, "is one of the tables"),
    ({"out": "m.xls"}, "the ending chooses the catalogue's format"),
]


@pytest.mark.parametrize(("options", "words"), WRONG)
def test_a_wrong_request_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, words: str
):
    monkeypatch.chdir(tmp_path)
    _table(_sky(5, 1), Path("one.parquet"))
    Path("bare.csv").write_text("id,x\n1,2\n")
    _table(_sky(5, 9), Path("two.parquet"))
    before = sorted(path.name for path in tmp_path.iterdir())
    given = {"catalogue": "one.parquet", "other": "two.parquet", "out": "m.parquet", **options}
    with pytest.raises(UsageError, match=re.escape(words)):
        match(MatchRequest(**given))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
