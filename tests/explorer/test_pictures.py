"""Pictures in archives, in tables and in HDF5 files, found for the galaxies of a catalogue."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.errors import UsageError
from morphoscope.explorer.picture_places import open_pictures
from morphoscope.explorer.pictures import Known, MissingPicture, Pictures, Place, only_place
from morphoscope.explorer.thumbnails import unpacked

COUNT = 9


def picture(row: int) -> np.ndarray:
    """No two are the same, and PNG keeps them as they are."""
    return np.random.default_rng(row).integers(0, 255, (24, 24, 3), np.uint8)


def png(row: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture(row)).save(file, "PNG")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def known(ids: list[str], sources: list[str] | None = None) -> Known:
    return Known(pa.chunked_array([ids]), pa.chunked_array([sources or [""] * len(ids)], pa.string()))


def check(pictures: Pictures, of: Known, expected: list[int | None]) -> None:
    """Each galaxy has the picture of this number; None: it has none."""
    for row, number in enumerate(expected):
        place = Place(row, str(of.ids[row]), str(of.sources[row]))
        if number is None:
            with pytest.raises(MissingPicture, match="no image"):
                pictures.load(place)
        else:
            np.testing.assert_array_equal(pictures.load(place), picture(number))


@pytest.mark.parametrize("write", [write_tar, write_zip])
def test_pictures_in_an_archive(tmp_path: Path, write: Callable):
    name = "shard.tar" if write is write_tar else "shard.zip"
    members = {"readme.txt": b"hello"}
    for row in range(COUNT):
        members[f"deep/{row:03d}.png"] = png(row)
        members[f"deep/{row:03d}.json"] = json.dumps({"id": f"g{row}"}).encode()
    write(tmp_path / name, members)
    by_source = known(["?"] * 3, [f"{name}/deep/004.png", "deep/002.png", "deep/nine.png"])
    pictures, store = open_pictures(tmp_path / name, {}, tmp_path, by_source)
    assert store is None
    check(pictures, by_source, [4, 2, None])
    assert pictures.content(Place(0, "", "")) == png(4)
    by_id = known(["g8", "gone", "g0"])
    check(open_pictures(tmp_path / name, {}, tmp_path, by_id)[0], by_id, [8, None, 0])
    as_it_says = open_pictures(None, {"source": f"/elsewhere/{name}"}, tmp_path, by_id)[0]
    check(as_it_says, by_id, [8, None, 0])


def test_shards_are_told_apart(tmp_path: Path):
    for shard in range(2):
        write_tar(tmp_path / f"s-{shard}.tar", {f"{row}.png": png(10 * shard + row) for row in range(3)})
    sources = ["s-1.tar/2.png", "s-0.tar/2.png", "1.png"]  # the last is in both: which one is not known
    of = known(["a", "b", "c"], sources)
    for place in (tmp_path, str(tmp_path / "s-{0..1}.tar"), str(tmp_path / "*.tar")):
        check(open_pictures(place, {}, tmp_path, of)[0], of, [12, 2, None])


def test_bands_in_an_archive(tmp_path: Path):
    from astropy.io import fits

    def band(value: float) -> bytes:
        file = io.BytesIO()
        sky = np.random.default_rng(0).normal(0, 1, (32, 32))
        sky[10:20, 10:20] += value
        fits.PrimaryHDU(sky.astype(np.float32)).writeto(file)
        return file.getvalue()

    write_tar(tmp_path / "b.tar", {"g1.g.fits": band(20), "g1.r.fits": band(90)})
    of = known(["g1"], ["b.tar/g1"])
    said = {"bands": "g,r", "stretch": "asinh"}
    pictures, _ = open_pictures(tmp_path / "b.tar", said, tmp_path, of)
    image = pictures.load(Place(0, "g1", "b.tar/g1"))
    assert image.shape == (32, 32, 3)
    assert image[15, 15, 0] > image[15, 15, 2]  # r is red, and brighter
    assert pictures.content(Place(0, "g1", "b.tar/g1")) is None


WIDE = ("g", "r", "i", "z", "y")
BRIGHTNESS = {"g": 10.0, "r": 30.0, "i": 50.0, "z": 70.0, "y": 90.0}


def plane(band: str) -> np.ndarray:
    """A blob on noisy sky, brighter in a redder band."""
    sky = np.random.default_rng(ord(band)).normal(0, 1, (32, 32))
    sky[10:22, 10:22] += BRIGHTNESS[band]
    return sky.astype(np.float32)


def fits_of(planes: np.ndarray, bands: str = "") -> bytes:
    from astropy.io import fits

    file = io.BytesIO()
    made = fits.PrimaryHDU(planes)
    if bands:
        made.header["BANDS"] = bands
    made.writeto(file)
    return file.getvalue()


@pytest.mark.parametrize("stretch", ["values", "bands"])
@pytest.mark.parametrize(
    "layout", ["a file a band", "a cube", "a cube without names", "in a table", "in a folder"]
)
def test_five_bands_are_shown_as_the_reddest_the_middle_and_the_bluest(
    client_of: Callable, tmp_path: Path, layout: str, stretch: str
):
    names = "" if layout == "a cube without names" else "".join(WIDE)
    cube = fits_of(np.stack([plane(band) for band in WIDE]), names)
    source, images = "g1.fits", tmp_path / "images.zip"
    if layout == "a file a band":
        source = "images.zip/g1"
        write_zip(images, {f"g1.{band}.fits": fits_of(plane(band)) for band in WIDE})
    elif layout == "in a table":
        images = tmp_path / "images.parquet"
        pq.write_table(pa.table({"id": ["g1"], "image": pa.array([cube], pa.binary())}), images)
    elif layout == "in a folder":
        images = tmp_path / "images"
        images.mkdir()
        (images / source).write_bytes(cube)
    else:
        write_zip(images, {source: cube})
    said = {"bands": ",".join(WIDE), "stretch": stretch}
    table = pa.table({"id": ["g1"], "source": [source]})
    write_catalogue(target_of(tmp_path / "c.parquet"), table, said)
    client = client_of(tmp_path / "c.parquet", images=images)
    (small,) = unpacked(client.get("/api/thumbnails", params={"rows": "0", "size": 64}).content).values()
    assert isinstance(small, bytes), small
    for asked in ("", "lupton", "asinh", "linear"):
        answer = client.get("/api/image/0", params={"stretch": asked})
        assert answer.status_code == 200, answer.text
        image = np.asarray(Image.open(io.BytesIO(answer.content)))
        assert image.shape == (32, 32, 3)
        red, green, blue = image[12:20, 12:20].reshape(-1, 3).mean(axis=0)
        if stretch == "values" or asked:
            assert red >= green >= blue
            assert red > blue + 5
        dark = image[:6].mean()
        assert dark < min(red, green, blue)


@pytest.mark.parametrize("stretch", ["values", "bands", "lupton2", "../etc"])
def test_a_stretch_that_makes_no_picture_is_refused(client, stretch: str):
    answer = client.get("/api/image/0", params={"stretch": stretch})
    assert answer.status_code == 400
    assert f"no stretch '{stretch}'" in answer.json()["error"]


@pytest.mark.parametrize(
    ("name", "mode", "sentence"),
    [("s.tar.gz", "w:gz", "is compressed as a whole"), ("s.tar", "w", "none of the galaxies' images is in")],
)
def test_archives_that_do_not_help(tmp_path: Path, name: str, mode: str, sentence: str):
    write_tar(tmp_path / name, {"1.png": png(1)}, mode)
    with pytest.raises(UsageError, match=sentence):
        open_pictures(tmp_path / name, {}, tmp_path, known(["other"], ["other.png"]))


HUGGING_FACE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.mark.parametrize("kind", ["hugging face", "bytes with ids", "bytes alone"])
def test_pictures_in_a_table(tmp_path: Path, kind: str):
    for part in range(2):
        rows = range(part * COUNT, (part + 1) * COUNT)
        if kind == "hugging face":
            cells = [{"bytes": png(row), "path": f"{row}.png"} for row in rows]
            table = pa.table({"image": pa.array(cells, HUGGING_FACE)})
        else:
            table = pa.table({"image": pa.array([png(row) for row in rows], pa.binary())})
        if kind == "bytes with ids":
            table = table.append_column("id", pa.array([f"g{row}" for row in rows]))
        pq.write_table(table, tmp_path / f"part-{part}.parquet", row_group_size=4)
    of = {
        "hugging face": known(["a", "b", "c"], ["12.png", "3.png", "99.png"]),
        "bytes with ids": known(["g12", "g3", "gone"]),
        "bytes alone": known(["a", "b", "c"], ["part-1.parquet row 4", "part-0.parquet row 4", "x"]),
    }[kind]
    pictures, _ = open_pictures(tmp_path, {}, tmp_path, of)
    check(pictures, of, [12, 3, None])
    assert pictures.content(Place(0, "", "")) == png(12)


def test_a_large_row_group_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from morphoscope.explorer import table_pictures

    monkeypatch.setattr(table_pictures, "PIECE_BYTES", 10_000)
    monkeypatch.setattr(table_pictures, "CACHE_BYTES", 20_000)
    monkeypatch.setattr(table_pictures, "_ROWS", 4)
    cells = pa.array([png(row) for row in range(30)], pa.binary())
    pq.write_table(pa.table({"id": [f"g{row}" for row in range(30)], "image": cells}), tmp_path / "t.parquet")
    of = known(["g29", "g0", "g13"])
    pictures, _ = open_pictures(tmp_path / "t.parquet", {}, tmp_path, of)
    check(pictures, of, [29, 0, 13])
    assert sum(piece.nbytes for piece in pictures._pieces.values()) <= 20_000  # type: ignore[attr-defined]


def test_a_data_set_with_images_is_explored_by_itself(client_of: Callable, tmp_path: Path):
    """As Hugging Face writes them: no ids, no names of files, a label."""
    cells = [{"bytes": png(row), "path": None} for row in range(COUNT)]
    table = pa.table({"image": pa.array(cells, HUGGING_FACE), "label": np.arange(COUNT) % 3})
    pq.write_table(table, tmp_path / "train.parquet")
    client = client_of(tmp_path / "train.parquet")
    said = client.get("/api/subject").json()
    assert said["pictures"]
    assert said["picturesNote"] == "images in train.parquet"
    page = client.get("/api/page", params={"filter": "label = 1"}).json()
    assert [galaxy["id"] for galaxy in page["galaxies"]] == ["row 2", "row 5", "row 8"]
    found = unpacked(client.get("/api/thumbnails", params={"rows": "7,1"}).content)
    assert all(isinstance(each, bytes) for each in found.values())
    image = np.asarray(Image.open(io.BytesIO(client.get("/api/image/4").content)))
    np.testing.assert_array_equal(image, picture(4))


def test_pictures_of_galaxy10(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "g10.h5", "w") as file:
        file["images"] = np.stack([picture(row) for row in range(COUNT)])
        file["ans"] = np.zeros(COUNT, np.int64)
        file["pxscale"] = np.full(COUNT, 0.5)
    of = known(["00003", "x", "00099"], ["", "g10.h5#7", ""])
    pictures, _ = open_pictures(tmp_path / "g10.h5", {}, tmp_path, of)
    check(pictures, of, [3, 7, None])
    assert pictures.pixel_scale == 0.5
    with pytest.raises(UsageError, match="ids such as 00017 were expected"):
        open_pictures(tmp_path / "g10.h5", {}, tmp_path, known(["3"]))


def test_what_is_no_place_of_pictures(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("nothing")
    for name in ("notes.txt", "gone", "gone-{0..3}.tar"):
        with pytest.raises(UsageError, match=r"an archive \(tar, zip\), a table with images"):
            open_pictures(tmp_path / name, {}, tmp_path, known(["a"]))


def test_a_name_that_is_there_twice_is_nobodys():
    names = pa.chunked_array([["a", "b"], ["a", None, "c"]], pa.string())
    wanted = pa.chunked_array([["c", "a", "x", None, "b"]], pa.string())
    assert only_place(wanted, names).tolist() == [4, -1, -1, -1, 1]
