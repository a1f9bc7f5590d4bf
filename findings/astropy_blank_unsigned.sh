#!/usr/bin/env bash
# astropy 8.0.2: BLANK of an image of unsigned 16-bit integers (BITPIX 16, BZERO 32768) is ignored without a warning.
# The FITS standard (4.0, section 4.4.2.5) defines BLANK by the stored integers, before BSCALE and BZERO, for every
# integer image; the same file with BZERO = 1 gives NaN. uint=False, which the documentation offers for old
# behaviour, restores it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q astropy==8.0.2
"$dir/venv/bin/python" - <<'PYTHON'
import io
import sys
import warnings

import astropy
import numpy as np
from astropy.io import fits


def pixels_of(zero, **options):
    unit = fits.PrimaryHDU(np.array([[-32768, 5]], np.int16))
    unit.header.update({"BZERO": zero, "BLANK": -32768})
    content = io.BytesIO(unit.header.tostring().encode() + unit.data.astype(">i2").tobytes().ljust(2880, b"\0"))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with fits.open(content, **options) as units:
            return units[0].data, [str(each.message) for each in said]


unsigned, said = pixels_of(32768)
signed, _ = pixels_of(1)
old, _ = pixels_of(32768, uint=False)
print("astropy", astropy.__version__)
print("BZERO 32768:", unsigned.dtype, unsigned.tolist(), "warnings:", said)
print("BZERO 1:", signed.dtype, signed.tolist())
print("BZERO 32768, uint=False:", old.dtype, old.tolist())
as_seen = unsigned[0, 0] == 0 and not said and np.isnan(signed[0, 0]) and np.isnan(old[0, 0])
sys.exit(0 if as_seen else 1)
PYTHON
