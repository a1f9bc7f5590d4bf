"""Numbers of a study as its page writes them."""

from __future__ import annotations

from morphoscope.report import wording

PERCENT = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "train_accuracy")
ERROR_DIGITS = 5


def shown(value: float | None, metric: str, spread: float | None = None) -> str:
    """A number as text: percent for shares, the digits each metric deserves."""
    if not wording.known(value):
        return wording.DASH
    if metric in PERCENT or ": " in metric:
        text = wording.number(100 * value, 2)
        return f"{text} ± {wording.number(100 * spread, 2)}" if wording.known(spread) else text
    if metric in ("epochs", "seconds", "parameters"):
        return wording.count(value)
    digits = ERROR_DIGITS if "rmse" in metric else 3 if "loss" in metric else 1
    text = wording.number(value, digits)
    return f"{text} ± {wording.number(spread, digits)}" if wording.known(spread) else text
