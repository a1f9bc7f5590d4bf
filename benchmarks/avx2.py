"""Run a command as on a processor with AVX2 and without AVX-512, VNNI, bf16 and AMX.

    python benchmarks/avx2.py COMMAND...

Everything in the command and its children (torch, ONNX Runtime, OpenVINO, OpenCV, numpy, this program)
chooses its code by what the processor says it has; here it says less. So speeds for the older machines that
most people have can be measured on a new one: not their seconds, but what their instructions gain and lose.

It takes Linux on x86-64 with the flag ``cpuid_fault`` in /proc/cpuinfo (Intel since 2012, and many virtual
machines), a C compiler, and ``unshare``, as root or where users may have namespaces of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
HIDDEN = ("avx512", "avx_vnni", "avx_ifma", "avx_ne_convert", "avx10", "amx")  # how the names of flags begin
SOURCE = Path(__file__).with_suffix(".c")


@contextmanager
def hiding() -> Iterator[list[str]]:
    """The words to put before a command; what they need lasts as long as the block.

    Raises:
        SystemExit: this machine cannot do it; the reason.
    """
    if "cpuid_fault" not in _flags():
        raise SystemExit("avx2: /proc/cpuinfo lacks the flag cpuid_fault, so instructions cannot be hidden")
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or shutil.which("unshare") is None:
        raise SystemExit("avx2: a C compiler and unshare (util-linux) are needed")
    with tempfile.TemporaryDirectory(prefix="morphoscope-avx2-") as name:
        library, told = Path(name, "avx2.so"), Path(name, "cpuinfo")
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)], check=True)
        told.write_text("\n".join(map(_without, CPUINFO.read_text(encoding="utf-8").splitlines())) + "\n")
        script = f'mount --bind "{told}" {CPUINFO} && LD_PRELOAD="{library}" exec "$@"'
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        yield ["unshare", "--mount", *user, "sh", "-c", script, "sh"]


def _flags() -> list[str]:
    lines = CPUINFO.read_text(encoding="utf-8").splitlines() if CPUINFO.exists() else []
    return next((line.split() for line in lines if line.startswith("flags")), [])


def _without(line: str) -> str:
    if not line.startswith("flags"):
        return line
    return " ".join(flag for flag in line.split(" ") if not flag.startswith(HIDDEN))


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    with hiding() as words:
        return subprocess.run([*words, *sys.argv[1:]]).returncode


if __name__ == "__main__":
    sys.exit(main())
