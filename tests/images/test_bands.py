from __future__ import annotations

from pathlib import Path

import pytest

from morphoscope.errors import UsageError
from morphoscope.images.bands import file_of_band, ids_of_pattern, parse_bands, reddest_first


def test_names_of_bands():
    assert parse_bands("g, r,z") == ("g", "r", "z")
    assert parse_bands(["F814W"]) == ("F814W",)
    assert parse_bands(None) == ()
    for words in ("g,r,i,z", "", "g,,r"):
        with pytest.raises(UsageError, match="one, two or three names"):
            parse_bands(words)
    with pytest.raises(UsageError, match="named twice"):
        parse_bands("g,G")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("g r z", "z r g"),
        ("r g", "r g"),
        ("gband rband", "rband gband"),
        ("VIS Y J", "J Y VIS"),
        ("F606W F160W F814W", "F160W F814W F606W"),  # Hubble: nm and 10 nm
        ("F090W F444W F150W", "F444W F150W F090W"),  # JWST: all in 10 nm
        ("blue red", "blue red"),  # unknown: as given
        ("g Ha", "g Ha"),
    ],
)
def test_the_longest_wavelength_is_red(names: str, expected: str):
    given = names.split()
    assert [given[band] for band in reddest_first(given)] == expected.split()


def test_patterns_find_galaxies_in_any_band(tmp_path: Path):
    for name in ("a_1_g.fits", "a_1_r.fits", "b[2]_r.fits", "c_i.fits", "g.fits"):
        (tmp_path / name).touch()
    pattern = f"{tmp_path}/{{id}}_{{band}}.fits"
    assert ids_of_pattern(pattern, ["g", "r"]) == ["a_1", "b[2]"]
    assert file_of_band(pattern, "r", "b[2]") == f"{tmp_path}/b[2]_r.fits"
    (tmp_path / "x" / "x").mkdir(parents=True)
    (tmp_path / "x" / "x-g.fits").touch()
    (tmp_path / "x" / "y-g.fits").touch()
    assert ids_of_pattern(f"{tmp_path}/{{id}}/{{id}}-{{band}}.fits", ["g"]) == ["x"]
    with pytest.raises(UsageError, match=r"no file matches for the bands y, j; .* called ID_y\.fits"):
        ids_of_pattern(pattern, ["y", "j"])
    with pytest.raises(UsageError, match=r"\{id\} was expected"):
        ids_of_pattern(f"{tmp_path}/{{band}}.fits", ["g"])
