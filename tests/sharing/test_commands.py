from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from morphoscope.cli import main
from morphoscope.runs.run import Run


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str]]:
    """Call the command line in this process; gives the exit status and stderr."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["morphoscope", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGTERM, before)
        return int(end.value.code or 0), " ".join(capsys.readouterr().err.split())

    return call


def test_a_published_run_and_an_exported_file_are_predicted_with(
    cli, run: Run, exported: Path, pictures: Path, tmp_path: Path
):
    status, said = cli("publish", run.path, tmp_path / "model")
    assert status == 0
    assert said.endswith("it names no licence (--licence)")
    tables = []
    for number, source in enumerate((tmp_path / "model", exported)):
        out = tmp_path / f"{number}.parquet"
        status, said = cli("predict", source, pictures, "--out", out)
        assert status == 1  # one picture cannot be read
        assert "12 galaxies →" in said
        tables.append(pq.read_table(out))
    for name in ("p_red", "p_green", "p_blue"):
        one, other = (np.asarray(table[name]) for table in tables)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_wrong_requests_end_with_status_2(cli, run: Run, exported: Path, pictures: Path, tmp_path: Path):
    for words, sentence in (
        (("export", run.path, "--onnx", tmp_path / "model.pth"), "a name that ends in .onnx was expected"),
        (("export", run.path, "--onnx", exported), "exists already; choose another name or pass --overwrite"),
        (("publish", run.path, run.path), "is the run itself"),
        (("publish", pictures, tmp_path / "model"), "is not a run: it has no run.yaml"),
        (
            ("predict", run.path, pictures, "--out", tmp_path / "c.parquet", "--engine", "tensorflow"),
            "there is no engine 'tensorflow' (engines: auto, mnn, onnx, openvino, ray, torch)",
        ),
    ):
        status, said = cli(*words)
        assert (status, sentence in said) == (2, True), said
    assert list(tmp_path.iterdir()) == []
