#!/usr/bin/env bash
# zoobot 2.9.0: votes that are no whole numbers are cut to the next smaller one in the loss of decision trees
# (zoobot/pytorch/training/losses.py, get_dirichlet_neg_log_prob and CustomMultiQuestionLoss.forward), without a warning.
# Weighted votes, as published for Galaxy Zoo 2, lose up to one vote of each answer; vote fractions all become 0,
# for which the loss is 0 whatever the network says, so that it learns nothing.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" "zoobot[pytorch]==2.9.0" galaxy-datasets==0.0.25 \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 lightning==2.6.6
"$dir/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import torch

warnings.filterwarnings("ignore")
from zoobot.pytorch.training.losses import CustomMultiQuestionLoss, get_dirichlet_neg_log_prob

loss = CustomMultiQuestionLoss({"smooth": ["_yes", "_no"]}, get_dirichlet_neg_log_prob)
print("zoobot", version("zoobot"), "torch", torch.__version__)
seen = {}
for yes, no in ((12.0, 27.0), (12.9, 27.9), (0.3, 0.7)):
    alpha = torch.tensor([[3.0, 9.0]], requires_grad=True)
    value = loss(alpha, {"smooth_yes": torch.tensor([yes]), "smooth_no": torch.tensor([no])}).sum()
    (gradient,) = torch.autograd.grad(value, alpha)
    seen[yes] = (abs(float(value)), float(gradient.abs().max()))
    print(f"votes {yes} and {no}: loss {seen[yes][0]:.4f}, largest gradient {seen[yes][1]:.4f}")
raise SystemExit(0 if seen[12.9] == seen[12.0] and seen[0.3] == (0.0, 0.0) and seen[12.0][0] > 1 else 1)
PYTHON
