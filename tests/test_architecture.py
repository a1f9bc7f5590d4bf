"""What must not happen at import: the command line answers at once because heavy packages wait."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "astropy",
    "cv2",
    "duckdb",
    "fastapi",
    "galsim",
    "h5py",
    "lightning",
    "matplotlib",
    "photutils",
    "pyarrow",
    "scipy",
    "skimage",
    "sklearn",
    "tensorboard",
    "timm",
    "torch",
    "torchmetrics",
    "torchvision",
    "uvicorn",
}
COMMAND_LINE = """
import atexit, json, sys
sys.argv = ["morphoscope", *{arguments!r}]
from morphoscope.cli import main
atexit.register(lambda: print("\\n" + json.dumps(sorted(sys.modules))))
main()
"""


def _top_level_modules(code: str, status: int = 0) -> set[str]:
    """The top-level modules that ``code`` has loaded in a fresh interpreter (its last line lists all)."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_importing_the_package_loads_nothing_heavy():
    loaded = _top_level_modules("import json, sys, morphoscope; print(json.dumps(list(sys.modules)))")
    assert "morphoscope" in loaded
    assert not loaded & HEAVY
    assert "numpy" not in loaded


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        pytest.param(["train", "--help"], marks=pytest.mark.slow),
        ["data", "ingest", "table", "--help"],
        ["models", "--fields"],
        pytest.param(["--version"], marks=pytest.mark.slow),
    ],
)
def test_help_loads_nothing_heavy(arguments: list[str]):
    loaded = _top_level_modules(COMMAND_LINE.format(arguments=arguments))
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_a_wrong_request_is_answered_before_anything_heavy_is_loaded():
    request = ["train", "small/no-such-recipe", "--store", "x", "--out", "y"]
    loaded = _top_level_modules(COMMAND_LINE.format(arguments=request), status=2)
    assert not loaded & (HEAVY - {"pyarrow"})
