"""Scores that a study measures on top of the usual test, cached in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from morphoscope.files import write_json
from morphoscope.runs.run import Run


def kept(
    run: Run, file: str, settings: Mapping[str, Any], measure: Callable[[], dict[str, float]]
) -> dict[str, float]:
    """The scores in a file of the run's folder, measured again if settings or weights have changed.

    Args:
        run: finished.
        file: name of the JSON file.
        settings: what the scores depend on besides the weights; must serialise to JSON.
        measure: returns the scores by name.
    """
    wanted = {**settings, "weights": run.header.weights_sha256}
    place = run.path / file
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        if found["of"] == wanted:
            return {name: float(value) for name, value in found["scores"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass  # missing or unreadable: measure
    scores = measure()
    write_json(place, {"of": wanted, "scores": scores})
    return scores
