"""The surroundings that benchmarks give what they start: those of somebody who has used it before."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"  # set in many containers; then every start compiles all modules again


def surroundings(source: Path | None = None, **more: str) -> dict[str, str]:
    """Environment variables for a process.

    Args:
        source: folder of a build's packages (``src``), which are compiled first; None: what is installed.
        more: further variables.
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", NO_BYTECODE)}
    if source is None:
        return kept | more
    compiled(source.resolve())
    return kept | {"PYTHONPATH": str(source.resolve())} | more


@cache
def compiled(folder: Path) -> None:
    """Compile the modules below a folder, as their first start does on a user's machine."""
    command = [sys.executable, "-m", "compileall", "-q", str(folder)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)
