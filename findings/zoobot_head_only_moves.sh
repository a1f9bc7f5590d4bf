#!/usr/bin/env bash
# zoobot 2.9.0: training_mode="head_only", documented to "freeze encoder and only train head", changes the encoder. Its
# parameters get no gradients, but its batch normalisation stays in training mode, so the running means and variances
# move to the new images (the call that would freeze them is commented out in
# zoobot/pytorch/training/finetune.py, configure_optimizers). Features computed with the encoder before and after differ,
# and two heads trained on "the same frozen encoder" do not share it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" "zoobot[pytorch]==2.9.0" galaxy-datasets==0.0.25 \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 lightning==2.6.6
"$dir/venv/bin/python" - <<'PYTHON'
import copy
import logging
import warnings
from importlib.metadata import version

import lightning
import timm
import torch

warnings.filterwarnings("ignore")
from zoobot.pytorch.training.finetune import FinetuneableZoobotClassifier

logging.disable(logging.WARNING)
torch.manual_seed(0)
images = torch.rand(32, 3, 64, 64)
batches = [
    {"image": images[start : start + 8], "label": torch.arange(start, start + 8) % 2} for start in range(0, 32, 8)
]
encoder = timm.create_model("resnet18", pretrained=False, num_classes=0)
kept = copy.deepcopy(encoder).eval()
model = FinetuneableZoobotClassifier(encoder=encoder, num_classes=2, training_mode="head_only")
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
after, before = encoder.state_dict(), kept.state_dict()
changed = {name.rsplit(".", 1)[1] for name in before if not torch.equal(before[name], after[name])}
with torch.no_grad():
    old, new = kept(images), encoder.eval()(images)
moved = float((new - old).norm() / old.norm())
print("zoobot", version("zoobot"), "timm", version("timm"), "lightning", version("lightning"))
print("changed in the frozen encoder:", sorted(changed))
print(f"its features moved by {moved:.0%} of their length")
expected = {"num_batches_tracked", "running_mean", "running_var"}
raise SystemExit(0 if changed == expected and moved > 0.1 else 1)
PYTHON
