#!/usr/bin/env bash
# The wheel and the sdist, each installed without the repository on every Python it is for, a first catalogue
# with each, and one with the wheel as a tool that is not installed at all (uvx, pipx run):
# `bash scripts/python_matrix.sh [VERSION...]` (default: 3.11 to 3.14). Needs uv (that of .venv will do) and a
# package index; a Python that uv neither finds nor can fetch is said and counts as failed.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
versions=("${@:-}")
[ -n "${versions[0]}" ] || versions=(3.11 3.12 3.13 3.14)
PATH="$PATH:$PWD/.venv/bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
constraints=$PWD/constraints.txt

quietly() { # runs a command; what it printed is shown only if it fails
  "$@" >"$work/log" 2>&1 && return
  tail -n 12 "$work/log" | sed 's/^/    /'
  return 1
}

quietly uv build --quiet --out-dir "$work/dist" . || exit 1
wheel=$(echo "$work"/dist/*.whl) sdist=$(echo "$work"/dist/*.tar.gz)
cd "$work" # nothing of the repository is found from here

cat >galaxy.py <<'PYTHON'
"""A spiral, an elliptical and noise, as PNG files."""
import numpy as np
from PIL import Image

y, x = np.mgrid[-64:64, -64:64] / 20.0
radius, angle = np.hypot(x, y), np.arctan2(y, x)
noise = np.random.default_rng(0).normal(0, 4, (3, 128, 128))
disc = 150 * np.exp(-radius / 1.2) * (1 + 0.7 * np.cos(2 * angle - 4 * np.log(radius + 0.2)))
smooth = 220 * np.exp(-2 * np.hypot(x, 1.5 * y) ** 0.6)
for name, light, grain in (("spiral", disc, noise[0]), ("smooth", smooth, noise[1]), ("sky", 0 * x, noise[2])):
    Image.fromarray((20 + light + grain).clip(0, 255).astype(np.uint8)).save(f"images/{name}.png")
PYTHON
cat >check.py <<'PYTHON'
"""The catalogue has the three images, and says where the program is."""
import sys

import pyarrow.parquet as pq
import morphoscope as ms

table = pq.read_table(sys.argv[1])
assert table.num_rows == 3, table.num_rows
assert "site-packages" in ms.__file__, ms.__file__
answers = dict(zip(table["id"].to_pylist(), table["predicted"].to_pylist()))
print(f"Python {sys.version.split()[0]}, morphoscope {ms.__version__}: {answers}")
PYTHON

failed=0
for version in "${versions[@]}"; do
  for package in "$wheel" "$sdist"; do
    kind=${package##*.}
    environment=$work/env-$version-$kind
    rm -rf images catalogue.parquet && mkdir images
    if quietly uv venv --quiet --python "$version" "$environment" \
      && quietly uv pip install --quiet --python "$environment" -c "$constraints" "$package" \
      && quietly "$environment/bin/python" galaxy.py \
      && quietly "$environment/bin/morphoscope" predict default images --out catalogue.parquet \
      && answer=$("$environment/bin/python" -W error check.py catalogue.parquet); then
      echo "ok      $version $kind  $answer, $(du -sm "$environment" | cut -f1) MB"
    else
      echo "FAILED  $version $kind"
      failed=1
    fi
  done
  rm -rf catalogue.parquet "$work/env-$version-gz"
  # As a tool that is not installed at all, with the newest versions of everything.
  python=$(uv python find "$version" 2>/dev/null)
  for runner in "uvx --python $python --from" "uvx pipx run --python $python --spec"; do
    rm -rf catalogue.parquet
    # shellcheck disable=SC2086 - the runner is several words
    if [ -n "$python" ] \
      && quietly env PIPX_HOME="$work/pipx" $runner "$wheel" morphoscope predict default images --out catalogue.parquet \
      && [ -s catalogue.parquet ]; then
      echo "ok      $version ${runner%% --python*} ${wheel##*/} morphoscope predict default images"
    else
      echo "FAILED  $version ${runner%% --python*}"
      failed=1
    fi
  done
  rm -rf "$work/pipx"
  rm -rf "$work/env-$version-whl"
done
exit $failed
