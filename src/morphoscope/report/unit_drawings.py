"""What the drawings of units, gates and blocks show, as data: nodes in chains, and arrows beside them.

C is the number of channels, H × W the size of a map, r the reduction ratio, k the growth rate of a dense
block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
