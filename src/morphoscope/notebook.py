"""How a store, a run and a catalogue show themselves in a notebook: facts, counts and a few galaxies."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SIDE = 96  # of the pictures, pixels
_CELL = "style='text-align:left;padding:1px 12px 1px 0'"


def notebook_html(
    title: str,
    facts: Sequence[tuple[str, object]],
    *,
    counts: Mapping[str, object] | None = None,
    images: Iterable[tuple[str, np.ndarray]] = (),
) -> str:
    """HTML that stands alone; all texts are escaped, images are inline.

    Args:
        title: one line.
        facts: names and values; those that are empty are left out.
        counts: a number for each class.
        images: captions and pictures (H, W, 3) uint8.
    """
    rows = [(name, value) for name, value in facts if value not in (None, "")]
    pictures = "".join(_figure(caption, image) for caption, image in images)
    return (
        f"<div><strong>{escape(title)}</strong>{_table(rows)}{_table(list((counts or {}).items()))}"
        f"<div>{pictures}</div></div>"
    )


def spread(count: int, wanted: int = 6) -> list[int]:
    """A few row numbers, evenly spread over ``count`` rows."""
    return sorted({number * count // wanted for number in range(wanted)}) if count else []


def with_interval(measured: Mapping[str, float]) -> str:
    """A number with its 95 % interval, as a report's metrics give it."""
    return f"{measured['value']:.3f} (95 % interval {measured['low']:.3f} to {measured['high']:.3f})"


def _table(rows: Sequence[tuple[str, object]]) -> str:
    cells = "".join(
        f"<tr><td {_CELL}>{escape(str(name))}</td><td {_CELL}>{escape(str(value))}</td></tr>"
        for name, value in rows
    )
    return f"<table>{cells}</table>" if cells else ""


def _figure(caption: str, image: np.ndarray) -> str:
    import cv2

    scale = SIDE / max(image.shape[:2])
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    content = cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()
    text = escape(caption)
    return (
        "<figure style='display:inline-block;margin:4px;max-width:110px;vertical-align:top'>"
        f"<img alt='{text}' src='data:image/png;base64,{base64.b64encode(content).decode()}'>"
        f"<figcaption style='font-size:smaller;overflow-wrap:anywhere'>{text}</figcaption></figure>"
    )
