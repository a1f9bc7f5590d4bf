#!/usr/bin/env bash
# OpenCV 5.0.0 (opencv-python-headless 5.0.0.93) refuses IMREAD_REDUCED_COLOR_2 together with IMREAD_COLOR_RGB, though the
# two ask for different things (half scale; red before blue). IMREAD_REDUCED_GRAYSCALE_2 with IMREAD_COLOR_RGB gives the
# colour picture at half scale, and not a grey one.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 numpy==2.3.5
cd "$dir"
"$dir/venv/bin/python" - <<'PYTHON'
import sys

import cv2
import numpy as np

print("opencv", cv2.__version__)
red = np.zeros((64, 64, 3), np.uint8)
red[:, :, 2] = 200  # blue, green, red
content = cv2.imencode(".jpg", red)[1]
try:
    cv2.imdecode(content, cv2.IMREAD_REDUCED_COLOR_2 | cv2.IMREAD_COLOR_RGB)
    refused = False
except cv2.error as error:
    refused = True
    print("REDUCED_COLOR_2 | COLOR_RGB:", str(error).splitlines()[-1][:90] or str(error).splitlines()[0][:90])
found = cv2.imdecode(content, cv2.IMREAD_REDUCED_GRAYSCALE_2 | cv2.IMREAD_COLOR_RGB)
print("REDUCED_GRAYSCALE_2 | COLOR_RGB:", found.shape, "one pixel", found[5, 5].tolist())
sys.exit(not (refused and found.shape == (32, 32, 3) and found[5, 5, 0] > 190 and found[5, 5, 2] < 10))
PYTHON
