"""The base installation: what predicts, converts, compares and evaluates without torch."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from morphoscope.extras import EXTRA_OF
from morphoscope.labels.galaxy10 import GALAXY10

ROOT = Path(__file__).resolve().parents[1]
LARGEST = 700e6  # bytes of the files of an environment without extras, as uv installs it
NOT_IN_THE_BASE = sorted({*EXTRA_OF, "pandas", "torchvision"} - {"onnxruntime"})
UNREACHABLE = ("Failed to fetch", "Failed to download", "network was disabled")  # as uv says it

WITHOUT = """
import json, sys

class Without:
    "One of Python's finders, to which some packages are not there."
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in {missing!r}:
            return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
WORK = """
from morphoscope import cli
import morphoscope as ms

def run(*arguments):
    print("==", *arguments, flush=True)
    sys.argv = ["morphoscope", *arguments]
    try:
        cli.main()
    except SystemExit as end:
        return end.code or 0

pictures, out = sys.argv[1:]
made = out + "/a.parquet"
done = {
    "help": run("--help"),
    "predict": run("predict", "default", pictures, "--out", made, "--embeddings", "--views", "2"),
    "convert": run("convert", made, "--out", out + "/a.fits"),
    "similar": run("similar", "default", made, "--to", "Disturbed/0.png", "--count", "2"),
    "ingest": run("data", "ingest", "folder", pictures, out + "/store", "--classes", ",".join(CLASSES)),
    "evaluate": run("evaluate", "default", "--store", out + "/store", "--views", "2"),
    "train": run("train", "small/simulated", "--store", out + "/store", "--out", out + "/run"),
    "probe": run("train", "small/linear-probe", "--store", out + "/store", "--out", out + "/probe",
                 "--set", "evaluation.views=1", "--folds", "2"),
    "predict with it": run("predict", out + "/probe", pictures, "--out", out + "/c.parquet"),
    "explain": run("explain", "default", "--store", out + "/store", "--out", out + "/maps"),
    "simulate": run("data", "simulate", out + "/simulated", "--count", "3"),
    "picture": run("predict", "default", pictures, "--out", out + "/b.parquet", "--detect"),
}
answers = ms.load("default", views=2).predict(pictures)
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print("\\n" + json.dumps({"done": done, "shape": answers.shape, "loaded": loaded}))
"""
STATUS = {
    "help": 0,
    "predict": 0,
    "convert": 0,
    "similar": 0,
    "ingest": 0,
    "evaluate": 0,
    "train": 1,
    "probe": 0,
    "predict with it": 0,
    "explain": 1,
    "simulate": 1,
    "picture": 1,
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures for each of Galaxy10's classes, of the size that the packaged network knows."""
    folder = tmp_path_factory.mktemp("base") / "pictures"
    draw = np.random.default_rng(0)
    for name in GALAXY10.classes:
        (folder / name).mkdir(parents=True)
        for number in range(2):
            image = Image.fromarray(draw.integers(0, 256, (128, 128, 3), np.uint8))
            image.save(folder / name / f"{number}.png")
    return folder


def _worked(python: Path | str, before: str, pictures: Path, out: Path) -> tuple[dict, str]:
    out.mkdir()
    code = f"{before}\nimport sys, json\nCLASSES = {GALAXY10.classes!r}\n{WORK}"
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MORPHOSCOPE_ENGINE")
    }
    environment |= {"XDG_CACHE_HOME": str(out / "cache")}
    if python == sys.executable:
        environment |= {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [str(python), "-c", code, str(pictures), str(out)],
        capture_output=True,
        text=True,
        timeout=250,
        env=environment,
        cwd=out,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def _check(found: dict, said: str, status: dict[str, int] = STATUS) -> None:
    assert found["done"] == status, said
    assert found["shape"] == [20, 10]
    assert not set(found["loaded"]) & set(NOT_IN_THE_BASE)
    assert "Traceback" not in said
    for extra in ("train", "simulate", "detect"):
        assert f"pip install 'morphoscope[{extra}]'" in said


def test_without_the_extras_everything_of_the_base_works_and_linear_probes_with_theirs(
    pictures: Path, tmp_path: Path
):
    missing = sorted({*NOT_IN_THE_BASE} - {"onnx"})
    found, said = _worked(sys.executable, WITHOUT.format(missing=missing), pictures, tmp_path / "out")
    _check({**found, "loaded": [name for name in found["loaded"] if name != "onnx"]}, said)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the built wheel and what it requires, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    uv, environment = [sys.executable, "-m", "uv"], folder / "environment"
    subprocess.run(
        [*uv, "venv", "-q", "--python", sys.executable, str(environment)], check=True, capture_output=True
    )
    pip = [
        *uv,
        "pip",
        "install",
        "--python",
        str(environment),
        "-c",
        str(ROOT / "constraints.txt"),
        str(wheel),
    ]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=280, env=_set_up()._environment())
    if done.returncode and any(word in done.stderr for word in UNREACHABLE):
        pytest.skip("the packages cannot be downloaded here")
    assert done.returncode == 0, done.stderr
    return environment


def _set_up() -> ModuleType:
    """scripts/set_up.py, which knows where a machine gets its packages."""
    spec = importlib.util.spec_from_file_location("set_up", ROOT / "scripts" / "set_up.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _bytes(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


@pytest.mark.slow
def test_an_installation_without_extras_is_small_and_works(installed: Path, pictures: Path, tmp_path: Path):
    size = _bytes(installed)  # before Python compiles anything into it
    (packages,) = installed.glob("lib/python3*/site-packages")
    assert not {path.name for path in packages.iterdir()} & set(NOT_IN_THE_BASE)
    found, said = _worked(installed / "bin" / "python", "", pictures, tmp_path / "out")
    _check(found, said, STATUS | {"probe": 1, "predict with it": 2})
    assert "pip install 'morphoscope[probe]'" in said
    assert size <= LARGEST
