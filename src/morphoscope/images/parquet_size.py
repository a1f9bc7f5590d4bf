"""How much a Parquet file unpacks to, known before memory is taken for it.

A text that is repeated is stored once, in a column's dictionary, and takes its length again for each row that
is read: two kilobytes may stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from morphoscope.errors import MorphoscopeError
from morphoscope.images.limits import most_bytes, most_unpacked, unpacks_too_far

pc: Any = pyarrow.compute  # its functions are made when it is imported, so that no checker knows them


def check_declared(file: pq.ParquetFile, path: Path) -> None:
    """Refuse a file that declares much more than it can hold.

    Raises:
        MorphoscopeError: its rows, the values of a column, or the bytes of its pages, are more than a hundred
            times its size.
    """
    facts, declared, values = file.metadata, 0, 0
    for group in map(facts.row_group, range(facts.num_row_groups)):
        declared += group.total_byte_size
        values += max((group.column(at).num_values for at in range(group.num_columns)), default=0)
    if max(facts.num_rows, values, declared) > most_unpacked(path.stat().st_size):
        raise MorphoscopeError(f"{path}: {unpacks_too_far()}")


def rows_at_a_time(
    file: pq.ParquetFile, path: Path, rows: int, columns: Iterable[str] | None = None, *, most: int = 0
) -> int:
    """How many rows may be read together so that they take a bounded memory, up to ``rows``.

    Args:
        file: that is open.
        path: of it.
        rows: that are wanted.
        columns: that will be read; None: all.
        most: bytes; 0: :func:`morphoscope.images.limits.most_bytes`.
    """
    wanted = None if columns is None else tuple(columns)
    most = most or most_bytes()
    largest: dict[str, int] = {}  # a column's longest value, bytes, at most
    where: dict[str, list[int]] = {}  # its row groups in which it might take too much
    facts = file.metadata
    for number in range(facts.num_row_groups):
        group = facts.row_group(number)
        for at in range(group.num_columns):
            column = group.column(at)
            name = column.path_in_schema
            if wanted is not None and not any(name == each or name.startswith(f"{each}.") for each in wanted):
                continue
            if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
                largest[name] = file.schema.column(at).length
            elif "DELTA_BYTE_ARRAY" in column.encodings:  # each value may repeat the one before it
                largest[name] = max(largest.get(name, 0), column.total_uncompressed_size)
            elif column.physical_type != "BYTE_ARRAY" or not column.has_dictionary_page:
                continue
            elif min(rows, group.num_rows) * column.total_uncompressed_size > most // 8:
                where.setdefault(name, []).append(number)
    for name, groups in where.items():
        largest[name] = max(largest.get(name, 0), _longest(path, name, groups))
    return max(1, min(rows, most // max(1, sum(largest.values()))))


def _longest(path: Path, name: str, groups: list[int]) -> int:
    """Bytes of the longest value in a column's dictionaries, which are read without the rows."""
    longest = 0
    with pq.ParquetFile(path, read_dictionary=[name]) as file:
        for group in groups:
            for batch in file.iter_batches(1, row_groups=[group], columns=[name]):
                for array in _leaves(batch.column(0)):
                    length = pc.max(pc.binary_length(array.dictionary)).as_py()
                    longest = max(longest, length or 0)
                break
    return longest


def _leaves(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    """The columns with dictionaries that a column consists of."""
    if isinstance(array, pa.DictionaryArray):
        yield array
    elif isinstance(array, pa.StructArray):
        for at in range(array.type.num_fields):
            yield from _leaves(array.field(at))
    elif isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        yield from _leaves(array.values)


def whole(pieces: Iterable[pa.Table], path: Path) -> pa.Table:
    """Pieces of a file, at least one, as one table.

    Raises:
        MorphoscopeError: they take more than a hundred times the file's size.
    """
    most, kept, taken = most_unpacked(path.stat().st_size), [], 0
    for piece in pieces:
        taken += piece.nbytes
        if taken > most:
            raise MorphoscopeError(f"{path}: {unpacks_too_far()}")
        kept.append(piece)
    return pa.concat_tables(kept)


def read_whole(path: Path) -> pa.Table:
    """All rows and columns of a file.

    Raises:
        MorphoscopeError: they would take more than a hundred times its size.
        OSError, pyarrow.ArrowException: it is damaged.
    """
    # pq.read_table would make a column of the table from a folder called "split=train".
    with pq.ParquetFile(path, memory_map=True) as file:
        check_declared(file, path)
        rows = rows_at_a_time(file, path, file.metadata.num_rows, most=most_unpacked(path.stat().st_size))
        if rows >= file.metadata.num_rows:
            table = file.read()
        else:
            batches = file.iter_batches(rows)
            table = whole((pa.Table.from_batches([batch]) for batch in batches), path).combine_chunks()
        table.validate(full=True)  # texts that are not UTF-8, places that are not there
        return table
