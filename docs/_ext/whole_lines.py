"""What commands print in tutorials, in whole lines.

IPython passes the output of a ``%%bash`` cell on a hundred bytes at a time, and myst-nb ends each piece with
a line break when it puts them together. Here pieces of one stream are joined first, as they came.
"""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def joined(outputs: list[Any]) -> list[Any]:
    """Outputs of a cell, in which each stream is one, where it began."""
    whole: list[Any] = []
    streams: dict[str, Any] = {}
    for output in outputs:
        if output["output_type"] == "stream" and output["name"] in streams:
            streams[output["name"]]["text"] += output["text"]
            continue
        if output["output_type"] == "stream":
            streams[output["name"]] = output
        whole.append(output)
    return whole


def setup(app: Sphinx) -> dict[str, Any]:
    """Join before myst-nb does."""
    from myst_nb.core import render

    merge = render.coalesce_streams
    render.coalesce_streams = lambda outputs: merge(joined(outputs))
    return {"parallel_read_safe": True}
