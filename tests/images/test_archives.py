from __future__ import annotations

import contextlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.images.archives import CutOff, Zip, iterate_tar, open_files
from morphoscope.images.webdataset import archive_items


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return buffer.getvalue()


def test_a_folder_lists_itself_and_what_is_asked_for(tmp_path: Path):
    for name in ("b.txt", "a.txt", "in/c.txt", "in/deep/d.txt", "other/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    files = open_files(tmp_path, ("in", "missing"))
    assert files.names == ["a.txt", "b.txt", "in/c.txt"]
    assert files.content("in/c.txt") == tmp_path / "in" / "c.txt"
    with files.open("a.txt") as file:
        assert file.read() == b"a.txt"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_in_a_zip_is_read_where_it_lies(tmp_path: Path, method: int):
    contents = {f"images/{number}.jpg": bytes([number]) * 5000 for number in range(50)}
    path = tmp_path / "outer.zip"
    path.write_bytes(zipped({"inner.zip": zipped(contents)}, method))
    outer = open_files(path)
    inner = Zip(outer.open("inner.zip"), "outer.zip/inner.zip")
    assert inner.names == list(contents)
    assert {name: inner.content(name) for name in inner.names} == contents
    inner.close()
    outer.close()


def test_damage_is_named(tmp_path: Path):
    whole = zipped({"a.jpg": b"galaxy" * 100, "b.jpg": b"star"}, zipfile.ZIP_STORED)
    path = tmp_path / "x.zip"
    path.write_bytes(whole[:-30])
    with pytest.raises(MorphoscopeError, match=r"x\.zip: is truncated or not a zip file"):
        open_files(path)
    path.write_bytes(whole.replace(b"galaxygalaxy", b"galaxyGALAXY", 1))
    files = open_files(path)
    with pytest.raises(MorphoscopeError, match=r"x\.zip/a\.jpg: is damaged \(Bad CRC"):
        files.content("a.jpg")
    assert files.content("b.jpg") == b"star"
    files.close()
    with pytest.raises(MorphoscopeError, match="no such folder or zip file"):
        open_files(tmp_path / "none")


def test_damage_in_a_zip_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(3):
            archive.writestr(f"{number}.jpg", bytes(range(100)))
    whole, random, said = path.read_bytes(), np.random.default_rng(0), list[str]()
    for _ in range(200):
        damaged = bytearray(whole)
        for at in random.integers(0, len(whole), 3):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        for item in archive_items(path, stretch="lupton"):
            with pytest.raises(MorphoscopeError) as caught:  # a hundred bytes are no JPEG
                item.load()
            assert "\n" not in str(caught.value)
        try:
            with contextlib.closing(open_files(path)) as files:
                for name in files.names:
                    files.content(name)
        except MorphoscopeError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in sentence for sentence in said)


def test_members_that_unpack_to_more_than_the_bound_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MORPHOSCOPE_MOST_PIXELS", "100")
    inside = {"large.jpg": bytes(401), "small.jpg": bytes(400)}
    (tmp_path / "a.zip").write_bytes(zipped(inside))
    for packed in ("w:", "w:gz"):
        with tarfile.open(tmp_path / f"{packed[2:]}.tar", packed) as archive:
            for name, content in inside.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    message = r"large\.jpg: unpacks to more than 400 bytes; set MORPHOSCOPE_MOST_PIXELS"
    for path in sorted(tmp_path.iterdir()):
        large, small = archive_items(path, stretch="lupton")
        with pytest.raises(MorphoscopeError, match=message):
            large.load()
        with pytest.raises(MorphoscopeError, match=r"small\.jpg: is not an image"):
            small.load()
    files = open_files(tmp_path / "a.zip")
    with pytest.raises(MorphoscopeError, match=message):
        files.content("large.jpg")
    assert files.content("small.jpg") == bytes(400)
    files.close()


def test_a_tar_is_read_member_by_member_as_long_as_it_is_whole(tmp_path: Path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        folder = tarfile.TarInfo("images")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name in ("a.jpg", "b.jpg"):
            member = tarfile.TarInfo(f"images/{name}")
            member.size = 600
            archive.addfile(member, io.BytesIO(name.encode() * 120))
    whole = path.read_bytes()
    contents = dict(iterate_tar(path))
    assert list(contents) == ["images/a.jpg", "images/b.jpg"]  # a folder is no file
    assert contents["images/b.jpg"]() == b"b.jpg" * 120
    path.write_bytes(whole[: 512 + 1536 + 512 + 100])  # it was cut after it was listed
    assert contents["images/a.jpg"]() == b"a.jpg" * 120
    with pytest.raises(MorphoscopeError, match="is cut off"):
        contents["images/b.jpg"]()
    path.write_bytes(whole[: 512 + 1536 + 200])  # inside the header of the second
    read: list[str] = []
    with pytest.raises(CutOff, match=r"x\.tar: is cut off or damaged after 1 whole files"):
        read.extend(name for name, _ in iterate_tar(path))
    path.unlink()
    with pytest.raises(MorphoscopeError, match="cannot be read"):
        contents["images/a.jpg"]()
