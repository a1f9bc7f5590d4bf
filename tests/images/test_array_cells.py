"""Images that tables hold as arrays, as the Multimodal Universe and Hugging Face's data sets do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import open_input
from morphoscope.data.sources.table import ingest_table
from morphoscope.errors import MorphoscopeError
from morphoscope.images.array_cells import cells_of, holds_arrays, read_array, usual_bands
from morphoscope.images.stretch import Flux, measured_values, rendered
from morphoscope.images.tables import columns_of

GRIZ = ("des-g", "des-r", "des-i", "des-z")
SIDE = 24


def _planes(seed: int, bands: int = 4) -> np.ndarray:
    """Galaxies off the middle, so that a picture upside down is seen, with a corner without exposure."""
    y, x = np.mgrid[:SIDE, :SIDE]
    light = np.exp(-np.hypot(x - 9, y - 5) / 3)
    noise = np.random.default_rng(seed).normal(0, 0.01, (bands, SIDE, SIDE))
    return (light * np.arange(1, bands + 1)[:, None, None] + noise).astype(np.float32)


def _ivar(bands: int = 4) -> np.ndarray:
    ivar = np.full((bands, SIDE, SIDE), 1e4, np.float32)
    ivar[:, :3, :3] = 0
    return ivar


def mmu_struct(images: list[np.ndarray], names: tuple[str, ...], scale: float = 0.262) -> pa.Array:
    """The column ``image`` as ``datasets.Sequence`` of a dict and the HATS collections have it."""
    rows = [
        {
            "band": list(names),
            "flux": planes.tolist(),
            "mask": np.ones(planes.shape, bool).tolist(),
            "ivar": _ivar(len(planes)).tolist(),
            "psf_fwhm": [1.2] * len(names),
            "scale": [scale] * len(names),
        }
        for planes in images
    ]
    number = pa.float32()
    return pa.array(
        rows,
        pa.struct(
            {
                "band": pa.list_(pa.string()),
                "flux": pa.list_(pa.list_(pa.list_(number))),
                "mask": pa.list_(pa.list_(pa.list_(pa.bool_()))),
                "ivar": pa.list_(pa.list_(pa.list_(number))),
                "psf_fwhm": pa.list_(number),
                "scale": pa.list_(number),
            }
        ),
    )


def mmu_list(images: list[np.ndarray], names: tuple[str, ...]) -> pa.Array:
    """The same as ``datasets.List`` of a dict has it: a struct a band."""
    rows = [
        [
            {"band": name, "flux": plane.tolist(), "scale": 0.262}
            for name, plane in zip(names, each, strict=True)
        ]
        for each in images
    ]
    plane = pa.list_(pa.list_(pa.float32()))
    return pa.array(rows, pa.list_(pa.struct({"band": pa.string(), "flux": plane, "scale": pa.float32()})))


def _write(path: Path, column: pa.Array, start: int = 0, **further: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(column)
    table = pa.table(
        {
            "image": column,
            "object_id": [f"g-{start + row}" for row in range(count)],
            "ra": [10.0 + start + row for row in range(count)],
            "dec": [-5.0] * count,
            **further,
        }
    )
    pq.write_table(table, path)


def _expected(planes: np.ndarray, chosen: tuple[int, ...]) -> np.ndarray:
    bands = []
    for band in chosen:
        plane = planes[band].copy()
        plane[:3, :3] = np.nan
        bands.append(plane[::-1])
    flux = [Flux(GRIZ[band][-1], "nanomaggy", 1.0, "legacy") for band in chosen]
    return rendered(bands, "lupton", name="x", flux=flux)[0]


def test_both_layouts_are_the_pictures_that_fits_files_of_them_would_be():
    planes = [_planes(seed) for seed in range(3)]
    struct, flat = mmu_struct(planes, GRIZ), mmu_list(planes, GRIZ)
    assert holds_arrays(struct.type)
    assert holds_arrays(flat.type)
    cells = cells_of(pa.chunked_array([struct.slice(0, 1), struct.slice(1)]))
    found: dict = {}
    for row, cell in enumerate(cells):
        assert cell is not None
        image = read_array(cell, name="x", found=found)
        np.testing.assert_array_equal(image, _expected(planes[row], (3, 1, 0)))
    assert found["bands"] == "des-z, des-r, des-g (of 4 bands)"
    assert found["scaling"] == "legacy"
    assert found["no_data"] == pytest.approx(9 / SIDE**2)
    assert cells[0] is not None
    assert cells[0].scale == pytest.approx(0.262)
    again = cells_of(pa.chunked_array([flat]))[2]
    assert again is not None
    chosen = read_array(again, name="x", bands=("i", "g"))
    with measured_values() as values:
        read_array(again, name="x", bands=("i", "g"))
    np.testing.assert_array_equal(values[0][0][0], planes[2][2][::-1])
    assert [flux.band for flux in values[0][1]] == ["i", "g"]
    assert chosen.shape == (SIDE, SIDE, 3)


def test_the_usual_bands_of_surveys_are_chosen_by_wavelength():
    assert usual_bands(GRIZ) == (3, 1, 0)
    assert usual_bands(("hsc-g", "hsc-r", "hsc-i", "hsc-y")) == (2, 1, 0)
    assert usual_bands(("f090w", "f115w", "f150w", "f200w", "f277w", "f356w", "f444w")) == (6, 3, 0)
    assert usual_bands(("des-g", "des-r")) == (1, 0)
    with pytest.raises(MorphoscopeError, match="choose up to three of them"):
        usual_bands(("a1", "a2", "a3", "a4"))


def test_arrays_without_band_names_are_pictures_or_fluxes():
    picture = np.arange(SIDE * SIDE * 3).reshape(SIDE, SIDE, 3) % 256
    kind = pa.list_(pa.list_(pa.list_(pa.uint8())))
    (cell,) = cells_of(pa.chunked_array([pa.array([picture.tolist()], kind)]))
    assert cell is not None
    assert not cell.measured
    np.testing.assert_array_equal(read_array(cell, name="x"), picture)
    (cell,) = cells_of(pa.chunked_array([pa.array([np.moveaxis(picture, -1, 0).tolist()], kind)]))
    assert cell is not None
    np.testing.assert_array_equal(read_array(cell, name="x"), picture)
    planes = _planes(1)
    fluxes = pa.list_(pa.list_(pa.list_(pa.float32())))
    (cell,) = cells_of(pa.chunked_array([pa.array([planes.tolist()], fluxes)]))
    assert cell is not None
    assert cell.measured
    with pytest.raises(MorphoscopeError, match="the array is 4×24×24; one to three bands"):
        read_array(cell, name="x")
    assert read_array(cell, name="x", bands=("3", "2", "1")).shape == (SIDE, SIDE, 3)
    ragged = pa.chunked_array([pa.array([[[1.0, 2.0], [3.0]]])])
    (cell,) = cells_of(ragged)
    assert cell is not None
    with pytest.raises(MorphoscopeError, match="differ in length"):
        read_array(cell, name="x")
    assert not holds_arrays(pa.list_(pa.float32()))
    assert not holds_arrays(pa.struct({"bytes": pa.binary()}))


def test_parts_of_the_multimodal_universe_are_read_and_ingested_one_after_the_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    planes = [_planes(seed) for seed in range(5)]
    for number, part in enumerate((planes[:2], planes[2:])):
        votes = {"smooth": [0.25] * len(part), "label": [(2 * number + row) % 2 for row in range(len(part))]}
        path = tmp_path / "set" / f"train-{number}.parquet"
        _write(path, mmu_struct(part, GRIZ), 2 * number, **votes)
    named = {"info": {"features": {"label": {"names": ["disc", "oval"], "_type": "ClassLabel"}}}}
    first = pq.read_table(tmp_path / "set" / "train-0.parquet")
    pq.write_table(
        first.replace_schema_metadata({"huggingface": json.dumps(named)}),
        tmp_path / "set" / "train-0.parquet",
    )
    images = open_input(tmp_path / "set")
    items = list(images.items)
    assert [item.row["id"] for item in items] == [f"g-{row}" for row in range(5)]
    assert [column.name for column in images.extras][:1]
    np.testing.assert_array_equal(items[4].load(), _expected(planes[4], (3, 1, 0)))
    store = ingest_table(tmp_path / "set", tmp_path / "store", label_column="label", keep_columns=["smooth"])
    assert store.need_scheme().class_names == ("disc", "oval")
    assert store.column("label").tolist() == [0, 1, 0, 1, 0]
    assert store.column("ra").tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]
    assert (store.meta.pixel_scale, store.meta.stretch) == (pytest.approx(0.262), "lupton")
    for row in range(5):
        np.testing.assert_array_equal(store.images[row], _expected(planes[row], (3, 1, 0)))
    said = capsys.readouterr().err
    assert said.count("des-z, des-r, des-g (of 4 bands) are shown; --bands chooses others") == 1
    votes = ingest_table(
        str(tmp_path / "set" / "train-*.parquet"),
        tmp_path / "votes",
        vote_columns=["smooth", "label"],
        bands="g",
    )
    assert len(votes) == 5


def test_hdf5_parts_of_the_multimodal_universe(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    planes = np.stack([_planes(seed) for seed in range(3)])
    for number, rows in enumerate((slice(0, 2), slice(2, 3))):
        part = tmp_path / "set" / f"healpix={number}" / "001-of-001.hdf5"
        part.parent.mkdir(parents=True)
        with h5py.File(part, "w") as file:
            count = len(planes[rows])
            file["image_array"] = planes[rows]
            file["image_ivar"] = np.stack([_ivar()] * count)
            file["image_band"] = np.array([[name.encode() for name in GRIZ]] * count)
            file["image_scale"] = np.full((count, 4), 0.262, np.float32)
            file["object_id"] = np.array([f"b-{number}-{row}".encode() for row in range(count)])
            file["ra"], file["dec"] = np.arange(count) + 1.0, np.arange(count) + 2.0
            file["TYPE"] = np.array([b"DEV", b"EXP"][:count])
    items = list(open_input(tmp_path / "set").items)
    assert [item.row["id"] for item in items] == ["b-0-0", "b-0-1", "b-1-0"]
    assert items[1].coordinates == {"ra": 2.0, "dec": 3.0}
    np.testing.assert_array_equal(items[2].load(), _expected(planes[2], (3, 1, 0)))
    store = ingest_table(tmp_path / "set", tmp_path / "store", label_column="TYPE")
    assert store.column("label").tolist() == [0, 1, 0]
    np.testing.assert_array_equal(store.images[2], _expected(planes[2], (3, 1, 0)))


def test_hdf5_files_are_not_followed_elsewhere_and_declare_no_more_than_they_hold(tmp_path: Path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(3)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["id"], file["images"] = np.arange(3), np.zeros((3, 8, 8, 3), np.uint8)
        file["secret"] = h5py.ExternalLink("other.h5", "secret")
    assert columns_of(tmp_path / "a.h5").names == ["id", "images"]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["id"] = np.arange(3)
        file.create_dataset("images", (3, 2_000_000, 2_000_000), np.uint8, chunks=(1, 64, 64))
    with pytest.raises(MorphoscopeError, match=r"b\.h5: 'images' unpacks to more than 100 times its size"):
        columns_of(tmp_path / "b.h5")


def test_a_data_set_saved_to_disk_by_hugging_face_is_arrow(tmp_path: Path):
    table = pa.table({"image": mmu_list([_planes(0), _planes(1)], GRIZ), "object_id": ["a", "b"]})
    (tmp_path / "set").mkdir()
    with pa.ipc.new_stream(str(tmp_path / "set" / "data-00000-of-00001.arrow"), table.schema) as writer:
        writer.write_table(table, max_chunksize=1)
    images = open_input(tmp_path / "set")
    items = list(images.items)
    assert (images.count, [item.row["id"] for item in items]) == (2, ["a", "b"])
    assert items[1].load().shape == (SIDE, SIDE, 3)


def test_images_in_a_table_are_never_all_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Only the other columns are read whole."""
    from morphoscope.data.sources import table as module

    read: list[str] = []
    real = module.read_table
    monkeypatch.setattr(
        module, "read_table", lambda path, columns, **k: read.extend(columns) or real(path, columns, **k)
    )
    _write(tmp_path / "a.parquet", mmu_struct([_planes(0), _planes(1)], GRIZ), label=["a", "b"])
    ingest_table(tmp_path / "a.parquet", tmp_path / "store", label_column="label")
    assert sorted(read) == ["dec", "label", "object_id", "ra"]
