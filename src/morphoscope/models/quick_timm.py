"""timm; in a process of our own, without its slowest import.

Importing timm and torchvision imports torch's compiler (``torch._dynamo``, with sympy: a third of the time
from the shell to the first prediction), although they need it for two things only, and late: torchvision
asks it whether a device is supported, timm marks one function as not to be compiled. In a process that the
command line has claimed (:func:`morphoscope.processes.claim`) both are deferred until they are needed, by
replacing entries of ``sys.modules`` and an attribute of ``torch.compiler`` during the import. In any other
process timm is imported as usual.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from morphoscope import processes

COMPILER = "torch._dynamo"


@contextmanager
def compiler_left_out() -> Iterator[None]:
    """Modules imported inside get torch's compiler when they first use it; only in a process of our own."""
    if not processes.owned or COMPILER in sys.modules or "timm" in sys.modules:
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
