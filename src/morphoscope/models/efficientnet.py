"""EfficientNetV2-S with any number of its stages made of fused blocks (`yan`, Table 1).

Tan & Le 2021: a fused block replaces the 1 × 1 expansion and the depthwise 3 × 3 convolution of an MBConv
block by one full 3 × 3 convolution, faster in the early stages, with many more parameters in the late ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

STAGES = 6

# Stage by stage: fused, and as MBConv. Letters as in timm: r blocks, k kernel, s stride, e expansion,
# c channels, se squeeze-and-excitation. Fused blocks have no squeeze-and-excitation.
_FUSED = (
    "cn_r2_k3_s1_e1_c24_skip",
    "er_r4_k3_s2_e4_c48",
    "er_r4_k3_s2_e4_c64",
    "er_r6_k3_s2_e4_c128",
    "er_r9_k3_s1_e6_c160",
    "er_r15_k3_s2_e6_c256",
)
_MBCONV = (
    "ds_r2_k3_s1_e1_c24_se0.25",
    "ir_r4_k3_s2_e4_c48_se0.25",
    "ir_r4_k3_s2_e4_c64_se0.25",
    "ir_r6_k3_s2_e4_c128_se0.25",
    "ir_r9_k3_s1_e6_c160_se0.25",
    "ir_r15_k3_s2_e6_c256_se0.25",
)


def fused_efficientnet(fused: int, channels: int = 3) -> Any:
    """The convolutional part of EfficientNetV2-S whose first ``fused`` stages of six are fused.

    With 3 it is EfficientNetV2-S itself, with timm's names and order of tensors.
    """
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    stages = [[stage] for stage in (*_FUSED[:fused], *_MBCONV[fused:])]
    return EfficientNet(
        in_chans=channels,
        block_args=decode_arch_def(stages),
        num_features=1280,
        stem_size=24,
        num_classes=0,
        global_pool="",
        round_chs_fn=_as_given,
        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
        act_layer=nn.SiLU,
        pad_type="same",
    )


def _as_given(channels: int, *_: Any, **__: Any) -> int:
    return channels
