"""From files to a Store, and from a Store to batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morphoscope.exports import lazy_exports

if TYPE_CHECKING:
    from morphoscope.data.audit import audit_lines, audit_path
    from morphoscope.data.export import export_folders, export_hdf5
    from morphoscope.data.sources.download import fetch_galaxy10
    from morphoscope.data.sources.folder import ingest_folder
    from morphoscope.data.sources.galaxy10 import ingest_galaxy10
    from morphoscope.data.sources.galaxy_zoo import ingest_galaxy_zoo
    from morphoscope.data.sources.simulated import simulate
    from morphoscope.data.sources.table import ingest_table
    from morphoscope.data.sources.votes import ingest_votes
    from morphoscope.data.splits.file import Split, load_split
    from morphoscope.data.splits.split import make_split
    from morphoscope.data.store import Store, StoreMeta, description_lines, open_store
    from morphoscope.data.store_writer import StoreWriter

__all__ = [
    "Split",
    "Store",
    "StoreMeta",
    "StoreWriter",
    "audit_lines",
    "audit_path",
    "description_lines",
    "export_folders",
    "export_hdf5",
    "fetch_galaxy10",
    "ingest_folder",
    "ingest_galaxy10",
    "ingest_galaxy_zoo",
    "ingest_table",
    "ingest_votes",
    "load_split",
    "make_split",
    "open_store",
    "simulate",
]
_PUBLIC = {
    "Split": "morphoscope.data.splits.file",
    "Store": "morphoscope.data.store",
    "StoreMeta": "morphoscope.data.store",
    "StoreWriter": "morphoscope.data.store_writer",
    "audit_lines": "morphoscope.data.audit",
    "audit_path": "morphoscope.data.audit",
    "description_lines": "morphoscope.data.store",
    "export_folders": "morphoscope.data.export",
    "export_hdf5": "morphoscope.data.export",
    "fetch_galaxy10": "morphoscope.data.sources.download",
    "ingest_folder": "morphoscope.data.sources.folder",
    "ingest_galaxy10": "morphoscope.data.sources.galaxy10",
    "ingest_galaxy_zoo": "morphoscope.data.sources.galaxy_zoo",
    "ingest_table": "morphoscope.data.sources.table",
    "ingest_votes": "morphoscope.data.sources.votes",
    "load_split": "morphoscope.data.splits.file",
    "make_split": "morphoscope.data.splits.split",
    "open_store": "morphoscope.data.store",
    "simulate": "morphoscope.data.sources.simulated",
}
__getattr__, __dir__ = lazy_exports(__name__, _PUBLIC)
