from __future__ import annotations

import csv

import numpy as np

from morphoscope.labels.galaxy10 import ALPHABETICAL, COUNTS, GALAXY10


def test_the_official_counts_add_up_to_the_official_total() -> None:
    assert len(COUNTS) == GALAXY10.outputs == 10
    assert sum(COUNTS) == 17736
    assert COUNTS[GALAXY10.classes.index("Cigar Shaped Smooth")] == 334


def test_folder_order_is_the_order_of_chengs_table() -> None:
    """SPECIFICATION 1.4: supports of `cheng` table 3 are about 0.198 of the class sizes in this order."""
    supports = (405, 66, 213, 371, 282, 401, 367, 524, 521, 363)
    sizes = [COUNTS[GALAXY10.classes.index(name)] for name in ALPHABETICAL]
    shares = np.array(supports) / sizes
    assert 0.196 < shares.min() < shares.max() < 0.199


def test_names_agree_with_the_real_images_label_file(shared_data) -> None:
    with open(shared_data / "galaxy10_decals" / "labels.csv", encoding="utf-8") as file:
        named = {int(row["label"]): row["name"] for row in csv.DictReader(file)}
    assert tuple(named[label] for label in range(10)) == GALAXY10.classes
