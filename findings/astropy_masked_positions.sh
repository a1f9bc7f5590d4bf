#!/usr/bin/env bash
# astropy 8.0.2: a galaxy without a position is matched all the same. SkyCoord of a Table's masked columns drops the
# mask; of a QTable's it keeps the mask, but match_to_catalog_sky and search_around_sky look at the value beneath, so
# that a masked row whose filler is 0, 0 is the nearest and a pair of whatever lies there. NaN in the same place is
# refused.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2 scipy==1.17.1
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import astropy
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, QTable, Table

print("astropy", astropy.__version__)
masked = [MaskedColumn([0.0, 10.0], name, mask=[True, False], unit="deg") for name in ("ra", "dec")]
galaxy = SkyCoord([0.0] * units.deg, [0.0] * units.deg)
wrong, said = [], []
for kind in (Table, QTable):
    table = kind(masked)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        positions = SkyCoord(table["ra"], table["dec"])
        nearest, _, _ = galaxy.match_to_catalog_sky(positions)
        pairs = galaxy.search_around_sky(positions, 1 * units.arcsec)
    said += caught
    print(f"{kind.__name__}: masked {positions.masked}; nearest to 0, 0: row {nearest.tolist()}, pairs: {len(pairs[0])}")
    wrong.append((positions.masked, nearest.tolist(), len(pairs[0])))
try:
    galaxy.match_to_catalog_sky(SkyCoord([float("nan"), 10] * units.deg, [float("nan"), 10] * units.deg))
    refused = False
except ValueError as error:
    refused = True
    print("NaN:", error)
sys.exit(not (wrong == [(False, [0], 1), (True, [0], 1)] and refused and not said))
PYTHON
