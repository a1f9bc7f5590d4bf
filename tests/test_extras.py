"""Work whose packages are not installed is refused in one sentence, before it begins."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import morphoscope as ms
from morphoscope import cli, extras
from morphoscope.extras import EXTRA_OF, MissingExtra, missing_extra, need

ROOT = Path(__file__).resolve().parents[1]
DISTRIBUTION = {
    "MNN": "mnn",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "umap": "umap-learn",
}  # imported → installed


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""
    monkeypatch.setattr(extras, "installed", lambda package: package not in EXTRA_OF)


def test_what_is_missing_is_named_with_the_line_that_installs_it(base: None):
    need(("numpy",), "train", "counting")
    with pytest.raises(MissingExtra) as one:
        need(("numpy", "torch"), "train", "counting")
    assert str(one.value) == (
        "counting needs torch, which is not installed; install with: pip install 'morphoscope[train]'"
    )
    with pytest.raises(ms.MorphoscopeError, match="needs torch, timm and captum, which are not installed"):
        need(("torch", "timm", "captum"), "train", "counting")


def test_what_is_installed_is_asked_of_the_import_system(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert extras.installed("numpy")
    assert not extras.installed("no_such_package")
    assert not extras.installed("timm")


def test_every_package_of_an_extra_is_known():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups: dict[str, list[str]] = project["optional-dependencies"]
    brought = {
        (line.split(">=")[0].split("[")[0].replace("-", "_"), extra)
        for extra, lines in groups.items()
        for line in lines
        if not line.startswith("morphoscope[")
    }
    known = {(DISTRIBUTION.get(name, name).replace("-", "_"), extra) for name, extra in EXTRA_OF.items()}
    assert brought == known
    (everything,) = groups["all"]
    assert set(everything.removeprefix("morphoscope[").rstrip("]").split(",")) == groups.keys() - {
        "all",
        "onnx",  # an older name
    }


def _detect(out: Path) -> None:
    from morphoscope.catalogue.detection.detect import detect_sources

    detect_sources(np.zeros((32, 32, 3), np.uint8))


def _models(out: Path) -> None:
    from morphoscope.studies.registry import describe_recipes

    describe_recipes()


def _fetch(out: Path) -> None:
    from morphoscope.data.sources.download import fetch_galaxy10

    fetch_galaxy10(out)


def _sheet(out: Path) -> None:
    from morphoscope.report.figures.contact_sheet import check_sheet

    check_sheet(out)


def _report(out: Path) -> None:
    from morphoscope.report.run_report import write_report

    write_report(ms.open_run("default"))


@pytest.mark.parametrize(
    ("work", "extra"),
    [
        (lambda out: ms.simulate(out, 3, 32), "simulate"),
        (lambda out: ms.study("fu", out, out), "train"),
        (lambda out: ms.load("hf-hub:someone/galaxies"), "hub"),
        (_detect, "detect"),
        (_models, "train"),
        (_fetch, "hdf5"),
        (_sheet, "report"),
        (_report, "report"),
    ],
)
def test_work_beyond_the_base_is_refused_before_it_begins(
    base: None, tmp_path: Path, work: Callable[[Path], object], extra: str
):
    with pytest.raises(MissingExtra) as refused:
        work(tmp_path / "out.png")
    assert str(refused.value).endswith(f"install with: pip install 'morphoscope[{extra}]'")
    assert not list(tmp_path.iterdir())


def test_an_import_that_nobody_asked_about_first_is_one_sentence_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def work(**options: object) -> None:
        raise ModuleNotFoundError("No module named 'galsim.bessel'", name="galsim.bessel")

    monkeypatch.setattr(cli, "app", work)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    said = capsys.readouterr().err
    assert (
        "this needs galsim, which is not installed; install with: pip install 'morphoscope[simulate]'" in said
    )
    assert "Traceback" not in said
    assert missing_extra(ModuleNotFoundError("No module named 'nothing'", name="nothing")) is None
