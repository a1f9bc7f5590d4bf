#!/usr/bin/env bash
# astropy 8.0.2: ZScaleInterval takes every n-th pixel of the flattened image, with n = pixels / n_samples and without
# regard to the width. Where the width divides n, all samples lie in the first column: of 1000, 2000, 4000, 5000 or
# 10000 pixels squared it sees nothing else, of 3600 (a brick of the Legacy Surveys) five columns. One column without
# exposure at the edge, as mosaics have it, makes both limits 0, without a warning; one pixel more each way gives
# those of the sky.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import astropy
import numpy as np
from astropy.visualization import ZScaleInterval

print("astropy", astropy.__version__)
limits, said = {}, []
for size in (1000, 1001, 2000, 2001):
    image = np.random.default_rng(0).normal(10, 1, (size, size)).astype(np.float32)
    image[:, 0] = 0  # not exposed
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        limits[size] = tuple(float(limit) for limit in ZScaleInterval().get_limits(image))
    said += caught
    print(f"{size} x {size}, sky 10 ± 1, first column 0: limits {limits[size][0]:.2f} to {limits[size][1]:.2f}")
    positions = np.arange(size * size)
    columns = np.unique(positions[:: size * size // 1000][:1000] % size)
    print(f"  columns that a step of {size * size // 1000} meets: {len(columns)}")
one_column = limits[1000] == limits[2000] == (0.0, 0.0)
sky = all(limits[size][0] < 9 and limits[size][1] > 11 for size in (1001, 2001))
print("warnings:", len(said))
sys.exit(not (one_column and sky and not said))
PYTHON
