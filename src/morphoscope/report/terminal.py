"""Numbers as short lines for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_HEADLINES = (
    ("macro_precision", "macro precision"),
    ("macro_recall", "macro recall"),
    ("macro_f1", "macro F1"),
    ("weighted_f1", "weighted F1"),
    ("ece", "calibration error"),
)


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


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """The few numbers to print after a training or an evaluation, one a line."""
    if "rmse" in metrics:
        lines = [f"RMSE {plain(metrics['rmse'], 5)}, n = {metrics['n']}"]
        worst = max(metrics["per_question"] or metrics["per_answer"], key=lambda row: row["rmse"])
        lines.append(f"largest error: {worst['name']}, RMSE {plain({'value': worst['rmse'], **worst}, 4)}")
    else:
        lines = [f"accuracy {percent(metrics['accuracy'])}, n = {metrics['n']}"]
        lines += [f"{name} {plain(metrics[key])}" for key, name in _HEADLINES]
        lines.append(_weakest(metrics["per_class"]))
    return lines + [f"note: {note}" for note in metrics.get("notes", [])]


def calibration_lines(measured: dict[str, Any]) -> list[str]:
    """What the calibration did and how the prediction sets do, from an evaluation's document."""
    lines = []
    if calibration := measured.get("calibration"):
        lines.append(f"calibration: {calibration['words']}")
        before, after = calibration["before"], calibration["after"]
        for key, name in (("ece", "calibration error"), ("log_loss", "log loss"), ("brier", "Brier score")):
            lines.append(f"{name} {plain(before[key])} before, {plain(after[key])} after")
    else:
        lines.append("calibration: none")
    if sets := measured.get("sets"):
        for key, name in (("marginal", "over all galaxies"), ("per_class", "within every class")):
            kind = sets[key]
            lines.append(
                f"sets for {100 * sets['coverage']:g} % {name}: {percent(kind['covered'])} hold the truth, "
                f"n = {kind['n']}; {kind['mean_size']:.2f} classes on average"
            )
    if strangeness := measured.get("out_of_distribution"):
        lines.append(_ood_line(strangeness))
    return lines


def ensemble_lines(measured: dict[str, Any]) -> list[str]:
    """The members beside the ensemble, one a line, for a terminal."""
    lines = []
    for name, metrics in measured["members"].items():
        shown = (
            f"RMSE {plain(metrics['rmse'], 5)}"
            if "rmse" in metrics
            else f"accuracy {percent(metrics['accuracy'])}"
        )
        lines.append(f"{name} alone: {shown}")
    return [*lines, f"mutual information {measured['mutual_information']:.3f} nats on average"]


def _ood_line(done: dict[str, Any]) -> str:
    test = done["test"]
    line = (
        f"unlike the training: {percent(test['stranger'])} of galaxies, n = {test['n']}, are stranger than "
        f"95 % of {done['held_out']} held-out ones"
    )
    if done["non_galaxies"]:
        told = ", ".join(f"{row['name']} {row['auroc']['value']:.2f}" for row in done["non_galaxies"])
        line += f"; simulated non-galaxies are told from them with AUROC {told}"
    return line


def _weakest(rows: Sequence[dict[str, Any]]) -> str:
    known = [row for row in rows if row["recall"] is not None]
    worst = min(known, key=lambda row: row["recall"])
    return (
        f"weakest class: {worst['name']}, recall {worst['recall']:.2f} "
        f"({worst['recall_low']:.2f}–{worst['recall_high']:.2f}), n = {worst['support']}"
    )


def compare_table(result: dict[str, Any]) -> str:
    """The result of :func:`morphoscope.evaluation.compare.compare` as aligned plain text."""
    classes = result["kind"] == "classes"
    if classes:
        rows = [["run", "accuracy", "macro F1", "calibration error"]]
        rows += [[run["name"], *_numbers_of(run)] for run in result["runs"]]
    else:
        rows = [["run", "RMSE"]]
        rows += [[run["name"], plain(run["rmse"], 5) if "rmse" in run else "–"] for run in result["runs"]]
    parts = [f"{result['n']} test galaxies\n\n{columns(rows)}"]
    parts += [_pair_text(pair, classes) for pair in result["pairs"]]
    return "\n\n".join(parts)


def _numbers_of(run: dict[str, Any]) -> list[str]:
    forms = (("accuracy", percent), ("macro_f1", plain), ("ece", plain))
    return [form(run[key]) if key in run else "–" for key, form in forms]


def _pair_text(pair: dict[str, Any], classes: bool) -> str:
    title = f"{pair['second']} against {pair['first']}"
    if not classes:
        gains = sorted(pair["per_answer"], key=lambda row: row["value"])
        ends = gains if len(gains) <= 6 else gains[:3] + gains[-3:]
        rows = [["answer", "RMSE"], *([row["name"], _signed(row, 1, 5)] for row in ends)]
        return (
            f"{title}: RMSE {_signed(pair['difference'], 1, 5)}, closer for {100 * pair['closer']:.0f} % of "
            f"galaxies\n{columns(rows)}"
        )
    test = pair["mcnemar"]
    p = p_value(test["p"]) + (
        f", {p_value(test['p_holm'])} corrected for all pairs" if test["p_holm"] != test["p"] else ""
    )
    rows = [["class", "recall", "F1", "n"]]
    for row in pair["per_class"]:
        known = row["recall"] is not None
        shown = [f"{row[score]:+z.3f}" if known else "–" for score in ("recall", "f1")]
        rows.append([row["name"], *shown, str(row["support"])])
    return (
        f"{title}: accuracy {_signed(pair['difference'], 100, 2)} points, "
        f"macro F1 {_signed(pair['macro_f1'], 1, 3)}\n"
        f"McNemar ({test['method']}): {test['only_second']} galaxies right only in {pair['second']}, "
        f"{test['only_first']} only in {pair['first']}; {p}\n{columns(rows)}"
    )


def _signed(number: dict[str, Any], scale: float, digits: int) -> str:
    text = f"{scale * number['value']:+z.{digits}f}"
    if number["low"] is None:
        return text
    return f"{text} ({scale * number['low']:+z.{digits}f} to {scale * number['high']:+z.{digits}f})"


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of text aligned in columns two spaces apart: the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
