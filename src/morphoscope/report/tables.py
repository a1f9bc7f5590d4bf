"""Tables of a report: plain headings and cells, ready for a page or a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from morphoscope.recipes import Recipe, fields
from morphoscope.report import formatting
from morphoscope.report.figures.data import PART_NAMES, PARTS

SCORES = (
    ("accuracy", "Accuracy"),
    ("macro_precision", "Macro precision"),
    ("macro_recall", "Macro recall"),
    ("macro_f1", "Macro F1"),
    ("weighted_precision", "Weighted precision"),
    ("weighted_recall", "Weighted recall"),
    ("weighted_f1", "Weighted F1"),
    ("top2", "Truth among the two most probable"),
    ("ece", "Expected calibration error"),
    ("adaptive_ece", "Calibration error, equally filled bins"),
    ("log_loss", "Log loss (nats)"),
    ("brier", "Brier score (0 to 2)"),
    ("rmse", "RMSE over all answers"),
    ("r2", "R², mean over the quantities"),
    ("coverage_68", "Within their 68 % intervals"),
    ("coverage_90", "Within their 90 % intervals"),
)


@dataclass(frozen=True)
class Table:
    """Headings, rows of cells and a caption.

    Args:
        headings: one per column.
        rows: cells as text, as many as headings.
        text_columns: columns of text rather than numbers (left-aligned).
        caption: of the table, with n.
        totals: number of rows at the end that are sums or means, separated by a line.
        code_columns: columns in a monospaced font.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: frozenset[int] = frozenset({0})
    caption: str = ""
    totals: int = 0
    code_columns: frozenset[int] = frozenset()


def split_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Galaxies per class and part of the split, with sums."""
    parts = [part for part in PARTS if part in counts]
    names = list(dict.fromkeys(name for part in parts for name in counts[part]))
    everything = sum(sum(counts[part].values()) for part in parts)
    rows = []
    for name in names:
        values = [counts[part].get(name, 0) for part in parts]
        rows.append([name, *map(formatting.count, values), *_total(sum(values), everything)])
    if len(names) > 1:
        sums = [sum(counts[part].values()) for part in parts]
        rows.append(["All", *map(formatting.count, sums), *_total(everything, everything)])
    return Table(
        headings=["Class", *(PART_NAMES[part].capitalize() for part in parts), "Together", "Share"],
        rows=rows,
        totals=1 if len(names) > 1 else 0,
    )


def _total(value: int, everything: int) -> list[str]:
    return [formatting.count(value), formatting.percent(value / everything if everything else None)]


def score_table(
    test: Mapping[str, Any], validation: Mapping[str, Any] | None, measured: str = "Test"
) -> Table:
    """Every score of the test split with its interval, beside the validation split's value."""
    rows = []
    known = {key: name for key, name in SCORES if key in test}
    others = {key: key.replace("_", " ").capitalize() for key, value in test.items() if is_score(value)}
    for key, name in (known | {key: name for key, name in others.items() if key not in known}).items():
        row = [name, _score(test, key), _score_interval(test, key)]
        rows.append([*row, _score(validation, key)] if validation else row)
    headings = ["Score", f"{measured} (n = {formatting.count(test.get('n'))})", "95 % interval"]
    if validation:
        headings.append(f"Validation (n = {formatting.count(validation.get('n'))})")
    return Table(headings=headings, rows=rows)


def is_score(value: Any) -> bool:
    """Whether a number of an evaluation is a score with its interval."""
    return isinstance(value, Mapping) and {"value", "low", "high"} <= value.keys()


def _score(metrics: Mapping[str, Any], key: str) -> str:
    value = formatting.value_of(metrics, key)
    if key in ("accuracy", "top2"):
        return formatting.percent(value, 2)
    return formatting.number(value, 4)


def _score_interval(metrics: Mapping[str, Any], key: str) -> str:
    low, high = formatting.bounds_of(metrics, key)
    return formatting.interval(low, high, 4, as_percent=key in ("accuracy", "top2")) or formatting.DASH


def class_table(test: Mapping[str, Any]) -> Table:
    """Precision, recall, F1 and support of each class, then macro and weighted means."""
    per_class = test.get("per_class") or []
    rows = [
        [
            row["name"],
            formatting.number(row.get("precision")),
            formatting.number(row.get("recall")),
            formatting.interval(row.get("recall_low"), row.get("recall_high"), 2) or formatting.DASH,
            formatting.number(row.get("f1")),
            formatting.count(row.get("support")),
            formatting.count(row.get("predicted")),
        ]
        for row in per_class
    ]
    means = []
    for kind in ("macro", "weighted"):
        values = [formatting.value_of(test, f"{kind}_{what}") for what in ("precision", "recall", "f1")]
        if any(map(formatting.known, values)):
            precision, recall, f1 = map(formatting.number, values)
            total = formatting.count(test.get("n"))
            means.append([f"{kind.capitalize()} mean", precision, recall, "", f1, total, ""])
    return Table(
        headings=["Class", "Precision", "Recall", "95 % interval", "F1", "Galaxies", "Predicted"],
        rows=[*rows, *means],
        totals=len(means),
    )


def vote_table(rows: Sequence[Mapping[str, Any]], texts: Mapping[str, str] | None = None) -> Table:
    """RMSE with interval of each question or answer; bias and the RMSE of the mean if available."""
    with_bias = any("bias" in row for row in rows)
    cells = []
    for row in rows:
        meaning = (texts or {}).get(row["name"], "")
        cell = [
            f"{row['name']}  {meaning}".strip(),
            formatting.number(row.get("rmse"), 4),
            formatting.interval(row.get("low"), row.get("high"), 4) or formatting.DASH,
        ]
        if with_bias:
            cell += [formatting.number(row.get("spread"), 4), formatting.number(row.get("bias"), 4)]
        cells.append(cell)
    headings = ["Answer" if with_bias else "Question", "RMSE", "95 % interval"]
    return Table(headings=[*headings, "RMSE of the mean", "Bias"] if with_bias else headings, rows=cells)


def changed_fields(recipe: Recipe) -> Table:
    """Every field that differs from the program's default, with both values and what it means."""
    default = Recipe().model_dump(mode="json")
    own = recipe.model_dump(mode="json")
    rows = []
    for path, info in fields().items():
        if path in ("name", "about"):
            continue
        value, usual = _at(own, path), _at(default, path)
        if value != usual:
            rows.append([path, _shown(value), _shown(usual), info.description or ""])
    return Table(
        headings=["Field", "This run", "Default", "What it is"],
        rows=rows,
        text_columns=frozenset({0, 1, 2, 3}),
        code_columns=frozenset({0, 1, 2}),
    )


def _at(values: dict[str, Any], path: str) -> Any:
    for step in path.split("."):
        values = values[step]
    return values


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "none"
    return str(value)
