"""`tong`: ResNet-50 with channel and spatial attention in every residual unit, five classes of Galaxy Zoo 2.

The paper leaves open the optimiser, the loss and the regularisation. Learning rate 0.01 and the public
code its attention resembles point to SGD with momentum 0.9; the L2 term of 5e-4 on a weight, whose
gradient is twice that, is ``weight_decay=1e-3`` here. Augmentation is by rotation, flips, brightness and
contrast without magnitudes in the paper.
"""

from __future__ import annotations

from collections.abc import Callable

from morphoscope.recipe import Augment, Data, Model, Optimiser, Recipe, Schedule, Training

LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    "adam-0.01": (
        "Adam at the paper's learning rate of 0.01, if TensorFlow's usual optimiser was meant",
        {"optimiser.name": "adam", "optimiser.weight_decay": 0.0},
    ),
}


def resnet50() -> Recipe:
    """Tables III and V, row 1: a convolution in all 16 shortcuts, which the published count implies."""
    return Recipe(
        name="tong/resnet50",
        about="ResNet-50 with a convolution in every shortcut, the paper's baseline",
        data=Data(scheme="five-class", split="tong"),
        augment=Augment(
            size=224, crop=224, rotation=180, zoom=(1.0, 1.0), shift=0, brightness=0.15, contrast=0.15
        ),
        model=Model(
            name="residual50", shortcut="projection", biases=True, pretrained=False, normalise="data"
        ),
        optimiser=Optimiser(name="sgd", lr=0.01, momentum=0.9, weight_decay=1e-3, clip=0),
        schedule=Schedule(name="constant", warmup=0),
        training=Training(epochs=100, batch=128, ema=0),
    )


def cs_resnet50() -> Recipe:
    """Table V, row 2, with the gates whose count (38,601,809) is the published one."""
    return resnet50().changed(
        name="tong/cs-resnet50",
        about="channel and spatial attention in every unit, gates of the published count",
        model={"attention": "tiled-cbam"},
    )


def cs_resnet50_text() -> Recipe:
    """The attention as the text and its Fig 5 describe it: CBAM on the unit's 4C channels."""
    return resnet50().changed(
        name="tong/cs-resnet50-text",
        about="the same with CBAM on all 4C channels, as the text describes it",
        model={"attention": "cbam"},
    )


def channel_only() -> Recipe:
    """Half of the attention: channels."""
    return resnet50().changed(
        name="tong/cs-resnet50-channel",
        about="channel attention alone (an ablation the paper does not have)",
        model={"attention": "channel"},
    )


def spatial_only() -> Recipe:
    """Half of the attention: places."""
    return resnet50().changed(
        name="tong/cs-resnet50-spatial",
        about="spatial attention alone (an ablation the paper does not have)",
        model={"attention": "spatial"},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    resnet50,
    cs_resnet50,
    cs_resnet50_text,
    channel_only,
    spatial_only,
)
