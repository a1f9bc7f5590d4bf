#!/usr/bin/env bash
# pyarrow 26.0.1 imports pandas, where it is installed, at the first array made of a Python list or a NumPy array: a program
# that never uses pandas pays for it at every start. Nothing in the call mentions pandas, and no option turns it off.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pyarrow==26.0.1 pandas==3.1.1 numpy==2.3.5
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import time

import pyarrow as pa

print("pyarrow", pa.__version__)
before = "pandas" in sys.modules
start = time.perf_counter()
pa.array([1, 2, 3])
print(f"pandas imported before: {before}, after one array: {'pandas' in sys.modules}, {time.perf_counter() - start:.1f} s")
sys.exit(before or "pandas" not in sys.modules)
PYTHON
