#!/usr/bin/env bash
# astropy 8.0.2: a VOTable with an array of strings (datatype char, arraysize "3x2": VOTable 1.4, section 2.2) cannot
# be read at all, not even its other columns: E01, "Invalid size specifier". STILTS and TOPCAT write such arrays, for
# instance of the COMMENT cards of any FITS table to which astropy gave column descriptions.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2
cd "$dir"
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import io
import sys

import astropy
from astropy.io.votable import parse

print("astropy", astropy.__version__)
DOCUMENT = """<?xml version="1.0"?>
<VOTABLE version="1.4" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE><TABLE>
<FIELD name="ra" datatype="double"/><FIELD name="names" datatype="{kind}" arraysize="{size}"/>
<DATA><TABLEDATA><TR><TD>1.5</TD><TD>{cell}</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE></VOTABLE>"""
seen = {}
for kind, size, cell in (("double", "3x2", "1 2 3 4 5 6"), ("char", "6", "abcdef"), ("char", "3x2", "abcdef")):
    try:
        table = parse(io.BytesIO(DOCUMENT.format(kind=kind, size=size, cell=cell).encode())).get_first_table()
        seen[kind, size] = f"read, {len(table.array)} row"
    except Exception as error:
        seen[kind, size] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
    print(kind, size, "->", seen[kind, size])
refused = [key for key, words in seen.items() if not words.startswith("read")]
sys.exit(not (refused == [("char", "3x2")] and "E01" in seen["char", "3x2"]))
PYTHON
