from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pytest

from morphoscope.data.export import export_folders, export_hdf5
from morphoscope.data.ingest import write_store
from morphoscope.data.sources.folder import ingest_folder
from morphoscope.data.sources.galaxy10 import ingest_galaxy10
from morphoscope.data.sources.table import ingest_table
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import UsageError
from morphoscope.images.stream import Item
from morphoscope.labels.galaxy10 import GALAXY10
from morphoscope.labels.scheme import Classes, Scheme, VoteFractions

COUNT = 30


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (9, 9, 3), np.uint8)


def make(out: Path, scheme: Scheme | None = GALAXY10, labels: list[int] | None = None) -> Store:
    chosen = list(range(10)) * 3 if labels is None else labels

    def item(number: int) -> Item:
        row = {"id": f"g{number}", "ra": 10.0 + number / 7, "dec": -number / 3}
        row |= {"redshift": number / 100, "pixel_scale": 0.262}
        if isinstance(scheme, Classes):
            row["label"] = chosen[number]
        return Item(f"{number}.jpg", lambda: picture(number), row)

    extra = {"redshift": pa.float64(), "pixel_scale": pa.float64()}
    meta = StoreMeta(scheme=scheme, pixel_scale=0.262)
    return write_store(map(item, range(COUNT)), out, meta, extra=extra)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return make(tmp_path / "store")


def assert_same(other: Store, store: Store) -> None:
    """The same galaxies by id, in whatever order."""
    order = [other.column("id").tolist().index(galaxy) for galaxy in store.column("id")]
    assert len(other) == len(store)
    assert np.array_equal(other.images[order], store.images)
    assert np.array_equal(other.targets()[order], store.targets())


def test_a_split_has_a_folder_for_each_part(store: Store, tmp_path: Path):
    """`cheng`, section 2.1: train and test folders with the classes inside."""
    split = make_split(store, "random", test=0.34, validation=0.33)
    out = export_folders(store, tmp_path / "out", split=split)
    assert sorted(path.name for path in out.iterdir()) == ["images.csv", "test", "train", "validation"]
    for part in ("train", "validation", "test"):
        found = {path.stem: path.parent.name for path in (out / part).glob("*/*.png")}
        rows = getattr(split, part)
        ids, labels = store.column("id")[rows], store.targets()[rows]
        assert found == {str(i): GALAXY10.classes[label] for i, label in zip(ids, labels, strict=True)}
        again = ingest_folder(out / part, tmp_path / part, classes=GALAXY10.classes)
        assert len(again) == len(rows)
    whole = ingest_table(out / "images.csv", tmp_path / "all", label_column="class", classes=GALAXY10.classes)
    assert_same(whole, store)


def test_class_folders_there_and_back(store: Store, tmp_path: Path):
    out = export_folders(store, tmp_path / "out")
    assert sorted(path.name for path in out.iterdir()) == sorted([*GALAXY10.classes, "images.csv"])
    assert sorted(path.name for path in (out / "Merging").iterdir()) == ["g1.png", "g11.png", "g21.png"]
    assert_same(ingest_folder(out, tmp_path / "back", classes=GALAXY10.classes), store)


def test_the_list_beside_the_folders_keeps_coordinates(store: Store, tmp_path: Path):
    out = export_folders(store, tmp_path / "out")
    back = ingest_table(out / "images.csv", tmp_path / "back", label_column="class", classes=GALAXY10.classes)
    assert_same(back, store)
    assert back.column("id").tolist() == store.column("id").tolist()
    assert np.array_equal(back.column("ra"), store.column("ra"))
    assert np.array_equal(back.column("dec"), store.column("dec"))


def test_hdf5_there_and_back(store: Store, tmp_path: Path):
    out = export_hdf5(store, tmp_path / "out.h5")
    with h5py.File(out) as file:
        assert set(file) == {"images", "ans", "ra", "dec", "redshift", "pxscale"}
        images = file["images"]
        assert (images.shape, images.dtype, images.compression) == ((COUNT, 9, 9, 3), np.uint8, "gzip")
        assert images.chunks is not None
        assert np.array_equal(images[:], store.images)
        assert file["ans"].dtype == np.uint8
        assert file["redshift"][3] == 0.03
        assert file["pxscale"][:].tolist() == [0.262] * COUNT
    back = ingest_galaxy10(out, tmp_path / "back")
    assert back.scheme == GALAXY10
    assert np.array_equal(back.images, store.images)
    assert np.array_equal(back.targets(), store.targets())
    for column in ("ra", "dec", "redshift", "pixel_scale"):
        assert np.array_equal(back.column(column), store.column(column))


def test_hdf5_keeps_other_classes(tmp_path: Path):
    scheme = Classes(name="mine", classes=("ring", "bär"))
    store = make(tmp_path / "store", scheme, [0, 1, 1] * 10)
    back = ingest_galaxy10(export_hdf5(store, tmp_path / "out.h5"), tmp_path / "back")
    assert back.scheme == scheme
    assert np.array_equal(back.targets(), store.targets())


def test_galaxies_without_label_are_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = make(tmp_path / "store", labels=[-1, 0, 1] * 10)
    out = export_folders(store, tmp_path / "out")
    assert len(list(out.rglob("*.png"))) == 20
    back = ingest_galaxy10(export_hdf5(store, tmp_path / "out.h5"), tmp_path / "back")
    assert back.targets().tolist() == [0, 1] * 10
    assert np.array_equal(back.images, store.images[store.labelled()])
    assert capsys.readouterr().err.count("10 of 30 galaxies have no label and are left out") == 2
    bare = make(tmp_path / "bare", labels=[-1] * COUNT)
    with pytest.raises(UsageError, match="no labelled galaxies"):
        export_folders(bare, tmp_path / "none")


def test_only_classes_can_be_exported(tmp_path: Path):
    votes = make(tmp_path / "votes", VoteFractions(name="v", answers=("a", "b")))
    with pytest.raises(UsageError, match="has vote fractions"):
        export_folders(votes, tmp_path / "out")
    bare = make(tmp_path / "bare", None)
    with pytest.raises(UsageError, match="images without labels"):
        export_hdf5(bare, tmp_path / "out.h5")


def test_names_that_no_file_can_have(tmp_path: Path):
    scheme = Classes(name="odd", classes=("S/B", "S:B", "..", "s_b"))
    images = [(f"a/{number % 2}", number) for number in range(4)]
    items = [
        Item("x", lambda n=number: picture(n), {"id": galaxy, "label": number}) for galaxy, number in images
    ]
    store = write_store(items, tmp_path / "store", StoreMeta(scheme=scheme))
    out = export_folders(store, tmp_path / "out")
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert names == ["S_B/a_0.png", "S_B_2/a_1.png", "_/a_0_2.png", "s_b_3/a_1_2.png"]
    assert len(ingest_folder(out, tmp_path / "back")) == 4


def test_nothing_is_written_over_unasked(store: Store, tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.png").touch()
    for overwrite in (False, True):
        with pytest.raises(UsageError, match="photos"):
            export_folders(store, tmp_path / "photos", overwrite=overwrite)
    assert (tmp_path / "photos" / "mine.png").exists()
    (tmp_path / "f.h5").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        export_hdf5(store, tmp_path / "f.h5")
    assert (tmp_path / "f.h5").read_text() == "mine"
    export_hdf5(store, tmp_path / "f.h5", overwrite=True)
    assert len(ingest_galaxy10(tmp_path / "f.h5", tmp_path / "back")) == COUNT
    export_folders(store, tmp_path / "out")
    export_folders(store, tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("export", [export_folders, export_hdf5])
def test_a_break_leaves_nothing(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export):
    def stop(items, *args):
        yield next(iter(items))
        raise KeyboardInterrupt

    monkeypatch.setattr("morphoscope.data.export.track", stop)
    with pytest.raises(KeyboardInterrupt):
        export(store, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
