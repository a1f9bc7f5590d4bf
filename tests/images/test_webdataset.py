from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from astropy.io import fits

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.stream import Item
from morphoscope.images.webdataset import archive_items, expand_braces

Members = Iterable[tuple[str, bytes]]


def png(level: int) -> bytes:
    return cv2.imencode(".png", np.full((8, 8, 3), level, np.uint8))[1].tobytes()


def write_tar(path: Path, members: Members, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def write_zip(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def items_of(path: Path, **options: object) -> list[Item]:
    return list(archive_items(path, stretch="linear", **options))  # type: ignore[arg-type]


PLAIN = [
    ("./cutouts/J12.5+3.png", png(10)),
    ("cutouts/J12.5-4.png", png(20)),
    ("cutouts/._J12.png", png(1)),
    ("cutouts/readme.txt", b"no image"),
    ("7.jpg", png(30)),
]


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip"])
def test_archives_of_every_kind_hold_the_same_galaxies(tmp_path: Path, ending: str):
    path = tmp_path / f"images{ending}"
    if ending == ".zip":
        write_zip(path, PLAIN)
    else:
        packed = {".tar": "", ".tgz": "gz"}.get(ending, ending.rpartition(".")[2])
        write_tar(path, PLAIN, f"w:{packed}")
    items = items_of(path)
    ids = [item.row["id"].removeprefix("./") for item in items]
    assert ids == ["cutouts/J12.5+3", "cutouts/J12.5-4", "7"]
    assert items[2].source == f"images{ending}/7.jpg"
    assert [item.load().max() for item in items] == [10, 20, 30]
    assert sorted(tmp_path.iterdir()) == [path]  # nothing was unpacked


def test_webdataset_samples_have_the_json_s_id_and_place(tmp_path: Path):
    def described(**said: object) -> bytes:
        return json.dumps(said).encode()

    path = write_tar(
        tmp_path / "shard-000.tar",
        [
            ("000.cls", b"3"),
            ("000.jpg", png(1)),
            ("000.json", described(id=587722981742215240, RA=150.5, dec=-2)),
            ("001.json", described(dr8_id="x", ra="12h", dec=100)),
            ("001.png", png(2)),
            ("002.image.png", png(3)),
            ("002.json", b"not json"),
            ("003.json", described(id="none")),
            ("004.png", png(4)),
        ],
    )
    items = items_of(path)
    assert [item.row for item in items] == [
        {"id": "587722981742215240", "ra": 150.5, "dec": -2.0},
        {"id": "001"},
        {"id": "002"},
        {"id": "004"},
    ]
    assert [item.load().max() for item in items] == [1, 2, 3, 4]


def test_bands_in_members_of_their_own(tmp_path: Path):
    def band(level: float) -> bytes:
        buffer = io.BytesIO()
        fits.PrimaryHDU(np.full((4, 4), level, np.float32)).writeto(buffer)
        return buffer.getvalue()

    members = [("1.g.fits", band(10)), ("1.r.fits", band(200)), ("2.g.fits", band(5))]
    whole, broken = archive_items(
        write_tar(tmp_path / "a.tar", members), stretch="as-served", bands=("g", "r")
    )
    assert whole.row == {"id": "1"}
    assert whole.load()[0, 0].tolist() == [200, 105, 10]
    with pytest.raises(MorphoscopeError, match=r"a\.tar/2: has no member for the band r"):
        broken.load()


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_what_came_before_a_cut_is_kept(tmp_path: Path, mode: str):
    rng = np.random.default_rng(0)
    noise = [cv2.imencode(".png", rng.integers(0, 255, (40, 40, 3), np.uint8))[1].tobytes() for _ in range(9)]
    path = write_tar(tmp_path / "a.tar", [(f"{n}.png", content) for n, content in enumerate(noise)], mode)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(0.6 * len(whole))])
    *kept, last = items_of(path)
    assert 3 <= len(kept) <= 6
    assert [item.row["id"] for item in kept] == [str(number) for number in range(len(kept))]
    assert all(item.load().shape == (40, 40, 3) for item in kept)
    with pytest.raises(MorphoscopeError, match=rf"a\.tar: is cut off or damaged after {len(kept)} whole"):
        last.load()
    path.write_bytes(b"no archive at all" * 100)
    (only,) = items_of(path)
    with pytest.raises(MorphoscopeError, match=r"a\.tar: is cut off or damaged \("):
        only.load()
    (only,) = items_of(write_zip(tmp_path / "b.zip", [])) or [None]
    assert only is None
    (tmp_path / "b.zip").write_bytes(b"PK no zip")
    (only,) = items_of(tmp_path / "b.zip")
    with pytest.raises(MorphoscopeError, match="not a zip file"):
        only.load()


def test_a_member_of_a_zip_without_a_name_is_passed_over(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", [("?", b""), ("2.png", png(2))])
    content = bytearray(path.read_bytes())
    for start, length, name in ((b"PK\x03\x04", 26, 30), (b"PK\x01\x02", 28, 46)):
        at = content.index(start)
        content[at + length : at + length + 2] = (0).to_bytes(2)
        content[at + length + 2] += 1 if start == b"PK\x01\x02" else 0  # the name is an extra field now
        assert content[at + name : at + name + 1] == b"?"
    path.write_bytes(content)
    (item,) = items_of(path)
    assert item.load().max() == 2


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_gigabytes_is_not_read(tmp_path: Path, ending: str, kind: bytes):
    """tarfile would take as much memory as the header declares and the compressed zeros hold."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 64 << 20
    image = tarfile.TarInfo("a.png")
    image.size = len(png(1))
    content = image.tobuf() + png(1).ljust(-(-image.size // 512) * 512, b"\0")
    content += header.tobuf() + bytes(header.size + 1024)
    path = tmp_path / f"a.{ending}"
    path.write_bytes(gzip.compress(content, 1) if ending.endswith("gz") else content)
    tracemalloc.start()
    first, last = items_of(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20
    assert first.load().max() == 1
    with pytest.raises(MorphoscopeError, match=r"after 1 whole files \(a header that declares 67108864"):
        last.load()


def test_a_member_that_declares_less_than_nothing_is_the_end(tmp_path: Path):
    header = bytearray(tarfile.TarInfo("x.png").tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 10 + (-1024 % 65536).to_bytes(2)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "a.tar").write_bytes(header + bytes(1024))
    (only,) = items_of(tmp_path / "a.tar")
    with pytest.raises(MorphoscopeError, match=r"a header that declares -1024 bytes"):
        only.load()


def test_a_damaged_member_of_a_zip_is_named_and_the_others_are_read(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", [("1.png", png(1)), ("2.png", png(2))])
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(content)
    first, second = items_of(path)
    with pytest.raises(MorphoscopeError, match=r"a\.zip/1\.png: is damaged \(Bad CRC"):
        first.load()
    assert second.load().max() == 2


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_long_archive_is_gone_through_in_constant_memory(tmp_path: Path, mode: str):
    noise = np.random.default_rng(0)
    path = write_tar(tmp_path / "a.tar", ((f"{n:06d}.png", noise.bytes(3000)) for n in range(1000)), mode)
    tracemalloc.start()
    count = sum(1 for _ in archive_items(path, stretch="lupton"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1000
    assert peak < 700_000  # bytes; the archive has 3.5 MB, its list of members alone 1 MB


def test_braces():
    assert expand_braces("s-{008..011}.tar") == ["s-008.tar", "s-009.tar", "s-010.tar", "s-011.tar"]
    assert expand_braces("{0..1}/{2..3}") == ["0/2", "0/3", "1/2", "1/3"]
    assert expand_braces("a{id}_{band}") == ["a{id}_{band}"]
    with pytest.raises(UsageError, match="run backwards"):
        expand_braces("{3..1}.tar")


def test_a_description_that_is_no_mapping_and_a_galaxy_in_no_band_say_nothing(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", [("a.png", png(10)), ("a.json", json.dumps([1, 2]).encode())])
    for bands in ((), ("g", "r")):
        (item,) = items_of(path, bands=bands)
        assert item.row == {"id": "a"}
