#!/usr/bin/env bash
# fastparquet 2026.9.0 reads half-precision numbers of a Parquet file (logical type FLOAT16) as pairs of bytes, without
# a word; pyarrow and polars read numbers.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" fastparquet==2026.9.0 pyarrow==26.0.1 polars==2.1.0
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import fastparquet
import numpy as np
import polars
import pyarrow as pa
import pyarrow.parquet as pq

print("fastparquet", fastparquet.__version__, "pyarrow", pa.__version__, "polars", polars.__version__)
numbers = np.array([0.5, -2.0], np.float16)
pq.write_table(pa.table({"half": pa.array(numbers), "single": pa.array(numbers.astype(np.float32))}), "t.parquet")
print(pq.ParquetFile("t.parquet").schema.column(0))
found = fastparquet.ParquetFile("t.parquet").to_pandas()
half = [bytes(value) if isinstance(value, bytes) else value for value in found["half"]]
print("pyarrow    ", pq.read_table("t.parquet")["half"].to_pylist())
print("polars     ", polars.read_parquet("t.parquet")["half"].to_list())
print("fastparquet", half, "beside", found["single"].tolist())
sys.exit(not (half == [b"\x008", b"\x00\xc0"] and found["single"].tolist() == [0.5, -2.0]))
PYTHON
