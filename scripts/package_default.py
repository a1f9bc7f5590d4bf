"""Make the folder of the packaged network from a run: measured, halved, with its graphs and its card.

    morphoscope data simulate STORE --count 3000 --size 128 --survey decals,decals,sdss,sdss,euclid --seed 777
    python scripts/package_default.py RUN STORE OUT

RUN: calibrated (``scripts/calibrate_default.py``). STORE: simulated galaxies that nothing was learned from or
calibrated with; RUN's metrics are measured on them, and the ranges of 8 bits come from a part of them. OUT:
the folder, whose card still needs what is known of real galaxies (``scripts/real_galaxies.py``).
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from morphoscope.data.store import Store, open_store
from morphoscope.errors import UsageError
from morphoscope.evaluation.evaluate import evaluate_elsewhere, predict_rows
from morphoscope.evaluation.fit_uncertainty import ood_results
from morphoscope.files import write_json
from morphoscope.inference.engine.graph import graph_of
from morphoscope.inference.engine.int8 import int8_graph_of
from morphoscope.inference.engine.preparation import read_preparation, sidecar, write_preparation
from morphoscope.inference.predictor import Predictor
from morphoscope.runs.run import Run, open_run
from morphoscope.sharing.card import CardDetails
from morphoscope.sharing.publish import publish


def metrics_of(run: Run, store: Store, before: dict) -> dict:
    """The metrics of a run on galaxies of a store, with how many galaxies the run ``before`` learned from."""
    predictor = Predictor(run, precision="fp32")
    rows = np.flatnonzero(store.labelled())
    _, distances_N = predict_rows(predictor, store, rows, "galaxies")
    found = evaluate_elsewhere(run, store, precision="fp32")
    counts = before.get("counts", {}) | found["counts"]
    return found | {"counts": counts, "out_of_distribution": ood_results(predictor, distances_N, store)}


def main(run: Path, store: Path, out: Path) -> None:
    """Measure, publish and make the graphs."""
    if out.exists():
        raise UsageError(f"{out} exists already; choose another folder")
    opened, simulated = open_run(run), open_store(store)
    with open_run("default").reading_results():
        before = open_run("default").metrics()
    write_json(opened.path / "metrics.json", metrics_of(opened, simulated, before))
    publish(opened, out, details=CardDetails(licence="mit"), half=True)
    published = open_run(out)
    onnx = graph_of(published)
    alone = read_preparation(onnx).model_copy(update={"reference": None})  # reference.safetensors has it
    write_preparation(sidecar(onnx), alone)
    _, quantisation = int8_graph_of(published, simulated)
    print(f"{out}; 8 bits: {quantisation.agreement.description}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*(Path(argument) for argument in sys.argv[1:]))
