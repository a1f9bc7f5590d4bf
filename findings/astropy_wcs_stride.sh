#!/usr/bin/env bash
# astropy 8.0.2: WCS[::n, ::n], and so CCDData[::n, ::n], gives wrong positions. Where the header has a CD matrix, as
# most survey images do, the pixel size stays as it was (a RuntimeWarning says only that "cdelt will be ignored"):
# with n = 2 a galaxy 19 pixels from the reference is found 10 pixels away from its place. With PC and CDELT the size
# is right, but the first pixel of the strided data is taken to be the middle of n x n pixels, though it is their
# first: all positions are off by (n - 1) / 2 old pixels.
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
from astropy import units
from astropy.io.fits import Header
from astropy.nddata import CCDData
from astropy.wcs import WCS

COMMON = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 0.0, "CRPIX1": 21.0, "CRPIX2": 21.0}
CD = {"CD1_1": -1e-4, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-4}
PC = {"CDELT1": -1e-4, "CDELT2": 1e-4}
print("astropy", astropy.__version__)
rows, columns = np.mgrid[:60, :60]
off = {}
for name, cards in (("CD", CD), ("PC", PC)):
    image = CCDData(columns.astype(float), unit=units.adu, wcs=WCS(Header(COMMON | cards)))  # values: columns
    for step in (2, 5):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            part = image[::step, ::step]
        there = part.wcs.pixel_to_world(40 // step, 0)  # the pixel whose value is 40: column 40 of the whole image
        assert part.data[0, 40 // step] == 40
        true = image.wcs.pixel_to_world(40, 0)
        off[name, step] = (there.ra - true.ra).deg / -1e-4
        words = {str(each.message) for each in said} or "no warning"
        print(f"{name} step {step}: RA is off by {off[name, step]:+.2f} pixels;", words)
sys.exit(not np.allclose(list(off.values()), [-9.75, -15.6, 0.5, 2.0], atol=0.01))
PYTHON
