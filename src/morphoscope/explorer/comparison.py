"""Two catalogues or runs of the same galaxies: what the second says becomes columns of the first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from fastapi import APIRouter
from starlette.responses import JSONResponse

from morphoscope.errors import UsageError
from morphoscope.explorer.pictures import rows_of_ids
from morphoscope.explorer.state import State
from morphoscope.explorer.subject import Subject, open_subject
from morphoscope.explorer.table import ROW, GalaxyTable
from morphoscope.metrics.classification import mcnemar

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/compare")

    @routes.get("")
    def compare() -> JSONResponse:
        if state.compared is None:
            raise UsageError("there is no second catalogue; give it with --compare")
        return JSONResponse(compared(state.subject.table, state.compared, state.subject.classes))

    return routes


def add_other(subject: Subject, source: Path | str) -> str:
    """Add what a second catalogue or run says of the galaxies to the first; the second's name.

    The columns are ``other_predicted``, ``other_probability`` where it has one, ``other_correct`` where there
    are labels, and ``differs``. Galaxies are matched by their ids; of an id that is there twice the first
    counts.

    Raises:
        UsageError: one of the two has no predicted classes, or they share no galaxy.
    """
    other = open_subject(source)
    try:
        for each in (subject, other):
            if not each.table.has("predicted"):
                raise UsageError(
                    f"{each.path} has no column 'predicted'; two catalogues of classes can be compared"
                )
        ids = [
            each.table.arrow(f"SELECT CAST(id AS VARCHAR) AS id FROM galaxies ORDER BY {ROW}")["id"]
            for each in (subject, other)
        ]
        found = rows_of_ids(ids[0], ids[1])
        rows = np.arange(len(ids[0])) if found is None else found
        if not (rows >= 0).any():
            raise UsageError(f"{subject.path} and {source} share no galaxy: no id is in both")
        at = pa.array(rows, mask=rows < 0)
        names = [name for name in ("predicted", "probability") if other.table.has(name)]
        said = other.table.arrow(f"SELECT {', '.join(names)} FROM galaxies ORDER BY {ROW}")
        columns: dict[str, Any] = {ROW: np.arange(len(rows))}
        columns |= {f"other_{name}": said[name].combine_chunks().take(at) for name in names}
        own = ["predicted", *(["truth"] if subject.table.has("truth") else [])]
        mine = subject.table.arrow(f"SELECT {', '.join(own)} FROM galaxies ORDER BY {ROW}")
        columns["differs"] = pc.not_equal(columns["other_predicted"], mine["predicted"].combine_chunks())
        if "truth" in own:
            columns["other_correct"] = pc.equal(columns["other_predicted"], mine["truth"].combine_chunks())
        described = {
            "other_predicted": (f"most probable class in {other.name}", ""),
            "other_probability": (f"probability of it in {other.name}", ""),
            "other_correct": (f"whether {other.name} agrees with the label", ""),
            "differs": (f"whether {other.name} says another class", ""),
        }
        subject.table.add_columns(pa.table(columns), described)
        return other.name
    finally:
        other.close()


def compared(table: GalaxyTable, name: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """How often the two agree, and on what they differ."""
    both, differ = table.query("SELECT count(differs), count(*) FILTER (WHERE differs) FROM galaxies")[0]
    found = table.query(
        "SELECT predicted, other_predicted, count(*) FROM galaxies WHERE differs IS NOT NULL GROUP BY 1, 2"
    )
    names = [*classes, *sorted({each for row in found for each in row[:2]} - set(classes))]
    at = {each: k for k, each in enumerate(names)}
    counts_KK = np.zeros((len(names), len(names)), int)
    for first, second, count in found:
        counts_KK[at[first], at[second]] = count
    document: dict[str, Any] = {
        "other": name,
        "both": both,
        "missing": table.count - both,
        "differ": differ,
        "classes": names,
        "counts": counts_KK.tolist(),
        "right": None,
    }
    if table.has("correct", "other_correct"):
        right = dict(
            table.query(
                "SELECT CASE WHEN correct AND other_correct THEN 'both' WHEN correct THEN 'first' "
                "WHEN other_correct THEN 'second' ELSE 'neither' END AS which, count(*) FROM galaxies "
                "WHERE correct IS NOT NULL AND other_correct IS NOT NULL GROUP BY which"
            )
        )
        counts = {which: right.get(which, 0) for which in ("both", "first", "second", "neither")}
        if sum(counts.values()):
            apart = np.arange(counts["first"] + counts["second"]) < counts["first"]
            document["right"] = {**counts, "p": mcnemar(apart, ~apart)["p"]}
    return document
