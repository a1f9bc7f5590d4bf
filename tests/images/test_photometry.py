from __future__ import annotations

import pytest

from morphoscope.images.photometry import flux_of


@pytest.mark.parametrize(
    ("cards", "factor"),
    [
        ({"BUNIT": "nanomaggy"}, 1.0),
        ({"BUNIT": "Jy"}, 1 / 3631e-9),
        ({"BUNIT": "ADU", "MAGZERO": "25.0"}, 0.1),
        ({"BUNIT": "ADU", "FLUXMAG0": "1e10"}, 0.1),  # magnitude 0 is 1e9 nanomaggies
        ({"BUNIT": "ADU", "PHOTFNU": "3631e-10"}, 0.1),  # janskys of one unit
        ({"BUNIT": "ADU", "PHOTFLAM": "1e-20", "PHOTPLAM": "1e4"}, 3.3356e-8 / 3631e-9),
        ({"BUNIT": "ADU", "PHOTFLAM": "1e-20"}, None),  # without a wavelength it says nothing
        ({"BUNIT": "ADU"}, None),
    ],
)
def test_one_unit_in_nanomaggies(cards: dict[str, str], factor: float | None) -> None:
    found = flux_of(lambda name: cards.get(name, ""), "r").nanomaggies
    assert found == (None if factor is None else pytest.approx(factor, rel=1e-3))
