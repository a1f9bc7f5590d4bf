#!/usr/bin/env bash
# torchmetrics 1.9.0: MeanMetric(nan_strategy="disable") ignores the weights given to update(). The option is
# documented to "disable all nan checks"; in _cast_and_nan_check_input its branch also replaces the weights by
# ones. The weighted mean of 1 (weight 30) and 5 (weight 10) comes out as 3 and not as 2; with any other
# nan_strategy it is 2. A loss averaged over batches of different sizes then counts a small last batch as a whole
# one, without a word.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" torchmetrics==1.9.0 torch==2.15.0
"$dir/venv/bin/python" - <<'PYTHON'
import torch
import torchmetrics
from torchmetrics import MeanMetric

print("torchmetrics", torchmetrics.__version__, "torch", torch.__version__)
means = {}
for strategy in ("disable", "error", "ignore", 0.0):
    metric = MeanMetric(nan_strategy=strategy)
    metric.update(torch.tensor(1.0), weight=30)
    metric.update(torch.tensor(5.0), weight=10)
    means[strategy] = float(metric.compute())
    print(f"nan_strategy={strategy!r}: weighted mean {means[strategy]}, expected 2.0")
raise SystemExit(0 if means == {"disable": 3.0, "error": 2.0, "ignore": 2.0, 0.0: 2.0} else 1)
PYTHON
