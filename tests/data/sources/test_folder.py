from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from morphoscope.data.sources.folder import ingest_folder
from morphoscope.errors import MorphoscopeError, UsageError


def save(path: Path, value: int, side: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((side, side, 3), value, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "galaxies"
    save(root / "spiral" / "b.png", 20)
    save(root / "spiral" / "a.png", 10)
    save(root / "elliptical" / "c.jpg", 30)
    save(root / "edge on" / "deeper" / "d.tif", 40)
    return root


def test_classes_are_the_folders_in_alphabetical_order(folder: Path, tmp_path: Path):
    store = ingest_folder(folder, tmp_path / "s", pixel_scale=0.4)
    assert store.need_scheme().output_names == ("edge on", "elliptical", "spiral")
    assert store.column("id").tolist() == ["d", "c", "a", "b"]
    assert store.targets().tolist() == [0, 1, 2, 2]
    assert store.images[:, 0, 0, 0].tolist() == [40, 30, 10, 20]
    assert store.column("source").tolist()[0] == "edge on/deeper/d.tif"
    assert store.meta.pixel_scale == 0.4
    assert store.meta.stretch == "as-served"
    assert store.meta.source == "galaxies"


def test_classes_in_the_users_own_order(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = ingest_folder(folder, tmp_path / "s", classes=["spiral", "elliptical"])
    assert store.need_scheme().output_names == ("spiral", "elliptical")
    assert store.targets().tolist() == [0, 0, 1]
    assert "left out: edge on" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"no folder for class 'spirals' \(did you mean 'spiral'\?\)"):
        ingest_folder(folder, tmp_path / "t", classes=["spirals", "elliptical"])


def test_junk_is_passed_over(folder: Path, tmp_path: Path):
    save(folder / ".hidden" / "x.png", 1)
    save(folder / "__MACOSX" / "x.png", 1)
    save(folder / "spiral" / ".thumbs" / "x.png", 1)
    (folder / "spiral" / "._a.png").write_bytes(b"junk")
    (folder / "spiral" / "Thumbs.db").write_bytes(b"junk")
    (folder / "notes.txt").write_text("junk")
    store = ingest_folder(folder, tmp_path / "s")
    assert len(store) == 4
    assert store.meta.unreadable == 0


def test_names_that_repeat_get_their_folders(folder: Path, tmp_path: Path):
    save(folder / "elliptical" / "a.png", 50)
    store = ingest_folder(folder, tmp_path / "s")
    assert store.column("id").tolist() == [
        "edge on/deeper/d", "elliptical/a", "elliptical/c", "spiral/a", "spiral/b"
    ]  # fmt: skip
    save(folder / "spiral" / "a.jpg", 50)
    store = ingest_folder(folder, tmp_path / "t")
    assert "spiral/a.jpg" in store.column("id").tolist()
    assert len(set(store.column("id").tolist())) == 6


def test_an_empty_class_is_named(folder: Path, tmp_path: Path):
    (folder / "ring").mkdir()
    (folder / "ring" / "readme.txt").write_text("soon")
    with pytest.raises(MorphoscopeError, match=r"galaxies/ring: has no images"):
        ingest_folder(folder, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_fewer_than_two_classes_are_refused(tmp_path: Path):
    save(tmp_path / "flat" / "a.png", 1)
    with pytest.raises(UsageError, match=r"at least two class folders.*\(found: none\).*morphoscope predict"):
        ingest_folder(tmp_path / "flat", tmp_path / "s")
    save(tmp_path / "one" / "spiral" / "a.png", 1)
    with pytest.raises(UsageError, match=r"at least two class folders.*\(found: spiral\)"):
        ingest_folder(tmp_path / "one", tmp_path / "s")
    with pytest.raises(UsageError, match="no such folder"):
        ingest_folder(tmp_path / "none", tmp_path / "s")
    with pytest.raises(UsageError, match="no such folder"):
        ingest_folder(tmp_path / "flat" / "a.png", tmp_path / "s")


def test_mixed_sizes_need_a_size(folder: Path, tmp_path: Path):
    save(folder / "spiral" / "z.png", 1, side=12)
    with pytest.raises(UsageError, match=r"d\.tif has 10×10 pixels and spiral/z\.png has 12×12 pixels"):
        ingest_folder(folder, tmp_path / "s")
    assert ingest_folder(folder, tmp_path / "s", size=6).images.shape == (5, 6, 6, 3)


def test_a_thousand_broken_files_stop_nothing(folder: Path, tmp_path: Path):
    for number in range(1000):
        (folder / "spiral" / f"broken{number}.jpg").write_bytes(b"\xff\xd8\xff" + bytes(number % 7))
    store = ingest_folder(folder, tmp_path / "s")
    assert len(store) == 4
    assert store.meta.unreadable == 1000
    lines = (tmp_path / "s" / "unreadable.csv").read_text().splitlines()
    assert lines[1].startswith("spiral/broken0.jpg,")


def test_fits_images_are_stretched_as_asked(tmp_path: Path):
    from astropy.io import fits

    flux = np.random.default_rng(0).normal(100, 3, (20, 20))
    for name in ("a", "b"):
        (tmp_path / "f" / name).mkdir(parents=True)
        fits.writeto(tmp_path / "f" / name / f"{name}.fits", flux)
    store = ingest_folder(tmp_path / "f", tmp_path / "s", stretch="linear")
    assert store.meta.stretch == "linear"
    assert store.images[0].max() == 255
    with pytest.raises(UsageError, match="no stretch 'log'"):
        ingest_folder(tmp_path / "f", tmp_path / "t", stretch="log")


def test_real_spirals_and_ellipticals(shared_data: Path, tmp_path: Path):
    store = ingest_folder(shared_data / "folder_example", tmp_path / "s", crop=212, size=32)
    assert store.need_scheme().output_names == ("elliptical", "spiral_acw", "spiral_cw")
    assert np.bincount(store.targets()).tolist() == [250, 250, 250]
    assert store.images.shape == (750, 32, 32, 3)
    assert store.meta.unreadable == 0
