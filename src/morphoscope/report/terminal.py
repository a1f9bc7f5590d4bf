"""Results as short lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def percent(number: dict[str, Any], digits: int = 1) -> str:
    """``94.2 % (92.9–95.4)`` of a share with its interval; ``–`` if undefined."""
    return _shown(number, lambda value: f"{100 * value:.{digits}f}", " %")


def plain(number: dict[str, Any], digits: int = 3) -> str:
    """``0.842 (0.801–0.880)`` of a number with its interval; ``–`` if undefined."""
    return _shown(number, lambda value: f"{value:.{digits}f}", "")


def _shown(number: dict[str, Any], form: Any, unit: str) -> str:
    if number["value"] is None:
        return "–"
    text = form(number["value"]) + unit
    if number["low"] is None:
        return text
    separator = " to " if number["low"] < 0 else "–"
    return f"{text} ({form(number['low'])}{separator}{form(number['high'])})"


def p_value(p: float) -> str:
    """``p = 0.031``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def calibration_lines(measured: dict[str, Any]) -> list[str]:
    """Effect of the calibration and coverage of the prediction sets, from an evaluation's results."""
    lines = []
    if calibration := measured.get("calibration"):
        lines.append(f"calibration: {calibration['words']}")
        before, after = calibration["before"], calibration["after"]
        for key, name in (("ece", "calibration error"), ("log_loss", "log loss"), ("brier", "Brier score")):
            if key in before:
                lines.append(f"{name} {plain(before[key])} before, {plain(after[key])} after")
    else:
        lines.append("calibration: none")
    if shares := measured.get("class_shares"):
        lines.append(f"class shares: {shares}")
    if sets := measured.get("sets"):
        for key, name in (("marginal", "over all galaxies"), ("per_class", "within every class")):
            kind = sets[key]
            lines.append(
                f"sets for {100 * sets['coverage']:g} % {name}: {percent(kind['covered'])} hold the truth, "
                f"n = {kind['n']}; {kind['mean_size']:.2f} classes on average"
            )
    if ood := measured.get("out_of_distribution"):
        lines.append(_ood_line(ood))
    return lines


def _ood_line(done: dict[str, Any]) -> str:
    test = done["test"]
    line = (
        f"out of distribution: {percent(test['stranger'])} of galaxies, n = {test['n']}, score above "
        f"95 % of {done['held_out']} held-out ones"
    )
    if done["non_galaxies"]:
        told = ", ".join(f"{row['name']} {row['auroc']['value']:.2f}" for row in done["non_galaxies"])
        line += f"; AUROC against simulated non-galaxies: {told}"
    return line


def signed(number: dict[str, Any], scale: float, digits: int) -> str:
    """``+1.20 (+0.40 to +2.00)`` of a difference, times ``scale``, with its interval."""
    text = f"{scale * number['value']:+z.{digits}f}"
    if number["low"] is None:
        return text
    return f"{text} ({scale * number['low']:+z.{digits}f} to {scale * number['high']:+z.{digits}f})"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text aligned in columns two spaces apart: the first to the left, the others to the right."""
    rows = [[cell.replace("\n", "\\n") for cell in row] for row in rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
