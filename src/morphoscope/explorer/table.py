"""The table that is explored: rows of any catalogue in a DuckDB file of their own, within bounded memory.

Rows are copied once into a temporary file, so that every format is asked alike, any row is found without
reading the others, and the database needs no access to files: it is locked before the first question.

A *view* is the order of the rows for one filter and one sorting. It is worked out once and kept, as row
numbers, so that a page is a slice of it.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean, reason_of
from morphoscope.explorer.filters import Condition, Kind, parse_filter, quoted
from morphoscope.explorer.kept import Kept
from morphoscope.processes import available_cores

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers

ROW = "row"
MEMORY = "512MB"  # that the database may take, whatever the catalogue's size
VIEWS_BYTES = 64 << 20  # of row numbers kept
COLUMNS_BYTES = 128 << 20  # of columns kept in memory, for pages of rows from all over the table
ANSWERS_BYTES = 8 << 20  # of answers kept
LONGEST_KEPT = 5_000_000  # rows of a column that is kept
_TABLE = "galaxies"
_MADE_TEXT = (pa.types.is_temporal, pa.types.is_string_view, pa.types.is_large_string, pa.types.is_null)


@dataclass(frozen=True)
class Described:
    """A column.

    Attributes:
        name: of it.
        kind: of its values.
        description: one line for people; may be empty.
        unit: as FITS writes it; may be empty.
    """

    name: str
    kind: Kind
    description: str = ""
    unit: str = ""


class GalaxyTable:
    """The rows of what is explored, numbered from 0 in their column ``row``.

    Args:
        pieces: the rows, in order; all pieces have the same columns. Vectors and bytes are left out.
        descriptions: of columns, name → (description, unit).
    """

    def __init__(
        self, pieces: Iterable[pa.Table], descriptions: Mapping[str, tuple[str, str]] | None = None
    ) -> None:
        import duckdb

        self._errors = duckdb.Error
        self.folder = Path(tempfile.mkdtemp(prefix="morphoscope-explorer-"))
        try:
            self._connection = duckdb.connect(
                str(self.folder / "galaxies.duckdb"),
                config={
                    "enable_external_access": "false",
                    "autoinstall_known_extensions": "false",
                    "autoload_known_extensions": "false",
                    "memory_limit": MEMORY,
                    "temp_directory": str(self.folder / "spilled"),
                    "threads": str(available_cores()),
                    "python_enable_replacements": "false",
                    "preserve_insertion_order": "true",
                },
            )
            self.count = self._load(pieces)
            self._settle_types()
            self._connection.execute("SET lock_configuration = true")
        except BaseException:
            self.close()
            raise
        self.columns = self._described(descriptions or {})
        self.kinds: dict[str, Kind] = {column.name: column.kind for column in self.columns}
        self._orders: Kept[np.ndarray] = Kept(VIEWS_BYTES, lambda order: order.nbytes)
        self._columns_kept: Kept[Any] = Kept(COLUMNS_BYTES, lambda column: column.nbytes, COLUMNS_BYTES // 2)
        self.answers: Kept[bytes] = Kept(ANSWERS_BYTES, len, ANSWERS_BYTES // 2)
        self._too_large: set[str] = set()  # columns that are not kept
        self._adding = threading.Lock()
        self._later: dict[str, Callable[[], None]] = {}

    def close(self) -> None:
        """Remove the temporary file."""
        with contextlib.suppress(Exception):
            self._connection.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # Loading.

    def _load(self, pieces: Iterable[pa.Table]) -> int:
        count = 0
        for piece in pieces:
            plain = _plain(piece)
            plain = plain.rename_columns([f"store_{ROW}" if n == ROW else n for n in plain.column_names])
            numbers = pa.array(np.arange(count, count + plain.num_rows), pa.int64())
            plain = plain.add_column(0, ROW, numbers)
            self._connection.register("piece", plain)
            if count == 0 and not self._exists():
                self._connection.execute(f"CREATE TABLE {_TABLE} AS SELECT * FROM piece")
            else:
                self._connection.execute(f"INSERT INTO {_TABLE} BY NAME SELECT * FROM piece")
            self._connection.unregister("piece")
            count += plain.num_rows
        if not self._exists():
            self._connection.execute(f"CREATE TABLE {_TABLE} ({ROW} BIGINT, id VARCHAR, source VARCHAR)")
        return count

    def _exists(self) -> bool:
        found = self._connection.execute(
            "SELECT count(*) FROM information_schema.tables WHERE table_name = ?", [_TABLE]
        ).fetchone()
        return bool(found and found[0])

    def _settle_types(self) -> None:
        """Texts that are all numbers become numbers, as in a CSV; ids and names stay texts."""
        texts = [
            name
            for name, kind in self._types().items()
            if kind == "VARCHAR" and name not in ("id", "source", "predicted", "truth")
        ]
        for name in texts:
            column = quoted(name)
            found = self._connection.execute(
                f"SELECT count(nullif({column}, '')), count(try_cast(nullif({column}, '') AS DOUBLE)) "
                f"FROM {_TABLE}"
            ).fetchone()
            if found and found[0] and found[0] == found[1]:
                self._connection.execute(
                    f"ALTER TABLE {_TABLE} ALTER {column} SET DATA TYPE DOUBLE "
                    f"USING try_cast(nullif({column}, '') AS DOUBLE)"
                )

    def _types(self) -> dict[str, str]:
        rows = self._connection.execute(f"DESCRIBE {_TABLE}").fetchall()
        return {str(row[0]): str(row[1]) for row in rows}

    def _described(self, descriptions: Mapping[str, tuple[str, str]]) -> list[Described]:
        found = []
        for name, kind in self._types().items():
            said, unit = descriptions.get(name, ("", ""))
            if name == ROW:
                said = "number of the galaxy in the catalogue, from 0"
            meant: Kind = "number"
            if kind == "BOOLEAN":
                meant = "boolean"
            elif kind == "VARCHAR":
                meant = "text"
            found.append(Described(name, meant, said, unit))
        return found

    def add_columns(self, table: pa.Table, descriptions: Mapping[str, tuple[str, str]]) -> None:
        """Add columns to the rows that a table names in its column ``row``; other rows have nulls there.

        Columns of these names are replaced.
        """
        with self._adding:  # one after the other: each makes the table anew
            self._add_columns(_plain(table), descriptions)

    def _add_columns(self, plain: pa.Table, descriptions: Mapping[str, tuple[str, str]]) -> None:
        names = [name for name in plain.column_names if name != ROW]
        kept = [quoted(name) for name in self._types() if name not in names]
        added = ", ".join(f"added.{quoted(name)}" for name in names)
        old = ", ".join(f"{_TABLE}.{name}" for name in kept)
        cursor = self._connection.cursor()
        cursor.register("added", plain)
        cursor.execute("BEGIN")  # whoever asks meanwhile sees the old table
        cursor.execute(
            f"CREATE TABLE renewed AS SELECT {old}, {added} FROM {_TABLE} LEFT JOIN added USING ({ROW}) "
            f"ORDER BY {_TABLE}.{ROW}"
        )
        cursor.execute(f"DROP TABLE {_TABLE}")
        cursor.execute(f"ALTER TABLE renewed RENAME TO {_TABLE}")
        cursor.execute("COMMIT")
        cursor.unregister("added")
        known = {column.name: (column.description, column.unit) for column in self.columns}
        self.columns = self._described({**known, **descriptions})
        self.kinds = {column.name: column.kind for column in self.columns}
        for kept in (self._orders, self._columns_kept, self.answers):
            kept.clear()

    def later(self, names: Iterable[str], make: Callable[[], None]) -> None:
        """Columns that are made when a filter or a sorting first names them.

        Args:
            names: of the columns.
            make: adds them, or raises an error that says why they are not there yet.
        """
        self._later |= dict.fromkeys(names, make)

    def _make(self, text: str) -> None:
        """Make the columns of later that a text names, if it names any."""
        for name, make in self._later.items():
            if name in text and name not in self.kinds:
                make()

    # Questions.

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple]:
        """Rows of an answer; ``sql`` is written by this program, values are parameters.

        Raises:
            MorphoscopeError: the database cannot answer.
        """
        try:
            return self._connection.cursor().execute(sql, list(values)).fetchall()
        except self._errors as error:
            raise MorphoscopeError(f"the catalogue cannot be asked this ({reason_of(error)})") from error

    def arrow(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """The same as an Arrow table."""
        try:
            cursor = self._connection.cursor()
            return cursor.sql(sql, params=list(values)).to_arrow_table()
        except self._errors as error:
            raise MorphoscopeError(f"the catalogue cannot be asked this ({reason_of(error)})") from error

    def joined(self, piece: pa.Table, sql: str) -> list[tuple]:
        """Rows of an answer about the galaxies and another table, which ``sql`` calls ``piece``.

        Raises:
            MorphoscopeError: the database cannot answer.
        """
        cursor = self._connection.cursor()
        name = f"piece_{threading.get_ident()}"  # views are of the whole database
        try:
            cursor.register(name, piece)
            try:
                return cursor.execute(sql.replace("FROM piece ", f"FROM {name} AS piece ")).fetchall()
            finally:
                cursor.unregister(name)
        except self._errors as error:
            raise MorphoscopeError(f"the catalogue cannot be asked this ({reason_of(error)})") from error

    def has(self, *names: str) -> bool:
        """Whether all of these columns are there."""
        return all(name in self.kinds for name in names)

    def condition(self, expression: str) -> Condition:
        """A filter as a condition on the columns here; see :func:`parse_filter`."""
        self._make(expression)
        return parse_filter(expression, self.kinds)

    def need(self, name: str, kind: Kind | None = None) -> str:
        """A column's name in quotes.

        Raises:
            UsageError: there is no such column, or it is of another kind.
        """
        if name not in self.kinds:
            self._make(name)
        if name not in self.kinds:
            raise UsageError(f"there is no column '{name}'{did_you_mean(name, self.kinds, 'columns')}")
        if kind is not None and self.kinds[name] != kind:
            raise UsageError(f"column '{name}' is a {self.kinds[name]}; a {kind} was expected")
        return quoted(name)

    def view(self, expression: str = "", sort: str = "", *, descending: bool = False) -> View:
        """The rows that pass a filter, in an order.

        Args:
            expression: the filter; empty: all rows.
            sort: a column; empty: the catalogue's order.
            descending: the largest first. Rows without a value come last either way.

        Raises:
            UsageError: the filter is no expression, or there is no such column.
        """
        condition = self.condition(expression)
        if sort:
            self.need(sort)
        if condition.sql == "true" and not sort:
            return View(self.count, None)
        key = (condition.sql, condition.values, sort, descending and bool(sort))
        return View(
            self.count, self._orders.get(key, lambda: self._order(condition, sort, descending=descending))
        )

    def has_at_hand(
        self, expression: str, sort: str, columns: Sequence[str], *, descending: bool = False
    ) -> bool:
        """Whether :meth:`view` and :meth:`rows` can answer without asking the database."""
        if self.count > LONGEST_KEPT or not all(name in self._columns_kept for name in columns):
            return False
        if not expression and not sort:
            return True
        with contextlib.suppress(UsageError):
            condition = parse_filter(expression, self.kinds)
            return (condition.sql, condition.values, sort, descending and bool(sort)) in self._orders
        return False

    def _order(self, condition: Condition, sort: str, *, descending: bool) -> np.ndarray:
        by = f"{quoted(sort)} {'DESC' if descending else 'ASC'} NULLS LAST, " if sort else ""
        sql = f"SELECT {ROW} FROM {_TABLE} WHERE {condition.sql} ORDER BY {by}{ROW}"
        rows = self.arrow(sql, condition.values).column(0)
        return rows.to_numpy().astype(np.int32 if self.count < 1 << 31 else np.int64)

    def rows(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Values of some rows, in the order asked for, as JSON values; rows that do not exist are left out.

        Args:
            rows: their numbers.
            columns: None: all.
        """
        if not len(rows):
            return []
        if columns is not None and self.count <= LONGEST_KEPT:
            found = self._quickly(rows, [name for name in dict.fromkeys(columns) if name != ROW])
            if found is not None:
                return found
        names = list(dict.fromkeys([ROW, *(columns if columns is not None else self.kinds)]))
        wanted = ", ".join(quoted(name) for name in names)
        numbers = ", ".join(str(int(row)) for row in rows)
        answer = self.query(f"SELECT {wanted} FROM {_TABLE} WHERE {ROW} IN ({numbers})")
        by_row = {values[0]: _document(names, values) for values in answer}
        return [by_row[int(row)] for row in rows if int(row) in by_row]

    def _quickly(self, rows: Sequence[int], names: list[str]) -> list[dict[str, Any]] | None:
        """The same from columns in memory; None: they would take too much of it."""
        there = [int(row) for row in rows if 0 <= int(row) < self.count]
        at, columns = pa.array(there, pa.int64()), []
        for name in names:
            column = self._column(name)
            if column is None:
                return None
            values = column.take(at).to_pylist()
            if name == "id":
                values = list(map(str, values))
            elif pa.types.is_floating(column.type):
                values = list(map(_json, values))
            columns.append(values)
        keys = (ROW, *names)
        return [dict(zip(keys, values, strict=True)) for values in zip(there, *columns, strict=True)]

    def _column(self, name: str) -> pa.Array | None:
        if name in self._too_large:
            return None
        column = self._columns_kept.get(name, lambda: self._read_column(name))
        if column.nbytes > COLUMNS_BYTES // 2:
            self._too_large.add(name)
            return None
        return column

    def _read_column(self, name: str) -> pa.Array:
        found = self.arrow(f"SELECT {quoted(name)} FROM {_TABLE} ORDER BY {ROW}").column(0)
        if pa.types.is_string(found.type) and name not in ("id", "source"):
            found = found.dictionary_encode()
        whole = found.combine_chunks()
        return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole

    def find(self, identity: str) -> int | None:
        """The first row of a galaxy with this id, or else with this source; None if there is none."""
        for name in ("id", "source"):
            if self.has(name):
                found = self.query(
                    f"SELECT min({ROW}) FROM {_TABLE} WHERE CAST({quoted(name)} AS VARCHAR) = ?", [identity]
                )
                if found[0][0] is not None:
                    return int(found[0][0])
        return None


@dataclass(frozen=True)
class View:
    """Rows in an order.

    Attributes:
        rows_of_table: how many the whole table has.
        order: row numbers; None: all rows in their own order.
    """

    rows_of_table: int
    order: np.ndarray | None

    def __len__(self) -> int:
        return self.rows_of_table if self.order is None else len(self.order)

    def page(self, start: int, count: int) -> list[int]:
        """Row numbers of a stretch of the view; empty beyond its end."""
        start = max(0, start)
        if self.order is None:
            return list(range(start, min(start + count, self.rows_of_table)))
        return self.order[start : start + count].tolist()

    def position(self, row: int) -> int | None:
        """Where a row is in the view, from 0; None if it is not."""
        if self.order is None:
            return row if 0 <= row < self.rows_of_table else None
        found = np.flatnonzero(self.order == row)
        return int(found[0]) if len(found) else None


def _plain(piece: pa.Table) -> pa.Table:
    """Columns as DuckDB and filters know them: numbers, texts, booleans; no vectors, no bytes, no NaN."""
    columns: dict[str, Any] = {}
    for field in piece.schema:
        column, kind = piece[field.name], field.type
        name = field.name
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
            column = column.cast(kind)
        if pa.types.is_float16(kind):
            column, kind = column.cast(pa.float32()), pa.float32()
        if pa.types.is_floating(kind):
            column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        elif pa.types.is_decimal(kind):
            column = column.cast(pa.float64())
        elif any(test(kind) for test in _MADE_TEXT):
            column = column.cast(pa.string())
        elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind)):
            continue
        columns[name] = column
    return pa.table(columns)


def _document(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """A row as JSON values; ids are texts, since not every number survives a page."""
    found = dict(zip(names, map(_json, values), strict=True))
    if "id" in found:
        found["id"] = str(found["id"])
    return found


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else ("∞" if value > 0 else "−∞")
    return value
