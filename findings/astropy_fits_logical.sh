#!/usr/bin/env bash
# astropy 8.0.2 writes a column of signed bytes to FITS as logicals (TFORM L): the classes 0, 1, 2, 3 of an int8
# column are read back as False, True, True, True. And a masked cell of a logical column is written as True, though
# FITS has a byte for "unknown" there (Standard 4.0, section 7.3.3.1). Both without a warning. ECSV, HDF5 and Parquet
# by astropy keep both; VOTable keeps the mask and refuses the signed bytes.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2 fitsio==1.4.2
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import io
import sys
import warnings

import astropy
import fitsio
import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table

print("astropy", astropy.__version__, "fitsio", fitsio.__version__)
classes, barred = [0, 1, 2, 3], [True, False, False, None]
masked = MaskedColumn([True, False, False, False], mask=[False, False, False, True])
table = Table({"class": np.array(classes, np.int8), "barred": masked})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    table.write("t.fits")
    back = Table.read("t.fits")
print("TFORM", [fits.getheader("t.fits", 1)[f"TFORM{number}"] for number in (1, 2)])
print("class: ", classes, "->", back["class"].tolist(), "fitsio", fitsio.read("t.fits")["class"].tolist())
print("barred:", barred, "->", back["barred"].tolist(), "warnings:", len(said))
stream = io.StringIO()
table.write(stream, format="ascii.ecsv")
ecsv = Table.read(stream.getvalue(), format="ascii.ecsv")
print("ECSV:  ", ecsv["class"].tolist(), ecsv["barred"].tolist())
as_seen = back["class"].tolist() == [False, True, True, True] and back["barred"].tolist() == [True, False, False, True]
sys.exit(not (as_seen and not said and ecsv["class"].tolist() == classes and ecsv["barred"].tolist() == barred))
PYTHON
