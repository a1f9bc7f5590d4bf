from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue.inputs.open import Images, open_input
from morphoscope.data.store import StoreMeta
from morphoscope.data.store_writer import StoreWriter
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.inference.preprocess import stretch_like

Save = Callable[..., Path]


def _ids(images: Images) -> list[str]:
    items = list(images.items)
    assert images.count == len(items)
    return [item.row["id"] for item in items]


def test_folder_in_the_order_of_names_without_hidden_files(folder: Path) -> None:
    images = open_input(folder)
    items = list(images.items)
    assert images.count == 7
    assert [item.source for item in items] == [
        "7.jpg",
        "a/0.png",
        "a/2.png",
        "a/4.png",
        "b/1.png",
        "b/3.png",
        "b/5.png",
    ]
    assert [item.row["id"] for item in items] == ["7", "0", "2", "4", "1", "3", "5"]
    assert items[2].load().mean() == 245


def test_ids_become_longer_only_where_names_repeat(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a" / "1.png", 1)
    save(tmp_path / "b" / "1.png", 1)
    assert _ids(open_input(tmp_path)) == ["a/1", "b/1"]
    save(tmp_path / "b" / "1.tif", 1)
    assert _ids(open_input(tmp_path)) == ["a/1.png", "b/1.png", "b/1.tif"]


def test_glob_and_single_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _ids(open_input(f"{folder}/*/[0-3].png")) == ["0", "2", "1", "3"]
    assert _ids(open_input(f"{folder}/**/*.*")) == ["7", "0", "2", "4", "1", "3", "5"]
    assert _ids(open_input(folder / "7.jpg")) == ["7"]
    monkeypatch.chdir(folder)
    single = next(iter(open_input("a/4.png").items))
    assert single.load().mean() == 120
    relative = next(iter(open_input("b/[1-3].png").items))
    assert (relative.source, relative.load().mean()) == ("b/1.png", 130)


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "ngc[1].png", 3)
    assert _ids(open_input(tmp_path / "ngc[1].png")) == ["ngc[1]"]


def test_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("morphoscope.catalogue.inputs.open._CHUNK", 3)
    with StoreWriter(tmp_path / "store", StoreMeta(), image_shape=(8, 8, 3)) as writer:
        for row in range(7):
            pixels = np.full((8, 8, 3), row, np.uint8)
            place = {"ra": 10.0 + row, "dec": -1.0} if row else {}
            writer.append(pixels, {"id": f"g{row}", "source": f"{row}.jpg", **place})
    images = open_input(tmp_path / "store")
    items = list(images.items)
    assert images.count == 7
    assert [item.row["id"] for item in items] == [f"g{row}" for row in range(7)]
    assert [item.load().max() for item in items] == list(range(7))
    assert items[4].row["ra"] == 14.0
    assert np.isnan(items[0].row["ra"])
    assert items[4].source == "4.jpg"


@pytest.mark.parametrize("ending", ["csv", "parquet", "fits", "vot"])
def test_table_of_any_kind(tmp_path: Path, save: Save, ending: str) -> None:
    for number in range(3):
        save(tmp_path / "cutouts" / f"{number}.png", 10 * number)
    columns = {
        "objid": ["587722981742215240", "2", "3"],
        "RA": [1.5, 2.5, 3.5],
        "Dec": [-1.0, 0.0, 1.0],
        "file_loc": [f"cutouts/{number}.png" for number in range(3)],
        "other": ["x", "y", "z"],
    }
    path = tmp_path / f"table.{ending}"
    if ending in ("fits", "vot"):
        from astropy.table import Table

        Table(columns).write(path, format="fits" if ending == "fits" else "votable")
    elif ending == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8-sig")
    images = open_input(path)
    items = list(images.items)
    assert images.count in (3, None)
    assert [item.row["id"] for item in items] == columns["objid"]
    assert [item.row["ra"] for item in items] == columns["RA"]
    assert [item.row["dec"] for item in items] == columns["Dec"]
    assert [item.load().max() for item in items] == [0, 10, 20]


def test_table_without_ids_and_with_empty_cells(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "1.png", 7)
    (tmp_path / "t.csv").write_text("picture,ra\n1.png,3\n,4\nmissing.png,\n")
    images = open_input(tmp_path / "t.csv", image_column="picture")
    items = list(images.items)
    assert [item.row["id"] for item in items] == ["1", "row 2", "missing"]
    assert items[0].load().max() == 7
    with pytest.raises(MorphoscopeError, match="no image"):
        items[1].load()
    with pytest.raises(MorphoscopeError, match="no such file"):
        items[2].load()


def test_line_count_needs_no_final_line_break(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    for text, rows in (("id,image\n1,a.png\n2,b.png\n", 2), ("id,image\n1,a.png\n2,b.png", 2)):
        (tmp_path / "t.csv").write_text(text)
        assert _ids(open_input(tmp_path / "t.csv")) == [str(number + 1) for number in range(rows)]


def test_fits_images_are_no_tables(shared_data: Path) -> None:
    images = open_input(shared_data / "fits_cutouts" / "132_gband.fits")
    assert _ids(images) == ["132_gband"]
    folder = open_input(shared_data / "fits_cutouts")
    image = next(iter(folder.items)).load()
    assert (folder.count, image.dtype, image.shape[2]) == (6, np.uint8, 3)
    assert np.ptp(image) > 50


def test_wrong_inputs(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    (tmp_path / "doc.pdf").write_text("x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.yaml").write_text("x")
    for source, words in {
        tmp_path / "nowhere": "does not exist; a folder, a glob",
        tmp_path / "empty": "no images there",
        f"{tmp_path}/*.jpg": "no images there",
        tmp_path / "t.csv": "--image-column",
        tmp_path / "doc.pdf": "its ending is neither",
        tmp_path / "run": "is a run",
    }.items():
        with pytest.raises(UsageError, match=words):
            open_input(source)
    with pytest.raises(UsageError, match="a table was expected"):
        open_input(folder, image_column="image")
    with pytest.raises(UsageError, match="a table was expected"):
        open_input(folder / "7.jpg", image_column="image")
    with pytest.raises(UsageError, match="no column 'c'"):
        open_input(tmp_path / "t.csv", image_column="c")


def test_stretch_like_the_training() -> None:
    assert stretch_like("asinh") == "asinh"
    assert stretch_like("as-served") == "lupton"
    assert stretch_like("survey-made") == "lupton"
