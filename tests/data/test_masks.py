"""Masks in a store: written, opened, checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from morphoscope.data.store import StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError

NAMES = ("bulge", "disc", "arms")
MASKS = np.random.default_rng(0).integers(0, 8, (5, 6, 6)).astype(np.uint8)
IMAGE = np.zeros((6, 6, 3), np.uint8)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    meta = StoreMeta(mask_components=NAMES)
    with StoreWriter(tmp_path / "store", meta, image_shape=(6, 6, 3)) as writer:
        for number, mask in enumerate(MASKS):
            writer.append(IMAGE, {"id": str(number), "source": str(number)}, mask)
    return tmp_path / "store"


def test_masks_come_back(written: Path):
    store = open_store(written, verify=True)
    assert store.meta.mask_components == NAMES
    assert isinstance(store.masks, np.memmap)
    assert np.array_equal(store.masks, MASKS)
    assert np.array_equal(store.mask(2, "disc"), MASKS[2] & 2 > 0)
    assert store.mask(2, "disc").dtype == bool
    with pytest.raises(UsageError, match="did you mean 'arms'"):
        store.mask(0, "arm")
    with pytest.raises(ValueError, match="read-only"):
        store.masks[0, 0, 0] = 1


def test_a_store_without_masks_has_none(tmp_path: Path):
    with StoreWriter(tmp_path / "plain", StoreMeta(), image_shape=(6, 6, 3)) as writer:
        writer.append(IMAGE, {"id": "a", "source": "a"})
    store = open_store(tmp_path / "plain")
    assert store.masks is None
    assert not (tmp_path / "plain" / "masks.npy").exists()
    assert "mask_hash" not in store.table.column_names
    with pytest.raises(UsageError, match="no masks"):
        store.mask(0, "disc")
    header = tmp_path / "plain" / "store.yaml"  # as it was before there were masks
    values = yaml.safe_load(header.read_text(encoding="utf-8"))
    del values["mask_components"]
    header.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert open_store(tmp_path / "plain").masks is None


def test_damage_is_found(written: Path):
    masks = np.lib.format.open_memmap(written / "masks.npy", mode="r+")
    masks[1, 2, 2] ^= 1
    masks.flush()
    open_store(written)  # rows 0, 2 and 4 are looked at
    with pytest.raises(MorphoscopeError, match="the mask of row 1"):
        open_store(written, verify=True)
    np.save(written / "masks.npy", MASKS[:4])
    with pytest.raises(MorphoscopeError, match="damaged"):
        open_store(written)
    (written / "masks.npy").unlink()
    with pytest.raises(MorphoscopeError, match="damaged"):
        open_store(written)


@pytest.mark.parametrize("mask", [None, MASKS[0, :5], MASKS[0].astype(int)])
def test_wrong_masks_leave_nothing(tmp_path: Path, mask: np.ndarray | None):
    meta = StoreMeta(mask_components=NAMES)
    with (
        pytest.raises(MorphoscopeError, match="mask"),
        StoreWriter(tmp_path / "store", meta, image_shape=(6, 6, 3)) as writer,
    ):
        writer.append(IMAGE, {"id": "a", "source": "a"}, mask)
    assert not list(tmp_path.iterdir())


def test_room_for_masks_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr("morphoscope.files.ensure_room", lambda folder, needed: asked.append(needed))
    for components in ((), NAMES):
        StoreWriter(
            tmp_path / "store",
            StoreMeta(mask_components=components),
            image_shape=(100, 100, 3),
            expected=10000,
        )
    assert asked[1] - asked[0] == int(1.02 * 10000 * 100 * 100)
