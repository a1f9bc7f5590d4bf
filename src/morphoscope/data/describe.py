"""Describe a store, for people and for programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from morphoscope.data.store import STANDARD_COLUMNS, Store


def describe(store: Store) -> dict[str, Any]:
    """Counts per class, sizes and provenance, as a JSON-able dict."""
    meta = store.meta
    labels: dict[str, Any] = {}
    if meta.scheme is not None:
        labels = {"scheme": meta.scheme.name, "kind": meta.scheme.kind}
        labels["labelled"] = int(store.labelled().sum())
        labels |= meta.scheme.summary(store.targets()[store.labelled()])
    taken = {*STANDARD_COLUMNS, *(meta.scheme.columns if meta.scheme else ())}
    with_coordinates = int(np.isfinite(store.column("ra")).sum())
    return {
        "path": str(store.path),
        "count": len(store),
        "image_shape": list(meta.image_shape),
        "megabytes": round(store.images.nbytes / 1e6, 1),
        "labels": labels or None,
        "with_coordinates": with_coordinates,
        "sky_groups": len(np.unique(store.column("sky_group"))),
        "sky_group_radius_arcsec": meta.sky_group_radius,
        "pixel_scale_arcsec": meta.pixel_scale,
        "stretch": meta.stretch,
        "crop": meta.crop,
        "size": meta.size,
        "source": meta.source,
        "source_sha256": meta.source_checksum,
        "unreadable": meta.unreadable,
        "further_columns": [name for name in store.table.column_names if name not in taken],
        "options": meta.options,
        "program_version": meta.program_version,
        "created": meta.created,
    }


def description_lines(described: dict[str, Any]) -> list[str]:
    """The description as lines of aligned text."""
    height, width, channels = described["image_shape"]
    lines = [
        f"{described['path']}: {described['count']} galaxies, {height}×{width} px, {channels} channels, "
        f"{described['megabytes']} MB",
        f"source      {described['source'] or 'unknown'}"
        + (f" (sha256 {described['source_sha256'][:12]}…)" if described["source_sha256"] else ""),
        f"stretch     {described['stretch']}",
    ]
    if described["pixel_scale_arcsec"]:
        lines.append(f"scale       {described['pixel_scale_arcsec']:.4g}″ per pixel")
    if described["with_coordinates"]:
        lines.append(
            f"sky         {described['with_coordinates']} with coordinates, {described['sky_groups']} groups "
            f"within {described['sky_group_radius_arcsec']:.3g}″"
        )
    if described["unreadable"]:
        lines.append(f"unreadable  {described['unreadable']} images, listed in unreadable.csv")
    labels = described["labels"]
    if labels is None:
        return [*lines, "labels      none"]
    lines.append(f"labels      {labels['scheme']}: {labels['labelled']} galaxies labelled")
    numbers = next((value for value in labels.values() if isinstance(value, dict)), {})
    width = max((len(name) for name in numbers), default=0)
    return lines + [f"  {name:<{width}}  {number:>7}" for name, number in numbers.items()]
