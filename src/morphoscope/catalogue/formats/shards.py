"""Catalogues as a folder of Parquet files, for more rows than one file should have.

``pyarrow.dataset``, DuckDB, Spark, Polars and Dask read such a folder as one table. ``_common_metadata``
holds the columns and the provenance without rows; those readers pass over it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.catalogue.formats.described import Extent
from morphoscope.catalogue.formats.plain import ParquetCatalogue

MARK = "_common_metadata"
SHARD_ROWS = 1_000_000


def described_by(folder: Path) -> Path:
    """The Parquet file that holds the columns and the provenance of a folder, sharded or HATS."""
    of_hats = folder / "dataset" / MARK
    return of_hats if of_hats.exists() else folder / MARK


class ShardedCatalogue:
    """``part-00000.parquet`` and so on, each with ``rows`` rows and all of the provenance."""

    def __init__(
        self, place: Path, schema: pa.Schema, provenance: Mapping[str, str], extent: Extent, *, rows: int
    ) -> None:
        self._place, self._schema, self._provenance, self._extent = place, schema, provenance, extent
        self._rows = rows
        self._shard: ParquetCatalogue | None = None
        self._shards = self._room = 0
        place.mkdir()

    def write(self, table: pa.Table) -> None:
        """Add some rows."""
        while table.num_rows:
            shard = self._shard or self._next()
            part = table.slice(0, self._room)
            shard.write(part)
            table = table.slice(part.num_rows)
            self._room -= part.num_rows
            if not self._room:
                self._finish()

    def _next(self) -> ParquetCatalogue:
        place = self._place / f"part-{self._shards:05d}.parquet"
        self._shard = ParquetCatalogue(place, self._schema, self._provenance, self._extent)
        self._shards += 1
        self._room = self._rows
        return self._shard

    def _finish(self) -> None:
        if self._shard is not None:
            shard, self._shard = self._shard, None
            shard.close()

    def close(self) -> None:
        """Finish the last file, and write what all have in common."""
        self._finish()
        first = self._place / "part-00000.parquet"
        if first.exists():
            pq.write_metadata(pq.read_schema(first), self._place / MARK)

    abandon = close
