"""A catalogue with measured shapes, matched with a survey's table, opens like any other."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.catalogue.match import MatchRequest, match
from morphoscope.explorer.pictures import FilePictures
from morphoscope.explorer.subject import open_subject


def test_a_match_of_measured_galaxies_opens_with_both_tables_columns_and_images(tmp_path: Path):
    (tmp_path / "images").mkdir()
    for number in range(3):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((8, 8, 3), 40 * number, np.uint8))
    measured = pa.table(
        {
            "id": ["a", "b", "c"],
            "source": ["0.png", "1.png", "2.png"],
            "ra": [150.0, 151.0, 152.0],
            "dec": [2.0, 2.0, 2.0],
            "predicted": ["disc", "oval", "disc"],
            "concentration": [2.5, 3.9, 2.7],
            "asymmetry": [0.1, 0.02, None],
            "shape_flag": pa.array([0, 1, 4], pa.int32()),
        }
    )
    catalogue = tmp_path / "catalogue.parquet"
    write_catalogue(
        target_of(catalogue), measured, {"program": "morphoscope", "source": str(tmp_path / "images")}
    )
    pq.write_table(
        pa.table({"objid": [7, 8], "ra": [151.0, 150.0], "dec": [2.0001, 2.0], "redshift": [0.1, 0.2]}),
        tmp_path / "survey.parquet",
    )
    match(MatchRequest(catalogue, tmp_path / "survey.parquet", tmp_path / "matched.parquet", radius=1.0))
    subject = open_subject(tmp_path / "matched.parquet")
    try:
        assert subject.table.count == 2
        kinds = subject.table.kinds
        assert {kinds[name] for name in ("concentration", "asymmetry", "redshift", "shape_flag")} == {
            "number"
        }
        rows = subject.table.arrow(
            "SELECT id, redshift, concentration FROM galaxies ORDER BY row"
        ).to_pylist()
        assert [(row["id"], row["redshift"]) for row in rows] == [("a", 0.2), ("b", 0.1)]
        assert isinstance(subject.pictures, FilePictures)
        assert subject.pictures.path_of("1.png") == tmp_path / "images" / "1.png"
    finally:
        subject.table.close()
