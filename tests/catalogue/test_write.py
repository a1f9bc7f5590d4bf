from __future__ import annotations

import csv
import errno
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import write
from morphoscope.catalogue.write import (
    UnreadableList,
    check_output,
    open_catalogue,
    read_provenance,
    unreadable_path,
)
from morphoscope.errors import MorphoscopeError, UsageError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("ra", pa.float64(), metadata={"unit": "deg"}),
        pa.field("p", pa.float32()),
    ]
)


def _rows(start: int, count: int) -> pa.Table:
    numbers = range(start, start + count)
    return pa.table(
        {
            "id": [f'g "{n}", north' for n in numbers],
            "ra": [None if n % 3 == 0 else n / 7 for n in numbers],
            "p": pa.array([np.float32(n / 11) for n in numbers], pa.float32()),
        },
        schema=SCHEMA,
    )


def test_parquet_keeps_rows_units_and_provenance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "ROW_GROUP", 10)
    out = tmp_path / "new" / "catalogue.parquet"
    with open_catalogue(out, SCHEMA, {"run": "run-7", "recipe": "größe"}) as writer:
        for start in range(0, 35, 5):
            writer.write(_rows(start, 5))
            assert not out.exists()
    assert pq.read_table(out).to_pylist() == _rows(0, 35).to_pylist()
    assert read_provenance(out) == {"run": "run-7", "recipe": "größe"}
    assert pq.read_schema(out).field("ra").metadata[b"unit"] == b"deg"
    groups = pq.ParquetFile(out).metadata
    assert [groups.row_group(k).num_rows for k in range(groups.num_row_groups)] == [10, 10, 10, 5]


def test_csv_keeps_rows_to_the_last_digit(tmp_path: Path) -> None:
    out = tmp_path / "catalogue.CSV"
    with open_catalogue(out, SCHEMA, {"run": "run-7"}) as writer:
        writer.write(_rows(0, 4))
        writer.write(_rows(4, 3))
    with open(out, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    expected = _rows(0, 7).to_pylist()
    assert [row["id"] for row in rows] == [row["id"] for row in expected]
    assert [row["ra"] and float(row["ra"]) for row in rows] == [row["ra"] or "" for row in expected]
    assert [np.float32(row["p"]) for row in rows] == [np.float32(row["p"]) for row in expected]


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("reason", [RuntimeError("broken"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_an_error_leaves_the_old_catalogue_and_nothing_else(
    tmp_path: Path, ending: str, reason: BaseException
) -> None:
    out = tmp_path / f"catalogue.{ending}"
    out.write_text("old")

    def broken_off() -> None:
        with open_catalogue(out, SCHEMA, {}) as writer:
            writer.write(_rows(0, 5))
            raise reason

    with pytest.raises(type(reason)):
        broken_off()
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write_rows() -> None:
        with open_catalogue(tmp_path / "c.parquet", SCHEMA, {}) as writer:
            monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
            writer.write(_rows(0, 5))

    monkeypatch.setattr(write, "ROW_GROUP", 1)
    with pytest.raises(MorphoscopeError, match="the disk is full"):
        write_rows()
    assert not list(tmp_path.iterdir())


def test_wrong_outputs_are_refused_before_the_work(tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("x")
    check_output(there, overwrite=True)
    check_output(tmp_path / "a" / "b" / "new.parquet")
    with pytest.raises(UsageError, match="exists already"):
        check_output(there)
    with pytest.raises(UsageError, match=r"'\.xlsx' is unknown.*\.csv, \.parquet"):
        check_output(tmp_path / "c.xlsx")
    with pytest.raises(UsageError, match=r"did you mean '\.parquet'"):
        check_output(tmp_path / "c.parqet")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_output(tmp_path / "folder.csv", overwrite=True)
    with pytest.raises(UsageError, match="nothing can be written here"):
        check_output(there / "below-a-file.csv")
    with pytest.raises(UsageError, match="nothing can be written here"):
        check_output(Path("/proc/catalogue.csv"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder.csv", "there.csv"]


def test_unreadable_list_is_there_only_if_something_is_listed(tmp_path: Path) -> None:
    out = tmp_path / "catalogue.parquet"
    with UnreadableList(out) as unreadable:
        pass
    assert not unreadable.path.exists()
    with UnreadableList(out) as unreadable:
        unreadable.add("1", "a, b.jpg", 'is "cut off"')
        unreadable.add("2", "c.jpg", "the file is empty")
    assert unreadable.path == unreadable_path(out) == tmp_path / "catalogue.unreadable.csv"
    assert unreadable.first == 'a, b.jpg: is "cut off"'
    with open(unreadable.path, newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["id", "source", "reason"],
            ["1", "a, b.jpg", 'is "cut off"'],
            ["2", "c.jpg", "the file is empty"],
        ]
    with UnreadableList(out):  # a later catalogue without unreadable images
        pass
    assert not list(tmp_path.iterdir())


def test_unreadable_list_goes_when_the_work_fails(tmp_path: Path) -> None:
    def broken_off() -> None:
        with UnreadableList(tmp_path / "c.csv") as unreadable:
            unreadable.add("1", "a.jpg", "empty")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert not list(tmp_path.iterdir())
