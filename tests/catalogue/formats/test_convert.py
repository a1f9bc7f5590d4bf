"""Columns of a Parquet catalogue whose types another format lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from morphoscope.catalogue.formats.convert import convert
from morphoscope.errors import UsageError


@pytest.mark.parametrize("out", ["c.fits", "c.vot", "c.ecsv"])
def test_small_and_unsigned_integers_keep_their_values(tmp_path: Path, out: str) -> None:
    columns = {}
    for kind in (pa.int8(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()):
        limits = np.iinfo(kind.to_pandas_dtype())
        columns[str(kind)] = pa.array([int(limits.min), min(int(limits.max), 2**63 - 1), 1, None], kind)
    vectors = pa.array([[-1, 0], [1, 2], [3, 127], [0, 0]], pa.list_(pa.int8(), 2))
    pq.write_table(pa.table({**columns, "vector": vectors}), tmp_path / "c.parquet")
    assert convert(tmp_path / "c.parquet", tmp_path / out) == 4
    found = Table.read(tmp_path / out, **({"format": "votable"} if out == "c.vot" else {}))
    for name, column in columns.items():
        assert found[name].tolist() == column.to_pylist(), name
    assert found["vector"].tolist() == vectors.to_pylist()


@pytest.mark.parametrize("out", ["c.fits", "c.vot"])
def test_integers_that_a_format_cannot_hold_are_refused(tmp_path: Path, out: str) -> None:
    pq.write_table(pa.table({"id": pa.array([1, None, 2**63], pa.uint64())}), tmp_path / "c.parquet")
    with pytest.raises(UsageError, match=r"c\.parquet: column 'id' has integers above 9223372036854775807"):
        convert(tmp_path / "c.parquet", tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]
