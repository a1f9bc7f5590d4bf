"""A few kills of each kind of command; ``kills.py`` makes many."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_command_leaves_nothing_half_written_and_can_be_continued():
    script = Path(__file__).with_name("kills.py")
    verbs = "ingest,predict parquet,predict csv,convert fits,convert hats,train,calibrate,publish"
    done = subprocess.run(
        [sys.executable, str(script), "--each", "2", "--verb", verbs], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
