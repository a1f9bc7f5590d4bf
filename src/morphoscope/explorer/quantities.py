"""Numbers that a catalogue predicts: fractions of votes, and measurements with their errors."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from morphoscope.explorer.filters import quoted
from morphoscope.explorer.table import GalaxyTable

ERROR, LOW, HIGH, TRUTH, OTHER = "_error", "_low", "_high", "t_", "other_"
MOST = 60  # quantities of two catalogues that are compared
# After a quantity's name: what belongs to it, and is none by itself.
_BELONGING = (ERROR, LOW, HIGH, "_dirichlet", "_fraction_of_all", "_count", "_true", "_predicted")
_NO_QUANTITIES = (
    *("row", "id", "source", "ra", "dec", "probability", "entropy", "set_size", "truth", "cutout"),
    *("out_of_distribution", "on_mosaic", "pixel_scale", "feature_x", "feature_y", "quality", "scaling"),
)


def predicted_numbers(kinds: Mapping[str, str], described: Sequence[str] = ()) -> list[str]:
    """The columns with numbers that a catalogue predicts, in its order.

    Args:
        kinds: column → kind.
        described: columns that the catalogue's scheme has; empty: unknown, all numbers may be predictions.
    """
    found = []
    for name, kind in kinds.items():
        ours = name.startswith((TRUTH, OTHER, "p_", "diff_")) or name in _NO_QUANTITIES
        if kind != "number" or ours or name.endswith((*_BELONGING, "_asked")):
            continue
        if not described or name in described:
            found.append(name)
    return found


class Measurements:
    """Quantities with an error, as ``predict`` writes them and surveys do: NAME and NAME_error.

    Args:
        table: the catalogue.
    """

    def __init__(self, table: GalaxyTable) -> None:
        self.table = table
        self._ranges: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Of the quantities."""
        kinds = self.table.kinds
        return [
            name
            for name, kind in kinds.items()
            if kind == "number"
            and kinds.get(name + ERROR) == "number"
            and not name.startswith((TRUTH, OTHER, "diff_"))
        ]

    def of(self, values: Mapping[str, Any]) -> list[dict[str, Any]] | None:
        """Those of one galaxy; None: the catalogue has none.

        Each has ``name``, ``unit``, ``value``, ``error`` (standard deviation), ``low`` and ``high`` (the
        catalogue's interval, or else one error to both sides), ``measured`` (the label, if there is one), and
        ``from`` and ``to``, between which 98 % of the catalogue's galaxies are.
        """
        units = {column.name: column.unit for column in self.table.columns}
        found = []
        for name in self.names:
            value, error = values.get(name), values.get(name + ERROR)
            if not isinstance(value, int | float):
                continue
            low, high = values.get(name + LOW), values.get(name + HIGH)
            interval = isinstance(low, int | float) and isinstance(high, int | float)
            if not interval and isinstance(error, int | float):
                low, high = value - error, value + error
            start, end = self._range(name)
            measured = values.get(TRUTH + name)
            found.append(
                {
                    "name": name,
                    "unit": units.get(name, ""),
                    "value": value,
                    "error": error if isinstance(error, int | float) else None,
                    "low": low if isinstance(low, int | float) else None,
                    "high": high if isinstance(high, int | float) else None,
                    "interval": interval,
                    "measured": measured if isinstance(measured, int | float) else None,
                    "from": start,
                    "to": end,
                }
            )
        return found or None

    def _range(self, name: str) -> tuple[float, float]:
        with self._lock:
            if name not in self._ranges:
                column = quoted(name)
                low, high = self.table.query(
                    f"SELECT quantile_cont({column}, 0.01), quantile_cont({column}, 0.99) FROM galaxies "
                    f"WHERE isfinite({column}::DOUBLE)"
                )[0]
                low, high = (0.0, 1.0) if low is None else (float(low), float(high))
                self._ranges[name] = (low, high) if high > low else around(low)
            return self._ranges[name]


def around(value: float) -> tuple[float, float]:
    """The ends of an axis for one value: within 5 % of it; of zero within a half."""
    half = abs(value) / 20 or 0.5
    return value - half, value + half
