"""`fu`: DenseNet-121 on Galaxy10 DECaLS with 0 to 100 % of its layers frozen at their ImageNet weights.

"k %" is read as: the first ⌊427 · k⌋ layers, counted as Keras counts them, carry ImageNet weights and do
not learn; the others start random and learn. Only that reading lets 0 % be far worse than 20 %; the other
one (ImageNet weights everywhere) is the named option ``rest-imagenet``. The split, the image size, the
batch and the magnitudes of the augmentation are not in the paper. Rare classes are repeated after the
split, never before it.
"""

from __future__ import annotations

from collections.abc import Callable

from morphoscope.recipe import Augment, Data, Model, Optimiser, Recipe, Schedule, Training

PERCENT = (0, 20, 40, 60, 80, 100)
LITERAL: dict[str, tuple[str, dict[str, object]]] = {
    "rest-imagenet": (
        "layers that learn start from ImageNet weights too, so that 0 % is full fine-tuning",
        {"model.rest": "pretrained"},
    ),
}


def densenet121(percent: int) -> Recipe:
    """Table 1: ten epochs of Adam at 5e-4; shifts of place and colour and turns, no change of aspect."""
    return Recipe(
        name=f"fu/densenet121-{percent}",
        about=f"DenseNet-121, {percent} % of its layers frozen at ImageNet weights",
        data=Data(scheme="galaxy10", split="fu", balance="oversample"),
        augment=Augment(
            size=256,
            rotation=90,
            zoom=(1.0, 1.0),
            shift=0.1,
            channel_shift=20,
            border="replicate",
            flip_horizontal=False,
            flip_vertical=False,
        ),
        model=Model(name="densenet121.tv_in1k", frozen=percent / 100, rest="random"),
        optimiser=Optimiser(name="adam", lr=5e-4, weight_decay=0, clip=0),
        schedule=Schedule(name="constant", warmup=0),
        training=Training(epochs=10, batch=32, ema=0, restore_best=False),
    )


def lite0(percent: int) -> Recipe:
    """The same question with ImageNet weights that need no hub, on any classes."""
    return densenet121(percent).changed(
        name=f"fu/efficientnet-lite0-{percent}",
        about=f"EfficientNet-Lite0, {percent} % frozen at packaged ImageNet weights",
        data={"scheme": None},
        model={"name": "tf_efficientnet_lite0"},
    )


RECIPES: tuple[Callable[[], Recipe], ...] = (
    *(lambda percent=percent: densenet121(percent) for percent in PERCENT),
    *(lambda percent=percent: lite0(percent) for percent in PERCENT),
)
