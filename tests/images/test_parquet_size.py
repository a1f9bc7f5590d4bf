"""Small Parquet files that unpack to much more: harmless ones, with low bounds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.images.limits import SETTING
from morphoscope.images.parquet_size import read_whole
from morphoscope.images.tables import iterate_table, read_table, sampled

LONG, ROWS = 40_000, 600  # 24 MB in a file of a kilobyte


def file_of(path: Path, kind: str) -> Path:
    cell = b"x" * LONG
    cells: list[object] = {
        "text": [cell.decode()] * ROWS,
        "image": [{"bytes": cell, "path": "a"}] * ROWS,
        "prefix": [cell.decode()] * ROWS,
        "list": [[cell.decode()]] * ROWS,
    }[kind]
    encoding = {"column_encoding": "DELTA_BYTE_ARRAY", "use_dictionary": False} if kind == "prefix" else {}
    pq.write_table(pa.table({"id": cells}), path, compression="zstd", **encoding)
    assert path.stat().st_size < 10_000
    return path


@pytest.mark.parametrize("kind", ["text", "image", "prefix", "list"])
def test_a_value_that_is_repeated_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = file_of(tmp_path / "t.parquet", kind)
    assert read_whole(path).num_rows == ROWS
    monkeypatch.setenv(SETTING, "250000")  # so that a million bytes are allowed at a time
    sizes = [(piece.num_rows, piece.nbytes) for piece in iterate_table(path, ["id"])]
    assert sum(rows for rows, _ in sizes) == ROWS
    assert max(taken for _, taken in sizes) < 1_100_000
    assert all(piece.nbytes < 1_100_000 for piece in sampled(path, ["id"]))
    for read in (read_table, read_whole):
        with pytest.raises(MorphoscopeError, match=f"unpacks to more than 100 times its size.*{SETTING}"):
            read(path)


def test_ordinary_columns_are_read_as_many_rows_at_a_time_as_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "250000")
    ids = [f"J{number:06d}" for number in range(20_000)]
    pq.write_table(pa.table({"id": ids, "survey": ["decals"] * 20_000}), tmp_path / "t.parquet")
    pieces = list(iterate_table(tmp_path / "t.parquet", ["id", "survey"]))
    assert [piece.num_rows for piece in pieces] == [4096] * 4 + [3616]


def test_more_values_than_a_file_can_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, "1000")
    pq.write_table(pa.table({"a": [[7] * 2_000_000]}), tmp_path / "t.parquet")
    with pytest.raises(MorphoscopeError, match="unpacks to more than 100 times its size"):
        read_whole(tmp_path / "t.parquet")
