#!/usr/bin/env bash
# astropy 8.0.2 (wcslib): SCAMP writes its distortion polynomials as PVi_m cards beside CTYPE "RA---TAN". Whether
# they are read as that (TPV) depends on whether a card with m >= 5 is there, even one that is 0. With PV1_1 = 1 and
# PV2_1 = 1 alone, the identity of SCAMP's polynomial, PV1_1 is read as the native longitude of the reference point
# instead: 500 pixels from the middle of this image the position is off by 3 arcsec, without an exception or a
# warning. Adding PV1_5 = 0, which changes nothing in the polynomial, or calling the projection TPV, puts it right.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import astropy
from astropy.io.fits import Header
from astropy.wcs import WCS

PLAIN = {"NAXIS": 2, "NAXIS1": 2000, "NAXIS2": 2000, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
PLAIN |= {"CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 1000.5, "CRPIX2": 1000.5}
PLAIN |= {"CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4}
IDENTITY = {"PV1_1": 1.0, "PV2_1": 1.0}
TPV = {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TPV"}


def position(name, cards):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ra, dec = WCS(Header(PLAIN | cards)).all_pix2world(1499.5, 999.5, 0)
    print(f"{name:28} RA {float(ra):.6f}  Dec {float(dec):.6f}  warnings: {len(said)}")
    return float(ra), float(dec), len(said)


print("astropy", astropy.__version__)
plain = position("no PV cards", {})
first = position("PV1_1 = PV2_1 = 1", IDENTITY)
fifth = position("the same and PV1_5 = 0", IDENTITY | {"PV1_5": 0.0})
named = position("the same, called TPV", IDENTITY | TPV)
same = all(abs(one[axis] - plain[axis]) < 1e-9 for one in (fifth, named) for axis in (0, 1))
off = abs(first[1] - plain[1]) * 3600
print(f"off by {off:.2f} arcsec in declination")
sys.exit(0 if same and off > 1 and first[2] == 0 else 1)
PYTHON
