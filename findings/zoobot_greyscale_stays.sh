#!/usr/bin/env bash
# zoobot 2.9.0: a model made with greyscale=True makes every later one of the same process greyscale. The option puts
# in_chans=1 into timm_kwargs, whose default is one dictionary that all calls share (zoobot/pytorch/training/finetune.py,
# FinetuneableZoobotAbstract.__init__). A colour model made afterwards by its name on the hub is created with that
# dictionary, so with one input channel, and its checkpoint records it; here, where nothing is downloaded, its
# hyperparameters show it.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" "zoobot[pytorch]==2.9.0" galaxy-datasets==0.0.25 \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 lightning==2.6.6
"$dir/venv/bin/python" - <<'PYTHON'
import logging
import warnings
from importlib.metadata import version

import timm

warnings.filterwarnings("ignore")
from zoobot.pytorch.training.finetune import FinetuneableZoobotClassifier

logging.getLogger().setLevel(logging.ERROR)


def made(channels, **options):
    encoder = timm.create_model("resnet18", pretrained=False, num_classes=0, in_chans=channels)
    return FinetuneableZoobotClassifier(encoder=encoder, num_classes=3, **options).hparams


print("zoobot", version("zoobot"), "timm", version("timm"))
before = dict(made(3).timm_kwargs)
made(1, greyscale=True)
after = made(3)
print("options for timm of a colour model made first:", before)
print("of one made after a greyscale model:", dict(after.timm_kwargs), "greyscale:", after.greyscale)
raise SystemExit(0 if before == {} and dict(after.timm_kwargs) == {"in_chans": 1} and not after.greyscale else 1)
PYTHON
