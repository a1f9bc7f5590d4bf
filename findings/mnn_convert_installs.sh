#!/usr/bin/env bash
# MNN 3.6.1: converting an ONNX file with its command mnnconvert installs nineteen packages into the environment.
# MNN/tools/utils/log.py, which the command imports, runs "pip install -U aliyun-log-python-sdk" where that is
# missing; that package wants protobuf below 6, so that onnx, installed in its newest version, can no longer be
# imported. The command then asks an address of the makers for an account, under which it reports each
# conversion with an identifier of the machine. (Here a sitecustomize answers in place of urllib, so nothing is sent.)
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q MNN==3.6.1 onnx==1.23.2 protobuf==7.36.2 numpy==2.4.0
mkdir "$dir/hold"
cat > "$dir/hold/sitecustomize.py" <<'PYTHON'
import sys
import urllib.request


def refused(request, *others, **named):
    print("asked for", getattr(request, "host", request))
    raise OSError("held back")


urllib.request.urlopen = refused
PYTHON
"$dir/venv/bin/python" - "$dir/relu.onnx" <<'PYTHON'
import sys

from onnx import TensorProto, helper, save

image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 8, 8])
answer = helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 3, 8, 8])
graph = helper.make_graph([helper.make_node("Relu", ["image"], ["answer"])], "relu", [image], [answer])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), sys.argv[1])
PYTHON
before=$("$dir/venv/bin/pip" list --format=freeze | wc -l)
PATH="$dir/venv/bin:$PATH" PYTHONPATH="$dir/hold" "$dir/venv/bin/mnnconvert" -f ONNX --modelFile "$dir/relu.onnx" \
    --MNNModel "$dir/relu.mnn" --bizCode x > "$dir/said" 2>&1
after=$("$dir/venv/bin/pip" list --format=freeze | wc -l)
echo "MNN $("$dir/venv/bin/python" -c 'from importlib.metadata import version; print(version("MNN"))')"
echo "packages before: $before, after: $after"
echo "protobuf after: $("$dir/venv/bin/python" -c 'from importlib.metadata import version; print(version("protobuf"))')"
asked=$(grep -c "^asked for .*aliyun" "$dir/said" || true)
echo "addresses of the makers asked: $asked"
if "$dir/venv/bin/python" -c "import onnx" 2> "$dir/error"; then onnx=imported; else onnx=$(tail -n 1 "$dir/error"); fi
echo "import onnx: ${onnx:0:100}"
[ -f "$dir/relu.mnn" ] && [ "$after" -gt "$before" ] && [ "$asked" -ge 1 ] && [ "$onnx" != imported ]
