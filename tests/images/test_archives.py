from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from morphoscope.errors import MorphoscopeError
from morphoscope.images.archives import Zip, open_files


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
    with pytest.raises(MorphoscopeError, match=r"x\.zip: is cut off or no zip file"):
        open_files(path)
    path.write_bytes(whole.replace(b"galaxygalaxy", b"galaxyGALAXY", 1))
    files = open_files(path)
    with pytest.raises(MorphoscopeError, match=r"x\.zip/a\.jpg: is damaged \(Bad CRC"):
        files.content("a.jpg")
    assert files.content("b.jpg") == b"star"
    files.close()
    with pytest.raises(MorphoscopeError, match="no such folder or zip file"):
        open_files(tmp_path / "none")
