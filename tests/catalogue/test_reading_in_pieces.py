"""Reading a long Parquet file piece by piece keeps no more of it than a row group or two."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue.similar import EmbeddedCatalogue
from morphoscope.images.tables import iterate_table

GROUPS, ROWS, WIDTH = 12, 4096, 256  # 2 MiB of features and of images a row group


@pytest.fixture
def long(tmp_path: Path) -> Path:
    path = tmp_path / "long.parquet"
    rng = np.random.default_rng(0)
    kind = pa.list_(pa.float16(), WIDTH)
    schema = pa.schema({"id": pa.string(), "image": pa.binary(), "embedding": kind})
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for group in range(GROUPS):
            features = pa.array(rng.standard_normal(ROWS * WIDTH).astype(np.float16))
            ids = [f"g{group * ROWS + k}" for k in range(ROWS)]
            images = [rng.bytes(512) for _ in range(ROWS)]
            columns = [pa.array(ids), pa.array(images), pa.FixedSizeListArray.from_arrays(features, WIDTH)]
            writer.write_table(pa.table(columns, schema=schema))
    return path


def features(path: Path) -> Iterator:
    return EmbeddedCatalogue(path).features()


def images(path: Path) -> Iterator:
    return iterate_table(path, ["id", "image"], 256)


@pytest.mark.parametrize("read", [features, images])
def test_what_was_read_is_let_go(long: Path, read: Callable[[Path], Iterator]):
    before, held = pa.total_allocated_bytes(), []
    for _ in read(long):
        held.append((pa.total_allocated_bytes() - before) / 2**20)
    assert len(held) >= GROUPS
    assert max(held) < 12  # MiB, of 24
