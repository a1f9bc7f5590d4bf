from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from morphoscope.data.sources import galaxy10
from morphoscope.data.sources.galaxy10 import ingest_galaxy10
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images import hdf5_check
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


@pytest.mark.parametrize("rows", [5, *(pytest.param(rows, marks=pytest.mark.slow) for rows in (1, 7, 22))])
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
        MorphoscopeError, match=rf"truncated: it has {len(whole) // 2:,} of {len(whole):,} bytes"
    ):
        ingest_galaxy10(h5, tmp_path / "s")
    h5.write_bytes(whole[:100])
    with pytest.raises(
        MorphoscopeError, match=r"Galaxy10_DECals\.h5: (the file is truncated|cannot be opened)"
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
def test_another_layout_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
):
    h5 = write(tmp_path / "g.h5", **changes) if "images" not in changes or changes["images"] is None else None
    if h5 is None:
        h5 = write(tmp_path / "g.h5", images=None)
        with h5py.File(h5, "a") as file:
            file["images"] = changes["images"]
    monkeypatch.setattr(galaxy10, "check_hdf5", lambda paths, expected: None)  # which costs a process each
    with pytest.raises(MorphoscopeError, match=message):
        ingest_galaxy10(h5, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_data_that_lie_elsewhere_are_refused(h5: Path, tmp_path: Path) -> None:
    """A file from a stranger must not make us read others: links, external storage and virtual datasets."""
    with h5py.File(h5) as file:
        images, ans = file["images"][:], file["ans"][:]
    (tmp_path / "secret.bin").write_bytes(images.tobytes())
    for kind in ("link", "storage", "virtual"):
        path = tmp_path / f"{kind}.h5"
        with h5py.File(path, "w") as file:
            file["ans"] = ans
            if kind == "link":
                file["images"] = h5py.ExternalLink(str(h5), "images")
            elif kind == "storage":
                external = [(str(tmp_path / "secret.bin"), 0, images.nbytes)]
                file.create_dataset("images", images.shape, np.uint8, external=external)
            else:
                layout = h5py.VirtualLayout(images.shape, np.uint8)
                layout[:] = h5py.VirtualSource(str(h5), "images", images.shape)
                file.create_virtual_dataset("images", layout)
        with pytest.raises(MorphoscopeError, match=rf"{kind}\.h5: 'images' refers to data in another file"):
            ingest_galaxy10(path, tmp_path / "s", sha256="known")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (3, "not a list of distinct class names"),
        (["a", "a"], "not a list of distinct class names"),
        (np.zeros(3), "not a list of distinct class names"),
        ([f"c{n}" for n in range(5)], None),
        (np.array([b"a", b"b", b"c", b"d", b"e"]), None),
    ],
)
def test_odd_attributes_are_one_sentence(h5: Path, tmp_path: Path, classes: Any, message: str | None) -> None:
    with h5py.File(h5, "a") as file:
        file["ans"][:] %= 5
        file["ans"].attrs["classes"] = classes
    if message is None:
        store = ingest_galaxy10(h5, tmp_path / "s", sha256="known")
        assert store.need_scheme().output_names[0] in ("a", "c0")
        return
    with pytest.raises(MorphoscopeError, match=message):
        ingest_galaxy10(h5, tmp_path / "s", sha256="known")


@pytest.mark.parametrize(
    ("count", "side", "chunk"),
    [(10**9, 256, (1, 256, 256, 3)), (10, 8193, (1, 64, 64, 3)), (10**4, 256, (6000, 256, 256, 3))],
)
def test_sizes_that_no_galaxies_have_are_refused_before_memory_is_taken(
    tmp_path: Path, count: int, side: int, chunk: tuple[int, ...]
) -> None:
    path = tmp_path / "bomb.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (count, side, side, 3), np.uint8, chunks=chunk)
        file.create_dataset("ans", (count,), np.uint8, chunks=(1,))
    with pytest.raises(
        MorphoscopeError, match="at most 50,000,000 images of 8192 pixels, in chunks of 1,073"
    ):
        ingest_galaxy10(path, tmp_path / "s")


def test_damage_anywhere_is_one_sentence_or_the_same_galaxies(h5: Path, tmp_path: Path) -> None:
    whole, random, said = h5.read_bytes(), np.random.default_rng(3), list[str]()
    with h5py.File(h5) as file:
        count = len(file["ans"])
    for _ in range(60):
        damaged = bytearray(whole)
        for at in random.integers(0, min(len(whole), 12_000), 6):
            damaged[at] = random.integers(256)
        path = tmp_path / "damaged.h5"
        path.write_bytes(damaged)
        try:
            store = ingest_galaxy10(path, tmp_path / "s", sha256="known", overwrite=True)
        except MorphoscopeError as error:
            said.append(str(error))
        else:
            assert len(store) <= count
    assert said
    assert not any("\n" in sentence for sentence in said)


def test_a_file_on_which_the_library_breaks_down_is_named(
    h5: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hdf5_check, "_WALK", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    with pytest.raises(MorphoscopeError, match="the HDF5 library crashes on it; Galaxy10_DECals"):
        ingest_galaxy10(h5, tmp_path / "s")
