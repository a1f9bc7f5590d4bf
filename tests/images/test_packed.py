"""Files compressed as a whole: images, mosaics and tables, whatever their names say."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits
from astropy.table import Table

from morphoscope.errors import MorphoscopeError
from morphoscope.images.decode import is_image_name, read_image
from morphoscope.images.mosaic import open_mosaics
from morphoscope.images.packed import bare_ending, opened, read_up_to
from morphoscope.images.tables import is_table, read_table

PIXELS = np.random.default_rng(7).normal(100, 5, (32, 32)).astype(np.float32)


def zipped(content: bytes, *names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names or ("inside",):
            archive.writestr(name, content)
    return file.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": lambda content: lzma.compress(content, lzma.FORMAT_ALONE),
    ".zst": lambda content: b"".join(
        pa.compress(part, "zstd", asbytes=True) for part in (content[:999], content[999:]) if part
    ),
    ".zip": zipped,
}


def image() -> bytes:
    file = io.BytesIO()
    fits.PrimaryHDU(PIXELS).writeto(file)
    return file.getvalue()


def table(kind: str) -> bytes:
    rows = Table({"id": ["007", "8"], "ra": [10.5, 20.0], "dec": [1.0, -2.0]})
    file = io.BytesIO() if kind in ("fits", "votable") else io.StringIO()
    rows.write(file, format=kind)
    content = file.getvalue()
    return content if isinstance(content, bytes) else content.encode()


@pytest.mark.parametrize("ending", PACK)
def test_images_and_mosaics(tmp_path: Path, ending: str) -> None:
    for name in (f"a.fits{ending}", "b.fits"):
        path = tmp_path / name
        path.write_bytes(PACK[ending](image()))
        assert np.array_equal(read_image(path), read_image(image(), name="x"))
        (mosaic,) = open_mosaics(path)
        assert np.array_equal(mosaic.box(slice(32), slice(32)), PIXELS)
    assert is_image_name(f"a.fits{ending}") == (ending != ".zip")  # a zip is an archive of images
    for cut in (PACK[ending](image())[:-200], PACK[ending](image())[:40]):
        with pytest.raises(MorphoscopeError, match=r"c\.fits: is damaged"):
            read_image(cut, name="c.fits")


@pytest.mark.parametrize("ending", PACK)
@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("csv", "ascii.csv"), ("ecsv", "ascii.ecsv"), ("fits", "fits"), ("vot", "votable")],
)
def test_tables(tmp_path: Path, suffix: str, kind: str, ending: str) -> None:
    content = table(kind)
    for name, written in (
        (f"a.{suffix}{ending}", PACK[ending](content)),
        (f"b.{suffix}", PACK[ending](content)),
        (f"c.{suffix}{ending}", content),  # as a server sends it that unpacks on the way
    ):
        path = tmp_path / name
        path.write_bytes(written)
        assert is_table(path) == (path.suffix != ".zip")
        rows = read_table(path, names=("id",))
        assert rows["id"].to_pylist() == ["007", "8"]
        assert rows["ra"].to_pylist() == [10.5, 20.0]


def test_what_cannot_be_unpacked_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "two.csv.zip").write_bytes(zipped(b"ra,dec\n1,2\n", "a.csv", "b.csv"))
    with pytest.raises(MorphoscopeError, match=r"two\.csv\.zip: is a zip file of 2 files; one was expected"):
        read_table(tmp_path / "two.csv.zip")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(b"ra,dec\n1,2\n" * 99)[:-9])
    with pytest.raises(MorphoscopeError, match=r"cut\.csv\.gz: cannot be read as a table"):
        read_table(tmp_path / "cut.csv.gz")


def test_unix_compress_needs_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uncompresspy", None)
    for name, reader in (("a.fits.Z", read_image), ("a.fits.Z", open_mosaics), ("a.csv.Z", read_table)):
        (tmp_path / name).write_bytes(b"\x1f\x9d\x90" + bytes(50))
        with pytest.raises(MorphoscopeError, match=r"a\.\w+\.Z: is compressed with compress \(\.Z\)"):
            reader(tmp_path / name)


def test_names_and_files_without_compression(tmp_path: Path) -> None:
    assert [bare_ending(name) for name in ("a.csv.gz", "A.FITS.Z", "a.fits")] == ["a.csv", "A.FITS", "a.fits"]
    (tmp_path / "a.txt").write_bytes(b"words")
    with opened(tmp_path / "a.txt") as file:
        assert file.read() == b"words"


def test_no_more_is_asked_for_at_once_than_a_megabyte() -> None:
    """A reader may take as much memory as it is asked for, whatever the file holds."""
    asked: list[int] = []

    class Stream(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    content = bytes(5_000_000)
    assert read_up_to(Stream(content), 10**9) == content
    assert max(asked) == 1 << 20
    assert len(read_up_to(Stream(content), 2_000_000)) < 3_100_000
