"""Measured quantities, and checks of their columns: names, values and errors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.columns import measured
from morphoscope.progress import note

if TYPE_CHECKING:
    import pyarrow as pa

_AFTER = ("", "_error", "_low", "_high")  # a quantity's columns in a catalogue
# Columns that catalogues and stores have anyway, some of them only for some inputs.
RESERVED = frozenset(
    {
        *("id", "source", "ra", "dec", "quality", "scaling", "galaxy_size", "shown_side", "no_data", "bands"),
        *(
            "orientation",
            "out_of_distribution",
            "typicality",
            "mutual_information",
            "embedding",
            "set",
            "row",
        ),
        *("cutout", "on_mosaic", "pixel_hash", "mask_hash", "sky_group", "_healpix_29"),
    }
)
LARGEST = 1e30
"""Of a value: networks learn 32-bit numbers, which end at 3e38."""
TOO_LARGE = (
    f"at most {LARGEST:g} was expected, since networks learn 32-bit numbers; use logarithms or another unit"
)
_FAR, _REPEATED = 10.0, 3  # in units of the middle half's range; galaxies


class Quantity(BaseModel):
    """One measured quantity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="column of the store's table, and of a catalogue")
    error: str | None = Field(default=None, description="column of its errors (standard deviations)")
    unit: str = Field(default="", description="as FITS and the VO write it")
    ucd: str = Field(default="", description="UCD1+ of the Virtual Observatory")
    redshift: bool = Field(default=False, description="residuals are divided by 1 + truth")


def names_fault(names: Sequence[str], errors: Sequence[str | None]) -> str:
    """Why columns cannot be called so; empty if they can. FITS does not tell upper and lower case apart."""
    columns = Counter((name + after).casefold() for name in names for after in _AFTER)
    for name, error in zip(names, errors, strict=True):
        for after in _AFTER:
            column = (name + after).casefold()
            if columns[column] > 1 or column in RESERVED:
                kept = (
                    "a catalogue or store has one of that name"
                    if column in RESERVED
                    else "there are two of them"
                )
                return f"'{name}' makes a column '{name}{after}' of a catalogue, and {kept}; rename it"
        if error is not None and (error in names or errors.count(error) > 1 or error.casefold() in RESERVED):
            return f"the error column '{error}' of '{name}' is used otherwise; give each value column its own"
    return ""


def checked_measurements(
    table: pa.Table, quantities: Sequence[Quantity], ids: Sequence[object], where: str
) -> dict[str, np.ndarray]:
    """Values and errors as float64, NaN where they are empty; what looks odd is noted.

    Args:
        table: the user's.
        quantities: whose columns it has.
        ids: of the galaxies, for messages.
        where: the table's file, for messages.

    Raises:
        UsageError: text, or a quantity that is empty or the same for all galaxies.
        MorphoscopeError: an infinite value, a redshift of −1 or less, an error that is not above 0.
    """
    columns: dict[str, np.ndarray] = {}
    for each in quantities:
        values = columns[each.name] = measured(table[each.name], where, each.name)
        _refuse(values, np.isinf(values), each.name, ids, where, "a finite number was expected")
        _refuse(values, np.abs(values) > LARGEST, each.name, ids, where, TOO_LARGE)
        if each.redshift:
            _refuse(values, values <= -1, each.name, ids, where, "a redshift is above -1")
        _check_varied(values, each.name, where)
        if each.error is not None:
            errors = columns[each.error] = measured(table[each.error], where, each.error)
            _refuse(
                errors,
                (errors <= 0) | np.isinf(errors),
                each.error,
                ids,
                where,
                "an error above 0 was expected (for none, leave the cell empty or name its placeholder "
                "with --missing)",
            )
            _refuse(errors, errors > LARGEST, each.error, ids, where, TOO_LARGE)
            without = int(np.count_nonzero(np.isfinite(values) & np.isnan(errors)))
            if without:
                note(f"{where}: {without} galaxies have '{each.name}' and no '{each.error}'; taken as exact")
    return columns


def _refuse(
    values: np.ndarray, wrong: np.ndarray, name: str, ids: Sequence[object], where: str, expected: str
) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise MorphoscopeError(f"{where}: galaxy {ids[row]}: '{name}' is {values[row]:g}; {expected}")


def _check_varied(values: np.ndarray, name: str, where: str) -> None:
    known = values[np.isfinite(values)]
    if not len(known):
        raise UsageError(f"{where}: column '{name}' is empty (NaN) in all {len(values)} rows; leave it out")
    if known.min() == known.max():
        all_of = "the only galaxy that has a value" if len(known) == 1 else f"all {len(known)} galaxies"
        raise UsageError(
            f"{where}: '{name}' is {known[0]:g} for {all_of}, so that nothing can be learned about it; leave "
            "the column out"
        )
    low, middle, high = np.percentile(known, [25, 50, 75])
    for end in (known.min(), known.max()):
        repeated = int(np.count_nonzero(known == end))
        nines = end < 0 and set(f"{-end:g}".replace(".", "")) == {"9"}
        odd = (repeated >= _REPEATED or nines) and not math.isclose(end, 0)
        if odd and abs(end - middle) > _FAR * (high - low) > 0:
            whose = "1 galaxy" if repeated == 1 else f"{repeated} galaxies"
            note(
                f"{where}: '{name}' is {end:g} for {whose}, far from all others; if that means 'none', pass "
                f"--missing {end:g}"
            )


def without_placeholders(
    table: pa.Table, columns: Sequence[str], missing: Sequence[float], where: str
) -> pa.Table:
    """The table with placeholders for missing numbers, such as −99, replaced by NaN in some columns.

    Raises:
        UsageError: one of the columns has text.
    """
    import pyarrow as pa

    for name in columns if missing else ():
        values = measured(table[name], where, name).copy()
        values[np.isin(values, missing)] = np.nan
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    return table
