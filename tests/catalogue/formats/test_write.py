from __future__ import annotations

import csv
import errno
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue.formats.convert import convert
from morphoscope.catalogue.formats.table_schema import Extent
from morphoscope.catalogue.formats.write import (
    FORMATS,
    check_output,
    read_provenance,
    remove,
    target_of,
    unreadable_path,
    write_catalogue,
    write_unreadable,
)
from morphoscope.errors import MorphoscopeError, UsageError

ROWS = pa.table({"id": ["a", "b", "c"], "p": pa.array([0.1, 0.5, 1.0], pa.float32())})


@pytest.mark.parametrize("ending", ["parquet", "csv", "ecsv", "fits", "vot"])
@pytest.mark.parametrize("reason", [RuntimeError("broken"), KeyboardInterrupt()], ids=["error", "Ctrl-C"])
def test_an_error_leaves_the_old_catalogue_and_nothing_else(
    tmp_path: Path, ending: str, reason: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / f"catalogue.{ending}"
    out.write_text("old")
    target = target_of(out)

    def broken_off(*_: object) -> None:
        raise reason

    monkeypatch.setattr(FORMATS[out.suffix], "write", broken_off)
    with pytest.raises(type(reason)):
        write_catalogue(target, ROWS, {})
    assert out.read_text() == "old"
    assert list(tmp_path.iterdir()) == [out]


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(MorphoscopeError, match="the disk is full"):
        write_catalogue(target_of(tmp_path / "c.parquet"), ROWS, {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["c.parquet", "c.csv", "c.ecsv", "c.fits", "c.vot", "folder"])
def test_a_full_disk_leaves_nothing_in_any_form(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever letting go of the broken file raises, the disk is blamed and the file is gone."""
    out = tmp_path / "out" / name
    target = target_of(out)
    trial = target.writer(tmp_path / "trial", ROWS.schema, {}, Extent.of(ROWS))
    trial.abandon()
    remove(tmp_path / "trial")
    abandon = type(trial).abandon

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def broken(writer: Any) -> None:
        abandon(writer)
        raise pa.ArrowInvalid("Operation on closed file")

    monkeypatch.setattr(type(trial), "write", full)
    monkeypatch.setattr(type(trial), "abandon", broken)
    pq.write_table(ROWS, tmp_path / "in.parquet")
    with pytest.raises(MorphoscopeError, match=f"{name}: the disk is full"):
        convert(tmp_path / "in.parquet", out)
    assert list(out.parent.iterdir()) == []


def test_a_folder_that_is_given_up_is_not_finished(tmp_path: Path) -> None:
    writer = target_of("folder").writer(tmp_path / "folder", ROWS.schema, {}, Extent.of(ROWS))
    writer.write(ROWS)
    writer.abandon()
    assert not (tmp_path / "folder" / "_common_metadata").exists()


def test_damaged_input_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    place = tmp_path / "in.parquet"
    pq.write_table(pa.table({"id": [f"galaxy {k}" for k in range(5000)]}), place, compression="zstd")
    content = bytearray(place.read_bytes())
    content[200:800] = b"x" * 600
    place.write_bytes(content)
    with pytest.raises(MorphoscopeError, match=r"in\.parquet cannot be read"):
        convert(place, tmp_path / "out.csv")
    assert list(tmp_path.iterdir()) == [place]


def test_the_name_says_the_form(tmp_path: Path) -> None:
    assert target_of(tmp_path / "c.PARQUET").shard_rows is None
    assert target_of("c.fits").path == Path("c.fits")
    assert target_of("folder").shard_rows == 1_000_000
    assert target_of("c.parquet/").shard_rows == 1_000_000
    assert target_of("c.parquet", 5).shard_rows == 5
    with pytest.raises(UsageError, match="folder of Parquet files"):
        target_of("c.csv", 5)
    with pytest.raises(UsageError, match="at least 1 row"):
        target_of("c", 0)
    with pytest.raises(UsageError, match=r"'\.q' is unknown.*\.csv, \.ecsv, \.fits, \.hats, \.parquet"):
        target_of("c.q")
    with pytest.raises(UsageError, match=r"did you mean '\.parquet'"):
        target_of("c.parqet")


def test_wrong_outputs_are_refused_before_the_work(tmp_path: Path) -> None:
    there = tmp_path / "there.csv"
    there.write_text("x")
    check_output(target_of(there), overwrite=True)
    check_output(target_of(tmp_path / "a" / "b" / "new.parquet"))
    with pytest.raises(UsageError, match="exists already"):
        check_output(target_of(there))
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_output(target_of(tmp_path / "folder.csv"), overwrite=True)
    with pytest.raises(UsageError, match="nothing can be written here"):
        check_output(target_of(there / "below-a-file.csv"))
    with pytest.raises(UsageError, match="nothing can be written here"):
        check_output(target_of("/proc/catalogue.csv"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").touch()
    with pytest.raises(UsageError, match="something else"):
        check_output(target_of(tmp_path / "images"), overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "folder.csv", "images", "there.csv"]


def test_unreadable_list_is_there_only_if_something_is_listed(tmp_path: Path) -> None:
    out = tmp_path / "catalogue.parquet"
    assert write_unreadable(out, []) is None
    assert not list(tmp_path.iterdir())
    rows = [("1", "a, b.jpg", 'is "cut off"'), ("2", "größe.jpg", "the file is empty")]
    assert write_unreadable(out, iter(rows)) == unreadable_path(out) == tmp_path / "catalogue.unreadable.csv"
    with open(unreadable_path(out), newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)] == [("id", "source", "reason"), *rows]
    assert write_unreadable(out, []) is None  # a later catalogue without unreadable images
    assert not list(tmp_path.iterdir())


def test_a_csv_cannot_say_where_its_numbers_come_from(tmp_path: Path) -> None:
    write_catalogue(target_of(tmp_path / "c.csv"), ROWS, {"run": "run-7"})
    with pytest.raises(MorphoscopeError, match=r"'\.csv' file cannot hold provenance"):
        read_provenance(tmp_path / "c.csv")


def test_provenance_of_what_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"c\.fits does not exist; a catalogue was expected"):
        read_provenance(tmp_path / "c.fits")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MorphoscopeError, match="empty is damaged or no catalogue"):
        read_provenance(tmp_path / "empty")
    for ending in (".parquet", ".fits", ".vot", ".ecsv"):
        place = tmp_path / f"c{ending}"
        place.write_text("id,ra\n1,2\n")
        with pytest.raises(MorphoscopeError, match=f"c{ending} is damaged or no catalogue"):
            read_provenance(place)
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "other.parquet")
    assert read_provenance(tmp_path / "other.parquet") == {}
