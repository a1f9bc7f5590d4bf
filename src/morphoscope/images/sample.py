"""A sample of an image's pixels, for statistics that need no more."""

from __future__ import annotations

import math

import numpy as np

_COUNT = 20_000
_FEW_COLUMNS = 32  # a smaller step meets enough columns, whatever the width


def sampled(values: np.ndarray) -> np.ndarray:
    """Some 20,000 of an image's pixels, or all of fewer, from all over it.

    Every n-th pixel comes from a few columns only where n and the width share a large factor: of 4000 × 4000
    pixels every 800th from five. A large n is therefore a prime number.

    Args:
        values: the pixels, row by row.
    """
    step = max(1, values.size // _COUNT)
    if step >= _FEW_COLUMNS:
        while any(step % factor == 0 for factor in range(2, math.isqrt(step) + 1)):
            step += 1
    return values[::step]
