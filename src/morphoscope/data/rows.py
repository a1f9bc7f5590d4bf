"""The table of a store while it is written: rows in chunks of Parquet, and at the end their sky groups."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.labels.scheme import UNLABELLED, Classes, VoteFractions

CHUNK_ROWS = 1024  # rows kept before they are written
STANDARD_COLUMNS = ("id", "ra", "dec", "source", "pixel_hash", "sky_group")
_TOLERANCE = 1e-3  # of vote fractions, which surveys round


def table_schema(scheme: Classes | VoteFractions | None, extra: dict[str, pa.DataType]) -> pa.Schema:
    """The columns of a store's table in their order, ``sky_group`` last.

    Args:
        scheme: its label columns follow the coordinates; none: no labels.
        extra: further columns; those with the name of another column are left out.

    Raises:
        UsageError: a label column has the name of a standard column.
    """
    fields = [pa.field("id", pa.string()), pa.field("ra", pa.float64()), pa.field("dec", pa.float64())]
    if scheme is not None:
        clash = set(scheme.columns) & set(STANDARD_COLUMNS)
        if clash:
            raise UsageError(f"a label column may not be called {', '.join(sorted(clash))}; rename it")
        label_type = pa.int16() if isinstance(scheme, Classes) else pa.float32()
        fields += [pa.field(name, label_type) for name in scheme.columns]
    taken = {field.name for field in fields} | set(STANDARD_COLUMNS)
    fields += [pa.field(name, kind) for name, kind in extra.items() if name not in taken]
    fields += [pa.field("source", pa.string()), pa.field("pixel_hash", pa.string())]
    return pa.schema([*fields, pa.field("sky_group", pa.int64())])


class RowWriter:
    """Write a store's table in constant memory.

    Args:
        scheme: of the labels.
        extra: further columns, name → Arrow type.
    """

    def __init__(self, scheme: Classes | VoteFractions | None, extra: dict[str, pa.DataType]) -> None:
        self.scheme = scheme
        self.schema = table_schema(scheme, extra)
        self._names = frozenset(self.schema.names)
        self._waiting: list[dict[str, Any]] = []
        self._file: pq.ParquetWriter | None = None

    def open(self, folder: Path) -> None:
        """Start to write into ``folder``."""
        self._folder = folder
        self._file = pq.ParquetWriter(folder / "rows.parquet", self._ungrouped)

    @property
    def _ungrouped(self) -> pa.Schema:
        return self.schema.remove(self.schema.get_field_index("sky_group"))

    def check(self, row: dict[str, Any]) -> None:
        """Refuse a row that does not belong into this table.

        Raises:
            MorphoscopeError: it has a column that the table has not, a label that the scheme has not, or
                votes outside 0 to 1; the message names its source.
        """
        unknown = row.keys() - self._names
        if unknown:
            raise MorphoscopeError(
                f"{_name(row)}: the store has no column {', '.join(sorted(unknown))}"
                f"{did_you_mean(min(unknown), self.schema.names, 'columns')}"
            )
        if isinstance(self.scheme, Classes):
            label = row.get(self.scheme.column, UNLABELLED)
            if not UNLABELLED <= label < self.scheme.outputs:
                raise MorphoscopeError(
                    f"{_name(row)}: label {label} lies outside scheme '{self.scheme.name}'; "
                    f"0 to {self.scheme.outputs - 1}, or {UNLABELLED} for none, was expected"
                )
        elif isinstance(self.scheme, VoteFractions):
            votes = np.array([row.get(name, np.nan) for name in self.scheme.answers], float)
            wrong = np.flatnonzero((votes < -_TOLERANCE) | (votes > 1 + _TOLERANCE))
            if len(wrong):
                raise MorphoscopeError(
                    f"{_name(row)}: {self.scheme.answers[wrong[0]]} is {votes[wrong[0]]:g}; "
                    "a fraction from 0 to 1 was expected"
                )

    def append(self, row: dict[str, Any]) -> None:
        """Add one row; columns that it lacks are empty (NaN numbers, label −1, else null)."""
        self._waiting.append(row)
        if len(self._waiting) >= CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        columns = {}
        for field in self._ungrouped:
            empty = self._empty(field)
            values = [row.get(field.name, empty) for row in self._waiting]
            try:
                columns[field.name] = pa.array(values, field.type)
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise MorphoscopeError(
                    f"column {field.name} cannot be stored as {field.type}: {str(error).splitlines()[0]}"
                ) from error
        self._writer.write_table(pa.table(columns, schema=self._ungrouped))
        self._waiting.clear()

    @property
    def _writer(self) -> pq.ParquetWriter:
        assert self._file is not None, "open() comes first"
        return self._file

    def _empty(self, field: pa.Field) -> Any:
        if isinstance(self.scheme, Classes) and field.name == self.scheme.column:
            return UNLABELLED
        return np.nan if pa.types.is_floating(field.type) else None

    def finish(self, radius: float) -> None:
        """Write ``table.parquet``: all rows, with the sky group that needs all coordinates at once.

        Args:
            radius: arcsec within which galaxies are one group (see sky.py).
        """
        from morphoscope.data.sky import sky_groups

        self._flush()
        self._writer.close()
        place = self._folder / "rows.parquet"
        with (
            pq.ParquetFile(place, memory_map=True) as rows,
            pq.ParquetWriter(self._folder / "table.parquet", self.schema) as table,
        ):
            sky = rows.read(columns=["ra", "dec"])
            groups = sky_groups(sky["ra"].to_numpy(), sky["dec"].to_numpy(), radius)
            start = 0
            for batch in rows.iter_batches(CHUNK_ROWS):
                part = pa.array(groups[start : start + batch.num_rows], pa.int64())
                table.write_table(pa.Table.from_batches([batch]).append_column("sky_group", part))
                start += batch.num_rows
        place.unlink()

    def close(self) -> None:
        """Let go of the file; what could not be written is lost."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk once more, while the last rows are written out
                self._file.close()


def _name(row: dict[str, Any]) -> str:
    return str(row.get("source") or row.get("id"))
