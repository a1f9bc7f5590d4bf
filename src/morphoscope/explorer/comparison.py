"""Two catalogues or runs of the same galaxies: what the second says becomes columns of the first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from fastapi import APIRouter
from starlette.responses import JSONResponse

from morphoscope.errors import UsageError
from morphoscope.explorer.filters import quoted
from morphoscope.explorer.pictures import rows_of_ids
from morphoscope.explorer.quantities import MOST, around, predicted_numbers
from morphoscope.explorer.state import InAddress, State
from morphoscope.explorer.subject import Subject, open_subject
from morphoscope.explorer.table import ROW, GalaxyTable
from morphoscope.metrics.classification import mcnemar

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers


CELLS = 56  # of the scatter plot, to each side
WITHIN = 0.002  # of the values are beyond either end of the scatter plot's axes


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/compare")
    table = state.subject.table

    def need() -> str:
        if state.compared is None:
            raise UsageError("there is no second catalogue; give it with --compare")
        return state.compared

    @routes.get("")
    def compare() -> JSONResponse:
        name = need()
        document: dict[str, Any] = {"other": name, "classes": None, "path": None, "quantities": []}
        if table.has("predicted", "other_predicted"):
            document |= compared(table, name, state.subject.classes)
        else:
            document |= shared_by(table)
        document["quantities"] = quantities_of(table)
        return JSONResponse(document)

    @routes.get("/scatter")
    def scatter(asked: InAddress, column: str) -> JSONResponse:
        need()
        return JSONResponse(scatter_of(table, column, asked.filter))

    return routes


def add_other(subject: Subject, source: Path | str) -> str:
    """Add what a second catalogue or run says of the galaxies to the first; the second's name.

    Of classes the columns are ``other_predicted``, ``other_probability`` where it has one, ``other_correct``
    where there are labels, and ``differs``. Of votes and measurements, for each quantity that both have,
    ``other_NAME`` and ``diff_NAME`` (the second's minus the first's), and ``difference``, the root mean
    square of those in standard deviations of the first's values; ``differs`` says whether the paths through
    a decision tree do. Galaxies are matched by their ids; of an id that is there twice the first counts.

    Raises:
        UsageError: the two share no galaxy or no prediction.
    """
    other = open_subject(source)
    try:
        if subject.table.has("predicted") and other.table.has("predicted"):
            text: str | None = "predicted"
        else:
            text = "path" if subject.table.has("path") and other.table.has("path") else None
        numbers = _shared_numbers(subject, other) if text != "predicted" else []
        if text is None and not numbers:
            raise UsageError(
                f"{subject.path} and {source} share no column of predictions: neither classes nor votes nor "
                "measurements of the same names"
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
        columns: dict[str, Any] = {ROW: np.arange(len(rows))}
        described: dict[str, tuple[str, str]] = {}
        if text is not None:
            _add_texts(subject, other, text, at, columns, described)
        if numbers:
            _add_numbers(subject, other, numbers, at, columns, described)
        subject.table.add_columns(pa.table(columns), described)
        return other.name
    finally:
        other.close()


def _shared_numbers(subject: Subject, other: Subject) -> list[str]:
    found = []
    for each in (subject, other):
        scheme = each.scheme
        described = () if scheme is None else [column.name for column in scheme.catalogue_columns()]
        found.append(predicted_numbers(each.table.kinds, described))
    return [name for name in found[0] if name in found[1]][:MOST]


def _columns_of(table: GalaxyTable, names: Sequence[str]) -> pa.Table:
    wanted = ", ".join(table.need(name) for name in names)
    return table.arrow(f"SELECT {wanted} FROM galaxies ORDER BY {ROW}").combine_chunks()


def _add_texts(
    subject: Subject,
    other: Subject,
    text: str,
    at: pa.Array,
    columns: dict[str, Any],
    described: dict[str, tuple[str, str]],
) -> None:
    names = [name for name in (text, "probability") if other.table.has(name)]
    said = _columns_of(other.table, names)
    own = [text, *(["truth"] if text == "predicted" and subject.table.has("truth") else [])]
    mine = _columns_of(subject.table, own)
    columns |= {f"other_{name}": said[name].combine_chunks().take(at) for name in names}
    columns["differs"] = pc.not_equal(columns[f"other_{text}"], mine[text].combine_chunks())
    if "truth" in own:
        columns["other_correct"] = pc.equal(columns["other_predicted"], mine["truth"].combine_chunks())
    described |= {
        "other_predicted": (f"most probable class in {other.name}", ""),
        "other_path": (f"path through the decision tree in {other.name}", ""),
        "other_probability": (f"probability of it in {other.name}", ""),
        "other_correct": (f"whether {other.name} agrees with the label", ""),
        "differs": (f"whether {other.name} says another {'class' if text == 'predicted' else text}", ""),
    }


def _add_numbers(
    subject: Subject,
    other: Subject,
    names: Sequence[str],
    at: pa.Array,
    columns: dict[str, Any],
    described: dict[str, tuple[str, str]],
) -> None:
    mine, said = _columns_of(subject.table, names), _columns_of(other.table, names)
    units = {column.name: column.unit for column in subject.table.columns}
    total, counted = np.zeros(len(at)), np.zeros(len(at))
    for name in names:
        first = mine[name].cast(pa.float64()).to_numpy()
        theirs = said[name].cast(pa.float64()).combine_chunks().take(at)
        apart = theirs.to_numpy(zero_copy_only=False) - first
        spread = float(np.nanstd(first)) if np.isfinite(first).any() else 0.0
        usable = np.isfinite(apart) & (spread > 0)
        total += np.where(usable, (apart / (spread or 1.0)) ** 2, 0)
        counted += usable
        columns[f"other_{name}"] = pc.cast(theirs, pa.float32())
        columns[f"diff_{name}"] = pa.array(apart.astype(np.float32), from_pandas=True)
        described[f"other_{name}"] = (f"{name} in {other.name}", units.get(name, ""))
        described[f"diff_{name}"] = (f"{name} in {other.name}, minus that here", units.get(name, ""))
    apart = np.sqrt(total / np.maximum(counted, 1))
    columns["difference"] = pa.array(apart.astype(np.float32), mask=counted == 0)
    described["difference"] = (
        f"root mean square of the differences from {other.name}, each in standard deviations of its quantity",
        "",
    )


def shared_by(table: GalaxyTable) -> dict[str, Any]:
    """How many galaxies both have, and for votes how many have the same path through the decision tree."""
    test = "difference IS NOT NULL" if table.has("difference") else "differs IS NOT NULL"
    both = table.query(f"SELECT count(*) FILTER (WHERE {test}) FROM galaxies")[0][0]
    document: dict[str, Any] = {"both": both, "missing": table.count - both, "right": None}
    if table.has("differs"):
        named, differ = table.query(
            "SELECT count(differs), count(*) FILTER (WHERE differs) FROM galaxies"
        )[0]  # fmt: skip
        document["path"] = {"both": named, "differ": differ}
    return document


def quantities_of(table: GalaxyTable) -> list[dict[str, Any]]:
    """Of each quantity that both have: mean and scatter of the differences, and the correlation."""
    units = {column.name: column.unit for column in table.columns}
    found = []
    for name in [name.removeprefix("diff_") for name in table.kinds if name.startswith("diff_")]:
        mine, other, apart = (quoted(each) for each in (name, f"other_{name}", f"diff_{name}"))
        count, mean, scatter, middle, together = table.query(
            f"SELECT count(*), avg({apart}), sqrt(avg({apart}::DOUBLE * {apart})), median(abs({apart})), "
            f"corr({mine}, {other}) FROM galaxies WHERE isfinite({apart}::DOUBLE)"
        )[0]
        if count:
            correlation = None if together is None or not np.isfinite(together) else together
            found.append(
                {
                    "name": name,
                    "unit": units.get(name, ""),
                    "n": count,
                    "mean": mean,
                    "rms": scatter,
                    "median": middle,
                    "correlation": correlation,
                }
            )
    return found


def scatter_of(table: GalaxyTable, column: str, expression: str = "") -> dict[str, Any]:
    """How many galaxies are in each cell of the first catalogue's values (x) and the second's (y).

    Both axes are the same, and leave out 0.2 % of the values at either end; ``outside`` galaxies are there.

    Raises:
        UsageError: the two do not share this quantity.
    """
    if not table.has(column, f"other_{column}"):
        raise UsageError(f"the two catalogues have no quantity '{column}' in common")
    mine, other = table.need(column, "number"), table.need(f"other_{column}", "number")
    condition = table.condition(expression)
    placed = f"isfinite({mine}::DOUBLE) AND isfinite({other}::DOUBLE) AND {condition.sql}"
    low, high, count = table.query(
        f"SELECT least(quantile_cont({mine}, {WITHIN}), quantile_cont({other}, {WITHIN})), "
        f"greatest(quantile_cont({mine}, {1 - WITHIN}), quantile_cont({other}, {1 - WITHIN})), count(*) "
        f"FROM galaxies WHERE {placed}",
        condition.values,
    )[0]
    if not count:
        return {"column": column, "count": 0}
    low, high = float(low), float(high)
    if not high > low:
        low, high = around(low)
    cell = f"least(CAST(floor(({{}} - ?) / ? * {CELLS}) AS INTEGER), {CELLS - 1})"
    found = table.query(
        f"SELECT {cell.format(mine)} AS x, {cell.format(other)} AS y, count(*) FROM galaxies WHERE {placed} "
        f"AND {mine} BETWEEN ? AND ? AND {other} BETWEEN ? AND ? GROUP BY 1, 2",
        [low, high - low, low, high - low, *condition.values, low, high, low, high],
    )
    counts = np.zeros((CELLS, CELLS), int)
    for x, y, how_many in found:
        counts[max(y, 0), max(x, 0)] += how_many
    return {
        "column": column,
        "count": count,
        "outside": count - int(counts.sum()),
        "low": low,
        "high": high,
        "cells": CELLS,
        "counts": counts.ravel().tolist(),
    }


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
                "WHERE correct IS NOT NULL AND other_correct IS NOT NULL GROUP BY 1"
            )
        )
        counts = {which: right.get(which, 0) for which in ("both", "first", "second", "neither")}
        if sum(counts.values()):
            apart = np.arange(counts["first"] + counts["second"]) < counts["first"]
            document["right"] = {**counts, "p": mcnemar(apart, ~apart)["p"]}
    return document
