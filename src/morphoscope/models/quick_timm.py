"""timm without its slowest import.

To import timm and torchvision is to import torch's compiler (``torch._dynamo``, with sympy: a third of the
time from the shell to the first answer), which they need for two things alone, and only when these are used:
torchvision asks it whether a device can be compiled for, timm marks one function that is not to be compiled.
Here both ask when they come to it. Where the compiler is there already, as in a training, nothing is done.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

COMPILER = "torch._dynamo"


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Modules imported inside get torch's compiler when they first use it."""
    if COMPILER in sys.modules or "timm" in sys.modules:
        yield
        return
    package, utils = ModuleType(COMPILER), ModuleType(f"{COMPILER}.utils")
    utils.is_compile_supported = _is_compile_supported  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    stand_ins = {package.__name__: package, utils.__name__: utils}
    disable, sys_modules = torch.compiler.disable, sys.modules
    sys_modules.update(stand_ins)
    torch.compiler.disable = _disabled_later(disable)
    try:
        yield
    finally:
        torch.compiler.disable = disable
        for name, module in stand_ins.items():
            if sys_modules.get(name) is module:
                del sys_modules[name]


def _is_compile_supported(device_type: str) -> Any:
    from torch._dynamo.utils import is_compile_supported

    return is_compile_supported(device_type)


def _disabled_later(disable: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compiler.disable``, applied to a function when that is first called."""

    def mark(function: Callable[..., Any] | None = None, *arguments: Any, **options: Any) -> Any:
        if function is None:
            return functools.partial(mark, *arguments, **options)

        @functools.lru_cache(maxsize=1)
        def marked() -> Callable[..., Any]:
            return disable(function, *arguments, **options)

        @functools.wraps(function)
        def call(*values: Any, **named: Any) -> Any:
            return marked()(*values, **named)

        return call

    return mark


with compiler_left_out():
    import timm as timm
