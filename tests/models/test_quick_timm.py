"""timm without the compiler: with a stand-in for timm here, and, since this process has imported the compiler
long ago, in processes of their own.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch._dynamo

from morphoscope import processes
from morphoscope.models.quick_timm import COMPILER, compiler_left_out

LIKE_TIMM = """
import torch
from torch._dynamo.utils import is_compile_supported

@torch.compiler.disable
def marked(value):
    return value + 1

@torch.compiler.disable(recursive=False)
def marked_with_options(value):
    return value + 2
"""


@pytest.fixture
def like_timm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that needs the compiler as timm and torchvision do."""
    (tmp_path / "like_timm.py").write_text(LIKE_TIMM)
    monkeypatch.syspath_prepend(tmp_path)
    return "like_timm"


@pytest.mark.parametrize(("owned", "there"), [(True, None), (False, None), (True, COMPILER), (True, "timm")])
def test_the_compiler_is_left_out_until_it_is_used(
    like_timm: str, monkeypatch: pytest.MonkeyPatch, owned: bool, there: str | None
) -> None:
    compiler, disable = sys.modules[COMPILER], torch.compiler.disable
    left_out = owned and there is None
    with monkeypatch.context() as patched:
        for name in (COMPILER, f"{COMPILER}.utils", "timm"):
            patched.delitem(sys.modules, name, raising=False)
        if there:
            patched.setitem(sys.modules, there, ModuleType(there))
        patched.setattr(processes, "owned", owned)
        with compiler_left_out():
            assert (torch.compiler.disable is not disable) == left_out
            if left_out:
                module = importlib.import_module(like_timm)
                del sys.modules[like_timm]
        assert torch.compiler.disable is disable
        assert (COMPILER in sys.modules) == (there == COMPILER)
    assert sys.modules[COMPILER] is compiler
    if left_out:
        assert module.is_compile_supported("cpu") in (True, False)
        assert (module.marked(1), module.marked_with_options(1)) == (2, 3)


def _said(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
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
