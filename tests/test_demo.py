from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from morphoscope.data.store import open_store
from morphoscope.demo import PARTS, run_demo
from morphoscope.errors import UsageError
from morphoscope.recipes import presets


@pytest.mark.slow
def test_the_demo_goes_all_the_way_and_again_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    short = presets.own_labels().changed(training={"epochs": 1, "precision": "fp32"})
    monkeypatch.setattr(presets, "RECIPES", (lambda: short,))
    out = tmp_path / "demo"
    run_demo(out, count=120)
    said = capsys.readouterr().out
    assert "sources of the Hubble Deep Field classified" in said
    assert "morphoscope train small/own-labels" in said
    for name in (*PARTS, "run/report.html"):
        assert (out / name).stat().st_size > 0, name
    sources = pq.read_table(out / "deep-field.parquet").num_rows
    assert sources > 50
    assert pq.read_table(out / "cutouts.parquet").num_rows == sources

    galaxies, own = open_store(out / "galaxies"), open_store(out / "own")
    assert own.need_scheme().class_names == ("no arms", "counter-clockwise", "clockwise")
    assert pq.read_table(out / "pictures.parquet").num_rows == len(own) >= 30
    winding = galaxies.table["winding"].to_pylist()
    for name, label in zip(own.table["id"].to_pylist(), own.targets(), strict=True):
        assert winding[int(name)] == (0, 1, -1)[label]

    assert "classified already" not in said
    weights = (out / "run" / "weights.safetensors").stat().st_mtime_ns
    run_demo(out, count=120)
    assert "classified already" in capsys.readouterr().out
    assert (out / "run" / "weights.safetensors").stat().st_mtime_ns == weights


def test_a_file_in_the_way_is_left_alone(tmp_path: Path):
    (tmp_path / "demo").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        run_demo(tmp_path / "demo")
    assert (tmp_path / "demo").read_text() == "mine"
