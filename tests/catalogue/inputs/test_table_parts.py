"""Tables of images in parts: HATS catalogues, and Parquet files as Hugging Face's data sets have them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import open_input
from morphoscope.catalogue.formats.convert import convert
from morphoscope.errors import UsageError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _png(level: int) -> bytes:
    return cv2.imencode(".png", np.full((8, 8, 3), level, np.uint8))[1].tobytes()


def _shard(path: Path, levels: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"bytes": _png(level), "path": None} for level in levels]
    columns = {
        "id_str": [f"g{level}" for level in levels],
        "image": pa.array(cells, IMAGE),
        "ra": [float(level) for level in levels],
        "dec": [0.5 * level for level in levels],
    }
    pq.write_table(pa.table(columns), path)


def test_the_shards_of_a_hugging_face_data_set_are_one_input(tmp_path: Path):
    for number in range(3):
        levels = range(10 * number, 10 * number + 10)
        _shard(tmp_path / "set" / "data" / f"train-0000{number}-of-00003.parquet", levels)
    (tmp_path / "set" / "README.md").write_text("---\nlicense: mit\n---\n")
    images = open_input(tmp_path / "set")
    items = list(images.items)
    assert (images.count, len(items)) == (30, 30)
    assert [item.row["id"] for item in items] == [f"g{level}" for level in range(30)]
    assert items[17].load()[0, 0].tolist() == [17, 17, 17]
    assert items[17].coordinates == {"ra": 17.0, "dec": 8.5}


def test_the_tiles_of_a_hats_catalogue_are_one_input(tmp_path: Path):
    pytest.importorskip("cdshealpix")
    names = [f"{level}.png" for level in range(40)]
    columns = {
        "id": list(range(40)),
        "file": [str(tmp_path / name) for name in names],
        "ra": [9.0 * level for level in range(40)],
        "dec": [2.0 * level - 40 for level in range(40)],
    }
    for level, name in enumerate(names):
        (tmp_path / name).write_bytes(_png(level))
    pq.write_table(pa.table(columns), tmp_path / "all.parquet")
    convert(tmp_path / "all.parquet", tmp_path / "all.hats", shard_rows=10)
    images = open_input(tmp_path / "all.hats")
    items = list(images.items)
    assert (images.count, images.integer_ids) == (40, True)
    assert sorted(int(item.row["id"]) for item in items) == list(range(40))
    assert all(item.load()[0, 0, 0] == int(item.row["id"]) for item in items)
    chosen = open_input(tmp_path / "all.hats", image_column="file")
    assert len(list(chosen.items)) == 40


def test_a_folder_with_images_is_a_folder_of_images(tmp_path: Path):
    _shard(tmp_path / "manifest.parquet", range(3))
    (tmp_path / "a.png").write_bytes(_png(5))
    assert [item.row["id"] for item in open_input(tmp_path).items] == ["a"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UsageError, match="no images there"):
        open_input(tmp_path / "none")
