"""Galaxy10 DECaLS: ten classes, their official counts, and the two orders in use.

The file's order is the native one. `cheng` (and probably `yan`) number the classes by folder name, that is
alphabetically: use :data:`ALPHABETICAL` for the rows of their tables, never the native index.

Source: the official file ``Galaxy10_DECals.h5`` (Zenodo record 10845026).
"""

from __future__ import annotations

from morphoscope.labels.classes import Classes

GALAXY10 = Classes(
    name="galaxy10",
    classes=(
        "Disturbed",
        "Merging",
        "Round Smooth",
        "In-between Round Smooth",
        "Cigar Shaped Smooth",
        "Barred Spiral",
        "Unbarred Tight Spiral",
        "Unbarred Loose Spiral",
        "Edge-on without Bulge",
        "Edge-on with Bulge",
    ),
)

# Images per class of the official file, native order; 17,736 together.
COUNTS = (1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873)

# The order of `flow_from_directory`. The published folder names sort "Edge-on with Bulge" before
# "Edge-on without Bulge", which plain string order does too: a space comes before a letter.
ALPHABETICAL = tuple(sorted(GALAXY10.classes))
