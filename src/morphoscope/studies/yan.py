"""`yan`: EfficientNetV2-S with CBAM on Galaxy10 DECaLS, beside four other networks.

The described head (a hidden layer of 4096) has 5 million weights more than the published "20.6M"; both
are here. The paper leaves open the learning rate ("over 0.01", with Adam, on pretrained weights, which
destroys them; 1e-3 here), the split, the pooling, CBAM's reduction ratio (16, as Woo et al.) and the
weight of the L2 penalty. It also announces progressive learning and then describes a fixed size; that is
the named option ``progressive``.
"""

from __future__ import annotations

from collections.abc import Callable

from morphoscope.recipe import Augment, Data, Model, Optimiser, Recipe, Schedule, Training

FUSED = (0, 3, 4, 5, 6)
LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    "adam-0.01": ("Adam's initial learning rate of 0.01", {"optimiser.lr": 0.01}),
    "progressive": (
        "the progressive image sizes of the introduction, 128 to 224 px in four steps",
        {"augment.train_size": (128, 160, 192, 224)},
    ),
}


def _base() -> Recipe:
    """Sections 2.2 and 2.3: 224 px, Adam with time decay 0.001, patience 4, hidden layer of 4096."""
    return Recipe(
        name="yan/base",
        data=Data(scheme="galaxy10", split="cheng"),
        augment=Augment(size=224, rotation=20, shear=17, zoom=(0.7, 1.3), shift=0, border="replicate"),
        model=Model(hidden=(4096,), hidden_l2=0.01, dropout=0.4),
        optimiser=Optimiser(name="adam", lr=1e-3, weight_decay=0, clip=0),
        schedule=Schedule(name="keras-decay", decay=1e-3),
        training=Training(epochs=50, batch=64, patience=4, ema=0),
    )


def cbam() -> Recipe:
    """Table 2, last row, as the text describes it."""
    return _base().changed(
        name="yan/efficientnetv2s-cbam",
        about="EfficientNetV2-S, CBAM on its last map, hidden layer of 4096",
        model={"name": "tf_efficientnetv2_s.in1k", "attention": "cbam"},
    )


def cbam_published() -> Recipe:
    """Table 2, last row, as its 20.6 million weights say: no hidden layer."""
    return cbam().changed(
        name="yan/efficientnetv2s-cbam-published",
        about="the same without the hidden layer, as the published count fits it",
        model={"hidden": (), "hidden_l2": 0},
    )


def _without(kind: str) -> Recipe:
    names = {"none": "", "channel": "-channel", "spatial": "-spatial"}
    words = {
        "none": "no attention",
        "channel": "channel attention alone",
        "spatial": "spatial attention alone",
    }
    return cbam().changed(
        name=f"yan/efficientnetv2s{names[kind]}",
        about=f"EfficientNetV2-S, {words[kind]} (an ablation the paper does not have)",
        model={"attention": kind, "pool": "average"},
    )


def _compared(name: str, timm_name: str, words: str) -> Recipe:
    """Table 2, rows 1 to 4: another network, the same head and protocol."""
    return _base().changed(
        name=f"yan/{name}", about=f"{words} with the same head", model={"name": timm_name, "pool": "average"}
    )


def fused(stages: int) -> Recipe:
    """Table 1's question, asked of galaxies: how many stages should be fused (from random weights)."""
    return cbam().changed(
        name=f"yan/fused-{stages}",
        about=f"{stages} of 6 stages fused, CBAM, from random weights",
        model={"fused": stages, "pretrained": False, "hidden": (), "hidden_l2": 0},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    lambda: _compared("mobilenetv2", "mobilenetv2_100.ra_in1k", "MobileNetV2"),
    lambda: _compared("resnet50", "resnet50.tv_in1k", "ResNet-50"),
    lambda: _compared("vgg16", "vgg16.tv_in1k", "VGG16"),
    lambda: _compared("inception-resnet-v2", "inception_resnet_v2.tf_in1k", "Inception-ResNet-v2"),
    cbam,
    cbam_published,
    lambda: _without("none"),
    lambda: _without("channel"),
    lambda: _without("spatial"),
    *(lambda stages=stages: fused(stages) for stages in FUSED),
)
