from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope import api
from morphoscope.data.sources.labelled_table import IngestOptions, store_of_table
from morphoscope.errors import MorphoscopeError, UsageError

LABELS = ["ring", "lens", "ring", "", "lens", "ring"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for row in range(len(LABELS)):
        cv2.imwrite(str(tmp_path / f"images/{row}.png"), np.full((20, 20, 3), 40 * row, np.uint8))
    lines = [f"g{row},images/{row}.png,{label},1" for row, label in enumerate(LABELS)]
    path = tmp_path / "round-1.csv"
    path.write_text("\n".join(["id,path,label,round", *lines]))
    return path


def test_a_table_with_labels_becomes_a_store(table: Path, tmp_path: Path):
    made = store_of_table(table, tmp_path / "run-store", size=10)
    assert made.meta.image_shape == (10, 10, 3)
    assert made.need_scheme().class_names == ("lens", "ring")
    assert made.table["id"].to_pylist() == [f"g{row}" for row in range(len(LABELS))]
    assert [int(image.mean()) for image in made.images] == [40 * row for row in range(len(LABELS))]


def test_the_table_says_how_it_is_read(table: Path, tmp_path: Path):
    images = [cv2.imencode(".png", np.full((20, 20, 3), row, np.uint8))[1].tobytes() for row in range(4)]
    content = pa.table({"id": list("abcd"), "image": images, "label": ["ring", "lens", "lens", "ring"]})
    options = IngestOptions(size=16, pixel_scale=0.5, classes=("ring", "lens"))
    held = tmp_path / "labels.parquet"
    pq.write_table(content.cast(options.added_to(content.schema)), held)
    made = store_of_table(held, tmp_path / "run-store", size=10)
    assert (made.meta.image_shape[0], made.meta.pixel_scale) == (16, 0.625)  # 20 pixels became 16
    assert made.need_scheme().class_names == ("ring", "lens")


def test_the_store_is_made_once(table: Path, tmp_path: Path):
    place = tmp_path / "run-store"
    first = store_of_table(table, place, size=10)
    written = (place / "images.npy").stat().st_mtime_ns
    assert store_of_table(table, place, size=10).meta == first.meta
    assert (place / "images.npy").stat().st_mtime_ns == written
    table.write_text(table.read_text().replace("g1", "h1"))
    with pytest.raises(UsageError, match=r"is not the store of .*round-1\.csv as it is now"):
        store_of_table(table, place, size=10)


def test_what_is_no_table_of_labels(table: Path, tmp_path: Path):
    other = tmp_path / "other.csv"
    other.write_text("id,path,kind\ng0,images/0.png,ring\n")
    with pytest.raises(UsageError, match=r"no column 'label' .*--label-column"):
        store_of_table(other, tmp_path / "s", size=10)
    with pytest.raises(UsageError, match="neither a store nor a table"):
        store_of_table(tmp_path / "images/0.png", tmp_path / "s", size=10)
    content = pa.table({"image": [b""], "label": ["a"]})
    damaged = tmp_path / "damaged.parquet"
    pq.write_table(content.replace_schema_metadata({"morphoscope_ingest": '{"size": -3}'}), damaged)
    with pytest.raises(MorphoscopeError, match="download it again"):
        store_of_table(damaged, tmp_path / "s", size=10)
    assert not (tmp_path / "s").exists()


def test_training_takes_a_table(table: Path, tmp_path: Path):
    done = api.train("small/linear-probe", table, tmp_path / "run", report=False)
    assert done.run.scheme.class_names == ("lens", "ring")
    assert (tmp_path / "run-store" / "store.yaml").is_file()
