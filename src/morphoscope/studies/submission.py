"""Predictions for the Kaggle test images in the Galaxy Challenge's submission format (`ng`)."""

from __future__ import annotations

import csv
from pathlib import Path

from morphoscope import files
from morphoscope.errors import MorphoscopeError
from morphoscope.runs.run import Run


def write_submission(run: Run, images: Path | str, out: Path) -> int:
    """Write ``GalaxyID,Class1.1,...,Class11.6`` for every image, sorted by id, with the recipe's views.

    Args:
        run: trained on the 37 vote fractions.
        images: folder, glob or store of the test images; ids are their file names.
        out: the CSV file; an existing one is replaced.

    Returns:
        The number of galaxies.

    Raises:
        MorphoscopeError: the run does not predict the 37 vote fractions, or an image's id is not an integer.
    """
    import pyarrow.parquet as pq

    from morphoscope.catalogue.predict import predict_catalogue
    from morphoscope.catalogue.request import CatalogueRequest
    from morphoscope.inference.predictor import Predictor
    from morphoscope.labels.decision_tree import GALAXY_ZOO_2

    if run.scheme.output_names != GALAXY_ZOO_2.columns:
        raise MorphoscopeError(f"{run.path} does not predict the 37 vote fractions of the Galaxy Challenge")
    catalogue = out.with_suffix(".parquet")
    predict_catalogue(Predictor(run), CatalogueRequest(images, catalogue, overwrite=True))
    table = pq.read_table(catalogue, columns=["id", *GALAXY_ZOO_2.columns])
    rows = sorted((_number(row["id"]), row) for row in table.to_pylist())
    with files.atomic_file(out) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["GalaxyID", *GALAXY_ZOO_2.columns])
        for number, row in rows:
            writer.writerow([number, *(f"{row[name]:.6f}" for name in GALAXY_ZOO_2.columns)])
    return len(rows)


def _number(identity: str) -> int:
    try:
        return int(Path(identity).stem)
    except ValueError as error:
        raise MorphoscopeError(
            f"image '{identity}': the file names of Kaggle's images must be their GalaxyID"
        ) from error
