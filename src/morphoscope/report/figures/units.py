"""Schematic drawings of what the papers' networks are built of: units, gates, blocks.

What the drawings of units, gates and blocks show, as data: nodes in chains, and arrows beside them.

C is the number of channels, H × W the size of a map, r the reduction ratio, k the growth rate of a dense
block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from morphoscope.errors import UsageError, did_you_mean
from morphoscope.report.figures import schematic, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_GAP = 0.21  # inches between nodes, as are all lengths here
_BRANCH = 0.095  # behind a node an arrow branches off
_LINE = 0.125
_LETTER = 0.0535  # mean width of a letter of 7 points
_LABEL = 0.15
_MARGIN = 0.08


@style.styled
def unit_diagram(kind: str) -> Figure:
    """A drawing of one building block.

    Args:
        kind: a name in :data:`DRAWINGS`: "basic" and "bottleneck" (`cheng` F4, `tong` F4), "attention-unit"
            (`tong` F5), "channel-attention" and "spatial-attention" (`tong` F1, F2; `ng` F6, F7), "cbam",
            "cbam-residual" (as in `ng`'s notebook), "mbconv" (`yan` F3, beside Fused-MBConv), "dense-block"
            (`fu` F3).

    Raises:
        UsageError: no such drawing.
    """
    if kind not in DRAWINGS:
        raise UsageError(f"there is no drawing of '{kind}'{did_you_mean(kind, DRAWINGS)}")
    placed = [_Placed(drawing) for drawing in DRAWINGS[kind]]
    width = max(each.width for each in placed) + 2 * _MARGIN
    between = 2.5 * _MARGIN
    height = sum(each.height for each in placed) + (len(placed) - 1) * between + 2 * _MARGIN
    figure, axes = style.canvas(width, height)
    top = _MARGIN
    for each in placed:
        each.draw(axes, _MARGIN, top)
        top += each.height + between
    return figure


class _Placed:
    """A drawing whose nodes have places: x of their middles from the left, y from the chain's middle."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.x: list[float] = []
        self.sizes = [_size(node) for node in drawing.nodes]
        at = 0.0
        for number, node in enumerate(drawing.nodes):
            column = [number]
            if number + 1 < len(drawing.nodes) and drawing.nodes[number + 1].above:
                column.append(number + 1)
            width = max(self.sizes[each][0] for each in column)
            if node.above:
                self.sizes[number] = self.sizes[number - 1] = (
                    max(self.sizes[number - 1][0], self.sizes[number][0]),
                    self.sizes[number][1],
                )
                self.x.append(self.x[-1])
                continue
            self.x.append(at + width / 2)
            at += width + self._gap(number)
        self.width = at - _GAP
        tops = [node.lane - size[1] / 2 for node, size in zip(drawing.nodes, self.sizes, strict=True)]
        bottoms = [node.lane + size[1] / 2 for node, size in zip(drawing.nodes, self.sizes, strict=True)]
        for link in drawing.links:
            if link.level is not None:
                tops.append(link.level - (_LABEL if link.label else 0.03))
                bottoms.append(link.level + 0.03)
        self.above = -min(tops) + (0.2 if drawing.title else 0.0)
        self.height = self.above + max(bottoms)

    def _gap(self, number: int) -> float:
        """Room behind a node: for the arrow, its label, and the branch of an arrow that leaves it."""
        if number not in self.drawing.labels:
            return _GAP
        letters = max(map(len, _plain(self.drawing.labels[number]).split("\n")))
        return max(_GAP, letters * _LETTER * 0.93 + 0.12) + self._branch(number)

    def _branch(self, number: int) -> float:
        branches = any(link.start == number and link.level is not None for link in self.drawing.links)
        return _BRANCH if branches else 0.0

    def draw(self, axes: Axes, left: float, top: float) -> None:
        """Draw it with its upper left corner at a place."""
        middle = top + self.above
        if self.drawing.title:
            axes.text(left, top + 0.07, self.drawing.title, fontweight="bold", va="center")
        for number, node in enumerate(self.drawing.nodes):
            _draw_node(axes, node, left + self.x[number], middle + node.lane, self.sizes[number])
        links = list(self.drawing.links)
        if self.drawing.joined:
            links += [Link(number, number + 1) for number in range(len(self.drawing.nodes) - 1)]
        for link in links:
            self._draw_link(axes, link, left, middle)
        for number, label in self.drawing.labels.items():
            x = left + (self._right(number) + self._branch(number) + self._left(number + 1) - 0.04) / 2
            for line, words in enumerate(label.split("\n")):
                y = middle - 0.045 if line == 0 else middle + 0.045
                va = "bottom" if line == 0 else "top"
                axes.text(x, y, words, fontsize=6.5, color=style.MUTED, ha="center", va=va)

    def _left(self, number: int) -> float:
        return self.x[number] - self.sizes[number][0] / 2

    def _right(self, number: int) -> float:
        return self.x[number] + self.sizes[number][0] / 2

    def _draw_link(self, axes: Axes, link: Link, left: float, middle: float) -> None:
        start, end = self.drawing.nodes[link.start], self.drawing.nodes[link.end]
        x, goal = left + self._right(link.start), left + self.x[link.end]
        if link.level is not None:
            side = -1 if link.level < 0 else 1
            edge = side * self.sizes[link.end][1] / 2
            x += _BRANCH
            heights = (start.lane, link.level, link.level, end.lane + edge)
            points = [(place, middle + y) for place, y in zip((x, x, goal, goal), heights, strict=True)]
            schematic.arrow(axes, points)
            if link.label:
                at = ((x + goal) / 2, middle + link.level - 0.03)
                axes.text(*at, link.label, fontsize=6.5, color=style.MUTED, ha="center", va="bottom")
            return
        leave = start.lane if link.start_lane is None else link.start_lane
        reach = end.lane if link.end_lane is None else link.end_lane
        if leave == reach:
            points = [(x, leave), (left + self._left(link.end), reach)]
        elif end.kind == "sign":
            edge = self.sizes[link.end][1] / 2
            points = [(x, leave), (goal, leave), (goal, reach + (edge if leave > reach else -edge))]
        else:
            bend = x + _BRANCH
            points = [(x, leave), (bend, leave), (bend, reach), (left + self._left(link.end), reach)]
        schematic.arrow(axes, [(place, middle + y) for place, y in points])


def _plain(text: str) -> str:
    return text.replace("$", "").replace("_", "")


def _size(node: Node) -> tuple[float, float]:
    lines = _plain(node.text).split("\n")
    if node.kind == "sign":
        return 2 * schematic.SIGN, 2 * schematic.SIGN
    width = max(map(len, lines)) * _LETTER
    if node.kind == "tensor":
        return width + 0.06, len(lines) * _LINE
    return width + 0.16, node.height or len(lines) * _LINE + 0.14


def _draw_node(axes: Axes, node: Node, x: float, y: float, size: tuple[float, float]) -> None:
    if node.kind == "sign":
        schematic.sign(axes, x, y, node.text)
        return
    if node.kind != "tensor":
        schematic.box(axes, x - size[0] / 2, y - size[1] / 2, *size, kind=node.kind)
    lines = node.text.split("\n")
    for number, line in enumerate(lines):
        at = y + (number - (len(lines) - 1) / 2) * _LINE
        axes.text(x, at, line, fontsize=7, ha="center", va="center_baseline")


LANE = 0.36  # inches from the middle to either of two parallel branches
LEVEL = 0.46  # inches from the middle to a shortcut


@dataclass(frozen=True)
class Node:
    """One part of a drawing.

    Args:
        text: what stands in it; "+", "×" and "c" of kind "sign" are ⊕, ⊗ and concatenation.
        kind: a colour of :data:`schematic.COLOURS`, "sign", or "tensor" (text without a box).
        lane: how far below the middle of its chain it stands.
        height: of its box; none: that of its text.
        above: it shares its place along the chain with the node before.
    """

    text: str
    kind: str = "convolution"
    lane: float = 0.0
    height: float | None = None
    above: bool = False


@dataclass(frozen=True)
class Link:
    """An arrow beside those of the chain, between nodes by number.

    Args:
        start: where it comes from; it leaves the arrow just after this node when it has a level.
        end: where it goes.
        level: how far below the middle it runs; none: the shortest way.
        label: words along it.
        start_lane: at which height it leaves the node.
        end_lane: at which height it reaches the node.
    """

    start: int
    end: int
    level: float | None = None
    label: str = ""
    start_lane: float | None = None
    end_lane: float | None = None


@dataclass(frozen=True)
class Drawing:
    """A chain of nodes from left to right, with arrows between neighbours unless ``joined`` is false."""

    nodes: Sequence[Node]
    links: Sequence[Link] = ()
    title: str = ""
    joined: bool = True
    labels: Mapping[int, str] = field(default_factory=dict)  # over the arrow that leaves a node


def _tensor(text: str) -> Node:
    return Node(text, "tensor")


_PLUS, _TIMES, _JOIN = Node("+", "sign"), Node("×", "sign"), Node("c", "sign")
_RELU = Node("ReLU", "other")
_SHORTCUT = "shortcut: x, or conv 1×1 and BN where the shape changes"
_CHANNEL = Node("channel\nattention", "attention")
_SPATIAL = Node("spatial\nattention", "attention")
_TRANSITION = Node("transition\nBN, ReLU\nconv 1×1\nmean 2×2", "pooling")
_DENSE = Node("BN, ReLU\nconv 1×1, 4k\nBN, ReLU\nconv 3×3, k", "units")


def _gate_links(last: int) -> tuple[Link, ...]:
    """The arrows of both attention modules: two parallel branches, and the way past the gate."""
    return (
        Link(0, 1),
        Link(0, 2),
        Link(1, 3, end_lane=-LANE),
        Link(2, 3, end_lane=LANE),
        *(Link(number, number + 1) for number in range(4, last)),
        Link(0, last - 1, level=0.74),
    )


_BOTTLENECK = (
    Node("conv 1×1, C\nBN, ReLU"),
    Node("conv 3×3, C\nBN, ReLU"),
    Node("conv 1×1, 4C\nBN"),
)

DRAWINGS: dict[str, tuple[Drawing, ...]] = {
    "basic": (
        Drawing(
            (
                _tensor("x"),
                Node("conv 3×3, C\nBN, ReLU"),
                Node("conv 3×3, C\nBN"),
                _PLUS,
                _RELU,
                _tensor("y"),
            ),
            (Link(0, 3, -LEVEL, _SHORTCUT),),
        ),
    ),
    "bottleneck": (
        Drawing((_tensor("x"), *_BOTTLENECK, _PLUS, _RELU, _tensor("y")), (Link(0, 4, -LEVEL, _SHORTCUT),)),
    ),
    "attention-unit": (
        Drawing(
            (_tensor("x"), *_BOTTLENECK, _CHANNEL, _SPATIAL, _PLUS, _RELU, _tensor("y")),
            (Link(0, 6, -LEVEL, "shortcut: conv 1×1, 4C and BN"),),
        ),
    ),
    "channel-attention": (
        Drawing(
            (
                _tensor("F\nC × H × W"),
                Node("mean over H × W", "pooling", -LANE),
                Node("maximum over H × W", "pooling", LANE, above=True),
                Node("shared layers\ndense C / r\nReLU\ndense C", "dense", height=1.06),
                _PLUS,
                Node("sigmoid", "other"),
                _TIMES,
                _tensor("F′\nC × H × W"),
            ),
            (
                *(link for link in _gate_links(7) if (link.start, link.end) != (3, 4)),
                Link(3, 4, start_lane=-LANE),
                Link(3, 4, start_lane=LANE),
            ),
            joined=False,
            labels={5: "M$_c$\nC × 1 × 1"},
        ),
    ),
    "spatial-attention": (
        Drawing(
            (
                _tensor("F′\nC × H × W"),
                Node("mean over C", "pooling", -LANE),
                Node("maximum over C", "pooling", LANE, above=True),
                Node("together\n2 × H × W", "other", height=1.06),
                Node("conv 7×7, 1"),
                Node("sigmoid", "other"),
                _TIMES,
                _tensor("F″\nC × H × W"),
            ),
            (*_gate_links(7), Link(3, 4)),
            joined=False,
            labels={5: "M$_s$\n1 × H × W"},
        ),
    ),
    "cbam": (
        Drawing(
            (_tensor("F"), _CHANNEL, _TIMES, _SPATIAL, _TIMES, _tensor("F″")),
            (Link(0, 2, -LEVEL), Link(2, 4, -LEVEL)),
            labels={2: "F′"},
        ),
    ),
    "cbam-residual": (
        Drawing(
            (_tensor("x"), _CHANNEL, _TIMES, _SPATIAL, _TIMES, _PLUS, _tensor("y")),
            (Link(0, 2, -LEVEL), Link(2, 4, -LEVEL), Link(0, 5, LEVEL)),
        ),
    ),
    "mbconv": (
        Drawing(
            (
                _tensor("x"),
                Node("conv 1×1, 4C\nBN, SiLU"),
                Node("depthwise 3×3\nBN, SiLU"),
                Node("squeeze-\nexcite", "attention"),
                Node("conv 1×1, C\nBN"),
                _PLUS,
                _tensor("y"),
            ),
            (Link(0, 5, -LEVEL, "where the shape stays"),),
            title="MBConv",
        ),
        Drawing(
            (_tensor("x"), Node("conv 3×3, 4C\nBN, SiLU"), Node("conv 1×1, C\nBN"), _PLUS, _tensor("y")),
            (Link(0, 3, -LEVEL, "where the shape stays"),),
            title="Fused-MBConv",
        ),
    ),
    "dense-block": (
        Drawing(
            (_tensor("x"), *(_DENSE, _JOIN) * 3, _TRANSITION, _tensor("y")),
            (Link(0, 2, -0.5), Link(2, 4, -0.5), Link(4, 6, -0.5)),
            labels={2: "C + k", 4: "C + 2k", 6: "C + 3k"},
        ),
    ),
}
"""What can be drawn, by name."""
