"""What is shipped: all of the package, its templates too, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import morphoscope

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_the_wheel_holds_the_package_and_nothing_else(wheel: zipfile.ZipFile):
    source = ROOT / "src"
    files = {
        path.relative_to(source).as_posix()
        for path in (source / "morphoscope").rglob("*")
        if path.is_file() and path.suffix != ".pyc" and not path.name.startswith(".")
    }
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == files
    assert any(not name.endswith(".py") for name in shipped)  # the report's template


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile):
    (metadata,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    fields = Parser().parsestr(wheel.read(metadata).decode())
    assert fields["Version"] == morphoscope.__version__
    assert fields["Requires-Python"] == ">=3.11"
    assert fields["License-Expression"] == "MIT"
    assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert any(name.endswith("entry_points.txt") for name in wheel.namelist())


def test_every_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    groups = project["dependency-groups"]
    assert {"include-group": "docs"} in groups["dev"]
    wanted = project["project"]["dependencies"] + groups["docs"]
    wanted += [line for line in groups["dev"] if isinstance(line, str)]
    wanted += [line for extra in project["project"]["optional-dependencies"].values() for line in extra]
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert "://" not in pins
    pinned = {line.split("==")[0] for line in pins.splitlines() if "==" in line}
    names = {line.split(">=")[0].split("[")[0] for line in wanted}
    assert names - pinned == {"morphoscope"}  # an extra that has another in it
