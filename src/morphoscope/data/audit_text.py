"""The audit from the command line: of a store or a table of coordinates, with or without a split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from morphoscope.data.audit import RADII, audit, audit_coordinates
from morphoscope.data.cells import numbers
from morphoscope.data.columns import is_table_name, need_columns, read_table
from morphoscope.data.split import SPLITS, make_split
from morphoscope.data.split_file import Split, load_split
from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError
from morphoscope.labels.scheme import UNLABELLED


def audit_path(path: Path, radii: Sequence[float] = RADII, split: str | None = None) -> dict[str, Any]:
    """Audit a store, or a table with the columns ra, dec and, if known, label (in any case).

    Args:
        path: a store, or a CSV, Parquet, FITS table or VOTable.
        radii: arcsec.
        split: a split file, a run folder, or the name of a rule; None: no leaks are looked for.

    Raises:
        UsageError: nothing there, a missing column, or a split that is asked of a bare table.
    """
    if path.is_file() and is_table_name(path.name):
        if split is not None:
            raise UsageError(f"{path} is a table; a split belongs to a store. Make one with 'data ingest'")
        return _audit_table(path, radii)
    store = open_store(path)
    return audit(store, radii, None if split is None else _split(store, split))


def audit_lines(result: dict[str, Any]) -> list[str]:
    """The audit as text for a terminal."""
    lines = [f"{result['n']} galaxies, {result['with_coordinates']} with coordinates"]
    for row in result["radii"]:
        lines.append(
            f"within {row['radius_arcsec']:g}″: {row['pairs']} pairs, {row['conflicting']} with "
            "contradicting labels"
        )
        for example in row["examples"][:3]:
            names = " and ".join(str(name) for name in example["ids"])
            known = [str(label) for label in example["labels"] if label not in (None, UNLABELLED)]
            labels = f": {' | '.join(known)}" if known else ""
            lines.append(f"    {names}, {example['separation_arcsec']:.2f}″ apart{labels}")
    same = result.get("identical_pixels")
    if same is not None:
        lines.append(
            f"identical pixels: {same['galaxies']} images in {same['groups']} groups, "
            f"{same['conflicting']} pairs with contradicting labels"
        )
    split = result.get("split")
    if split is not None:
        lines.append(
            f"split '{split['name']}' ({split['train']} train, {split['validation']} validation, "
            f"{split['test']} test): {split['crossing']} pairs cross it"
        )
    return lines


def _audit_table(path: Path, radii: Sequence[float]) -> dict[str, Any]:
    table = read_table(path)
    table = table.rename_columns([name.lower() for name in table.column_names])
    need_columns(table.column_names, ("ra", "dec"), str(path))
    ra, dec = (numbers(table, name, str(path)) for name in ("ra", "dec"))
    labels = None
    if "label" in table.column_names:
        labels = np.unique(table["label"].to_numpy(zero_copy_only=False).astype(str), return_inverse=True)[1]
    return {
        "n": len(ra),
        "with_coordinates": int(np.count_nonzero(np.isfinite(ra) & np.isfinite(dec))),
        "radii": audit_coordinates(ra, dec, labels, radii),
        "identical_pixels": None,
        "split": None,
    }


def _split(store: Store, asked: str) -> Split:
    if asked in SPLITS:
        return make_split(store, asked)
    path = Path(asked)
    return load_split(path / "split.json" if path.is_dir() else path, store)
