"""What is wrong with an image although it can be read: the words of a catalogue's column ``quality``.

Shape letters: H × W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

NO_DATA, NO_CENTRE, OFF_IMAGE = "no data", "no data at the centre", "off the image"
NO_SOURCE = "no source at the centre"
_CENTRE = 0.1  # of the sides: the middle of the picture, where the galaxy is


def lacking(lost_HW: np.ndarray) -> tuple[str, ...]:
    """What an image lacks of which some pixels hold no data: "no data 23%", "no data at the centre".

    Args:
        lost_HW: bool, where there is none.
    """
    share = float(lost_HW.mean()) if lost_HW.size else 0.0
    if not share:
        return ()
    half = [max(1, round(_CENTRE * side / 2)) for side in lost_HW.shape]
    middle = tuple(
        slice(side // 2 - h, side // 2 + h + side % 2) for side, h in zip(lost_HW.shape, half, strict=True)
    )
    centre = (NO_CENTRE,) if lost_HW[middle].mean() > 0.5 else ()
    return (share_of(NO_DATA, share), *centre)


def share_of(words: str, share: float) -> str:
    """A reason with its share of the picture, which is never rounded to nothing or everything."""
    percent = min(max(round(100 * share), 1 if share >= 0.01 else 0), 99 if share < 1 else 100)
    return f"{words} {percent}%" if percent else f"{words} <1%"


def joined(reasons: Iterable[str]) -> str:
    """Reasons as one text, empty if there are none."""
    return "; ".join(reasons)
