#!/usr/bin/env bash
# grad-cam 1.5.7 keeps a layer's activation without copying it (on a CPU). Where a ReLU that works in place follows,
# as after every convolution of torchvision's VGG and its like, the map is made of what the ReLU left of it and of the
# gradients of before: the same weights with ReLU(inplace=False) give the same outputs and other maps. captum 0.9.0's
# LayerGradCam gives the same map both times.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" grad-cam==1.5.7 captum==0.9.0 torch==2.15.0 \
  torchvision==0.29.2
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import copy
import sys
from importlib.metadata import version

import numpy as np
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import EigenCAM, GradCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

print("grad-cam", version("grad-cam"), "captum", version("captum"), "torch", torch.__version__)
torch.manual_seed(0)
image = torch.zeros(1, 3, 24, 24)
image[:, 0, 3:10, 3:10] = 1  # a red square at the upper left, a blue one at the lower right
image[:, 2, 14:21, 14:21] = 1
layers = nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
in_place = nn.Sequential(*layers).eval()
copying = copy.deepcopy(in_place)
copying[1].inplace = False
with torch.no_grad():
    assert torch.equal(in_place(image), copying(image))


def map_of(method, network):
    if method is LayerGradCam:
        return LayerGradCam(network, network[0]).attribute(image, target=1).detach().numpy()[0, 0]
    with method(model=network, target_layers=[network[0]]) as cam:
        return cam(image, targets=[ClassifierOutputTarget(1)])[0]


correlations = {}
for method in (GradCAM, EigenCAM, LayerGradCam):
    first, second = (map_of(method, network) for network in (in_place, copying))
    correlations[method] = float(np.corrcoef(first.ravel(), second.ravel())[0, 1])
    print(f"{method.__name__}: correlation of the maps, in place and not: {correlations[method]:.2f}")
    for name, found in (("in place", first), ("not in place", second)):
        print(f"  {name}: mean on red {found[3:10, 3:10].mean():.2f}, on blue {found[14:21, 14:21].mean():.2f}")
wrong = correlations[GradCAM] < 0.95 and correlations[EigenCAM] < 0.95
sys.exit(not (wrong and correlations[LayerGradCam] > 0.9999))
PYTHON
