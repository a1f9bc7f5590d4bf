"""About a minute of damaged files, the same on every machine; ``make fuzz`` gives the readers more."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INPUTS = "2100"  # twenty for each reader


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_damaged_files_end_in_an_answer_or_one_sentence():
    script = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [sys.executable, str(script), "--inputs", INPUTS, "--seed", "0"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
