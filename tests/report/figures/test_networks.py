from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations, pairwise, product
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
import timm
import torch
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from timm.layers import AttentionPoolLatent, SelectAdaptivePool2d
from torch import nn

from morphoscope.errors import UsageError
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.labels.tree_files import decision_tree as sums_of
from morphoscope.labels.tree_files import tree_file, tree_names
from morphoscope.models.attention import ChannelGate, SpatialGate, attention
from morphoscope.models.network import Network, head, parameter_count
from morphoscope.models.residual import ResidualTrunk, Units
from morphoscope.report import formatting
from morphoscope.report.figures import style
from morphoscope.report.figures.decision_tree import decision_tree
from morphoscope.report.figures.network_summary import described, shape_words, stages, structure_table
from morphoscope.report.figures.networks import DRAWINGS, building_block, network_diagram, stages_diagram
from morphoscope.report.html.document import Page

BLOCKS = sorted(path.stem for path in DRAWINGS.glob("*.svg"))
Box = tuple[float, float, float, float]


def network(name: str, features: int, hidden: tuple[int, ...], outputs: int, **options: object) -> Network:
    with torch.device("meta"):
        trunk = timm.create_model(name, num_classes=0, **options)
        return Network(trunk, head(features, hidden, outputs, 0.5), (0.5,) * 3, (0.5,) * 3)


def test_stages_of_a_resnet_are_those_of_its_paper() -> None:
    found = stages(network("resnet50", 2048, (512, 128), 10), 224)
    assert [stage.layers[0] for stage in found] == [
        "conv 7×7, 64, stride 2",
        *("3 × bottleneck unit", "4 × bottleneck unit", "6 × bottleneck unit", "3 × bottleneck unit"),
        "global average pool",
    ]
    assert found[0].layers[1] == "max pool 3×3"
    # He et al. 2016, table 1
    assert [stage.shape for stage in found[1:5]] == [
        *((256, 56, 56), (512, 28, 28)),
        *((1024, 14, 14), (2048, 7, 7)),
    ]
    assert found[1].details == ("1×1, 64", "3×3, 64", "1×1, 256")
    assert found[-1].layers[1:] == ("dense 512", "dense 128", "dense 10")
    # 1,116,042 head and 24,624,074 in all: `cheng`'s Table 1, counted by hand from its layer sizes
    assert found[-1].parameters == 1_116_042
    assert sum(stage.parameters for stage in found) == 24_624_074


NETWORKS = {
    "vgg16": (4096, (), {"features.10": ("3 × conv 3×3, 256", "max pool 2×2")}),
    "densenet121": (
        1024,
        (),
        {
            "features.denseblock3": ("24 × dense layer",),
            "features.transition1": ("conv 1×1, 128", "average pool 2×2"),
        },
    ),
    "tf_efficientnetv2_s": (
        1280,
        (4096,),
        {"blocks.2": ("4 × Fused-MBConv",), "blocks.5": ("15 × MBConv",), "conv_head": ("conv 1×1, 1280",)},
    ),
    "convnext_tiny": (768, (), {"stages.2.blocks": ("9 × ConvNeXt block",)}),
    "vit_small_patch14_reg4_dinov2": (
        384,
        (),
        {
            "blocks": ("12 × transformer block",),
            "": ("class token", "register tokens", "position grid"),
        },
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_have_words_and_add_up_to_the_network(name: str) -> None:
    features, hidden, words = NETWORKS[name]
    options = {"dynamic_img_size": True} if name.startswith("vit") else {}
    made = network(name, features, hidden, 37, **options)
    found = stages(made, 224)
    layers = {stage.name.removeprefix("backbone."): stage.layers for stage in found}
    assert len(layers) == len(found)
    assert {key: layers.get(key) for key in words} == words
    assert sum(stage.parameters for stage in found) == parameter_count(made)
    running = [b.numel() for key, b in made.named_buffers() if key.endswith(("running_mean", "running_var"))]
    assert sum(stage.statistics for stage in found) == sum(running)
    passed = [stage for stage in found if stage.name]
    assert passed[-1].shape == (37,)
    assert 3 <= len(passed) <= 12
    assert stages_diagram(found, 224).get_figwidth() <= style.WIDTH + 1e-9


def small_network() -> nn.Module:
    blocks = [
        nn.Sequential(
            nn.Conv2d(before, after, 3, padding=1),
            nn.BatchNorm2d(after),
            nn.ReLU(inplace=True),
            nn.Sequential(ChannelGate(after, 4), SpatialGate()),
            nn.MaxPool2d(2),
        )
        for before, after in ((3, 8), (8, 16))
    ]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(16 * 8 * 8, 5))


def test_a_small_network_is_neither_changed_nor_run() -> None:
    made = small_network()
    made[0].requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in made.state_dict().items()}
    first, second, last = stages(made, 32)
    assert first.layers == ("conv 3×3, 8", "channel + spatial attention", "max pool 2×2")
    assert (first.kind, first.shape, second.shape) == ("convolution", (8, 16, 16), (16, 8, 8))
    assert (first.trainable, last.trainable) == (0, last.parameters)
    assert last.layers == ("flatten", "dense 5")
    assert made.training
    assert not any(module._forward_hooks for module in made.modules())
    for name, tensor in made.state_dict().items():
        assert tensor.device.type == "cpu"
        torch.testing.assert_close(tensor, before[name])


def test_attention_behind_a_trunk_is_a_stage_and_inside_units_a_detail() -> None:
    with torch.device("meta"):
        trunk = ResidualTrunk(50, Units("projection", True, "tiled-cbam"))
        made = nn.Sequential(trunk, attention("cbam", 2048), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        made.append(nn.Linear(2048, 5))
    found = stages(made, 64)
    assert [stage.kind for stage in found] == ["convolution", *["units"] * 4, "attention", "dense"]
    assert found[1].details[-1] == "channel + spatial attention"
    assert found[5].layers == ("channel + spatial attention",)
    # the published total of CS_ResNet50 (`tong`, Table IV), which has no attention behind the trunk
    extra = found[5].parameters
    assert sum(stage.parameters + stage.statistics for stage in found) - extra == 38_601_809


def test_a_module_used_twice_counts_once() -> None:
    shared = nn.Conv2d(3, 3, 1)
    made = nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(3 * 16, 2))
    assert sum(stage.parameters for stage in stages(made, 4)) == parameter_count(made)


def test_structure_table_ends_with_the_sums_of_torch_and_keras() -> None:
    made = small_network()
    made[0].requires_grad_(False)
    table = structure_table(made, 32)
    assert table.totals == 3
    assert [row[0] for row in table.rows[:3]] == ["0", "1", "3"]
    assert table.rows[0][2] == "8 × 16 × 16"
    whole = parameter_count(made)
    sums = [int(row[3].replace("\u202f", "")) for row in table.rows[-3:]]
    assert sums == [whole, parameter_count(made, trainable_only=True), whole + 2 * (8 + 16)]
    assert all(len(row) == len(table.headings) for row in table.rows)
    assert structure_table(small_network(), 32).totals == 2


def test_shapes_to_read() -> None:
    assert shape_words((64, 8, 8)) == "64 × 8 × 8"
    assert shape_words((261, 768)) == "261 tokens × 768"
    assert shape_words((10,)) == "10"
    assert shape_words(()) == "–"


def words(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_diagram_says_names_layers_shapes_and_weights() -> None:
    made = small_network()
    shown = words(network_diagram(made, 32))
    assert {"conv 3×3, 8", "8 × 16 × 16"} <= set(shown)
    assert "channel + spatial attention" in " ".join(shown)  # on two lines in a wide font
    assert {"3 × 32 × 32", "flatten", "dense 5", "5"} <= set(shown)
    assert shown[-1].startswith(f"{parameter_count(made):,} parameters".replace(",", "\u202f"))


@pytest.mark.parametrize("family", ["", "DejaVu Sans", "DejaVu Sans Mono"])
def test_texts_of_a_diagram_lie_apart_and_in_their_boxes(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if family:
        monkeypatch.setattr(style, "_fonts", lambda: [family])
    figure = network_diagram(network("resnet50", 2048, (512, 128), 10), 224)
    figure.set_dpi(150)
    with style.applied():
        figure.draw_without_rendering()
    axes = figure.axes[0]
    apart(list(axes.texts))
    boxes = [patch.get_window_extent() for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) >= 7
    for text in axes.texts:
        extent = text.get_window_extent()
        middle = (extent.x0 + extent.x1) / 2, (extent.y0 + extent.y1) / 2
        for box in boxes:
            if box.contains(*middle):
                assert box.x0 <= extent.x0, text.get_text()
                assert extent.x1 <= box.x1, text.get_text()


def apart(texts: list[Text]) -> None:
    """No two texts of a figure overlap."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    for place, (one, first) in enumerate(boxes):
        for other, second in boxes[place + 1 :]:
            across = min(first.x1, second.x1) - max(first.x0, second.x0)
            down = min(first.y1, second.y1) - max(first.y0, second.y0)
            assert across <= 1 or down <= 2, f"'{one}' lies on '{other}'"


def texts_of(svg: Element) -> Iterator[tuple[str, Box]]:
    """The texts of a drawing and their boxes in DejaVu Sans, which comes with matplotlib and is wide."""
    for text in svg.iterfind(".//{*}text"):
        words, size = "".join(text.itertext()), float(text.get("font-size", "7"))
        font = FontProperties(family="DejaVu Sans", size=size, weight=text.get("font-weight", "normal"))
        width, height, descent = text_to_path.get_text_width_height_descent(words, font, ismath=False)
        x, y = float(text.get("x", "nan")), float(text.get("y", "nan"))
        left = x if text.get("text-anchor") == "start" else x - width / 2
        yield words, (left, y - height + descent, left + width, y + descent)


def common(one: Box, other: Box) -> tuple[float, float]:
    return min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])


@pytest.mark.parametrize("kind", BLOCKS)
def test_words_of_a_building_block_fit_their_boxes_and_the_drawing(kind: str) -> None:
    svg = ElementTree.fromstring(building_block(kind))
    x, y, width, height = map(float, svg.get("viewBox", "").split())
    assert (x, y, f"{width:g}pt", f"{height:g}pt") == (0, 0, svg.get("width"), svg.get("height"))
    assert width <= 72 * style.WIDTH
    rectangles = [
        tuple(float(each.get(name, "nan")) for name in ("x", "y", "width", "height"))
        for each in svg.iterfind(".//{*}rect")
    ]
    edges = [(left, top, left + across, top + down) for left, top, across, down in rectangles]
    texts = list(texts_of(svg))
    assert len(texts) >= len(edges) > 1
    for number, (words, box) in enumerate(texts):
        assert min(box[:2]) >= 0, words
        assert box[2] <= width, words
        assert box[3] <= height, words
        for edge in edges:
            inside = edge[0] <= box[0] and edge[1] <= box[1] and box[2] <= edge[2] and box[3] <= edge[3]
            assert inside or min(common(box, edge)) <= 0, words
        for other, theirs in texts[number + 1 :]:
            assert min(common(box, theirs)) <= 0.5, f"'{words}' lies on '{other}'"


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_building_block_stands_in_a_page_in_the_colours_of_its_theme(kind: str, tmp_path: Path) -> None:
    page = Page(tmp_path)
    page.section("units", "Units")
    page.drawing(f"unit_{kind}", building_block(kind), "A <unit>")
    (block,) = page.sections[0].blocks
    assert (tmp_path / f"unit_{kind}.svg").read_text(encoding="utf-8") == building_block(kind)
    assert 100 < block.width <= 831
    assert block.content.startswith('<svg role="img" aria-label="A &lt;unit&gt;" ')
    assert "var(--ink, #1d1f24)" in block.content
    bare = re.sub(r"var\(--[a-z0-9-]+, #[0-9a-f]{6}\)", "", block.content)
    assert "#" not in bare


def test_an_unknown_building_block_is_named() -> None:
    with pytest.raises(UsageError, match="did you mean 'bottleneck'"):
        building_block("botleneck")


@pytest.mark.parametrize("family", ["", "DejaVu Sans", "DejaVu Sans Mono"])
def test_the_tree_has_all_questions_answers_and_columns(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if family:
        monkeypatch.setattr(style, "_fonts", lambda: [family])
    figure = decision_tree()
    shown = words(figure)
    joined = " ".join(shown)
    assert set(GALAXY_ZOO_2.columns) <= set(shown)
    for question in GALAXY_ZOO_2.questions:
        assert f"{question.key} " in joined
        assert question.text in joined
    for answer in GALAXY_ZOO_2.answers:
        assert answer.text in joined
    ends = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(ends) == 1 + sum(answer.next is None for answer in GALAXY_ZOO_2.answers)
    assert figure.get_figwidth() <= style.WIDTH
    assert figure.get_figheight() < 9.7  # the text of an A4 page
    figure.set_dpi(150)
    with style.applied():
        figure.draw_without_rendering()
    apart(list(figure.axes[0].texts))


@pytest.mark.parametrize("name", ["gz-decals-dr5", "gz-hubble", "gz-rings"])
def test_any_tree_is_drawn_with_its_questions_and_routes(name: str) -> None:
    tree = sums_of(tree_file(name).tree())
    figure = decision_tree(tree)
    joined = " ".join(words(figure))
    for question in tree.questions:
        assert f"{question.key}: " in joined
    ends = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(ends) == 1 + sum(answer.next is None for answer in tree.answers)
    figure.set_dpi(150)
    with style.applied():
        figure.draw_without_rendering()
    apart(list(figure.axes[0].texts))


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([nn.ReLU()], ("activation",)),
        ([nn.BatchNorm2d(3), nn.ReLU()], ("normalisation",)),
        ([nn.AdaptiveMaxPool2d(1), nn.Flatten()], ("global max pool", "flatten")),
        ([SelectAdaptivePool2d(pool_type="max")], ("global max pool",)),
        ([SelectAdaptivePool2d(pool_type=""), nn.Linear(3, 2)], ("dense 2",)),  # switched off
        ([nn.MultiheadAttention(4, 2)], ("attention",)),
        ([AttentionPoolLatent(8, num_heads=2)], ("attention pool",)),
    ],
)
def test_words_for_layers(layers: list[nn.Module], said: tuple[str, ...]) -> None:
    assert described(layers)[0] == said


def test_weights_that_two_layers_share_count_once() -> None:
    made = nn.Sequential(nn.Flatten(), nn.Linear(48, 48, bias=False), nn.Linear(48, 48, bias=False))
    made[2].weight = made[1].weight
    assert sum(stage.parameters for stage in stages(made, 4)) == 48 * 48


def test_a_diagram_says_how_many_weights_are_trained() -> None:
    made = small_network()
    made[0].requires_grad_(False)
    trained = formatting.count(parameter_count(made, trainable_only=True))
    assert f"{trained} of them trainable" in " ".join(words(stages_diagram(stages(made, 32), 32)))


@pytest.mark.parametrize("name", tree_names())
def test_arrows_to_different_questions_do_not_lie_on_one_another(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    routes: list[list[tuple[float, float]]] = []
    monkeypatch.setattr("morphoscope.report.figures.schematic.arrow", lambda _, points: routes.append(points))
    decision_tree(sums_of(tree_file(name).tree()))
    for one, other in combinations(routes, 2):
        (x, top), (other_x, other_top) = one[-1], other[-1]
        if top == other_top and abs(x - other_x) < 0.7:  # to the same card
            continue
        for (y, low, high), (other_y, other_low, other_high) in product(level(one), level(other)):
            assert abs(y - other_y) > 0.02 or min(high, other_high) <= max(low, other_low), (one, other)


def level(route: list[tuple[float, float]]) -> list[tuple[float, float, float]]:
    """The level parts of an arrow: height, left end, right end."""
    return [(y, min(a, b), max(a, b)) for (a, y), (b, end) in pairwise(route) if y == end and a != b]
