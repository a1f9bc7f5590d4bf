#!/usr/bin/env bash
# galsim 2.8.5: FitsWCS tries classes until one succeeds in reading the header, and its own reader of TAN, TPV, STG,
# ARC and ZEA succeeds where it passes over cards: CROTA2 (of images without a CD or PC matrix, such as 2MASS's) and
# LONPOLE. Neither it nor AstropyWCS reads RADESYS and EQUINOX. A galaxy simulated at a place of such an image lands
# arcminutes away, without a warning. AstropyWCS, asked for by name, reads the former two.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" galsim==2.8.5 astropy==8.0.2 scipy==1.17.1
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import astropy
import galsim
from astropy.coordinates import SkyCoord
from astropy.io.fits import Header
from astropy.wcs import WCS

print("galsim", galsim.__version__, "astropy", astropy.__version__)
PLAIN = {"NAXIS": 2, "NAXIS1": 1000, "NAXIS2": 1000, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"}
PLAIN |= {"CRVAL1": 150.0, "CRVAL2": 20.0, "CRPIX1": 500.5, "CRPIX2": 500.5, "CDELT1": -1e-4, "CDELT2": 1e-4}
HEADERS = {
    "plain": {},
    "CROTA2 = 30": {"CROTA2": 30.0},
    "FK5, EQUINOX = 1975": {"RADESYS": "FK5", "EQUINOX": 1975.0},
    "LONPOLE = 0": {"LONPOLE": 0.0},
}
off, rigorous = {}, {}
for name, cards in HEADERS.items():
    header = Header(PLAIN | cards)
    true = WCS(header).pixel_to_world(99, 899).icrs
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        wcs = galsim.FitsWCS(header=header)
        found = wcs.toWorld(galsim.PositionD(100, 900))
        other = galsim.AstropyWCS(wcs=WCS(header)).toWorld(galsim.PositionD(100, 900))
    places = (SkyCoord(place.ra.deg, place.dec.deg, unit="deg") for place in (found, other))
    off[name], rigorous[name] = (float(true.separation(place).arcsec) for place in places)
    print(f"{name}: {type(wcs).__name__} off by {off[name]:.1f} arcsec, AstropyWCS by {rigorous[name]:.1f};", len(said), "warnings")
right = [name for name, each in rigorous.items() if each < 0.01]
as_seen = off.pop("plain") < 0.01 and all(each > 100 for each in off.values())
sys.exit(not (as_seen and right == ["plain", "CROTA2 = 30", "LONPOLE = 0"]))
PYTHON
