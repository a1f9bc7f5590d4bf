#!/usr/bin/env bash
# astroNN 1.1.0, whose author published Galaxy10 DECaLS, names two of its ten classes "cigar": its lookup calls class
# 3 "Smooth, Cigar shaped", which is the name of class 3 in the older Galaxy10 SDSS. In Galaxy10 DECaLS class 3 is
# "In-between Round Smooth" (2,027 images, by the data set's own page), and only class 4 (334) is cigar-shaped:
# whoever names predictions by the lookup has seven times as many cigars. (TensorFlow, which the names do not need, is
# a stand-in.)
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q uv
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" --no-deps astroNN==1.1.0
"$dir/venv/bin/uv" pip install -q --python "$dir/venv/bin/python" astropy==8.0.2 astroquery==0.4.11 h5py==3.16.0 \
  matplotlib==3.11.2 packaging==26.3 pandas==3.1.1 scikit-learn==1.9.1 "setuptools==80.9.0" tqdm==4.70.1
cd "$dir"
HOME=$dir "$dir/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from importlib.metadata import version
from unittest.mock import MagicMock

for name in ("tensorflow", "tensorflow.python", "tensorflow.python.platform", "tensorflow.python.platform.test"):
    sys.modules[name] = MagicMock()
from astroNN.datasets import galaxy10, galaxy10sdss

print("astroNN", version("astroNN"))
names = [galaxy10.galaxy10cls_lookup(number) for number in range(10)]
print("DECaLS:", names)
print("SDSS class 3:", galaxy10sdss.galaxy10cls_lookup(3))
cigars = [number for number, name in enumerate(names) if "cigar" in name.lower()]
print("classes called cigar:", cigars)
sys.exit(not (cigars == [3, 4] and not any("in-between" in name.lower() for name in names)))
PYTHON
