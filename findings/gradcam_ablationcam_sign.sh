#!/usr/bin/env bash
# grad-cam 1.5.7: AblationCAM's weights are (score - score without the channel) / score, as in equation 3 of
# Desai & Ramaswamy (2020). A logit may be negative, and then every weight changes its sign: adding a constant to
# the explained output, which changes no prediction of a softmax when it is added to all, turns the map into that
# of the channels that speak against the class. GradCAM of the same package does not change.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" grad-cam==1.5.7 torch==2.15.0 torchvision==0.29.2
"$dir/venv/bin/python" - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import torch
from pytorch_grad_cam import AblationCAM, GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

torch.manual_seed(0)
features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
head = nn.Linear(16, 4)
network = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()
image = torch.zeros(1, 3, 24, 24)
image[:, 0, 3:10, 3:10] = 1  # a red square at the upper left, a blue one at the lower right
image[:, 2, 14:21, 14:21] = 1


def map_of(method, constant):
    with torch.no_grad():
        head.bias.fill_(constant)  # the same for all four outputs
        probabilities = network(image).softmax(1)
    with method(model=network, target_layers=[features]) as cam:
        return cam(image, targets=[ClassifierOutputTarget(1)])[0], probabilities


print("grad-cam", version("grad-cam"), "torch", torch.__version__)
correlations = {}
for method in (AblationCAM, GradCAM):
    (above, p), (below, q) = map_of(method, 3.0), map_of(method, -3.0)
    assert torch.allclose(p, q, atol=1e-6)  # the predictions are the same
    correlations[method.__name__] = float(np.corrcoef(above.ravel(), below.ravel())[0, 1])
    print(f"{method.__name__}: correlation of the maps at bias +3 and -3: {correlations[method.__name__]:.2f}")
    for bias, found in ((3, above), (-3, below)):
        print(f"  bias {bias:+d}: mean on red {found[3:10, 3:10].mean():.2f}, on blue {found[14:21, 14:21].mean():.2f}")
sys.exit(not (correlations["AblationCAM"] < 0.5 and correlations["GradCAM"] > 0.999))
PYTHON
