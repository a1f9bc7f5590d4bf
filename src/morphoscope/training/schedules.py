"""Learning-rate schedules as pure functions of the step, in units of the recipe's learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable

from morphoscope.recipes import Schedule


def schedule(recipe: Schedule, steps: int) -> Callable[[int], float]:
    """The factor on the learning rate at step 0, 1, ..., steps − 1.

    - ``one-cycle``: a cosine rise over the ``warmup`` share of the steps, then a cosine fall to
      ``final`` (Smith & Topin 2018, the two-phase form).
    - ``cosine``: the cosine fall alone, after a linear rise over ``warmup``
      (Loshchilov & Hutter 2017, eq. 5, without restarts).
    - ``constant``: 1, after a linear rise over ``warmup``.
    - ``keras-decay``: 1 / (1 + decay · step), the ``decay`` argument of Keras' legacy optimisers
      (`cheng`, `yan`).
    """
    rise = recipe.warmup * steps

    def one_cycle(step: int) -> float:
        if step < rise:
            return 0.04 + 0.96 * _half_cosine(step / rise)
        return _fall(step)

    def cosine(step: int) -> float:
        return (step + 1) / (rise + 1) if step < rise else _fall(step)

    def constant(step: int) -> float:
        return (step + 1) / (rise + 1) if step < rise else 1.0

    def keras_decay(step: int) -> float:
        return 1.0 / (1.0 + recipe.decay * step)

    def _fall(step: int) -> float:
        through = min(1.0, (step - rise) / max(1.0, steps - 1 - rise))
        return recipe.final + (1.0 - recipe.final) * (1.0 - _half_cosine(through))

    return {"one-cycle": one_cycle, "cosine": cosine, "constant": constant, "keras-decay": keras_decay}[
        recipe.name
    ]


def _half_cosine(through: float) -> float:
    """0 → 1 along half a cosine wave."""
    return 0.5 * (1.0 - math.cos(math.pi * through))
