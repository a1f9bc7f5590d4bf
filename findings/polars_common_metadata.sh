#!/usr/bin/env bash
# polars 2.1.0 refuses a folder of Parquet files beside which pyarrow's own _common_metadata or _metadata lies
# (pyarrow.parquet.write_metadata; Dask, Spark and HATS catalogues have them), and asks for a glob; pyarrow's
# dataset and pandas pass over such names.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" polars==2.1.0 pyarrow==26.0.1
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from pathlib import Path

import polars
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq

print("polars", polars.__version__, "pyarrow", pa.__version__)
Path("parts").mkdir()
table = pa.table({"id": [1, 2]})
for number in range(2):
    pq.write_table(table, f"parts/part-{number}.parquet")
print("without:", polars.read_parquet("parts").shape)
pq.write_metadata(table.schema, "parts/_common_metadata")
arrow = pyarrow.dataset.dataset("parts").count_rows()
print("pyarrow with _common_metadata:", arrow, "rows")
try:
    words = f"read {polars.read_parquet('parts').shape}"
except polars.exceptions.PolarsError as error:
    words = f"{type(error).__name__}: {str(error)[:70]}"
print("polars with _common_metadata:", words)
by_glob = polars.read_parquet("parts/*.parquet").shape
print("polars by a glob:", by_glob)
sys.exit(not (arrow == 4 and words.startswith("InvalidOperationError") and by_glob == (4, 1)))
PYTHON
