"""The report's section on measured shapes, where a store has them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa

from morphoscope.report.sections import add_shapes


class _Page:
    def __init__(self) -> None:
        self.parts: list[tuple[Any, ...]] = []

    def section(self, *said: str) -> None:
        self.parts.append(said)

    def chart(self, name: str, figure: Any, caption: str) -> None:
        self.parts.append((name, figure, caption))


def _context(columns: dict[str, Any]) -> Any:
    table = pa.table({"id": ["a", "b", "c"], **columns})
    store = SimpleNamespace(table=table, column=lambda name: np.asarray(table[name]))
    return SimpleNamespace(
        store=store,
        predictions=pa.table({"row": [2, 0, 1], "predicted": [1, 0, 1]}),
        run=SimpleNamespace(scheme=SimpleNamespace(class_names=("disc", "oval"))),
        tested="Test split",
    )


SHAPES = {"concentration": [2.5, 3.9, 3.0], "asymmetry": [0.4, 0.0, 0.1], "gini": [0.5, 0.6, 0.5]}


def test_predicted_classes_lie_in_the_planes_with_the_lines_of_the_literature():
    page = _Page()
    add_shapes(page, _context({**SHAPES, "M20": [-1.5, -2.5, -1.7], "shape_flag": [0, 4, 1]}))  # type: ignore[arg-type]
    (_, title), (name, figure, caption) = page.parts
    assert (title, name) == ("Measured shapes", "shape_planes")
    assert "Lotz et al. 2008" in caption
    left, right = figure.axes
    points = {each.get_label(): np.asarray(each.get_offsets()).tolist() for each in left.collections}
    assert points == {"oval (n = 1)": [[3.0, 0.1]], "disc (n = 1)": [[2.5, 0.4]]}
    assert left.lines[0].get_ydata()[0] == 0.35
    mergers, early = (np.polyfit(line.get_xdata(), line.get_ydata(), 1) for line in right.lines)
    np.testing.assert_allclose(mergers, (-0.14, 0.33))
    np.testing.assert_allclose(early, (0.14, 0.80))


def test_a_store_without_shapes_has_no_such_section():
    page = _Page()
    add_shapes(page, _context(SHAPES))  # type: ignore[arg-type]
    assert not page.parts
