"""Drawings of decision trees, from the trees themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.report.figures import schematic, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from morphoscope.labels.tree import DecisionTree, Question

# Inches, as are all lengths here. The layout of Galaxy Zoo 2 is set by hand; questions, answers and routing
# come from the tree.
_CELL = 0.72
_ANSWER = 0.38  # height of an answer
_LINE = 0.118
_GAP = 0.26
_ASIDE = 0.3  # between cards of a tier
_LANE = 0.13  # between arrows that pass on one side
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


@dataclass(frozen=True)
class _Layout:
    """Where everything is.

    Attributes:
        cards: of the questions.
        past: of arrows that pass other cards (start, goal) the x at which they do.
        land: where arrows arrive: from the middle of the card, and at which height above it they turn to it.
        width: of the drawing.
        bottom: of the lowest card.
    """

    cards: Mapping[str, _Card]
    past: Mapping[tuple[str, str], float]
    land: Mapping[tuple[str, str], tuple[float, float]]
    width: float
    bottom: float


@style.styled
def decision_tree(tree: DecisionTree = GALAXY_ZOO_2) -> Figure:
    """Questions, answers and routing; of Galaxy Zoo 2 as in `ng` Fig 2, after Willett et al. 2013, figure 1.

    Each answer has its column's name; a dot below it marks an answer that ends the questions.
    """
    layout = _set_by_hand() if tree is GALAXY_ZOO_2 else _arranged(tree)
    figure, axes = style.canvas(layout.width, layout.bottom + 0.28)
    for number, question in enumerate(tree.questions):
        names = tree.columns[tree.slices[number]]
        if tree.names:  # QUESTION_ANSWER: the card has the question, and the answer may say the same
            keys = [name.removeprefix(f"{question.key}_") for name in names]
            texts = [answer.text for answer in question.answers]
            names = ["" if key == text else key for key, text in zip(keys, texts, strict=True)]
        _draw_card(axes, question, layout.cards[question.key], names)
        _draw_routes(axes, question, layout)
    y = layout.bottom + 0.17
    axes.plot([0.14], [y], "o", color=style.MUTED, markersize=3)
    words = "the questions end here; an arrow from the middle of a card holds for all its answers"
    axes.text(0.24, y, words, fontsize=6.5, color=style.MUTED, va="center_baseline")
    return figure


def _set_by_hand() -> _Layout:
    cards: dict[str, _Card] = {}
    top = 0.06
    for tier in _TIERS:
        made = [(key, _card(GALAXY_ZOO_2.question(key), middle, top)) for key, middle in tier.items()]
        cards |= made
        top = max(card.bottom for _, card in made) + _GAP
    return _Layout(cards, _PAST, _LAND, style.WIDTH, top - _GAP)


def _arranged(tree: DecisionTree) -> _Layout:
    """Tiers of cards: each question below all that lead to it, and below their middle where there is room."""
    tier_of = _tiers(tree)
    tiers: list[list[Question]] = [[] for _ in range(max(tier_of.values()) + 1)]
    for question in tree.questions:
        tiers[tier_of[question.key]].append(question)
    sizes = {question.key: _card(question, 0, 0).width for question in tree.questions}
    rows = [sum(sizes[question.key] for question in row) + _ASIDE * (len(row) - 1) for row in tiers]
    lanes = _LANE * (len(tree.questions) // 2)
    width = max(style.WIDTH, max(rows) + 2 * lanes)
    cards: dict[str, _Card] = {}
    top = 0.06
    for row, long in zip(tiers, rows, strict=True):
        row.sort(key=lambda question: _pull(tree, question, cards, width))
        wanted = [_pull(tree, question, cards, width) for question in row]
        left = sum(wanted) / len(wanted) - long / 2
        left = min(max(left, lanes), width - lanes - long)
        for question in row:
            cards[question.key] = _card(question, left + sizes[question.key] / 2, top)
            left += sizes[question.key] + _ASIDE
        top = max(cards[question.key].bottom for question in row) + _GAP
    past, land = _lanes(tree, tier_of, cards)
    land |= _staggered(tree, tier_of, cards)
    return _Layout(cards, past, land, width, top - _GAP)


def _tiers(tree: DecisionTree) -> dict[str, int]:
    """The longest way from the first question to each, in questions."""
    tier_of = {question.key: 0 for question in tree.questions}
    for _ in tree.questions:
        for question in tree.questions:
            for answer in question.answers:
                if answer.next is not None:
                    tier_of[answer.next] = max(tier_of[answer.next], tier_of[question.key] + 1)
    return tier_of


def _pull(tree: DecisionTree, question: Question, cards: Mapping[str, _Card], width: float) -> float:
    """The mean x of the answers that lead to a question; the middle of the page for the first."""
    found = [
        cards[other.key].left + (k + 0.5) * cards[other.key].width / len(other.answers)
        for other in tree.questions
        if other.key in cards
        for k, answer in enumerate(other.answers)
        if answer.next == question.key
    ]
    return sum(found) / len(found) if found else width / 2


def _lanes(
    tree: DecisionTree, tier_of: Mapping[str, int], cards: Mapping[str, _Card]
) -> tuple[dict[tuple[str, str], float], dict[tuple[str, str], tuple[float, float]]]:
    """Arrows that skip a tier pass the cards between on the side where they start, one lane for each goal."""
    past: dict[tuple[str, str], float] = {}
    land: dict[tuple[str, str], tuple[float, float]] = {}
    taken: dict[tuple[str, int], int] = {}
    for question in tree.questions:
        for goal in dict.fromkeys(answer.next for answer in question.answers if answer.next is not None):
            first, last = tier_of[question.key] + 1, tier_of[goal]
            between = [card for key, card in cards.items() if first <= tier_of[key] < last]
            if not between:
                continue
            middle = sum(card.middle for card in between) / len(between)
            side = -1 if _start(question, goal, cards[question.key]) < middle else 1
            lane = taken.setdefault((goal, side), sum(other == side for _, other in taken))
            edge = min(card.left for card in between) if side < 0 else max(_right(card) for card in between)
            past[question.key, goal] = edge + side * _LANE * (lane + 1)
            land[question.key, goal] = (side * 0.3 * cards[goal].width, _GAP / 2 - 0.05)
    return past, land


def _staggered(
    tree: DecisionTree, tier_of: Mapping[str, int], cards: Mapping[str, _Card]
) -> dict[tuple[str, str], tuple[float, float]]:
    """Arrows to the next tier turn at different heights where they would lie on one another.

    Of those that go left the leftmost turns first, of those that go right the rightmost, so none crosses.
    """
    routes = []
    for question in tree.questions:
        for goal in dict.fromkeys(answer.next for answer in question.answers if answer.next is not None):
            if tier_of[goal] == tier_of[question.key] + 1:
                card, end = cards[question.key], cards[goal].middle
                start = _start(question, goal, card)
                order = (end > start, start if end <= start else -start)
                across = [end, *_starts(question, goal, card)]
                routes.append((order, min(across), max(across), question.key, goal))
    level: dict[tuple[str, str], int] = {}
    for position, (_, low, high, start, goal) in enumerate(sorted(routes)):
        level[start, goal] = max(
            (
                level[other, aim] + 1
                for _, from_x, to_x, other, aim in sorted(routes)[:position]
                if aim != goal and tier_of[aim] == tier_of[goal] and from_x < high and low < to_x
            ),
            default=0,
        )
    return {
        key: (0.0, _GAP / 2 + 0.03 - min(number, 2) * 0.06)
        for key, number in level.items()
        if any(number for other, number in level.items() if tier_of[other[1]] == tier_of[key[1]])
    }


def _right(card: _Card) -> float:
    return card.left + card.width


def _start(question: Question, goal: str, card: _Card) -> float:
    starts = _starts(question, goal, card)
    return sum(starts) / len(starts)


def _starts(question: Question, goal: str, card: _Card) -> list[float]:
    """The x of every answer that leads to a goal."""
    columns = [k for k, answer in enumerate(question.answers) if answer.next == goal]
    return [card.left + (k + 0.5) * card.width / len(question.answers) for k in columns]


def _card(question: Question, middle: float, top: float) -> _Card:
    count = len(question.answers)
    width = count * (_CELL if count > 2 else 1.0)
    lines = len(_headline(question, width))
    return _Card(middle - width / 2, top, width, 0.09 + _LINE * lines)


def _headline(question: Question, width: float) -> list[str]:
    lines, _ = style.fitted(_title(question), width - 0.12, 7, weight="bold")
    return [*lines, "(asked of all)"] if question.asked_of_all else lines


def _title(question: Question) -> str:
    """Key and text: "Q7 How rounded is it?"."""
    short = question.key[1:].isdigit()
    return f"{question.key}{'' if short else ':'} {question.text}"


def _draw_card(axes: Axes, question: Question, card: _Card, names: Sequence[str]) -> None:
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


def _draw_routes(axes: Axes, question: Question, layout: _Layout) -> None:
    """One arrow an answer, or one for the card where all answers lead to the same question."""
    card = layout.cards[question.key]
    each = card.width / len(question.answers)
    goals = [answer.next for answer in question.answers]
    if len(set(goals)) == 1 and goals[0] is not None:
        _route(axes, question.key, goals[0], card.middle, layout)
        return
    for number, goal in enumerate(goals):
        if goal is not None:
            _route(axes, question.key, goal, card.left + (number + 0.5) * each, layout)


def _route(axes: Axes, start: str, goal: str, x: float, layout: _Layout) -> None:
    card, other = layout.cards[start], layout.cards[goal]
    aside, above = layout.land.get((start, goal), (0.0, _GAP / 2))
    end, turn = other.middle + aside, other.top - above
    if (start, goal) in layout.past:
        before = [aim for origin, aim in layout.past if origin == start].index(goal)
        lane, near = layout.past[start, goal], card.bottom + 0.1 - 0.05 * min(before, 1)
        points = [(x, card.bottom), (x, near), (lane, near), (lane, turn), (end, turn), (end, other.top)]
    elif abs(x - end) < 0.02:
        points = [(end, card.bottom), (end, other.top)]
    else:
        points = [(x, card.bottom), (x, turn), (end, turn), (end, other.top)]
    schematic.arrow(axes, points)
