"""In processes of their own: the one of the tests has imported the compiler long ago."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _said(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_networks_are_there_without_the_compiler() -> None:
    program = """
import sys, torch
from morphoscope import processes
processes.claim()
from morphoscope.models.backbone import timm
network = timm.create_model("test_resnet", num_classes=2).eval()
network(torch.zeros(1, 3, 64, 64))
print("torch._dynamo" in sys.modules, torch.compiler.disable.__module__)
"""
    assert _said(program) == "False torch.compiler"


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "import torch._dynamo"])
def test_what_asks_the_compiler_gets_an_answer_when_it_is_used(first: str) -> None:
    program = f"""
{first}
import torch
from morphoscope import processes
processes.claim()
from morphoscope.models.backbone import timm
from torchvision.ops import roi_align
from torchvision.ops.roi_align import is_compile_supported
from timm.models.naflexvit import NaFlexRopeIterator
import torch._dynamo
assert torch._dynamo.__file__
assert is_compile_supported("cpu") in (True, False)
assert roi_align(torch.ones(1, 1, 8, 8), [torch.tensor([[0.0, 0.0, 4.0, 4.0]])], 2).shape == (1, 1, 2, 2)
marked = [value for value in vars(NaFlexRopeIterator).values() if hasattr(value, "__wrapped__")]
print(len(marked) > 0)
"""
    assert _said(program) == "True"
