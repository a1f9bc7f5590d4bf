from __future__ import annotations

import pyarrow as pa
from astropy.table import meta

from morphoscope.catalogue.formats.table_schema import described, ecsv_header

TEXT = "größe: {a}, [b] # c - 'd' \"e\" \\ " + "of many words " * 20


def _column(name: str, kind: pa.DataType, **said: str) -> pa.Field:
    return pa.field(name, kind, metadata=dict(said.items()))


def test_the_header_says_what_astropy_would_say():
    schema = pa.schema(
        [
            _column("id", pa.string(), description=TEXT),
            _column("ra", pa.float64(), unit="deg", ucd="pos.eq.ra", description="right ascension"),
            _column("p: odd, name", pa.float32()),
            _column("count", pa.int16(), unit="arcsec"),
            _column("embedding", pa.list_(pa.float16(), 320), description="yes"),
            _column("null", pa.uint8(), description="1.0"),
        ]
    )
    provenance = {"weights": "7db5", "views": "8", "note": TEXT, "empty": "", "true": "no"}
    for said in (provenance, {}):
        ours = meta.get_header_from_yaml(ecsv_header(schema, said))
        theirs = meta.get_header_from_yaml(meta.get_yaml_from_table(described(schema, said)))
        assert [dict(column) for column in ours["datatype"]] == [dict(each) for each in theirs["datatype"]]
        assert dict(ours.get("meta", {})) == dict(theirs.get("meta", {}))
