from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from morphoscope.data.store import Store, StoreMeta, open_store, pixel_hash
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import Classes, VoteFractions

SHAPE = (6, 6, 3)
SCHEME = Classes(name="shapes", classes=("round", "flat"))
META = StoreMeta(scheme=SCHEME, pixel_scale=0.262, source="test")


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), dtype=np.uint8)


def write(out: Path, pixels: np.ndarray, meta: StoreMeta = META, **options) -> Store:
    with StoreWriter(out, meta, image_shape=SHAPE, **options) as writer:
        for row, image in enumerate(pixels):
            values = {"label": row % 2} if isinstance(meta.scheme, Classes) else {}
            writer.append(
                image, {"id": f"g{row}", "ra": 10.0 + row, "dec": -1.0, "source": f"{row}.jpg"} | values
            )
    return open_store(out)


@pytest.fixture
def store(tmp_path) -> Store:
    return write(tmp_path / "store", images(9))


def damaged(store: Store, reason: str, *, verify: bool = False) -> None:
    with pytest.raises(MorphoscopeError, match=reason) as caught:
        open_store(store.path, verify=verify)
    assert str(store.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read(store):
    assert len(store) == 9
    np.testing.assert_array_equal(store.images, images(9))
    assert isinstance(store.images, np.memmap)
    assert not store.images.flags.writeable
    assert store.column("id").tolist() == [f"g{k}" for k in range(9)]
    assert store.column("ra").tolist() == [10.0 + k for k in range(9)]
    assert store.targets().tolist() == [k % 2 for k in range(9)]
    assert store.labelled().all()
    assert store.scheme == SCHEME
    assert store.column("pixel_hash")[3] == pixel_hash(store.images[3])
    assert store.table.column_names == ["id", "ra", "dec", "label", "source", "pixel_hash", "sky_group"]
    assert store.meta.pixel_scale == 0.262
    assert store.meta.unreadable == 0
    assert store.meta.program_version
    assert store.meta.created
    assert sorted(path.name for path in store.path.iterdir()) == ["images.npy", "store.yaml", "table.parquet"]
    assert open_store(str(store.path), verify=True).meta == store.meta


def test_many_rows_go_through_several_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("morphoscope.data.store_writer.CHUNK_ROWS", 4)
    store = write(tmp_path / "store", images(11))
    assert store.column("id").tolist() == [f"g{k}" for k in range(11)]
    assert store.column("sky_group").tolist() == list(range(11))
    np.testing.assert_array_equal(store.images, images(11))


@pytest.mark.parametrize("count", [1, 9, 10, 1000])
def test_the_header_of_the_images_fits_any_count(tmp_path, count):
    store = write(tmp_path / "store", np.zeros((count, *SHAPE), np.uint8))
    plain = np.load(store.path / "images.npy")
    assert plain.shape == (count, *SHAPE)
    assert plain.dtype == np.uint8


def test_neighbours_on_the_sky_share_a_group(tmp_path):
    with StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer:
        for ra in (10.0, 50.0, 10.0 + 0.5 / 3600, np.nan, np.nan):  # half a cutout is 0.786 arcsec
            writer.append(images(1)[0], {"id": str(ra), "ra": ra, "dec": 0.0})
    store = open_store(tmp_path / "store")
    assert store.column("sky_group").tolist() == [0, 1, 0, 2, 3]
    assert store.meta.sky_group_radius == pytest.approx(0.786)


def test_a_radius_of_zero_is_kept(tmp_path):
    meta = META.model_copy(update={"sky_group_radius": 0.0})
    assert write(tmp_path / "store", images(2), meta).meta.sky_group_radius == 0.0


def test_missing_values_are_empty(tmp_path):
    with StoreWriter(
        tmp_path / "store",
        META,
        image_shape=SHAPE,
        extra={"z": pa.float32(), "n": pa.int16(), "note": pa.string()},
    ) as writer:
        writer.append(images(1)[0], {"id": "a"})
        writer.append(images(1)[0], {"id": "b", "z": 0.1, "n": 3, "note": "x", "label": 1})
    store = open_store(tmp_path / "store")
    assert store.targets().tolist() == [-1, 1]
    assert store.labelled().tolist() == [False, True]
    assert np.isnan(store.column("ra")).all()
    assert store.table["z"].to_pylist() == [pytest.approx(np.nan, nan_ok=True), pytest.approx(0.1)]
    assert store.table["n"].to_pylist() == [None, 3]
    assert store.table["note"].to_pylist() == [None, "x"]
    assert store.table["source"].to_pylist() == [None, None]


def test_votes(tmp_path):
    scheme = VoteFractions(name="own", answers=("smooth", "disc"))
    with StoreWriter(tmp_path / "store", StoreMeta(scheme=scheme), image_shape=SHAPE) as writer:
        writer.append(images(1)[0], {"id": "a", "smooth": 0.25, "disc": 0.75})
        writer.append(images(1)[0], {"id": "b"})
        with pytest.raises(MorphoscopeError, match=r"c\.jpg: disc is 1\.5; a fraction from 0 to 1"):
            writer.append(images(1)[0], {"id": "c", "source": "c.jpg", "smooth": 0.5, "disc": 1.5})
    store = open_store(tmp_path / "store")
    assert store.targets()[0].tolist() == [0.25, 0.75]
    assert store.labelled().tolist() == [True, False]


def test_images_without_labels(tmp_path):
    store = write(tmp_path / "store", images(2), StoreMeta())
    assert store.scheme is None
    with pytest.raises(UsageError, match="store has images without labels"):
        store.targets()


@pytest.mark.parametrize(
    ("image", "row", "message"),
    [
        (
            np.zeros((6, 7, 3), np.uint8),
            {},
            r"a\.jpg: image is \(6, 7, 3\) uint8, the store.* --size",
        ),
        (np.zeros(SHAPE, np.float32), {}, r"a\.jpg: image is \(6, 6, 3\) float32"),
        (np.zeros((6, 6), np.uint8), {}, r"a\.jpg: image is \(6, 6\) uint8"),
        (np.zeros(SHAPE, np.uint8), {"label": 2}, r"a\.jpg: label 2 is outside scheme 'shapes'; 0 to 1"),
        (np.zeros(SHAPE, np.uint8), {"label": -2}, "label -2 is outside"),
        (np.zeros(SHAPE, np.uint8), {"lable": 1}, r"no column lable \(did you mean 'label'\?\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(tmp_path, image, row, message):
    with (
        pytest.raises(MorphoscopeError, match=message),
        StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer,
    ):
        writer.append(image, {"id": "a", "source": "a.jpg"} | row)
    assert list(tmp_path.iterdir()) == []


def test_a_value_of_the_wrong_kind_names_its_column(tmp_path):
    with (
        pytest.raises(MorphoscopeError, match="column id cannot be stored as string"),
        StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer,
    ):
        writer.append(images(1)[0], {"id": 587722})
    assert list(tmp_path.iterdir()) == []


def test_a_label_column_with_the_name_of_a_standard_column_is_refused(tmp_path):
    meta = StoreMeta(scheme=Classes(name="own", classes=("a", "b"), column="source"))
    with pytest.raises(UsageError, match="a label column may not be called source"):
        StoreWriter(tmp_path / "store", meta, image_shape=SHAPE)


def test_colour_and_memory_order_do_not_matter(tmp_path):
    image = images(1)[0]
    with StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer:
        writer.append(np.asfortranarray(image), {"id": "a"})
        writer.append(image[:, :, ::-1], {"id": "b"})
    store = open_store(tmp_path / "store", verify=True)
    np.testing.assert_array_equal(store.images[0], image)
    np.testing.assert_array_equal(store.images[1], image[:, :, ::-1])


def test_equal_pixels_have_equal_fingerprints_and_others_not():
    image = images(1)[0]
    changed = image.copy()
    changed[0, 0, 0] ^= 1
    assert pixel_hash(image) == pixel_hash(np.asfortranarray(image)) != pixel_hash(changed)
    assert len(pixel_hash(image)) == 16


def test_unreadable_images_are_listed_whatever_their_names(tmp_path):
    listed = [('a,"b".jpg', "truncated, at byte 7"), ("two\nlines.png", 'not "PNG"'), ("plain.jpg", "empty")]
    with StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer:
        writer.append(images(1)[0], {"id": "a"})
        for source, reason in listed:
            writer.unreadable(source, reason)
    store = open_store(tmp_path / "store")
    assert store.meta.unreadable == 3
    with open(store.path / "unreadable.csv", newline="", encoding="utf-8") as file:
        assert [tuple(row) for row in csv.reader(file)] == [("source", "reason"), *listed]


def test_a_store_without_images_is_not_made(tmp_path):
    with (
        pytest.raises(MorphoscopeError, match="no store was made: there were no images"),
        StoreWriter(tmp_path / "store", META, image_shape=SHAPE),
    ):
        pass
    with (
        pytest.raises(MorphoscopeError, match=r"the first, a\.jpg: truncated"),
        StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer,
    ):
        writer.unreadable("a.jpg", "truncated")
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_said_before_the_work(tmp_path):
    with pytest.raises(MorphoscopeError, match=r"are needed and .* are free"):
        StoreWriter(tmp_path / "store", META, image_shape=(256, 256, 3), expected=10**12)


def test_an_existing_store_is_replaced_only_on_request(store):
    with pytest.raises(UsageError, match="exists already"):
        write(store.path, images(2))
    again = write(store.path, images(2, seed=1), overwrite=True)
    np.testing.assert_array_equal(again.images, images(2, seed=1))
    assert [path.name for path in store.path.parent.iterdir()] == ["store"]
    assert store.images[0].tolist() == images(9)[0].tolist()  # whoever has the old one open keeps it


def test_overwrite_never_deletes_a_folder_that_is_no_store(tmp_path):
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "galaxy.jpg").write_bytes(b"precious")
    with pytest.raises(UsageError, match=r"has no store\.yaml, so it is something else"):
        StoreWriter(tmp_path / "photographs", META, image_shape=SHAPE, overwrite=True)
    assert (tmp_path / "photographs" / "galaxy.jpg").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("broken")])
def test_breaking_off_leaves_the_old_store(store, error):
    def break_off() -> None:
        with StoreWriter(store.path, META, image_shape=SHAPE, overwrite=True) as writer:
            writer.append(images(1)[0], {"id": "new"})
            raise error

    with pytest.raises(type(error)):
        break_off()
    assert len(open_store(store.path)) == 9
    assert [path.name for path in store.path.parent.iterdir()] == ["store"]


def test_a_full_disk_while_writing_is_explained(tmp_path):
    def fill() -> None:
        with StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer:
            writer.append(images(1)[0], {"id": "a"})
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(MorphoscopeError, match="store: the disk is full; nothing was kept"):
        fill()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_disk_that_is_really_full_is_explained(tmp_path):
    def fill() -> None:
        with (
            open("/dev/full", "wb") as full,
            StoreWriter(tmp_path / "store", META, image_shape=SHAPE) as writer,
        ):
            writer._images.close()
            writer._images = full  # every write fails with ENOSPC once it leaves the buffer
            for row in range(200):
                writer.append(images(1)[0], {"id": str(row)})

    with pytest.raises(MorphoscopeError, match="store: the disk is full; nothing was kept"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_store_and_the_next_one_clears_up(tmp_path):
    program = textwrap.dedent(
        """
        import sys, time
        import numpy as np
        from morphoscope.data.store import StoreMeta
        from morphoscope.data.store_writer import StoreWriter

        with StoreWriter(sys.argv[1], StoreMeta(), image_shape=(6, 6, 3)) as writer:
            for row in range(3000):
                writer.append(np.zeros((6, 6, 3), np.uint8), {"id": str(row)})
            print("half way", flush=True)
            time.sleep(60)
        """
    )
    out = tmp_path / "store"
    child = subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE)
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half way\n"
        child.send_signal(signal.SIGKILL)
    with pytest.raises(UsageError, match="store does not exist"):
        open_store(out)
    (leftover,) = tmp_path.iterdir()
    assert leftover.name.startswith(".store.partial-")
    with pytest.raises(UsageError, match=r"is not a store: it has no store\.yaml"):
        open_store(leftover)
    assert len(write(out, images(2))) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_what_is_no_store_is_said(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere does not exist\. Make a store with 'morphoscope data"):
        open_store(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="is not a store"):
        open_store(tmp_path)


def test_truncated_images(store):
    place = store.path / "images.npy"
    for size in (place.stat().st_size - 1, 200, 100, 3, 0):
        os.truncate(place, size)
        damaged(store, "is damaged .*make the store again from its source")


def test_truncated_table(store):
    place = store.path / "table.parquet"
    for size in (place.stat().st_size - 1, 20, 0):
        os.truncate(place, size)
        damaged(store, "is damaged .*make the store again from its source")


@pytest.mark.parametrize("name", ["images.npy", "table.parquet"])
def test_a_missing_file(store, name):
    (store.path / name).unlink()
    damaged(store, f"is damaged .*{name}")


def test_an_archive_in_place_of_the_images(store):
    np.savez(store.path / "images.npz", images=images(9))
    os.replace(store.path / "images.npz", store.path / "images.npy")
    damaged(store, "is damaged")


def test_edited_pixels(store):
    edited = np.load(store.path / "images.npy")
    edited[4, 2, 2, 1] ^= 1  # the middle row, which is always looked at
    np.save(store.path / "images.npy", edited)
    damaged(store, "the pixels of row 4 are not those that were written")


def test_edited_pixels_elsewhere_are_found_on_request(store):
    edited = np.load(store.path / "images.npy")
    edited[6, 0, 0, 0] ^= 1
    np.save(store.path / "images.npy", edited)
    assert len(open_store(store.path)) == 9
    damaged(store, "the pixels of row 6", verify=True)


def test_images_of_another_store(store, tmp_path):
    other = write(tmp_path / "other", images(5))
    os.replace(other.path / "images.npy", store.path / "images.npy")
    damaged(store, r"store.yaml says \(9, 6, 6, 3\) uint8, images.npy has \(5, 6, 6, 3\) uint8")


def test_images_of_another_type(store):
    np.save(store.path / "images.npy", images(9).astype(np.int16))
    damaged(store, "has .* int16")


def test_a_table_that_lacks_a_column(store):
    pq.write_table(store.table.drop_columns(["label", "pixel_hash"]), store.path / "table.parquet")
    damaged(store, "table.parquet lacks pixel_hash, label")


def change_header(store: Store, **values) -> None:
    header = yaml.safe_load((store.path / "store.yaml").read_text())
    (store.path / "store.yaml").write_text(yaml.safe_dump(header | values))


def test_a_newer_format(store):
    change_header(store, format_version=3, scheme={"kind": "vote-counts"})
    damaged(store, "has format 3, made by a newer morphoscope; this one reads up to 2. Upgrade morphoscope")


def test_fields_of_a_newer_program_of_the_same_format_are_ignored(store):
    change_header(store, telescope="DECam")
    assert len(open_store(store.path)) == 9


@pytest.mark.parametrize(
    "text", ["", "[1, 2]", "kind: morphoscope-store", "a: [", "\x00", "format_version: new"]
)
def test_a_damaged_header(store, text):
    (store.path / "store.yaml").write_text(text)
    damaged(store, "store.yaml is damaged: it is not the header of a store")


def test_a_header_field_that_does_not_fit(store):
    change_header(store, count="many")
    damaged(store, "store.yaml is damaged: count: Input should be a valid integer")


def test_a_header_that_cannot_be_read(store):
    (store.path / "store.yaml").unlink()
    (store.path / "store.yaml").symlink_to(store.path / "table.parquet")  # bytes that are no text
    damaged(store, "store.yaml is damaged")


def test_a_header_without_end(store):
    with open(store.path / "store.yaml", "ab") as file:
        file.truncate(40 << 20)
    damaged(store, r"store.yaml is larger than 512 KiB")


def test_folders_named_like_partitions_add_no_column(tmp_path):
    store = write(tmp_path / "split=train" / "store", images(2))
    assert "split" not in store.table.column_names
