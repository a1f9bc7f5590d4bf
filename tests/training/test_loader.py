from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from morphoscope.augment.cpu import Augmenter
from morphoscope.data.store import StoreMeta, open_store
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError
from morphoscope.recipes import Augment
from morphoscope.training.batches import Batches, occurrences


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (50, 24, 24, 3), dtype=np.uint8)


def stacked(images, rows, epoch, occurrences) -> np.ndarray:
    return np.stack([images[index] for index in range(len(images))])


def loader_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("morphoscope-loader")]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_every_row_comes_once_with_its_image_and_target(images, workers):
    rows = np.arange(10, 47)
    targets = np.arange(50) * 2
    batches = Batches(images, rows, targets, stacked, batch=8, shuffle=True, seed=1, workers=workers)
    seen = list(batches)
    assert [len(batch.rows) for batch in seen] == [8, 8, 8, 8, 5]
    assert len(batches) == 5
    assert sorted(torch.cat([batch.rows for batch in seen]).tolist()) == rows.tolist()
    for batch in seen:
        np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1), images[batch.rows])
        assert batch.targets.tolist() == (2 * batch.rows).tolist()


def test_the_epoch_does_not_depend_on_the_number_of_workers(images):
    prepare = Augmenter(Augment(size=16, noise=5), seed=7).training
    epochs = []
    for workers in (0, 1, 4):
        batches = Batches(
            images, np.arange(50), None, prepare, batch=7, shuffle=True, seed=7, workers=workers
        )
        batches.set_epoch(3)
        epochs.append([(batch.rows, batch.images) for batch in batches])
    for rows_and_images in epochs[1:]:
        for (rows, pixels), (known_rows, known) in zip(rows_and_images, epochs[0], strict=True):
            assert torch.equal(rows, known_rows)
            assert torch.equal(pixels, known)


def test_order_follows_from_seed_and_epoch(images):
    def order(seed: int, epoch: int) -> list[int]:
        batches = Batches(images, np.arange(50), None, stacked, batch=50, shuffle=True, seed=seed, workers=0)
        batches.set_epoch(epoch)
        return next(iter(batches)).rows.tolist()

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_without_shuffle_the_rows_keep_their_order(images):
    rows = np.array([9, 3, 3, 40])
    batches = Batches(images, rows, None, stacked, batch=3, shuffle=False, seed=0)
    assert [batch.rows.tolist() for batch in batches] == [[9, 3, 3], [40]]
    assert [batch.targets.shape for batch in batches] == [(3, 0), (1, 0)]


def test_drop_last_leaves_out_the_rest(images):
    batches = Batches(images, np.arange(50), None, stacked, batch=8, shuffle=True, seed=0, drop_last=True)
    assert len(batches) == len(list(batches)) == 6


def test_images_are_channels_last_without_a_copy(images):
    made = []

    def remembered(*arguments) -> np.ndarray:
        made.append(stacked(*arguments))
        return made[-1]

    batch = next(iter(Batches(images, np.arange(9), None, remembered, batch=9, shuffle=False, seed=0)))
    assert batch.images.shape == (9, 3, 24, 24)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.data_ptr() == made[0].ctypes.data


def test_repeated_rows_are_drawn_anew_wherever_they_fall(images):
    rows = np.repeat([4, 5, 6], 5)
    prepare = Augmenter(Augment(size=16)).training
    pictures: dict[int, dict[int, bytes]] = {4: {}, 5: {}, 6: {}}
    for size in (4, 15):  # other batches, the same samples
        for batch in Batches(images, rows, None, prepare, batch=size, shuffle=True, seed=size):
            for row, repeat, image in zip(batch.rows, batch.occurrences, batch.images, strict=True):
                known = pictures[int(row)].setdefault(int(repeat), image.numpy().tobytes())
                assert known == image.numpy().tobytes()
    assert all(len(set(seen.values())) == 5 for seen in pictures.values())


@given(st.lists(st.integers(0, 6)))
def test_occurrences_count_the_earlier_ones(rows):
    counts = [rows[:position].count(row) for position, row in enumerate(rows)]
    assert occurrences(np.array(rows, np.int64)).tolist() == counts


def test_an_error_in_a_thread_reaches_the_caller_and_ends_the_threads(images):
    def broken(images, rows, epoch, occurrences) -> np.ndarray:
        if 20 in rows:
            raise MorphoscopeError("row 20 is bad")
        return stacked(images, rows, epoch, occurrences)

    batches = Batches(images, np.arange(50), None, broken, batch=8, shuffle=False, seed=0, workers=2)
    epoch = iter(batches)
    assert [next(epoch).rows[0], next(epoch).rows[0]] == [0, 8]
    with pytest.raises(MorphoscopeError, match="row 20 is bad"):
        next(epoch)
    assert not loader_threads()


def test_breaking_off_ends_the_threads(images):
    for _ in Batches(images, np.arange(50), None, stacked, batch=2, shuffle=False, seed=0, workers=3):
        assert loader_threads()
        break
    assert not loader_threads()


def test_ctrl_c_ends_the_threads(images):
    batches = iter(Batches(images, np.arange(50), None, stacked, batch=2, shuffle=False, seed=0, workers=3))
    next(batches)
    with pytest.raises(KeyboardInterrupt):
        batches.throw(KeyboardInterrupt)
    assert not loader_threads()


def test_a_slow_consumer_holds_few_batches(images):
    made = []

    def counted(*arguments) -> np.ndarray:
        made.append(1)
        return stacked(*arguments)

    batches = iter(
        Batches(images, np.arange(50), None, counted, batch=1, shuffle=False, seed=0, workers=2, prefetch=3)
    )
    for taken in range(1, 6):
        next(batches)
        time.sleep(0.01)
        assert len(made) <= taken + 3
    batches.close()


def test_images_are_read_one_at_a_time():
    class Lazy:
        held = 0

        def __len__(self) -> int:
            return 10

        def __getitem__(self, row: int) -> np.ndarray:
            Lazy.held += 1
            return np.full((16, 16, 3), row, np.uint8)

    def looked(images, rows, epoch, occurrences) -> np.ndarray:
        assert Lazy.held == 0
        return np.stack([images[index] for index in range(len(images))])

    batch = next(
        iter(Batches(Lazy(), np.arange(10), None, looked, batch=10, shuffle=False, seed=0, workers=0))
    )
    assert batch.images[:, 0, 0, 0].tolist() == list(range(10))


def test_a_store_is_read_through_its_memory_map(images, tmp_path):
    meta = StoreMeta(source="noise")
    with StoreWriter(tmp_path / "store", meta, image_shape=(24, 24, 3)) as writer:
        for row, image in enumerate(images):
            writer.append(image, {"id": str(row), "source": str(row)})
    store = open_store(tmp_path / "store")
    batch = next(iter(Batches(store, np.array([3, 1]), None, stacked, batch=2, shuffle=False, seed=0)))
    np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1), images[[3, 1]])


def test_rows_beyond_the_images_are_refused(images):
    with pytest.raises(MorphoscopeError, match="rows are 3 to 50; expected 0 to 49"):
        Batches(images, np.array([3, 50]), None, stacked, batch=2, shuffle=False, seed=0)


def test_no_rows_give_no_batches(images):
    batches = Batches(images, np.array([], np.int64), None, stacked, batch=2, shuffle=True, seed=0)
    assert len(batches) == 0
    assert not list(batches)


def test_with_the_last_batch_the_threads_are_gone(images):
    """Who counts batches never asks for one more, and Ctrl-C in a generator's clean-up is passed over."""
    batches = Batches(images, np.arange(50), None, stacked, batch=8, shuffle=False, seed=0, workers=2)
    asked = iter(batches)
    for _ in range(len(batches) - 1):
        next(asked)
        assert loader_threads()
    next(asked)
    assert not loader_threads()
