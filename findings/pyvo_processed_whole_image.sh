#!/usr/bin/env bash
# pyvo 1.9.1: record.processed(circle=…), which cuts a circle out of an image, gives the whole image, without a warning,
# where the archive describes no SODA service. What is read has the same type and is a valid FITS file, but of any size.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pyvo==1.9.1 astropy==8.0.2 requests==2.34.2
"$dir/venv/bin/python" - <<'PYTHON'
import io
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import astropy
import astropy.units as u
import numpy as np
import pyvo
from astropy.io import fits

FOUND = """<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4"><RESOURCE type="results">
<INFO name="QUERY_STATUS" value="OK"/><TABLE>
<FIELD name="obs_publisher_did" datatype="char" arraysize="*" ucd="meta.ref.ivoid"/>
<FIELD name="access_url" datatype="char" arraysize="*" ucd="meta.ref.url" utype="obscore:access.reference"/>
<FIELD name="access_format" datatype="char" arraysize="*" ucd="meta.code.mime" utype="obscore:access.format"/>
<DATA><TABLEDATA><TR><TD>ivo://a/1</TD><TD>%s/whole.fits</TD><TD>application/fits</TD></TR></TABLEDATA></DATA>
</TABLE></RESOURCE></VOTABLE>"""
SCALE = 0.2 / 3600  # degrees per pixel
made = io.BytesIO()
cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0, "CRPIX1": 1000, "CRPIX2": 1000}
header = fits.Header({**cards, "CDELT1": -SCALE, "CDELT2": SCALE})
fits.PrimaryHDU(np.zeros((2000, 2000), np.float32), header).writeto(made)


class Archive(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        content = made.getvalue() if self.path.endswith(".fits") else (FOUND % here).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


server = HTTPServer(("127.0.0.1", 0), Archive)
here = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    service = pyvo.dal.sia2.SIA2Service(f"{here}/sia2", check_baseurl=False)
    record = service.search(pos=(150.0, 2.0, 0.001))[0]
    stream = record.processed(circle=(150.0, 2.0, 5 / 3600) * u.deg)
shape = fits.open(io.BytesIO(stream.read()))[0].shape
print("pyvo", pyvo.__version__, "astropy", astropy.__version__)
print(f"asked for a circle of 10 arcsec, 50 pixels across; the file has {shape[1]} x {shape[0]} pixels")
print("warnings:", [str(each.message) for each in said if "pyvo" in str(each.filename)])
sys.exit(0 if shape == (2000, 2000) and not any("pyvo" in str(each.filename) for each in said) else 1)
PYTHON
