"""Regression with wild values from the command line: table → training → catalogue, by both likelihoods."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from morphoscope.cli import main

COUNT = 400
SETTINGS = {
    "model.name": "test_resnet",
    "model.start": "none",
    "model.pretrained": "false",
    "augment.size": "32",
    "training.epochs": "10",
    "training.batch": "16",
    "training.precision": "fp32",
    "optimiser.lr": "0.003",
    "evaluation.views": "1",
    "data.validation": "0.2",
}


def called(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    """Run a command."""
    monkeypatch.setattr(sys, "argv", ["morphoscope", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


@pytest.mark.slow
def test_wild_values_pull_student_t_less_than_a_gaussian(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(2)
    radius = rng.uniform(3, 13, COUNT)
    wild = rng.random(COUNT) < 0.1
    stated = np.where(wild, radius + 80, radius)
    y, x = np.mgrid[:32, :32] - 15.5
    (tmp_path / "images").mkdir()
    for number in range(COUNT):
        disc = 150 * (np.hypot(x, y) < radius[number]) + rng.normal(15, 4, (32, 32))
        image = np.repeat(disc[:, :, None], 3, 2).clip(0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), image)
    with open(tmp_path / "radii.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "radius"])
        table.writerows([f"images/{number}.png", stated[number]] for number in range(COUNT))
    store = tmp_path / "store"
    called(monkeypatch, "data", "ingest", "table", tmp_path / "radii.csv", store, "--value-column", "radius")
    errors = {}
    for likelihood in ("student-t", "gaussian"):
        run, out = tmp_path / likelihood, tmp_path / f"{likelihood}.parquet"
        settings = SETTINGS | {"model.likelihood": likelihood}
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        report = [] if likelihood == "student-t" else ["--no-report"]
        called(monkeypatch, "train", "small/regression", "--store", store, "--out", run, *words, *report)
        called(monkeypatch, "predict", run, tmp_path / "images", "--out", out)
        found = pq.read_table(out)
        numbers = np.array([int(Path(name).stem) for name in found["source"].to_pylist()])
        errors[likelihood] = found["radius"].to_numpy() - radius[numbers]
        assert (found["radius_low"].to_numpy() < found["radius_high"].to_numpy()).all()
        test = json.loads((run / "metrics.json").read_text())["test"]
        assert test["per_quantity"][0]["outliers"]["value"] > 0.03  # the wild ones are found out
    middle = {name: float(np.median(values)) for name, values in errors.items()}
    spread = {name: float(np.median(np.abs(values))) for name, values in errors.items()}
    print(middle, spread)
    assert abs(middle["student-t"]) < 0.5 * abs(middle["gaussian"])
    assert spread["student-t"] < spread["gaussian"]
    page = (tmp_path / "student-t" / "report.html").read_text(encoding="utf-8")
    assert "student-t" in page.lower()
