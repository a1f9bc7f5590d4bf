#!/usr/bin/env bash
# pyarrow 26.0.1: iter_batches of a ParquetFile with its defaults (pre_buffer=True) holds every row group that it has
# read until the last row; with pre_buffer=False one or two of them. Reading in pieces was not in constant memory.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" pyarrow==26.0.1
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq

with pq.ParquetWriter("t.parquet", pa.schema({"x": pa.binary()}), compression="none") as writer:
    for _ in range(12):
        writer.write_table(pa.table({"x": pa.array([os.urandom(512) for _ in range(4096)])}))  # 2 MiB
print("pyarrow", pa.__version__)
most = {}
for ahead in (True, False):
    before = pa.total_allocated_bytes()
    with pq.ParquetFile("t.parquet", pre_buffer=ahead) as file:
        most[ahead] = max((pa.total_allocated_bytes() - before) / 2**20 for _ in file.iter_batches(1024))
    print(f"pre_buffer={ahead}: {most[ahead]:.0f} MiB at most, of 24")
sys.exit(not (most[True] > 20 > 10 > most[False]))
PYTHON
