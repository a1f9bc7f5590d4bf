#!/usr/bin/env bash
# astropy 8.0.2: ECSV that astropy wrote is read back with other rows. A cell may hold a line break (the writer
# quotes it), but the reader drops every line that begins with '#', also inside a quoted cell: the text changes
# without a word, and where the closing quote stands on that line, the following rows vanish into the cell.
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
from astropy.table import Table

print("astropy", astropy.__version__)
wrong = []
for texts in (["first line\n# second line\nthird", "b", "c"], ["first line\n# second line", "b", "c"]):
    stream = io.StringIO()
    Table({"text": texts}).write(stream, format="ascii.ecsv")
    try:
        back = list(Table.read(stream.getvalue(), format="ascii.ecsv")["text"])
    except Exception as error:
        back = [f"{type(error).__name__}: {error}"[:70]]
    print(f"written {texts}\nread    {[str(text) for text in back]}")
    wrong.append(back != texts)
sys.exit(not all(wrong))
PYTHON
