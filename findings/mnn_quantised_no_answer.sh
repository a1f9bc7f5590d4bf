#!/usr/bin/env bash
# MNN 3.6.1: an ONNX file in 8 bits that ONNX Runtime's own quantiser wrote (QuantizeLinear and DequantizeLinear around
# each operator, per channel) is "converted", with exit status 0 and a file; the module loads, and forward returns an
# empty list in place of the answer, without an exception. The same network in fp32 answers as ONNX Runtime does.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q MNN==3.6.1 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.0
"$dir/venv/bin/python" - "$dir" <<'PYTHON'
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

folder = Path(sys.argv[1])
rng = np.random.default_rng(0)
image = rng.normal(size=(1, 3, 16, 16)).astype(np.float32)
weights = [
    numpy_helper.from_array(rng.normal(size=(8, 3, 3, 3)).astype(np.float32), "first"),
    numpy_helper.from_array(rng.normal(size=(8, 8, 3, 3)).astype(np.float32), "second"),
]
nodes = [
    helper.make_node("Conv", ["image", "first"], ["a"], kernel_shape=[3, 3]),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("Conv", ["b", "second"], ["c"], kernel_shape=[3, 3]),
    helper.make_node("GlobalAveragePool", ["c"], ["answer"]),
]
given = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])]
asked = [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 8, 1, 1])]
graph = helper.make_graph(nodes, "two convolutions", given, asked, weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
onnx.save(model, folder / "fp32.onnx")


class Images(CalibrationDataReader):
    def __init__(self):
        self.left = [{"image": image}]

    def get_next(self):
        return self.left.pop() if self.left else None


quantize_static(
    folder / "fp32.onnx", folder / "int8.onnx", Images(), quant_format=QuantFormat.QDQ, per_channel=True
)
CONVERT = "import sys, _tools; _tools.mnnconvert(['mnnconvert', *sys.argv[1:]])"
COMPUTE = """
import sys
import MNN.expr as F, MNN.nn as nn, numpy as np
image = np.load(sys.argv[2])
module = nn.load_module_from_file(sys.argv[1], ["image"], ["answer"])
found = module.forward([F.const(image, list(image.shape), F.NCHW)])
np.save(sys.argv[3], np.stack([np.array(each.read()) for each in found]) if found else np.empty(0))
"""
np.save(folder / "image.npy", image)
found = {}
for name in ("fp32", "int8"):
    files = ["--modelFile", str(folder / f"{name}.onnx"), "--MNNModel", str(folder / f"{name}.mnn")]
    run = [sys.executable, "-c", CONVERT, "-f", "ONNX", *files, "--bizCode", "x"]
    converted = subprocess.run(run, capture_output=True, text=True)
    answer = folder / f"{name}.npy"
    run = [sys.executable, "-c", COMPUTE, str(folder / f"{name}.mnn"), str(folder / "image.npy"), str(answer)]
    computed = subprocess.run(run, capture_output=True, text=True)
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    (expected,) = session.run(["answer"], {"image": image})
    answers = np.load(answer) if answer.exists() else None
    off = np.abs(answers[0] - expected).max() if answers is not None and answers.size else None
    found[name] = ("Converted Success!" in converted.stdout, converted.returncode, computed.returncode, off)
    print(name, "success" if found[name][0] else "no success", "exit statuses", found[name][1:3], end=" ")
    print("no answer" if off is None else f"off from ONNX Runtime by {off:.1e}")
print("MNN", version("MNN"), "onnxruntime", version("onnxruntime"))
good = found["fp32"][:3] == (True, 0, 0) and found["fp32"][3] is not None and found["fp32"][3] < 1e-4
raise SystemExit(0 if good and found["int8"][:3] == (True, 0, 0) and found["int8"][3] is None else 1)
PYTHON
