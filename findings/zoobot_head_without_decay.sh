#!/usr/bin/env bash
# zoobot 2.9.0: when all layers are fine-tuned (training_mode="full", the default), the head gets no weight decay,
# although "weight decay is applied to both the head and the encoder". The head is added to an optimiser of timm,
# which has moved the decay into the groups of the encoder and left 0 as the default for new groups
# (zoobot/pytorch/training/finetune.py, configure_optimizers). With training_mode="head_only" the same head has it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" "zoobot[pytorch]==2.9.0" galaxy-datasets==0.0.25 \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 lightning==2.6.6
"$dir/venv/bin/python" - <<'PYTHON'
import warnings
from importlib.metadata import version

import timm

warnings.filterwarnings("ignore")
from zoobot.pytorch.training.finetune import FinetuneableZoobotClassifier


def decay_of_head(mode):
    model = FinetuneableZoobotClassifier(
        encoder=timm.create_model("resnet18", pretrained=False, num_classes=0),
        num_classes=3,
        training_mode=mode,
        weight_decay=0.05,
    )
    weight = model.head.linear.weight
    groups = model.configure_optimizers().param_groups
    (decay,) = (group["weight_decay"] for group in groups if any(each is weight for each in group["params"]))
    return decay, max(group["weight_decay"] for group in groups)


print("zoobot", version("zoobot"), "timm", version("timm"))
seen = {mode: decay_of_head(mode) for mode in ("full", "head_only")}
for mode, (decay, largest) in seen.items():
    print(f"weight_decay=0.05, training_mode={mode!r}: head {decay}, largest of all groups {largest}")
raise SystemExit(0 if seen == {"full": (0.0, 0.05), "head_only": (0.05, 0.05)} else 1)
PYTHON
