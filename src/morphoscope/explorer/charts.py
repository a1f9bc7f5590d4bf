"""Routes of the charts: numbers for a confusion matrix, a reliability diagram, histograms and maps.

Everything is counted in the database, so that a chart of a million galaxies is as small as one of a hundred.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.explorer.feature_maps import COLUMNS
from morphoscope.explorer.quantities import around
from morphoscope.explorer.state import Asked, InAddress, State
from morphoscope.explorer.table import ROW, GalaxyTable
from morphoscope.metrics.bootstrap import wilson_interval

MOST_BINS = 100
MOST_POINTS = 12_000  # of the map of features
CELLS = (120, 72)  # of the map of the sky
_SAME = 1e-9  # values that differ by no more of themselves are equal


def router(state: State) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/charts")
    table = state.subject.table

    async def answer(what: tuple, asked: Asked, make: Callable[[], dict[str, Any]]) -> Response:
        """A chart's numbers; several people look at the same ones, and they are counted once."""

        def work() -> Response:
            condition = table.condition(asked.filter)
            key = (*what, condition.sql, condition.values)
            content = table.answers.get(key, lambda: json.dumps(make(), allow_nan=False).encode())
            return Response(content, media_type="application/json")

        return await run_in_threadpool(work)

    @routes.get("/confusion")
    async def confusion(asked: InAddress) -> Response:
        return await answer(
            ("confusion",), asked, lambda: confusion_of(table, asked.filter, state.subject.classes)
        )

    @routes.get("/reliability")
    async def reliability(asked: InAddress, bins: int = 10) -> Response:
        what = ("reliability", _bounded(bins))
        return await answer(what, asked, lambda: {"bins": reliability_of(table, asked.filter, bins)})

    @routes.get("/histogram")
    async def histogram(asked: InAddress, column: str, bins: int = 40) -> Response:
        what = ("histogram", column, _bounded(bins))
        return await answer(what, asked, lambda: histogram_of(table, asked.filter, column, bins))

    @routes.get("/sky")
    async def sky(asked: InAddress) -> Response:
        return await answer(("sky",), asked, lambda: sky_of(table, asked.filter))

    @routes.get("/features")
    async def features(asked: InAddress, method: str = "pca") -> Response:
        progress = await run_in_threadpool(state.feature_maps.need, method)
        if progress is not None:
            return JSONResponse({"progress": progress})
        return await answer(("features", method), asked, lambda: points_of(state, asked.filter, method))

    return routes


def _bounded(bins: int) -> int:
    if not 1 <= bins <= MOST_BINS:
        raise UsageError(f"bins {bins}: 1 to {MOST_BINS} were expected")
    return bins


def confusion_of(table: GalaxyTable, expression: str, classes: tuple[str, ...]) -> dict[str, Any]:
    """How many galaxies of each label were predicted as each class, rows of labels.

    Raises:
        MorphoscopeError: the galaxies have no labels, or no predicted classes.
    """
    if not table.has("truth", "predicted"):
        raise MorphoscopeError("a confusion matrix needs galaxies with a label and a predicted class")
    condition = table.condition(expression)
    found = table.query(
        f"SELECT truth, predicted, count(*) FROM galaxies WHERE truth IS NOT NULL AND predicted IS NOT NULL "
        f"AND {condition.sql} GROUP BY truth, predicted",
        condition.values,
    )
    names = [*classes, *sorted({name for row in found for name in row[:2]} - set(classes))]
    at = {name: k for k, name in enumerate(names)}
    counts_KK = np.zeros((len(names), len(names)), int)
    for truth, predicted, count in found:
        counts_KK[at[truth], at[predicted]] = count
    return {"classes": names, "counts": counts_KK.tolist(), "total": int(counts_KK.sum())}


def reliability_of(table: GalaxyTable, expression: str, bins: int) -> list[dict[str, float]]:
    """Of the galaxies with a probability within each bin, which share is right; Wilson's 95 % intervals.

    Raises:
        MorphoscopeError: the galaxies have no labels, or no probabilities.
    """
    if not table.has("correct", "probability"):
        raise MorphoscopeError("a reliability diagram needs galaxies with a label and a probability")
    condition = table.condition(expression)
    found = table.query(
        f"SELECT least(CAST(floor(probability * {bins}) AS INTEGER), {bins - 1}) AS bin, count(*), "
        f"avg(probability), count(*) FILTER (WHERE correct) FROM galaxies WHERE probability BETWEEN 0 AND 1 "
        f"AND correct IS NOT NULL AND {condition.sql} GROUP BY 1 ORDER BY 1",
        condition.values,
    )
    answer = []
    for number, count, confidence, hits in found:
        low, high = wilson_interval(hits, count) or (0.0, 1.0)
        edges = {"from": number / bins, "to": (number + 1) / bins}
        values = {"n": count, "confidence": confidence, "accuracy": hits / count, "low": low, "high": high}
        answer.append({**edges, **values})
    return answer


def histogram_of(table: GalaxyTable, expression: str, column: str, bins: int) -> dict[str, Any]:
    """How many galaxies have a value within each of equal bins; ``missing`` have none.

    Where all have the same value, the bins are narrow ones around it.
    """
    name, condition = table.need(column, "number"), table.condition(expression)
    low, high, count, total = table.query(
        f"SELECT min({name}) FILTER (WHERE isfinite({name}::DOUBLE)), max({name}) FILTER (WHERE "
        f"isfinite({name}::DOUBLE)), count({name}), count(*) FROM galaxies WHERE {condition.sql}",
        condition.values,
    )[0]
    if low is None:
        return {"column": column, "low": None, "high": None, "counts": [], "missing": total - count}
    low, high = float(low), float(high)
    if high - low <= _SAME * max(abs(low), abs(high)):
        low, high = around((low + high) / 2)
    width = (high - low) / bins
    found = table.query(
        f"SELECT least(CAST(floor(({name} - ?) / ?) AS INTEGER), {bins - 1}) AS bin, count(*) FROM galaxies "
        f"WHERE isfinite({name}::DOUBLE) AND {condition.sql} GROUP BY 1",
        [low, width, *condition.values],
    )
    counts = [0] * bins
    for number, how_many in found:
        counts[max(0, number)] += how_many
    return {
        "column": column,
        "low": low,
        "high": low + bins * width,
        "counts": counts,
        "missing": total - count,
    }


def sky_of(table: GalaxyTable, expression: str) -> dict[str, Any]:
    """How many galaxies are in each cell of a map of right ascension and declination, degrees.

    The map begins at ``ra``, which may be such that it runs over 0°: a field there stays in one piece.

    Raises:
        MorphoscopeError: the galaxies have no coordinates.
    """
    if not table.has("ra", "dec") or table.kinds["ra"] != "number" or table.kinds["dec"] != "number":
        raise MorphoscopeError("a map of the sky needs the columns ra and dec in degrees")
    condition = table.condition(expression)
    placed = f"ra BETWEEN 0 AND 360 AND dec BETWEEN -90 AND 90 AND {condition.sql}"
    low, high, low_turned, high_turned, south, north, count = table.query(
        "SELECT min(ra), max(ra), min((ra + 180) % 360), max((ra + 180) % 360), min(dec), max(dec), count(*) "
        f"FROM galaxies WHERE {placed}",
        condition.values,
    )[0]
    if not count:
        return {"count": 0}
    turned = high_turned - low_turned < (high - low) - 1e-9
    start, width = ((low_turned + 180) % 360, high_turned - low_turned) if turned else (low, high - low)
    width, height = max(width, 1e-3), max(north - south, 1e-3)
    across, up = CELLS
    found = table.query(
        f"SELECT least(CAST(floor(((ra - ? + 360) % 360) / ? * {across}) AS INTEGER), {across - 1}) AS x, "
        f"least(CAST(floor((dec - ?) / ? * {up}) AS INTEGER), {up - 1}) AS y, count(*) FROM galaxies "
        f"WHERE {placed} GROUP BY 1, 2",
        [start, width, south, height, *condition.values],
    )
    counts = np.zeros((up, across), int)
    for x, y, how_many in found:
        counts[y, x] += how_many
    return {
        "count": count,
        "ra": start,
        "width": width,
        "dec": south,
        "height": height,
        "cells": list(CELLS),
        "counts": counts.ravel().tolist(),
    }


def points_of(state: State, expression: str, method: str = "pca") -> dict[str, Any]:
    """Places of galaxies on a map of features; of many a selection, always the same.

    Every tenth row would not do: classes may take turns in a catalogue.
    """
    table = state.subject.table
    condition = table.condition(expression)
    shown = "predicted" if table.has("predicted") else "truth" if table.has("truth") else "NULL"
    x, y = COLUMNS[method]
    total = table.query(f"SELECT count({x}) FROM galaxies WHERE {condition.sql}", condition.values)[0][0]
    every = max(1, -(-total // MOST_POINTS))
    found = table.query(
        f"SELECT {ROW}, {x}, {y}, {shown} FROM galaxies WHERE {x} IS NOT NULL AND hash({ROW}) % {every} = 0 "
        f"AND {condition.sql}",
        condition.values,
    )
    classes = list(state.subject.classes)
    at = {name: k for k, name in enumerate(classes)}
    return {
        "classes": classes,
        "total": total,
        "points": [[row, round(a, 4), round(b, 4), at.get(name, -1)] for row, a, b, name in found],
    }
