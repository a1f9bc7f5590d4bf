#!/usr/bin/env bash
# everystamp 1.6.2: a cutout of the Legacy Surveys with mode="both" (JPEG and FITS) asks for neither. The mode is put into
# the address, viewer/both-cutout/, which is asked for three times; what comes is saved as .jpeg and, the same bytes, as
# .fits. And after status 429 or 503 download() returns as after success; a line of the log says that there is no file.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q everystamp==1.6.2
"$dir/venv/bin/python" - "$dir" <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path

from everystamp.downloaders import LegacyDownloader

asked, status = [], [200]


class Viewer(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        asked.append(path)
        content = f"the answer to {path}".encode()
        self.send_response(status[0])
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


server = HTTPServer(("127.0.0.1", 0), Viewer)
threading.Thread(target=server.serve_forever, daemon=True).start()
viewer = LegacyDownloader()
viewer.url = viewer.url.replace("https://www.legacysurvey.org", f"http://127.0.0.1:{server.server_port}")
cutout = {"ra": 150.0, "dec": 2.0, "size": 0.01, "layer": "ls-dr10", "bands": "grz", "pixscale": 0.262}


def files(name, mode):
    folder = Path(sys.argv[1]) / name
    folder.mkdir()
    viewer.download(mode=mode, ddir=str(folder), **cutout)
    return {path.suffix: path.read_text() for path in folder.iterdir()}


one = {mode: files(mode, mode) for mode in ("jpeg", "fits")}
alone = [asked.pop(0) for _ in range(len(asked))]
both = files("together", "both")
status[0] = 429
busy = files("busy", "fits")
print("everystamp", version("everystamp"))
print("one after the other:", alone, one)
print("both:", asked[:-1], both)
print("after status 429: no exception, files:", busy)
same = len(set(both.values())) == 1 and set(both) == {".jpeg", ".fits"}
as_seen = alone == ["/viewer/jpeg-cutout/", "/viewer/fits-cutout/"] and set(asked[:-1]) == {"/viewer/both-cutout/"}
sys.exit(0 if as_seen and same and not busy else 1)
PYTHON
