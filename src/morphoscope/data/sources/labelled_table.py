"""A table of labelled images in place of a store: what labelling leaves is trained on at once."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from morphoscope import files
from morphoscope.data.sources.table import ingest_table
from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.tables import column_names, is_table
from morphoscope.progress import note

LABEL = "label"
"""The column of labels, in tables of the explorer and of ``label-next``."""
_METADATA = b"morphoscope_ingest"


class IngestOptions(BaseModel):
    """How a table of labelled images becomes a store, kept in the metadata of a Parquet file."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    size: int | None = Field(default=None, gt=0, description="side of the stored images, pixels")
    pixel_scale: float | None = Field(default=None, gt=0, description="arcsec per pixel of the images")
    classes: tuple[str, ...] | None = Field(default=None, description="in the order of their numbers")

    def added_to(self, schema: pa.Schema) -> pa.Schema:
        """A schema that carries them."""
        return schema.with_metadata({**(schema.metadata or {}), _METADATA: self.model_dump_json().encode()})


def store_of_table(table: Path, place: Path, *, size: int) -> Store:
    """The store of a table with images and a column ``label``, made unless it is there.

    Args:
        table: any table that ``data ingest table`` reads; files it names are relative to its folder.
        place: folder of the store.
        size: side of the stored images, pixels, unless the table carries its own.

    Raises:
        UsageError: ``table`` is no table or has no column ``label``, or there is something else at ``place``.
        MorphoscopeError: a label or an image cannot be used, or no galaxy has a label.
    """
    if not is_table(table):
        raise UsageError(
            f"{table} is neither a store nor a table. Make a store with 'morphoscope data ingest' or "
            "'data simulate'"
        )
    if LABEL not in (names := column_names(table)):
        raise UsageError(
            f"{table} has no column '{LABEL}' (its columns: {', '.join(names[:12])}); name the columns with "
            f"'morphoscope data ingest table {table} STORE --label-column NAME', then train on STORE"
        )
    checksum = files.sha256_of(table)
    if place.exists():
        return _made_before(place, table, checksum)
    options = _carried_by(table)
    note(f"{table.name} → store {place}, images of {options.size or size} px")
    return ingest_table(
        table,
        place,
        label_column=LABEL,
        classes=options.classes,
        pixel_scale=options.pixel_scale,
        size=options.size or size,
        source_checksum=checksum,
    )


def _made_before(place: Path, table: Path, checksum: str) -> Store:
    made = open_store(place)
    if made.meta.source_checksum != checksum:
        raise UsageError(
            f"{place} is not the store of {table} as it is now; train on it with --store {place}, or remove "
            "it or choose another --out"
        )
    return made


def _carried_by(table: Path) -> IngestOptions:
    try:
        metadata = pq.read_schema(table).metadata or {}
        return IngestOptions.model_validate(json.loads(metadata.get(_METADATA, b"{}")))
    except (pa.ArrowException, OSError):  # not Parquet
        return IngestOptions()
    except (ValueError, ValidationError, RecursionError) as error:
        raise MorphoscopeError(
            f"{table}: what it says about how it is to be read is damaged; download it again"
        ) from error
