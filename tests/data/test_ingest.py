from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.data.ingest import sha256_with_progress, write_store
from morphoscope.data.store import StoreMeta, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.stream import Item, in_order
from morphoscope.labels.scheme import Classes

SCHEME = Classes(name="test", classes=("a", "b"))


def picture(number: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)


def item(number: int, side: int = 8, delay: float = 0.0) -> Item:
    def load() -> np.ndarray:
        time.sleep(delay)
        return picture(number, side)

    return Item(f"{number}.jpg", load, {"id": str(number), "label": number % 2})


def broken(number: int) -> Item:
    def load() -> np.ndarray:
        raise MorphoscopeError(f"{number}.jpg: is damaged (cut, off)")

    return Item(f"{number}.jpg", load, {"id": str(number)})


def test_rows_and_pixels_keep_their_order_whatever_takes_long(tmp_path: Path):
    slow_first = [item(number, delay=0.02 * (number % 5 == 0)) for number in range(40)]
    store = write_store(slow_first, tmp_path / "s", StoreMeta(scheme=SCHEME), workers=4)
    assert store.column("id").tolist() == [str(number) for number in range(40)]
    assert store.targets().tolist() == [number % 2 for number in range(40)]
    for number in range(40):
        assert np.array_equal(store.images[number], picture(number))
    assert store.column("source")[3] == "3.jpg"


def test_the_number_of_workers_changes_nothing(tmp_path: Path):
    for workers in (1, 3):
        write_store(
            map(item, range(30)), tmp_path / f"s{workers}", StoreMeta(scheme=SCHEME), size=5, workers=workers
        )
    one, three = ((tmp_path / f"s{n}" / "images.npy").read_bytes() for n in (1, 3))
    assert one == three


def test_items_are_taken_a_bounded_number_ahead():
    taken = []

    def numbers() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_order(lambda number: number * 2, numbers(), workers=3)
    for number in range(5):
        assert next(results) == 2 * number
        assert len(taken) <= number + 15
    results.close()
    assert len(taken) <= 20


def test_threads_end_when_the_consumer_breaks_off():
    before = set(threading.enumerate())
    results = in_order(lambda number: number, range(100), workers=2)
    next(results)
    results.close()
    assert set(threading.enumerate()) <= before


def test_an_error_comes_in_its_turn_and_ends_the_threads():
    before = set(threading.enumerate())
    results = in_order(lambda number: 10 // (3 - number), range(50), workers=2)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert set(threading.enumerate()) <= before


def test_no_image_is_held_longer_than_it_is_wanted():
    class Picture:
        pass

    seen: list[weakref.ref[Picture]] = []

    def made(number: int) -> Picture:
        picture = Picture()
        seen.append(weakref.ref(picture))
        return picture

    with closing(in_order(made, range(40), workers=1)) as results:
        for _ in range(30):
            next(results)
        deadline = time.monotonic() + 10
        while sum(each() is not None for each in seen[:30]) and time.monotonic() < deadline:
            time.sleep(0.001)
        assert not any(each() for each in seen[:30])


def test_crop_and_size_are_recorded_and_the_pixel_scale_follows(tmp_path: Path):
    store = write_store(
        [Item("x", partial(picture, 1, 40), {"pixel_scale": 0.5})],
        tmp_path / "s",
        StoreMeta(pixel_scale=0.25),
        crop=20,
        size=10,
        extra={"pixel_scale": pa.float64()},
    )
    assert (store.meta.crop, store.meta.size, store.meta.image_shape) == (20, 10, (10, 10, 3))
    assert store.meta.pixel_scale == 0.5
    assert store.column("pixel_scale").tolist() == [1.0]
    assert store.meta.sky_group_radius == 2.5  # half of ten pixels of 0.5″


def test_images_of_two_sizes_are_both_named(tmp_path: Path):
    with pytest.raises(UsageError, match=r"1\.jpg has 8×8 pixels and 2\.jpg has 9×9 pixels: pass --size"):
        write_store([item(1), item(2, side=9)], tmp_path / "s", StoreMeta(scheme=SCHEME))
    assert list(tmp_path.iterdir()) == []


def test_images_of_two_sizes_become_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mixed = [item(1), item(2, side=12)]
    store = write_store(mixed, tmp_path / "s", StoreMeta(scheme=SCHEME, pixel_scale=0.3), size=6)
    assert store.images.shape == (2, 6, 6, 3)
    assert store.meta.pixel_scale is None  # 8 and 12 pixels became 6: no single scale is true
    assert "no single pixel scale" in capsys.readouterr().err
    store = write_store(mixed, tmp_path / "t", StoreMeta(scheme=SCHEME, pixel_scale=0.3), crop=8)
    assert store.meta.pixel_scale == pytest.approx(0.3)


def test_unreadable_images_are_listed_and_the_rest_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    items = [broken(number) if number % 10 else item(number) for number in range(1100)]
    store = write_store(items, tmp_path / "s", StoreMeta(scheme=SCHEME))
    assert store.column("id").tolist() == [str(number) for number in range(0, 1100, 10)]
    assert store.meta.unreadable == 990
    with open(tmp_path / "s" / "unreadable.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["source", "reason"]
    assert rows[1] == ["1.jpg", "is damaged (cut, off)"]
    assert len(rows) == 991
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "990 of 1100 images could not be read" in said
    assert "the first, 1.jpg: is damaged" in said


def test_a_store_of_nothing_is_an_error(tmp_path: Path):
    with pytest.raises(MorphoscopeError, match=r"none of 3 images could be read.*1\.jpg: is damaged"):
        write_store([broken(1), broken(2), broken(3)], tmp_path / "s", StoreMeta(scheme=SCHEME))
    with pytest.raises(MorphoscopeError, match="there were no images to store"):
        write_store([], tmp_path / "s", StoreMeta(scheme=SCHEME))
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_the_program_is_not_an_unreadable_image(tmp_path: Path):
    def load() -> np.ndarray:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_store([item(1), Item("x", load)], tmp_path / "s", StoreMeta(scheme=SCHEME))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt, MorphoscopeError("the source is damaged")])
def test_a_break_leaves_nothing(tmp_path: Path, fault: BaseException):
    before = set(threading.enumerate())

    def items() -> Iterator[Item]:
        yield from map(item, range(200))
        assert list(tmp_path.iterdir()), "the store was being written"
        raise fault

    with pytest.raises(KeyboardInterrupt if fault is KeyboardInterrupt else MorphoscopeError):
        write_store(items(), tmp_path / "s", StoreMeta(scheme=SCHEME))
    assert list(tmp_path.iterdir()) == []
    assert set(threading.enumerate()) <= before


def test_a_store_is_not_written_over_unasked(tmp_path: Path):
    write_store([item(1)], tmp_path / "s", StoreMeta(scheme=SCHEME))

    def items() -> Iterator[Item]:
        pytest.fail("no work before the place is known to be free")
        yield item(2)

    with pytest.raises(UsageError, match="exists already"):
        write_store(items(), tmp_path / "s", StoreMeta(scheme=SCHEME))
    store = write_store([item(2)], tmp_path / "s", StoreMeta(scheme=SCHEME), overwrite=True)
    assert store.column("id").tolist() == ["2"]


def test_overwriting_with_broken_images_keeps_the_old_store(tmp_path: Path):
    write_store([item(1)], tmp_path / "s", StoreMeta(scheme=SCHEME))
    with pytest.raises(UsageError, match="has 8×8"):
        write_store([item(2), item(3, side=9)], tmp_path / "s", StoreMeta(scheme=SCHEME), overwrite=True)
    assert open_store(tmp_path / "s").column("id").tolist() == ["1"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import builtins

    class Full:
        """A file on a disk with room for ten kilobytes."""

        def __init__(self, file):
            self.file, self.room = file, 10_000

        def __getattr__(self, name):
            return getattr(self.file, name)

        def write(self, content):
            self.room -= len(memoryview(content).cast("B"))
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(content)

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            self.file.close()

    def limited(path, mode="r", *args, **kwargs):
        file = builtins.open(path, mode, *args, **kwargs)  # noqa: SIM115
        return Full(file) if str(path).endswith("images.npy") and "w" in mode else file

    monkeypatch.setattr("morphoscope.data.store_writer.open", limited, raising=False)
    with pytest.raises(MorphoscopeError, match="the disk is full; nothing was kept"):
        write_store(map(item, range(200)), tmp_path / "s", StoreMeta(scheme=SCHEME))
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path: Path):
    with pytest.raises(MorphoscopeError, match="B are needed"):
        write_store(map(item, range(9)), tmp_path / "s", StoreMeta(scheme=SCHEME), expected=10**15)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_kill_leaves_no_store_and_the_next_ingest_works(tmp_path: Path):
    out = tmp_path / "s"
    program = textwrap.dedent("""
        import sys
        import time
        import numpy as np
        from morphoscope.data.ingest import Item, write_store
        from morphoscope.data.store import StoreMeta

        def items():
            for number in range(10**6):
                if number == 3000:
                    print("writing", flush=True)
                    time.sleep(60)
                yield Item(str(number), lambda: np.zeros((8, 8, 3), np.uint8), {"id": str(number)})

        write_store(items(), sys.argv[1], StoreMeta())
    """)
    with subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert [path.name.startswith(".s.partial-") for path in tmp_path.iterdir()] == [True]
    with pytest.raises(UsageError, match="does not exist"):
        open_store(out)
    store = write_store(map(item, range(5)), out, StoreMeta(scheme=SCHEME))
    assert len(store) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_checksum_of_a_file(tmp_path: Path):
    path = tmp_path / "abc"
    path.write_bytes(b"abc")  # FIPS 180-2, example B.1
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_with_progress(path) == expected
    with pytest.raises(MorphoscopeError, match="cannot be read"):
        sha256_with_progress(tmp_path / "none")
