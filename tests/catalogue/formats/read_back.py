"""What other programs' readers make of catalogues; run by a Python that has them, not by Morphoscope's.

``python read_back.py FOLDER`` reads ``c.fits``, ``c.vot``, ``c.ecsv``, ``c.csv``, ``c.parquet``, ``parts/``
and ``c.hats/`` in the folder and prints one JSON document: reader → format → what was found.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")


def columns(found: Any) -> dict[str, Any]:
    """The columns that matter as lists, unknown numbers as None."""

    def plain(value: Any) -> Any:
        if str(value) in ("None", "--", "<NA>", "nan"):
            return None
        value = value.item() if hasattr(value, "item") else value
        return value.decode() if isinstance(value, bytes) else value

    return {name: [plain(value) for value in found[name]] for name in ("id", "name", "ra", "members")}


def of_astropy(folder: Path) -> dict[str, Any]:
    """astropy.table.Table.read: values, units, descriptions, provenance."""
    from astropy.table import Table

    said = {}
    for name in ("c.fits", "c.vot", "c.ecsv", "c.parquet"):
        table = Table.read(folder / name, **({"format": "votable"} if name == "c.vot" else {}))
        meta = {key.lower(): str(value) for key, value in table.meta.items()}
        said[name] = columns(table) | {
            "unit": str(table["ra"].unit),
            "description": table["ra"].description,
            "run": meta.get("run"),
        }
    return said


def of_fitsio(folder: Path) -> dict[str, Any]:
    """fitsio: values, units, provenance; an integer's TNULL comes as it stands in the file."""
    import fitsio

    header = fitsio.read_header(folder / "c.fits", 1)
    found = columns(fitsio.read(folder / "c.fits"))
    unit = next(header[f"TUNIT{k}"] for k in range(1, 99) if header.get(f"TTYPE{k}") == "ra")
    return {"c.fits": found | {"unit": unit, "run": header["RUN"]}}


def of_polars(folder: Path) -> dict[str, Any]:
    """polars, folders by a glob."""
    import polars

    said = {
        name: columns(polars.read_parquet(folder / name).sort("id"))
        for name in ("c.parquet", "parts/*.parquet", "c.hats/dataset/**/*.parquet")
    }
    said["c.csv"] = columns(polars.read_csv(folder / "c.csv"))
    try:
        polars.read_parquet(folder / "parts")
        said["parts"] = "read"
    except polars.exceptions.PolarsError as error:
        said["parts"] = str(error).split(":")[0]
    return said


def of_duckdb(folder: Path) -> dict[str, Any]:
    """DuckDB, folders by a glob."""
    import duckdb

    said = {}
    for name in ("c.parquet", "c.csv", "parts/*.parquet", "c.hats/**/*.parquet"):
        rows = duckdb.sql(f"select id, name, ra, members from '{folder / name}' order by id").fetchall()
        said[name] = dict(
            zip(("id", "name", "ra", "members"), map(list, zip(*rows, strict=True)), strict=True)
        )
    return said


def of_fastparquet(folder: Path) -> dict[str, Any]:
    """fastparquet, which knows no float16."""
    from fastparquet import ParquetFile

    def kind(name: str) -> str:
        return type(ParquetFile(folder / name).to_pandas()["embedding"][0][0]).__name__

    found = ParquetFile(folder / "c.parquet").to_pandas()
    return {
        "c.parquet": columns(found) | {"embedding": kind("c.parquet")},
        "single.parquet": {"embedding": kind("single.parquet")},
    }


def of_lsdb(folder: Path) -> dict[str, Any]:
    """LSDB and HATS: strict validation, opening, a cone, a crossmatch, units."""
    import lsdb
    from hats.io.validation import is_valid_catalog

    catalogue = lsdb.open_catalog(folder / "c.hats")
    table = catalogue.compute().sort_values("id")
    cone = lsdb.open_catalog(folder / "c.hats").cone_search(ra=150.0, dec=2.0, radius_arcsec=1).compute()
    other = lsdb.from_dataframe(table[["ra", "dec"]], ra_column="ra", dec_column="dec", margin_threshold=5)
    matched = catalogue.crossmatch(other, radius_arcsec=1, suffixes=("", "_x"), require_right_margin=False)
    field = catalogue.original_schema.field("ra")
    info = catalogue.hc_structure.catalog_info
    return {
        "c.hats": columns(table)
        | {
            "valid": bool(is_valid_catalog(str(folder / "c.hats"), strict=True)),
            "cone": sorted(int(value) for value in cone["id"]),
            "matched": len(matched.compute()),
            "unit": field.metadata[b"unit"].decode(),
            "description": field.metadata[b"description"].decode(),
            "run": info.extra_dict()["morphoscope_run"],
        }
    }


def written_by_lsdb(folder: Path) -> dict[str, Any]:
    """LSDB writes our catalogue again: alone, as a collection, and each tile as a folder."""
    import lsdb

    catalogue = lsdb.open_catalog(folder / "c.hats")
    for name, options in {
        "alone": {"as_collection": False},
        "collection": {"as_collection": True},
        "folders": {"as_collection": False, "npix_suffix": "/"},
    }.items():
        catalogue.write_catalog(folder / "lsdb" / name, catalog_name="c", progress_bar=False, **options)
    return {}


def main() -> None:
    """Print what all readers found."""
    folder = Path(sys.argv[1])
    readers = (of_astropy, of_fitsio, of_polars, of_duckdb, of_fastparquet, of_lsdb, written_by_lsdb)
    print(json.dumps({reader.__name__: reader(folder) for reader in readers}))


if __name__ == "__main__":
    main()
