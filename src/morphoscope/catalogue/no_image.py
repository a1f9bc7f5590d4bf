"""Rows of galaxies whose image could not be had: their places are in the catalogue, without a prediction."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from morphoscope.catalogue.columns import QUALITY
from morphoscope.cutouts.folder import FAILED, INVALID, OUTSIDE
from morphoscope.images.file_names import writable
from morphoscope.images.stream import Item

NO_IMAGE = (OUTSIDE, FAILED, INVALID)
"""How ``quality`` begins in such rows, as the status in the manifest of cutouts."""


def rows_without_image(schema: pa.Schema, absent: Sequence[tuple[Item, str]]) -> pa.Table:
    """Rows of galaxies that have no image: their places, and in ``quality`` why.

    Args:
        schema: as of :func:`morphoscope.catalogue.columns.catalogue_schema`.
        absent: the galaxies, each with the reason. Their rows may say in ``no_image`` what came of it, one of
            :data:`NO_IMAGE`.
    """
    kind, rows = schema.field("id").type, []
    for item, reason in absent:
        row = {extra: item.row[extra] for extra in set(schema.names) & set(item.row)} | item.coordinates
        identity = item.row["id"]
        row["id"] = int(identity) if pa.types.is_integer(kind) else writable(str(identity))
        row["source"] = writable(item.source)
        row[QUALITY.name] = f"{item.row.get('no_image', FAILED)}: {writable(reason)}"
        if "shape_flag" in schema.names:  # as for an image that cannot be measured
            row |= {"shape_flag": 4, "shape_reason": row[QUALITY.name]}
        rows.append({**dict.fromkeys(("ra", "dec")), **row})
    return pa.Table.from_pylist(rows, schema=schema)


def has_no_image(quality: str | None) -> bool:
    """Whether ``quality`` says that there was no image to predict."""
    return (quality or "").startswith(tuple(f"{each}: " for each in NO_IMAGE))
