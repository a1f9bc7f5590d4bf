"""Catalogues by place on the sky, read back by pyarrow and, where it is installed, by HATS' own reader."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from typer.testing import CliRunner

from morphoscope import extras
from morphoscope.catalogue.columns import catalogue_schema, catalogue_table
from morphoscope.catalogue.formats import hats
from morphoscope.catalogue.formats.convert import convert, parquet_parts
from morphoscope.catalogue.formats.hats import INDEX, UNPLACED, Tile, Tiles, places_of
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import (
    check_output,
    read_provenance,
    target_of,
    write_catalogue,
    written,
)
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.cli import app
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.hats import tile_files
from morphoscope.images.positions import SourceColumns, SourceTable
from morphoscope.images.stream import Item
from morphoscope.images.tables import read_table
from morphoscope.labels.scheme import Classes, Column

pytest.importorskip("cdshealpix", reason="the extra 'hats' is not installed")

SCHEME = Classes(name="three", classes=("Round", "Größer", "Edge-on"))
EXTRAS = (
    Column("embedding", pa.list_(pa.float16(), 3), "features"),
    Column("side", pa.float32(), "", "arcsec"),
)
SCHEMA = catalogue_schema(SCHEME, extras=EXTRAS)
PROVENANCE = {"run": "größter \\ 7", "date": "2026-11-21T10:00:00+01:00", "weights_sha256": "f" * 64}
COUNT = 400


def _rows(without: int = 0) -> pa.Table:
    """Galaxies of two fields of the sky and some all over it, the first few without a place."""
    draw = np.random.default_rng(5)
    answers = draw.dirichlet(np.ones(3), COUNT).astype(np.float32)
    ra = np.concatenate([draw.normal(150, 0.5, 200), draw.normal(10, 2, 150), draw.uniform(0, 360, 50)])
    dec = np.concatenate([draw.normal(2, 0.5, 200), draw.normal(-85, 2, 150), draw.uniform(-90, 90, 50)])
    order = draw.permutation(COUNT)
    items = []
    for number, (one, other) in enumerate(zip(ra[order] % 360, dec[order].clip(-90, 90), strict=True)):
        row = {"id": f"g{number}", "ra": one, "dec": other, "side": number / 2}
        if number < without:
            row["dec" if number % 2 else "ra"] = np.nan
        items.append(Item(f"{number}.png", lambda: answers, row))
    return catalogue_table(SCHEME, items, answers, None, EXTRAS, {"embedding": draw.normal(size=(COUNT, 3))})


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def _by_id(table: pa.Table) -> list[dict]:
    return sorted(table.to_pylist(), key=lambda row: row["id"])


def test_places_are_healpix_pixels():
    # Centres of the twelve pixels of order 0 (Górski et al. 2005, figure 4), and the poles.
    ra = np.array([45, 135, 225, 315, 0, 90, 180, 270, 45, 135, 225, 315, 45, 225, 361, -1])
    dec = np.array([41.81] * 4 + [0] * 4 + [-41.81] * 4 + [90, -90, 0, 0])
    places = places_of(ra.astype(float), dec)
    assert (places >> 2 * hats.ORDER).tolist() == [*range(12), 0, 10, 4, 4]
    assert places[12] == Tile(0, 1).first - 1  # the pole is the last corner of its pixel
    assert places_of(np.array([np.nan, 5.0, 5.0]), np.array([1.0, 90.1, np.nan])).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("block", [1, 7, 400])
def test_a_tile_is_as_large_as_it_can_be(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch):
    if block == 7:
        monkeypatch.setattr(hats, "HELD_BYTES", 500)  # most rows wait on the disk
    rows = _rows()
    places = places_of(rows["ra"].to_numpy(), rows["dec"].to_numpy())
    places[50:80] = places[50]  # more at one place than a tile holds
    numbered = pa.table({"place": places, "number": np.arange(COUNT)})
    dealt = Tiles(tmp_path / "waiting", numbered.schema, "place", 20)
    for start in range(0, COUNT, block):
        dealt.add(numbered.slice(start, block))
    assert block != 7 or len(list((tmp_path / "waiting").iterdir())) > 5
    found = dict(dealt.emptied())
    assert not (tmp_path / "waiting").exists()

    wanted: dict[Tile, list[int]] = {}

    def cut(tile: Tile, inside: list[int]) -> None:
        if len(inside) <= 20 or tile.order == hats.FINEST:
            if inside:
                wanted[tile] = sorted(inside, key=lambda number: places[number])
            return
        for quarter in tile.quarters:
            shift = 2 * (hats.ORDER - quarter.order)
            cut(quarter, [number for number in inside if places[number] >> shift == quarter.pixel])

    for pixel in range(12):
        cut(Tile(0, pixel), [n for n in range(COUNT) if places[n] >> 2 * hats.ORDER == pixel])
    assert {tile: rows["number"].to_pylist() for tile, rows in found.items()} == wanted
    assert list(found) == sorted(found)
    assert max(len(inside) for inside in wanted.values()) >= 30
    assert len({tile.order for tile in found}) > 3


def test_every_galaxy_is_in_its_tile_with_all_that_is_said_of_it(tmp_path: Path):
    rows, out = _rows(without=7), tmp_path / "deep field.hats"
    write_catalogue(target_of(out, 30), rows, PROVENANCE)
    files = tile_files(out)
    assert len(files) > 15
    for path in files:
        table = pq.ParquetFile(path).read()
        order, pixel = int(path.parts[-3].split("=")[1]), int(path.stem.split("=")[1])
        assert path.parts[-2] == f"Dir={pixel // 10000 * 10000}"
        places = table[INDEX].to_numpy()
        assert (places >> 2 * (29 - order) == pixel).all()
        assert (places == places_of(table["ra"].to_numpy(), table["dec"].to_numpy())).all()
        assert (np.diff(places) >= 0).all()
        assert 0 < table.num_rows <= 30
    aside = pq.read_table(out / UNPLACED)
    assert aside["id"].to_pylist() == [f"g{number}" for number in range(7)]
    whole = ds.parquet_dataset(out / "dataset" / "_metadata").to_table()
    assert whole.column_names == [INDEX, *SCHEMA.names]
    assert _by_id(pa.concat_tables([whole.drop_columns([INDEX]), aside])) == _by_id(rows)

    for place in (files[0], out / "dataset" / "_common_metadata", out / "dataset" / "_metadata"):
        field = pq.read_schema(place).field("side")
        assert field.metadata[b"unit"] == b"arcsec"
        assert pq.read_schema(place).metadata[b"morphoscope.run"] == PROVENANCE["run"].encode()
    assert read_provenance(out) == PROVENANCE
    with open(out / "partition_info.csv", newline="") as file:
        listed = [(int(row["Norder"]), int(row["Npix"])) for row in csv.DictReader(file)]
    assert listed == [(int(p.parts[-3].split("=")[1]), int(p.stem.split("=")[1])) for p in files]

    said = dict(line.split("=", 1) for line in (out / "hats.properties").read_text().splitlines()[1:])
    assert said["obs_collection"] == "deep field"
    assert (said["hats_nrows"], said["hats_max_rows"]) == (str(COUNT - 7), "30")
    assert said["hats_order"] == str(max(order for order, _ in listed))
    assert said["hats_creation_date"] == "2026-11-21T09:00UTC"
    assert said["morphoscope_run"] == "größter \\\\ 7"
    with fits.open(out / "skymap.fits") as maps:
        pixels, counts = maps[1].data["PIXEL"], maps[1].data["VALUE"]
    found = dict(zip(pixels.tolist(), counts.tolist(), strict=True))
    fine = whole[INDEX].to_numpy() >> 2 * (29 - 8)
    assert found == dict(zip(*(part.tolist() for part in np.unique(fine, return_counts=True)), strict=True))


def test_the_same_rows_in_other_blocks_are_the_same_files(tmp_path: Path):
    rows = _rows(without=3)
    contents = []
    for block in (11, 400):
        target = target_of(tmp_path / f"{block}" / "c.hats", 30)
        target.path.parent.mkdir()
        with written(target, target.path, SCHEMA, PROVENANCE, Extent.of(rows)) as writer:
            for start in range(0, COUNT, block):
                writer.write(rows.slice(start, block))
        contents.append(_content(target.path))
    assert contents[0] == contents[1]


@pytest.mark.skipif(
    "MORPHOSCOPE_HATS" not in os.environ,
    reason="half a minute, and 'pip install hats', which is no part of an extra: MORPHOSCOPE_HATS=1 runs it",
)
@pytest.mark.filterwarnings("ignore")
def test_the_reader_of_hats_takes_it_for_its_own(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    import hats
    from hats.io.validation import is_valid_catalog

    rows, out = _rows(without=7), tmp_path / "c.hats"
    write_catalogue(target_of(out, 30), rows, PROVENANCE)
    with caplog.at_level(logging.WARNING):
        assert is_valid_catalog(out, strict=True)
    assert not caplog.records
    catalogue = hats.read_hats(out)
    assert len(catalogue) == catalogue.catalog_info.total_rows == COUNT - 7
    assert catalogue.catalog_info.extra_dict()["morphoscope_run"] == PROVENANCE["run"]
    assert catalogue.schema.names == [INDEX, *SCHEMA.names]
    near = catalogue.filter_by_cone(150, 2, 3600)
    assert 0 < len(near.get_healpix_pixels()) < len(catalogue.get_healpix_pixels())
    assert catalogue.moc.contains_lonlat(*_degrees(rows.slice(7))).all()


def _degrees(rows: pa.Table) -> list:
    from astropy import units

    return [rows[name].to_numpy() * units.deg for name in ("ra", "dec")]


def _table_of_images(folder: Path, save: Callable[..., Path], count: int = 12) -> Path:
    table = folder / "galaxies.csv"
    lines = ["id,file,ra,dec"]
    for number in range(count):
        save(folder / f"{number}.png", 20 * number)
        lines.append(f"g{number},{number}.png," + (f"{30 * number},{5 * number}" if number != 4 else ","))
    (folder / "5.png").write_bytes(b"")
    table.write_text("\n".join(lines) + "\n")
    return table


def test_predict_writes_hats(predictor, tmp_path: Path, save, capsys: pytest.CaptureFixture[str]):
    table, out = _table_of_images(tmp_path / "in", save), tmp_path / "c.hats"
    summary = predict_catalogue(predictor, CatalogueRequest(table, out, batch=3))
    assert (summary.predicted, summary.unreadable) == (11, 1)
    assert "1 of 11 galaxies have no ra and dec" in capsys.readouterr().err
    assert (tmp_path / "c.unreadable.csv").read_text().count("5.png") == 1
    predict_catalogue(predictor, CatalogueRequest(table, tmp_path / "c.parquet", batch=3))
    assert convert(out, tmp_path / "back.parquet") == 11
    plain, back = pq.read_table(tmp_path / "c.parquet"), pq.read_table(tmp_path / "back.parquet")
    assert back.schema.equals(plain.schema, check_metadata=False)
    assert _by_id(back) == _by_id(plain)
    assert pq.read_table(out / UNPLACED)["id"].to_pylist() == ["g4"]
    with pytest.raises(UsageError, match="exists already"):
        predict_catalogue(predictor, CatalogueRequest(table, out))
    predict_catalogue(predictor, CatalogueRequest(table, out, overwrite=True, shard_rows=1))
    assert len(tile_files(out)) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("back.parquet", "c.hats", "c.parquet", "c.unreadable.csv", "in")
    ]


def test_an_interrupted_catalogue_ends_as_the_same_hats(predictor, tmp_path: Path, save, monkeypatch):
    from morphoscope.catalogue import rows

    monkeypatch.setattr(rows, "provenance_of", lambda *a, **k: {"date": "2026-11-21", "run": "r"})
    table, out = _table_of_images(tmp_path / "in", save), tmp_path / "c.hats"
    predict_catalogue(predictor, CatalogueRequest(table, out, batch=3))
    whole = _content(out)
    original, calls = Tiles.emptied, []

    def broken_off(self: Tiles):
        calls.append(1)
        yield next(original(self))
        raise KeyboardInterrupt

    monkeypatch.setattr(Tiles, "emptied", broken_off)
    with pytest.raises(KeyboardInterrupt):
        predict_catalogue(predictor, CatalogueRequest(table, out, batch=3, overwrite=True))
    assert calls == [1]  # giving up does not begin to write the tiles again
    assert _content(out) == whole  # the old one
    monkeypatch.setattr(Tiles, "emptied", original)
    asked = len(predictor.sizes)
    summary = predict_catalogue(predictor, CatalogueRequest(table, out, batch=3, overwrite=True, resume=True))
    assert summary.resumed == 11
    assert len(predictor.sizes) == asked
    assert _content(out) == whole


def test_galaxies_without_places_are_refused_before_the_work(predictor, folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"c\.hats: none of 7 galaxies has ra and dec.*write another format"):
        predict_catalogue(predictor, CatalogueRequest(folder, tmp_path / "c.hats"))
    assert predictor.sizes == []
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(MorphoscopeError, match="none of 5 galaxies has ra and dec"):
        write_catalogue(target_of(tmp_path / "c.hats"), _rows(without=5).slice(0, 5), {})
    with pytest.raises(UsageError, match="needs columns 'ra' and 'dec'"):
        write_catalogue(target_of(tmp_path / "c.hats"), pa.table({"id": ["a"]}), {})
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path):
    (tmp_path / "c.hats").mkdir()
    (tmp_path / "c.hats" / "notes.txt").touch()
    with pytest.raises(UsageError, match=r"has no hats\.properties"):
        check_output(target_of(tmp_path / "c.hats"), overwrite=True)


def test_without_the_extra_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MorphoscopeError, match=r"needs cdshealpix.*pip install 'morphoscope\[hats\]'"):
        check_output(target_of(tmp_path / "c.hats"))


@pytest.mark.parametrize("shard_rows", [None, 150])
def test_convert_brings_everything_along(tmp_path: Path, shard_rows: int | None):
    rows, first = _rows(without=2), tmp_path / "first.parquet"
    write_catalogue(target_of(first, shard_rows), rows, PROVENANCE)
    result = CliRunner().invoke(app, ["convert", str(first), "--out", str(tmp_path / "c.hats")])
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{COUNT} galaxies" in result.stderr
    assert read_provenance(tmp_path / "c.hats") == PROVENANCE
    assert pq.read_schema(parquet_parts(tmp_path / "c.hats")[0]).field("embedding").type == pa.list_(
        pa.float32(), 3
    )
    assert convert(tmp_path / "c.hats", tmp_path / "c.fits") == COUNT
    read = fits.getdata(tmp_path / "c.fits")
    places = pc.call_function("index_in", [rows["id"]], pc.SetLookupOptions(pa.array(read["id"].tolist())))
    np.testing.assert_array_equal(read["entropy"][places.to_numpy()], rows["entropy"].to_numpy())
    np.testing.assert_array_equal(
        read["embedding"][places.to_numpy()], np.array(rows["embedding"].to_pylist(), np.float32)
    )
    assert read_provenance(tmp_path / "c.fits") == PROVENANCE


def _as_lsdb_writes(place: Path, suffix: str = ".parquet", name: str = "Npix=4{suffix}") -> pa.Table:
    """The layout of lsdb 0.11.1: no metadata of columns, large strings, statistics beside the tiles."""
    rows = pa.table(
        {
            "id": pa.array([2**60, 7], pa.int64()),
            "ra": [10.0, 11.0],
            "dec": [1.0, 2.0],
            "text": pa.array(["two words", "größe"], pa.large_string()),
            INDEX: pa.array([1, 2], pa.int64()),
        }
    )
    for tile in (4, 11):
        path = place / "dataset" / "Norder=2" / "Dir=0" / name.replace("4", str(tile)).format(suffix=suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows.slice(tile == 11, 1), path)
    for name in ("_common_metadata", "_metadata"):
        pq.write_metadata(rows.schema, place / "dataset" / name)
    pq.write_table(pa.table({"row_count": [1, 1]}), place / "per_partition_statistics.parquet")
    said = f"#HATS catalog\nobs_collection=k\nhats_col_ra=ra\nhats_npix_suffix={suffix}\n"
    for name in ("hats.properties", "properties"):
        (place / name).write_text(said)
    return rows


@pytest.mark.parametrize(
    ("suffix", "name"),
    [
        (".parquet", "Npix=4{suffix}"),
        (".parq", "Npix=4{suffix}"),
        (".parquet.snappy", "Npix=4{suffix}"),
        ("/", "Npix=4/part0.snappy.parquet"),
    ],
)
def test_hats_of_lsdb_is_read_whatever_its_tiles_are_called(tmp_path: Path, suffix: str, name: str):
    rows = _as_lsdb_writes(tmp_path / "in", suffix, name)
    sources = SourceColumns.of(SourceTable(tmp_path / "in", 10.0)).rows()
    assert [name for piece in sources for name in piece.ids] == [str(2**60), "7"]
    assert convert(tmp_path / "in", tmp_path / "out.fits") == 2
    found = fits.getdata(tmp_path / "out.fits")
    assert found["id"].tolist() == rows["id"].to_pylist()
    assert found["text"].tolist() == ["two words", r"gr\xf6\xdfe"]
    assert found.names == ["id", "ra", "dec", "text"]
    assert read_provenance(tmp_path / "in") == {}
    assert convert(tmp_path / "in", tmp_path / "out.hats") == 2


def test_convert_follows_a_collection(tmp_path: Path):
    _as_lsdb_writes(tmp_path / "c" / "k")
    _as_lsdb_writes(tmp_path / "c" / "k_5arcs")  # a margin: galaxies of the neighbours, again
    said = tmp_path / "c" / "collection.properties"
    said.write_text("#HATS Collection\nobs_collection=k\nhats_primary_table_url=k\nall_margins=k_5arcs\n")
    assert convert(tmp_path / "c", tmp_path / "out.parquet") == 2
    assert read_provenance(tmp_path / "c") == {}
    for elsewhere in ("https://data.lsdb.io/hats/k", "../k", str(tmp_path / "in"), "gone", ""):
        said.write_text(f"hats_primary_table_url={elsewhere}\n")
        with pytest.raises(
            UsageError, match=r"collection\.properties: hats_primary_table_url is '.*no folder"
        ):
            convert(tmp_path / "c", tmp_path / "other.parquet")


def test_convert_to_single_precision(tmp_path: Path):
    rows = _rows(without=2)
    write_catalogue(target_of(tmp_path / "first.parquet"), rows, PROVENANCE)
    assert rows.schema.field("embedding").type.value_type == pa.float16()
    for float32, kind in ((False, pa.float16()), (True, pa.float32())):
        arguments = ["convert", str(tmp_path / "first.parquet"), "--out", str(tmp_path / "c.parquet")]
        result = CliRunner().invoke(app, [*arguments, "--overwrite", *(["--float32"] if float32 else [])])
        assert result.exit_code == 0
        found = pq.read_table(tmp_path / "c.parquet")
        assert found.schema.field("embedding").type.value_type == kind
        assert found["embedding"].to_pylist() == rows["embedding"].to_pylist()


def test_convert_says_what_it_cannot_read(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="folder without Parquet files"):
        convert(tmp_path / "empty", tmp_path / "c.hats")
    with pytest.raises(UsageError, match="does not exist"):
        convert(tmp_path / "gone.parquet", tmp_path / "c.hats")
    (tmp_path / "c.csv").touch()
    with pytest.raises(UsageError, match="a Parquet catalogue or a folder of them was expected"):
        convert(tmp_path / "c.csv", tmp_path / "c.hats")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(MorphoscopeError, match=r"broken\.parquet cannot be read"):
        convert(tmp_path / "broken.parquet", tmp_path / "c.hats")
    write_catalogue(target_of(tmp_path / "c.parquet"), _rows(), {})
    with pytest.raises(UsageError, match="itself"):
        convert(tmp_path / "c.parquet", tmp_path / "c.parquet", overwrite=True)
    assert not (tmp_path / "c.hats").exists()


def test_convert_honours_masks_units_and_bytes_of_astropy(tmp_path: Path):
    """Table.write stores a filler and a column NAME.mask, and text of FITS tables as bytes."""
    table = Table({"id": np.array([b"J1", b"J2"]), "ra": MaskedColumn([1.5, 0.0], mask=[False, True])})
    table["ra"].unit, table["ra"].description = "deg", "right ascension"
    table["dec"] = MaskedColumn([2.5, 0.0], mask=[False, True], unit="deg")
    table["predicted"] = MaskedColumn(["Spiral", "N/A"], mask=[False, True])
    table.write(tmp_path / "masked.parquet")
    for name in ("c.parquet", "c.ecsv"):
        assert convert(tmp_path / "masked.parquet", tmp_path / name) == 2
        rows = read_table(tmp_path / name)
        assert rows.to_pylist() == [
            {"id": "J1", "ra": 1.5, "dec": 2.5, "predicted": "Spiral"},
            {"id": "J2", "ra": None, "dec": None, "predicted": None},
        ]
    field = pq.read_schema(tmp_path / "c.parquet").field("ra")
    assert (field.metadata[b"unit"], field.metadata[b"description"]) == (b"deg", b"right ascension")
