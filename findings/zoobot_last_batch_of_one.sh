#!/usr/bin/env bash
# zoobot 2.9.0: a catalogue whose number of galaxies leaves one for the last batch cannot be predicted with a
# regressor. All images are passed through the network first; then predict_on_catalog.predict fails, because the head
# drops every axis of length one (zoobot/pytorch/training/finetune.py, LinearHead.forward) and the last batch is a
# number instead of a vector. With the default batch of 256 that is any catalogue of 257, 513, ... galaxies.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" "zoobot[pytorch]==2.9.0" galaxy-datasets==0.0.25 \
    timm==1.0.31 torch==2.15.0 torchvision==0.29.2 lightning==2.6.6
"$dir/venv/bin/python" - "$dir" <<'PYTHON'
import logging
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import timm
from PIL import Image

warnings.filterwarnings("ignore")
from galaxy_datasets.transforms import fast_view_config, get_galaxy_transform
from zoobot.pytorch.predictions import predict_on_catalog
from zoobot.pytorch.training.finetune import FinetuneableZoobotRegressor

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
rows = []
for number in range(6):
    path = folder / f"{number}.jpg"
    Image.fromarray(np.full((64, 64, 3), 40 * number, np.uint8)).save(path)
    rows.append({"id_str": str(number), "file_loc": str(path)})
model = FinetuneableZoobotRegressor(encoder=timm.create_model("resnet18", pretrained=False, num_classes=0))
config = fast_view_config()
config.output_size = 64


def predicted(count):
    try:
        found = predict_on_catalog.predict(
            pd.DataFrame(rows[:count]),
            model,
            str(folder / "out.csv"),
            ["value"],
            get_galaxy_transform(config),
            datamodule_kwargs={"batch_size": 4, "num_workers": 0},
            trainer_kwargs={
                "accelerator": "cpu",
                "logger": False,
                "enable_checkpointing": False,
                "enable_progress_bar": False,
            },
        )
    except RuntimeError as error:
        return str(error)
    return f"{len(found)} galaxies"


print("zoobot", version("zoobot"))
seen = {count: predicted(count) for count in (4, 5, 6)}
for count, words in seen.items():
    print(f"{count} galaxies in batches of 4: {words}")
expected = seen[4] == "4 galaxies" and "cannot be concatenated" in seen[5] and seen[6] == "6 galaxies"
raise SystemExit(0 if expected else 1)
PYTHON
