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


def family(process: int) -> list[int]:
    """A process and all that descend from it and still run, as Linux lists them."""
    found = [process]
    for each in found:
        try:
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue  # it has ended
    return found


def processor_seconds(process: int) -> float:
    """Seconds of the processor that a process and those of its family that still run have used."""
    ticks = 0
    for each in family(process):
        try:
            stat = Path(f"/proc/{each}/stat").read_text()
        except OSError:
            continue  # it has ended
        ticks += sum(map(int, stat.rsplit(")", 1)[1].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")
