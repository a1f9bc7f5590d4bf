"""HDF5 files that come from anywhere are read in another process first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from morphoscope.catalogue.inputs.open import open_input
from morphoscope.data.sources.table import ingest_table
from morphoscope.errors import MorphoscopeError
from morphoscope.images import hdf5_check
from morphoscope.images.hdf5_check import check_hdf5
from morphoscope.images.table_parts import table_parts
from morphoscope.images.tables import columns_of, read_table

h5py = pytest.importorskip("h5py")
CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
# Reads as many names as the real one, and crashes on those that begin with "bad".
CRASHES_ON_BAD = """
import os, signal, sys
for path in sys.stdin.buffer.read().split(b"\\0"):
    if os.path.basename(path).startswith(b"bad"):
        os.kill(os.getpid(), signal.SIGSEGV)
    print(flush=True)
"""


def _part(path: Path, count: int = 3) -> Path:
    """A part of the Multimodal Universe with texts of variable length, in chunks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.create_dataset("object_id", data=[f"galaxy {row}" for row in range(count)], chunks=(2,))
        file["ra"], file["dec"] = np.arange(count) + 1.0, np.arange(count) + 2.0
        images = np.random.default_rng(0).integers(0, 255, (count, 8, 8, 3), np.uint8)
        file.create_dataset("images", data=images, chunks=(1, 8, 8, 3), compression="gzip")
        file["images"].attrs["unit"] = "grey"
    return path


def test_an_intact_file_is_walked_through_in_silence(tmp_path: Path) -> None:
    part = _part(tmp_path / "a.hdf5")
    walked = subprocess.run(
        [sys.executable, "-c", hdf5_check._WALK], input=str(part).encode(), capture_output=True, check=True
    )
    assert (walked.stdout, walked.stderr) == (b"\n", b"")
    assert read_table(part, ["object_id"])["object_id"].to_pylist() == ["galaxy 0", "galaxy 1", "galaxy 2"]


def test_tables_on_which_the_library_breaks_down_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = _part(tmp_path / "a.hdf5")
    monkeypatch.setattr(hdf5_check, "_WALK", CRASHES)
    for read in (
        columns_of,
        lambda path: open_input(path, image_column="images"),
        lambda path: ingest_table(path, tmp_path / "store", label_column="object_id"),
    ):
        with pytest.raises(MorphoscopeError, match=r"a\.hdf5 is damaged: the HDF5 library crashes on it$"):
            read(part)
    assert not (tmp_path / "store").exists()


def test_the_parts_of_a_data_set_are_walked_through_by_one_process_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [_part(tmp_path / "set" / f"healpix={number}" / "1.hdf5") for number in range(3)]
    started: list[object] = []
    real = subprocess.Popen

    def counted(*arguments: object, **options: object) -> object:
        started.append(arguments)
        return real(*arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(hdf5_check.subprocess, "Popen", counted)
    assert table_parts(tmp_path / "set") == [str(part) for part in parts]
    assert columns_of(parts[1]).names
    assert len(started) == 1
    _part(parts[1], 4)  # another file of the same name
    assert columns_of(parts[1]).names
    assert len(started) == 2


def test_among_many_the_damaged_one_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.hdf5", "bad.hdf5", "c.hdf5"):
        _part(tmp_path / name)
    monkeypatch.setattr(hdf5_check, "_WALK", CRASHES_ON_BAD)
    with pytest.raises(MorphoscopeError, match=r"bad\.hdf5 is damaged"):
        check_hdf5([tmp_path / "a.hdf5", tmp_path / "bad.hdf5", tmp_path / "c.hdf5"])
    check_hdf5([tmp_path / "a.hdf5", tmp_path / "c.hdf5"])


def test_a_file_whose_structure_takes_too_long_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = _part(tmp_path / "a.h5")
    monkeypatch.setattr(hdf5_check, "_PATIENCE", 0.3)
    monkeypatch.setattr(hdf5_check, "_WALK", "import time; time.sleep(60)")
    with pytest.raises(MorphoscopeError, match=r"\.h5: its structure could not be read in 0\.3 seconds"):
        check_hdf5([part])


@pytest.mark.parametrize("count", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_damage_anywhere_is_one_sentence_or_a_table(tmp_path: Path, count: int) -> None:
    whole, random, said = _part(tmp_path / "a.h5").read_bytes(), np.random.default_rng(count), list[str]()
    for number in range(count):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 8):
            damaged[at] = random.integers(256)
        path = tmp_path / f"damaged-{number}.h5"
        path.write_bytes(damaged)
        try:
            found = read_table(path, columns_of(path).names)
        except MorphoscopeError as error:
            said.append(str(error))
        else:
            assert found.num_rows
    assert not any("\n" in sentence for sentence in said)
