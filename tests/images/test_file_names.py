from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from morphoscope.catalogue.inputs.open import open_input
from morphoscope.data.sources.folder import ingest_folder
from morphoscope.errors import MorphoscopeError
from morphoscope.images.file_names import distinct_ids, image_names, nearest_file, stem, writable

FOREIGN = b"caf\xe9.png"  # Latin-1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes; one image has a name that is not UTF-8, and there are files that are no images."""
    content = cv2.imencode(".png", np.full((4, 4, 3), 9, np.uint8))[1].tobytes()
    for name in ("a/1.png", "a/2.png", "b/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "b") + b"/" + FOREIGN)).write_bytes(content)
    except OSError:
        pytest.skip("this file system has names in UTF-8 alone")
    for name in ("a/notes.txt", "b/more.heic", "b/1.heic", "b/README", "b/.hidden"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def test_what_a_folder_skips_is_counted_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "4 files are not images and were skipped (2 .heic, 1 .txt, 1 without an ending)"
    open_input(folder)
    assert words in capsys.readouterr().err
    skipped: Counter[str] = Counter()
    assert len(list(image_names(folder, skipped))) == 4
    assert skipped.total() == 4
    ingest_folder(folder, folder / "s", size=4)
    assert words in capsys.readouterr().err


def test_a_name_that_is_not_utf8_is_listed_as_unreadable(folder: Path) -> None:
    items = {item.row["id"]: item for item in open_input(folder).items}
    assert set(items) == {"1", "2", "3", r"caf\xe9"}
    assert items["3"].load().max() == 9
    with pytest.raises(MorphoscopeError, match=r"b/caf\\xe9\.png: the file's name is not UTF-8; rename it"):
        items[r"caf\xe9"].load()
    store = ingest_folder(folder, folder / "s")
    assert len(store) == 3
    listed = (folder / "s" / "unreadable.csv").read_text().splitlines()
    assert listed[1].startswith(r"b/caf\xe9.png,")


def test_folders_and_stores_call_images_alike(folder: Path) -> None:
    (folder / "b" / "1.png").write_bytes((folder / "a" / "1.png").read_bytes())
    store = ingest_folder(folder, folder / "s")
    read = [item.row["id"] for item in open_input(folder / "a").items]
    assert read == ["1", "2"]
    assert store.column("id").tolist()[:2] == ["a/1", "a/2"]


@pytest.mark.parametrize(
    ("name", "bare"),
    [("a/x.fits.gz", "x"), ("J1234+01.5.JPG", "J1234+01.5"), ("x", "x"), (".png", ".png"), ("y.heic", "y")],
)
def test_stems(name: str, bare: str) -> None:
    assert stem(name) == bare


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (["a/1.png", "a/2.png"], ["1", "2"]),
        (["a/1.png", "b/1.png"], ["a/1", "b/1"]),
        (["a/1.png", "a/1.jpg"], ["a/1.png", "a/1.jpg"]),
    ],
)
def test_ids_are_as_short_as_they_differ(names: list[str], ids: list[str]) -> None:
    identity, count = distinct_ids(iter(names))
    assert [identity(name) for name in names] == ids
    assert count == len(names)


def test_the_nearest_file(folder: Path) -> None:
    for name, near in (
        ("a/1.jpg", "a/1.png"),
        ("1.png", "a/1.png"),
        ("a/1", "a/1.png"),
        ("b/more.hei", "b/more.heic"),
    ):
        assert nearest_file(folder, name) == folder / near
    assert nearest_file(folder, "lost/zzz.fits") is None
    assert nearest_file(folder, "a/\0") is None


def test_names_that_any_file_can_hold() -> None:
    assert writable("é.png") == "é.png"
    assert writable(os.fsdecode(FOREIGN)) == r"caf\xe9.png"
