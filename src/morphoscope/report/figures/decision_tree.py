"""A drawing of the Galaxy Zoo 2 decision tree, from the tree itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from morphoscope.labels.decision_tree import GALAXY_ZOO_2
from morphoscope.report.figures import schematic, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morphoscope.labels.tree import Question

# Inches, as are all lengths here. The layout is set by hand; questions, answers and routing come from the
# tree.
_CELL = 0.72
_ANSWER = 0.38  # height of an answer
_LINE = 0.118
_GAP = 0.26
_TIERS = (
    {"Q1": 3.2},
    {"Q7": 1.4, "Q2": 4.6},
    {"Q9": 3.1, "Q3": 5.6},
    {"Q4": 5.6},
    {"Q10": 4.7},
    {"Q11": 4.7},
    {"Q5": 4.7},
    {"Q6": 3.4},
    {"Q8": 2.9},
)  # question: x of its middle
_PAST = {("Q7", "Q6"): 0.32, ("Q9", "Q6"): 2.2, ("Q4", "Q5"): 6.98}  # x of arrows that pass other cards
_LAND = {  # where arrows arrive: from the middle, and at which height above the card they turn to it
    ("Q7", "Q6"): (-0.66, 0.08),
    ("Q9", "Q6"): (-0.33, 0.17),
    ("Q5", "Q6"): (0.5, 0.13),
    ("Q4", "Q5"): (0.72, 0.13),
}


@dataclass(frozen=True)
class _Card:
    left: float
    top: float
    width: float
    head: float

    @property
    def middle(self) -> float:
        return self.left + self.width / 2

    @property
    def bottom(self) -> float:
        return self.top + self.head + _ANSWER


@style.styled
def decision_tree() -> Figure:
    """Questions, answers and routing of Galaxy Zoo 2 (`ng` Fig 2, after Willett et al. 2013, figure 1).

    Each answer has its column's name; a dot below it marks an answer that ends the questions.
    """
    cards: dict[str, _Card] = {}
    top = 0.06
    for tier in _TIERS:
        made = [(key, _card(GALAXY_ZOO_2.question(key), middle, top)) for key, middle in tier.items()]
        cards |= made
        top = max(card.bottom for _, card in made) + _GAP
    figure, axes = style.canvas(style.WIDTH, top - _GAP + 0.28)
    for number, question in enumerate(GALAXY_ZOO_2.questions):
        names = GALAXY_ZOO_2.columns[GALAXY_ZOO_2.slices[number]]
        _draw_card(axes, question, cards[question.key], names)
        _draw_routes(axes, question, cards)
    y = top - _GAP + 0.17
    axes.plot([0.14], [y], "o", color=style.MUTED, markersize=3)
    words = "the questions end here; an arrow from the middle of a card holds for all its answers"
    axes.text(0.24, y, words, fontsize=6.5, color=style.MUTED, va="center_baseline")
    return figure


def _card(question: Question, middle: float, top: float) -> _Card:
    count = len(question.answers)
    width = count * (_CELL if count > 2 else 1.0)
    lines = len(_headline(question, width))
    return _Card(middle - width / 2, top, width, 0.09 + _LINE * lines)


def _headline(question: Question, width: float) -> list[str]:
    lines, _ = style.fitted(f"{question.key} {question.text}", width - 0.12, 7, weight="bold")
    return [*lines, "(asked of all)"] if question.asked_of_all else lines


def _draw_card(axes: Axes, question: Question, card: _Card, names: tuple[str, ...]) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((card.left, card.top), card.width, card.head, facecolor=style.FILL, alpha=0.14))
    corner = (card.left, card.top)
    frame = Rectangle(corner, card.width, card.head + _ANSWER, facecolor="none", edgecolor=style.MUTED)
    frame.set_linewidth(schematic.LINE)
    axes.add_patch(frame)
    for number, line in enumerate(_headline(question, card.width)):
        y = card.top + 0.045 + _LINE * (number + 0.5)
        axes.text(card.middle, y, line, fontsize=7, fontweight="bold", ha="center", va="center_baseline")
    each = card.width / len(question.answers)
    for number, (answer, name) in enumerate(zip(question.answers, names, strict=True)):
        left, top = card.left + number * each, card.top + card.head
        if number:
            axes.plot([left, left], [top, card.bottom], color=style.RULE, linewidth=schematic.LINE)
        lines, size = style.fitted(answer.text, each - 0.04, 7, lines=2)
        for line, text in enumerate(lines):
            y = top + 0.135 + (line - (len(lines) - 1) / 2) * 0.108
            axes.text(left + each / 2, y, text, fontsize=size, ha="center", va="center_baseline")
        y = card.bottom - 0.07
        _, size = style.fitted(name, each - 0.04, 6)
        axes.text(
            left + each / 2, y, name, fontsize=size, color=style.MUTED, ha="center", va="center_baseline"
        )
        if answer.next is None:
            axes.plot([left + each / 2], [card.bottom], "o", color=style.MUTED, markersize=3, zorder=3)


def _draw_routes(axes: Axes, question: Question, cards: dict[str, _Card]) -> None:
    """One arrow an answer, or one for the card where all answers lead to the same question."""
    card = cards[question.key]
    each = card.width / len(question.answers)
    goals = [answer.next for answer in question.answers]
    if len(set(goals)) == 1 and goals[0] is not None:
        _route(axes, question.key, goals[0], card.middle, cards)
        return
    for number, goal in enumerate(goals):
        if goal is not None:
            _route(axes, question.key, goal, card.left + (number + 0.5) * each, cards)


def _route(axes: Axes, start: str, goal: str, x: float, cards: dict[str, _Card]) -> None:
    card, other = cards[start], cards[goal]
    aside, above = _LAND.get((start, goal), (0.0, _GAP / 2))
    end, turn = other.middle + aside, other.top - above
    if (start, goal) in _PAST:
        lane, near = _PAST[start, goal], card.bottom + 0.1
        points = [(x, card.bottom), (x, near), (lane, near), (lane, turn), (end, turn), (end, other.top)]
    elif abs(x - end) < 0.02:
        points = [(end, card.bottom), (end, other.top)]
    else:
        points = [(x, card.bottom), (x, turn), (end, turn), (end, other.top)]
    schematic.arrow(axes, points)
