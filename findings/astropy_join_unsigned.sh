#!/usr/bin/env bash
# astropy 8.0.2: joining two tables by ids of which one column is int64 and the other uint64 compares them as float64:
# ids beyond 2**53 that differ in their last digits are the same, so that two tables with one galaxy in common give
# four pairs, and the ids that come out are rounded. vstack rounds them in the same way. No warning. Object ids of
# SDSS and HEALPix indices of order 29 are that large, and cdshealpix gives the latter as uint64, healpy and
# astropy-healpix as int64. Of the same columns pandas, polars and DuckDB find the one pair; pyarrow refuses.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2 duckdb==2.0.1 pandas==3.1.1 polars==2.1.0 \
  pyarrow==26.0.1 cdshealpix==0.9.0 healpy==1.20.1
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import astropy
import duckdb
import healpy
import numpy as np
import polars
import pyarrow as pa
from astropy import units
from astropy.coordinates import Latitude, Longitude
from astropy.table import Table, join, vstack
from cdshealpix.nested import lonlat_to_healpix

print(*(f"{module.__name__} {module.__version__}" for module in (astropy, polars, duckdb, pa)))
unsigned = lonlat_to_healpix(Longitude([10.0] * units.deg), Latitude([5.0] * units.deg), 29)
signed = healpy.ang2pix(2**29, [10.0], [5.0], nest=True, lonlat=True)
print("HEALPix of one place: cdshealpix", unsigned.dtype, int(unsigned[0]), "healpy", signed.dtype, int(signed[0]))
first = 3458764513820540928
signed = Table({"id": np.array([first, first + 1], np.int64), "mass": [1, 2]})
unsigned = Table({"id": np.array([first + 1, first + 7], np.uint64), "class": [10, 20]})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    joined = join(signed, unsigned, "id")
    stacked = vstack([signed["id",], unsigned["id",]])["id"]
print("astropy join: ", joined["id"].dtype, list(zip(joined["mass"].tolist(), joined["class"].tolist(), strict=True)))
print("astropy vstack:", stacked.dtype, len(set(stacked.tolist())), "different of 3")
left, right = (pa.table({name: np.asarray(table[name]) for name in table.colnames}) for table in (signed, unsigned))
others = {
    "pandas": signed.to_pandas().merge(unsigned.to_pandas(), on="id")[["mass", "class"]].values.tolist(),
    "polars": [list(row) for row in polars.from_arrow(left).join(polars.from_arrow(right), on="id").drop("id").rows()],
    "DuckDB": [list(row) for row in duckdb.sql('select mass, "class" from "left" join "right" using (id)').fetchall()],
}
print(others)
try:
    left.join(right, "id")
    refused = False
except pa.ArrowInvalid as error:
    refused = True
    print("pyarrow:", str(error)[:60])
wrong = len(joined) == 4 and joined["id"].dtype == np.float64 and len(set(stacked.tolist())) == 1 and not said
sys.exit(not (wrong and refused and all(pairs == [[2, 10]] for pairs in others.values())))
PYTHON
