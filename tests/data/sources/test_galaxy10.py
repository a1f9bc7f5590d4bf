from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from morphoscope.data.sources.galaxy10 import ingest_galaxy10
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.galaxy10 import GALAXY10

COUNT, SIDE = 23, 16
RNG = np.random.default_rng(2)
IMAGES = RNG.integers(0, 256, (COUNT, SIDE, SIDE, 3), np.uint8)
COLUMNS: dict[str, np.ndarray] = {
    "images": IMAGES,
    "ans": np.sort(np.arange(COUNT) % 10).astype(np.uint8),
    "ra": RNG.uniform(0, 360, COUNT),
    "dec": RNG.uniform(-10, 10, COUNT),
    "redshift": np.where(np.arange(COUNT) % 5, RNG.uniform(0, 0.2, COUNT), np.nan),
    "pxscale": np.full(COUNT, 0.262),
}


def write(path: Path, **changes: np.ndarray | None) -> Path:
    """A file with the official layout: chunked over rows and pixels, compressed."""
    with h5py.File(path, "w") as file:
        for key, values in {**COLUMNS, **changes}.items():
            if key == "images" and values is not None:
                file.create_dataset(key, data=values, chunks=(7, 8, 8, 1), compression="gzip")
            elif values is not None:
                file.create_dataset(key, data=values)
    return path


@pytest.fixture
def h5(tmp_path: Path) -> Path:
    return write(tmp_path / "Galaxy10_DECals.h5")


def test_rows_keep_the_files_order(h5: Path, tmp_path: Path):
    store = ingest_galaxy10(h5, tmp_path / "s")
    assert store.scheme == GALAXY10
    assert np.array_equal(store.images, IMAGES)
    assert store.targets().tolist() == COLUMNS["ans"].tolist()
    assert np.array_equal(store.column("ra"), COLUMNS["ra"])
    assert np.array_equal(store.column("dec"), COLUMNS["dec"])
    assert np.array_equal(store.column("redshift"), COLUMNS["redshift"], equal_nan=True)
    assert store.column("pixel_scale").tolist() == [0.262] * COUNT
    assert store.column("id").tolist()[:2] == ["00000", "00001"]
    assert store.meta.pixel_scale == 0.262
    assert store.meta.stretch == "as-served"
    assert store.meta.source == "Galaxy10_DECals.h5"


@pytest.mark.parametrize("rows", [1, 5, 7, 22])
def test_blocks_of_any_length_give_every_row_once(
    h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
):
    monkeypatch.setattr("morphoscope.data.sources.galaxy10.BLOCK_BYTES", rows * SIDE * SIDE * 3)
    assert np.array_equal(ingest_galaxy10(h5, tmp_path / "s").images, IMAGES)


def test_images_are_read_by_whole_chunks_in_order(h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("morphoscope.data.sources.galaxy10.BLOCK_BYTES", 1)
    asked: list[Any] = []
    read: Callable[..., Any] = h5py.Dataset.__getitem__

    def watched(self: h5py.Dataset, index: Any, **options: Any) -> Any:
        if self.name == "/images":
            asked.append(index)
        return read(self, index, **options)

    monkeypatch.setattr(h5py.Dataset, "__getitem__", watched)
    ingest_galaxy10(h5, tmp_path / "s")
    assert asked == [slice(0, 7), slice(7, 14), slice(14, 21), slice(21, 28)]


def test_crop_and_size_change_the_pixel_scale(h5: Path, tmp_path: Path):
    store = ingest_galaxy10(h5, tmp_path / "s", crop=12, size=6)
    assert store.images.shape == (COUNT, 6, 6, 3)
    assert store.meta.pixel_scale == pytest.approx(0.524)
    assert store.column("pixel_scale").tolist() == pytest.approx([0.524] * COUNT)


def test_the_checksum_is_computed_or_taken(h5: Path, tmp_path: Path):
    expected = hashlib.sha256(h5.read_bytes()).hexdigest()
    assert ingest_galaxy10(h5, tmp_path / "s").meta.source_checksum == expected
    assert ingest_galaxy10(h5, tmp_path / "t", sha256="known").meta.source_checksum == "known"


def test_a_file_with_images_and_labels_alone_will_do(tmp_path: Path):
    h5 = write(tmp_path / "g.h5", ra=None, dec=None, redshift=None, pxscale=None)
    store = ingest_galaxy10(h5, tmp_path / "s")
    assert store.meta.pixel_scale == 0.262
    assert np.isnan(store.column("ra")).all()
    assert "redshift" not in store.table.column_names


def test_a_file_that_was_cut_off_is_one_sentence(h5: Path, tmp_path: Path):
    whole = h5.read_bytes()
    h5.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        MorphoscopeError, match=rf"cut off: it has {len(whole) // 2:,} of {len(whole):,} bytes"
    ):
        ingest_galaxy10(h5, tmp_path / "s")
    h5.write_bytes(whole[:100])
    with pytest.raises(
        MorphoscopeError, match=r"Galaxy10_DECals\.h5: (the file is cut off|cannot be opened)"
    ):
        ingest_galaxy10(h5, tmp_path / "s")
    h5.write_text("<html>")
    with pytest.raises(MorphoscopeError, match="cannot be opened as HDF5"):
        ingest_galaxy10(h5, tmp_path / "s")
    with pytest.raises(UsageError, match=r"none\.h5: no such file"):
        ingest_galaxy10(tmp_path / "none.h5", tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_damaged_chunks_are_named(h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("morphoscope.data.sources.galaxy10.BLOCK_BYTES", 1)
    with h5py.File(h5, "r+") as file:
        images: Any = file["images"]
        images.id.write_direct_chunk((7, 0, 0, 0), b"no zlib stream")
    with pytest.raises(MorphoscopeError, match="images 7 to 13 are damaged"):
        ingest_galaxy10(h5, tmp_path / "s")
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ans": None}, r"has no 'ans'; .*\(it has: dec, images, pxscale, ra, redshift\)"),
        ({"images": None}, "has no 'images'"),
        ({"images": IMAGES[:, :, :, 0]}, r"'images' is \(23, 16, 16\) uint8"),
        ({"images": IMAGES.astype(np.float32)}, r"'images' is \(23, 16, 16, 3\) float32"),
        ({"ans": COLUMNS["ans"][:-1]}, r"'ans' is \(22,\); 23 numbers"),
        ({"ra": COLUMNS["ra"][:5]}, r"'ra' is \(5,\); 23 numbers"),
        ({"ans": np.r_[COLUMNS["ans"][:-1], 10]}, "row 22 of 'ans' is 10; 0 to 9 was expected"),
        ({"images": np.zeros((COUNT, 69, 69, 3), np.uint8)}, "this is Galaxy10 SDSS"),
    ],
)
def test_another_layout_is_named(tmp_path: Path, changes: dict[str, Any], message: str):
    h5 = write(tmp_path / "g.h5", **changes) if "images" not in changes or changes["images"] is None else None
    if h5 is None:
        h5 = write(tmp_path / "g.h5", images=None)
        with h5py.File(h5, "a") as file:
            file["images"] = changes["images"]
    with pytest.raises(MorphoscopeError, match=message):
        ingest_galaxy10(h5, tmp_path / "s")
    assert not (tmp_path / "s").exists()
