#!/usr/bin/env bash
# torchmetrics 1.9.0: the calibration error puts a confidence of exactly 1 into a bin of its own, beside the n_bins
# that were asked for: 10 bins become 11. A network that is sure (softmax in single precision gives 1 from a lead of
# 17 on) gets another error than from netcal 1.4.0 or by the definition, where the last bin holds 0.9 to 1 inclusive:
# here 0.06 against 0.02. Taking 1e-6 off those confidences gives 0.02. Without a warning.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" torchmetrics==1.9.0 torch==2.15.0 netcal==1.4.0
"$dir/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
import torch
from netcal.metrics import ECE
from torchmetrics.classification import MulticlassCalibrationError

print("torchmetrics", version("torchmetrics"), "netcal", version("netcal"), "torch", torch.__version__)
print("softmax of a lead of 17:", float(torch.tensor([17.0, 0.0]).softmax(0)[0]))
# 50 galaxies with a confidence of 1, of which 46 are right, and 50 with 0.96, of which all are right
confidences = np.repeat([1.0, 0.96], 50)
right = np.repeat([1, 0, 1], [46, 4, 50])


def torchmetrics_error(confidences):
    metric = MulticlassCalibrationError(num_classes=2, n_bins=10)
    metric.update(torch.tensor(np.stack([1 - confidences, confidences], axis=1)), torch.tensor(right))
    return float(metric.compute())


errors = {
    "torchmetrics": torchmetrics_error(confidences),
    "torchmetrics, 1e-6 less": torchmetrics_error(np.minimum(confidences, 1 - 1e-6)),
    "netcal": float(ECE(10).measure(np.stack([1 - confidences, confidences], axis=1), right)),
    "by the definition, all in one bin": abs(confidences.mean() - right.mean()),
}
for name, error in errors.items():
    print(f"{name}: {error:.4f}")
sys.exit(not np.allclose(list(errors.values()), [0.06, 0.02, 0.02, 0.02], atol=1e-4))
PYTHON
