"""HATS catalogues: Parquet files partitioned by position on the sky, as LSDB reads them.

::

    catalogue.hats/
      hats.properties, properties  what the catalogue is, under both names that readers use
      partition_info.csv           list of tiles
      skymap.fits, point_map.fits  number of galaxies per pixel of a map, under both names
      unplaced.parquet             galaxies without coordinates; readers of HATS ignore it
      dataset/
        _common_metadata, _metadata
        Norder=2/Dir=0/Npix=17.parquet

The layout is that of the IVOA Note "HATS" (https://www.ivoa.net/documents/Notes/HATS/). Every file with rows
has units, descriptions and provenance as a Parquet catalogue does.

Partitioning rows into HEALPix tiles, which are split where they hold too many, in constant memory.

Tiles are HEALPix pixels in the nested scheme (Górski et al. 2005, doi:10.1086/427976): twelve at order 0,
each split into four at the next. A galaxy's position is one number, its pixel at order 29; pixel p at order k
contains the numbers from p · 4^(29−k) up to those of pixel p + 1. Rows are buffered on disk until their tile
is read.

Shape letters: N galaxies.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.catalogue.formats.parquet_csv import (
    ParquetCatalogue,
    bytes_of_a_row,
    documented,
    rows_of_a_group,
)
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import need
from morphoscope.images.hats import MARK
from morphoscope.images.stream import Item
from morphoscope.progress import Bar, note
from morphoscope.version import __version__

ORDER = 29  # of positions: 0.4 mas, the finest that fits 64 bits
FINEST = 14  # of tiles: 13 arcsec; too many galaxies at one position must not split for ever
HELD_BYTES = 64 << 20  # bytes of rows in memory before they are written to disk


class Tile(NamedTuple):
    """A HEALPix pixel, nested."""

    order: int
    pixel: int

    @property
    def first(self) -> int:
        """Its first pixel at :data:`ORDER`."""
        return self.pixel << 2 * (ORDER - self.order)

    @property
    def quarters(self) -> list[Tile]:
        """Its four tiles of the next order."""
        return [Tile(self.order + 1, 4 * self.pixel + k) for k in range(4)]


def places_of(ra_N: np.ndarray, dec_N: np.ndarray) -> np.ndarray:
    """The pixel at order 29 of each galaxy, (N,) int64; −1 without valid coordinates.

    Args:
        ra_N: degrees, taken modulo 360; NaN where unknown.
        dec_N: degrees, −90 to 90; NaN where unknown.
    """
    from astropy import units
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    known = np.isfinite(ra_N) & np.isfinite(dec_N) & (np.abs(dec_N) <= 90)
    found = np.full(len(ra_N), -1, np.int64)
    if known.any():
        ra, dec = Longitude(ra_N[known] * units.deg), Latitude(dec_N[known] * units.deg)
        found[known] = np.asarray(lonlat_to_healpix(ra, dec, ORDER)).astype(np.int64)
    return found


class Tiles:
    """Rows by tile; tiles are as large as possible with at most ``most`` rows each.

    Tiles depend only on the positions, and rows of a tile keep their order, however they were divided into
    blocks.

    Args:
        folder: for buffered rows; created here.
        schema: of the rows.
        column: name of the column with positions, int64.
        most: maximum rows per tile.
    """

    def __init__(self, folder: Path, schema: pa.Schema, column: str, most: int) -> None:
        self._folder, self._schema, self._column, self._most = folder, schema, column, most
        self._counts = {Tile(0, pixel): 0 for pixel in range(12)}
        self._held: dict[Tile, list[pa.Table]] = {}
        self._bytes = 0
        folder.mkdir()

    def add(self, rows: pa.Table) -> None:
        """Assign rows to tiles."""
        for tile in self._deal(rows, sorted(self._counts, key=lambda tile: tile.first)):
            self._cut(tile)
        self._bytes += rows.nbytes
        if self._bytes >= HELD_BYTES:
            self._to_disk()

    def _deal(self, rows: pa.Table, tiles: list[Tile]) -> list[Tile]:
        """Assign rows to tiles, which cover them and are sorted by position; returns tiles that got any."""
        places_N = rows[self._column].to_numpy()
        order_N = np.argsort(places_N, kind="stable")
        rows = rows.take(pa.array(order_N))
        starts = np.searchsorted(places_N[order_N], [tile.first for tile in tiles])
        filled = []
        for tile, start, stop in zip(tiles, starts, [*starts[1:], len(order_N)], strict=True):
            if stop > start:
                self._held.setdefault(tile, []).append(rows.slice(start, stop - start))
                self._counts[tile] += int(stop - start)
                filled.append(tile)
        return filled

    def _cut(self, tile: Tile) -> None:
        """Split a tile, recursively, while it holds too many rows."""
        if self._counts[tile] <= self._most or tile.order == FINEST:
            return
        rows = self._rows_of(tile)
        self._bytes += rows.nbytes
        del self._counts[tile]
        self._counts |= dict.fromkeys(tile.quarters, 0)
        for quarter in self._deal(rows, tile.quarters):
            self._cut(quarter)

    def _rows_of(self, tile: Tile) -> pa.Table:
        """Remove and return all rows of a tile, in order."""
        tables, path = [], self._path(tile)
        if path.exists():
            with pa.OSFile(str(path)) as file:
                while file.tell() < file.size():
                    tables.append(pa.ipc.open_stream(file).read_all())
            path.unlink()
        return pa.concat_tables([*tables, *self._held.pop(tile, [])])

    def _to_disk(self) -> None:
        packed = pa.ipc.IpcWriteOptions(compression="zstd")
        for tile, tables in self._held.items():
            with (
                open(self._path(tile), "ab") as file,
                pa.ipc.new_stream(file, self._schema, options=packed) as stream,
            ):
                for table in tables:
                    stream.write_table(table)
        self._held.clear()
        self._bytes = 0

    def _path(self, tile: Tile) -> Path:
        return self._folder / f"{tile.order}-{tile.pixel}.arrows"

    def emptied(self) -> Iterator[tuple[Tile, pa.Table]]:
        """Yield each tile that has rows, by order and pixel, with its rows sorted by position; drop it."""
        self._to_disk()
        for tile in sorted(tile for tile, count in self._counts.items() if count):
            rows = self._rows_of(tile)
            order = np.argsort(rows[self._column].to_numpy(), kind="stable")
            yield tile, rows.take(pa.array(order))
        with contextlib.suppress(OSError):
            self._folder.rmdir()


ENDING = ".hats"
INDEX = "_healpix_29"
UNPLACED = "unplaced.parquet"
TILE_ROWS = 1_000_000
TILE_BYTES = 256 << 20  # maximum memory of a tile, for long rows
LOOKED_AT = 1000  # galaxies checked for coordinates beforehand
MAP_ORDER = 8  # of the map: 14 arcmin
_PARTITION = ("Norder", "Dir", "Npix")  # which readers take from folder names
_INDEX_FIELD = pa.field(
    INDEX, pa.int64(), metadata={"description": "HEALPix pixel of ra and dec at order 29, nested"}
)


class HatsCatalogue:
    """A folder with one Parquet file per tile of the sky.

    Args:
        folder: the folder to create.
        schema: of the rows, with ``ra`` and ``dec`` in degrees.
        provenance: as for every format.
        extent: as for every format.
        rows: maximum rows per tile; None: :data:`TILE_ROWS`, fewer if rows are long.
        name: of the catalogue.

    Raises:
        UsageError: the rows have no ``ra`` and ``dec``.
        MorphoscopeError: the extra is not installed.
    """

    def __init__(
        self,
        folder: Path,
        schema: pa.Schema,
        provenance: Mapping[str, str],
        extent: Extent,
        *,
        rows: int | None,
        name: str,
    ) -> None:
        need_hats()
        check_hats(schema, name)
        self._folder, self._provenance, self._extent, self._name = folder, provenance, extent, name
        self._schema = pa.schema([_INDEX_FIELD, *schema])
        self._most = rows or max(1, min(TILE_ROWS, TILE_BYTES // bytes_of_a_row(schema, extent)))
        folder.mkdir()
        self._tiles = Tiles(folder / "waiting", self._schema, INDEX, self._most)
        self._map = np.zeros(12 * 4**MAP_ORDER, np.int64)
        self._rows = self._without = 0
        self._unplaced: ParquetCatalogue | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        degrees = [table[name].cast(pa.float64()).to_numpy() for name in ("ra", "dec")]
        places_N = places_of(*degrees)
        placed_N = places_N >= 0
        if not placed_N.all():
            self._put_aside(table.filter(pa.array(~placed_N)))
            table, places_N = table.filter(pa.array(placed_N)), places_N[placed_N]
        if table.num_rows:
            self._tiles.add(pa.table([places_N, *table.columns], schema=self._schema))
            pixels, counts = np.unique(places_N >> 2 * (ORDER - MAP_ORDER), return_counts=True)
            self._map[pixels] += counts
            self._rows += table.num_rows

    def _put_aside(self, table: pa.Table) -> None:
        if self._unplaced is None:
            schema = pa.schema(list(self._schema)[1:])
            self._unplaced = ParquetCatalogue(self._folder / UNPLACED, schema, self._provenance, self._extent)
        self._unplaced.write(table)
        self._without += table.num_rows

    def close(self) -> None:
        """Write the tiles and the metadata.

        Raises:
            MorphoscopeError: no galaxy has coordinates.
        """
        if self._unplaced is not None:
            self._unplaced.close()
        if not self._rows:
            raise MorphoscopeError(
                f"{self._name}: none of {self._without} galaxies has ra and dec, by which a HATS catalogue "
                "is ordered; give a table with both, or write another format, such as .parquet"
            )
        tiles = self._write_dataset()
        self._write_map()
        self._write_properties(tiles)
        if self._without:
            note(
                f"{self._without} of {self._rows + self._without} galaxies have no ra and dec and are in no "
                f"tile of the HATS catalogue; their rows are in its {UNPLACED}"
            )

    def abandon(self) -> None:
        """Close the files of the folder, which will be deleted."""
        if self._unplaced is not None:
            self._unplaced.close()

    def _write_dataset(self) -> list[Tile]:
        dataset, tiles, footers = self._folder / "dataset", [], []
        schema = documented(self._schema, self._provenance, self._extent)
        group = rows_of_a_group(self._schema, self._extent)
        with Bar(f"writing the tiles of {self._name}", self._rows, "galaxies") as bar:
            for tile, rows in self._tiles.emptied():
                path = dataset / tile_path(tile)
                path.parent.mkdir(parents=True, exist_ok=True)
                pq.write_table(
                    rows.replace_schema_metadata(schema.metadata),
                    path,
                    compression="zstd",
                    row_group_size=group,
                    metadata_collector=footers,
                )
                footers[-1].set_file_path(path.relative_to(dataset).as_posix())
                tiles.append(tile)
                bar.advance(rows.num_rows)
        pq.write_metadata(schema, dataset / "_common_metadata")
        pq.write_metadata(schema, dataset / "_metadata", metadata_collector=footers)
        with open(self._folder / "partition_info.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("Norder", "Npix"), *tiles])
        return tiles

    def _write_map(self) -> None:
        from astropy.io import fits

        pixels = np.flatnonzero(self._map)
        table = fits.BinTableHDU.from_columns(
            [
                fits.Column("PIXEL", "K", array=pixels),
                fits.Column("VALUE", "K", array=self._map[pixels]),
            ]
        )
        cards = {"PIXTYPE": "HEALPIX", "INDXSCHM": "EXPLICIT", "ORDERING": "NESTED", "COORDSYS": "C"}
        table.header.update(cards | {"NSIDE": 2**MAP_ORDER, "OBS_NPIX": len(pixels)})
        for name in ("skymap.fits", "point_map.fits"):
            table.writeto(self._folder / name)

    def _write_properties(self, tiles: list[Tile]) -> None:
        kilobytes = sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file()) // 1024
        properties = {
            "obs_collection": Path(self._name).stem,
            "dataproduct_type": "object",
            "hats_nrows": self._rows,
            "hats_col_ra": "ra",
            "hats_col_dec": "dec",
            "hats_col_healpix": INDEX,
            "hats_col_healpix_order": ORDER,
            "hats_npix_suffix": ".parquet",
            "hats_order": max(tile.order for tile in tiles),
            "hats_max_rows": self._most,
            "hats_skymap_order": MAP_ORDER,
            "moc_sky_fraction": f"{sum(0.25**tile.order for tile in tiles) / 12:.9g}",
            "hats_builder": f"morphoscope v{__version__}",
            "hats_creation_date": self._date().strftime("%Y-%m-%dT%H:%MUTC"),
            "hats_estsize": kilobytes,
            "hats_release_date": "2025-08-22",
            "hats_version": "v1.0",
        } | {f"morphoscope_{name}": text for name, text in self._provenance.items()}
        lines = [f"{name}={_escaped(str(text))}\n" for name, text in properties.items()]
        for name in (MARK, "properties"):
            (self._folder / name).write_text("#HATS catalog\n" + "".join(lines), encoding="utf-8")

    def _date(self) -> datetime:
        date = self._provenance.get("date")
        return datetime.fromisoformat(date).astimezone(UTC) if date else datetime.now(UTC)


def check_hats(schema: pa.Schema, name: str) -> None:
    """Refuse columns that a HATS catalogue cannot hold.

    Raises:
        UsageError: there are no ``ra`` and ``dec``, or a column has the name of one that readers add.
    """
    if not {"ra", "dec"} <= set(schema.names):
        raise UsageError(f"{name}: a HATS catalogue needs columns 'ra' and 'dec', in degrees")
    clash = [column for column in schema.names if column in (INDEX, *_PARTITION)]
    if clash:
        raise UsageError(
            f"{name}: a HATS catalogue adds a column '{clash[0]}' of its own; rename yours, or write another "
            "format, such as .parquet"
        )


def need_hats() -> None:
    """Refuse to write HATS if the extra is not installed.

    Raises:
        MorphoscopeError: it is not.
    """
    need(("cdshealpix",), "hats", "a HATS catalogue")


def check_places(items: Iterable[Item], name: str) -> Iterator[Item]:
    """Refuse galaxies without coordinates before any work.

    Args:
        items: the input.
        name: of the catalogue.

    Raises:
        UsageError: none of the first galaxies has ``ra`` and ``dec``; later ones may lack them.
    """
    rest, seen = iter(items), []
    for item in islice(rest, LOOKED_AT):
        seen.append(item)
        if np.isfinite(np.array([item.row.get(name, np.nan) for name in ("ra", "dec")], np.float64)).all():
            return chain(seen, rest)
    if not seen:
        return rest
    which = f"the first {len(seen)} galaxies" if len(seen) == LOOKED_AT else f"{len(seen)} galaxies"
    raise UsageError(
        f"{name}: none of {which} has ra and dec, by which a HATS catalogue is ordered; give a table with "
        "both, or write another format, such as .parquet"
    )


def tile_path(tile: Tile) -> Path:
    """Path of a tile under ``dataset``."""
    return Path(f"Norder={tile.order}", f"Dir={tile.pixel // 10_000 * 10_000}", f"Npix={tile.pixel}.parquet")


def _escaped(text: str) -> str:
    """A value of a properties file, in which backslashes and line breaks are escaped."""
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"\\{text}" if text.startswith((" ", "\t")) else text
