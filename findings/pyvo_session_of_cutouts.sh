#!/usr/bin/env bash
# pyvo 1.9.1: the session given to SIA2Service makes the query, but not the cutout. record.processed(circle=…) asks the
# links and the SODA service with a session of its own, without the headers, the account, the proxy or the retries of the
# one that was given. So an archive that needs a token answers the search and refuses the cutout.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q pyvo==1.9.1 astropy==8.0.2 requests==2.34.2
"$dir/venv/bin/python" - <<'PYTHON'
import sys
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import astropy
import astropy.units as u
import pyvo
import requests

LINKS = "application/x-votable+xml;content=datalink"
HEAD = '<VOTABLE xmlns="http://www.ivoa.net/xml/VOTable/v1.3" version="1.4">'
FOUND = """<RESOURCE type="results"><INFO name="QUERY_STATUS" value="OK"/><TABLE>
<FIELD name="obs_publisher_did" datatype="char" arraysize="*" ucd="meta.ref.ivoid"/>
<FIELD name="access_url" datatype="char" arraysize="*" ucd="meta.ref.url" utype="obscore:access.reference"/>
<FIELD name="access_format" datatype="char" arraysize="*" ucd="meta.code.mime" utype="obscore:access.format"/>
<DATA><TABLEDATA><TR><TD>ivo://a/1</TD><TD>%s/links?ID=1</TD><TD>%s</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE>"""
LINKED = """<RESOURCE type="results"><TABLE><FIELD name="ID" datatype="char" arraysize="*"/>
<FIELD name="access_url" datatype="char" arraysize="*"/><FIELD name="service_def" datatype="char" arraysize="*"/>
<FIELD name="error_message" datatype="char" arraysize="*"/><FIELD name="semantics" datatype="char" arraysize="*"/>
<DATA><TABLEDATA><TR><TD>ivo://a/1</TD><TD/><TD>soda</TD><TD/><TD>#cutout</TD></TR></TABLEDATA></DATA></TABLE></RESOURCE>
<RESOURCE type="meta" utype="adhoc:service" ID="soda">
<PARAM name="standardID" datatype="char" arraysize="*" value="ivo://ivoa.net/std/SODA#sync-1.0"/>
<PARAM name="accessURL" datatype="char" arraysize="*" value="%s/soda"/><GROUP name="inputParams">
<PARAM name="ID" datatype="char" arraysize="*" value="ivo://a/1"/>
<PARAM name="CIRCLE" datatype="double" arraysize="3" unit="deg" xtype="circle" value=""/></GROUP></RESOURCE>"""
asked = []


class Archive(BaseHTTPRequestHandler):
    def log_message(self, *words):
        pass

    def do_GET(self):
        path = self.path.partition("?")[0]
        asked.append((path, self.headers.get("Authorization"), self.headers["User-Agent"].split("/")[0]))
        body = {"/sia2": HEAD + FOUND % (here, LINKS) + "</VOTABLE>", "/links": HEAD + LINKED % here + "</VOTABLE>"}
        content = body.get(path, "the cutout").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


server = HTTPServer(("127.0.0.1", 0), Archive)
here = f"http://127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()
session = requests.Session()
session.headers.update({"Authorization": "Bearer mine", "User-Agent": "mine/1"})
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    service = pyvo.dal.sia2.SIA2Service(f"{here}/sia2", session=session, check_baseurl=False)
    record = service.search(pos=(150.0, 2.0, 0.001))[0]
    content = record.processed(circle=(150.0, 2.0, 0.001) * u.deg).read()
print("pyvo", pyvo.__version__, "astropy", astropy.__version__, "requests", requests.__version__)
for path, account, agent in asked:
    print(f"{path}: Authorization {account}, User-Agent {agent}")
print("content:", content, "warnings:", [str(each.message) for each in said if "pyvo" in str(each.filename)])
with_it = [path for path, account, _ in asked if account]
as_seen = [path for path, _, _ in asked] == ["/sia2", "/links", "/soda"] and with_it == ["/sia2"]
sys.exit(0 if as_seen else 1)
PYTHON
