from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from morphoscope.demo import run_demo
from morphoscope.errors import UsageError
from morphoscope.studies import small


def test_the_demo_goes_all_the_way_and_again_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    short = small.simulated().changed(training={"epochs": 2}, model={"name": "test_resnet"})
    monkeypatch.setattr(small, "RECIPES", (lambda: short,))
    run_demo(tmp_path / "demo", count=200)
    said = capsys.readouterr().out
    assert "sources of the Hubble Deep Field classified" in said
    assert "morphoscope train small/own-labels" in said
    for name in (
        "galaxies/store.yaml",
        "run/report.html",
        "run/weights.safetensors",
        "deep-field.png",
        "deep-field-default.png",
    ):
        assert (tmp_path / "demo" / name).stat().st_size > 0, name
    assert pq.read_table(tmp_path / "demo" / "deep-field.parquet").num_rows > 50
    weights = (tmp_path / "demo" / "run" / "weights.safetensors").stat().st_mtime_ns
    run_demo(tmp_path / "demo", count=200)
    assert (tmp_path / "demo" / "run" / "weights.safetensors").stat().st_mtime_ns == weights


def test_a_file_in_the_way_is_left_alone(tmp_path: Path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        run_demo(tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"
