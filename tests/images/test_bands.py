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
        ("foo bar", "foo bar"),  # unknown: as given
        ("g Ha", "Ha g"),
        ("VIS NIR_Y NIR_H", "NIR_H NIR_Y VIS"),
        ("IE YE HE", "HE YE IE"),
        ("u' g' r'", "r' g' u'"),
        ("HSC-G HSC-R2 HSC-I2", "HSC-I2 HSC-R2 HSC-G"),
        ("F150W F150W2 F115W", "F150W2 F150W F115W"),
        ("F560W F1000W F444W", "F1000W F560W F444W"),  # JWST's MIRI, not Hubble's F555W
        ("F555W F814W", "F814W F555W"),
        ("r N708 NB0921", "NB0921 N708 r"),
        ("FUV NUV r", "r NUV FUV"),
        ("W1 W2 Ks", "W2 W1 Ks"),
        ("J H K", "K H J"),
        ("g foo@600 z", "z foo@600 g"),
        ("3 2 1", "3 2 1"),  # planes: red first
    ],
)
def test_the_longest_wavelength_is_red(names: str, expected: str):
    given = names.split()
    assert [given[band] for band in reddest_first(given)] == expected.split()


def test_an_unknown_band_among_known_ones_is_a_question():
    with pytest.raises(UsageError, match=r"wavelength of foo is not known.*as foo@750"):
        parse_bands("g,foo")
    assert parse_bands("g,foo@750") == ("g", "foo@750")
    assert file_of_band("a_{band}.fits", "foo@750") == "a_foo.fits"


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


@pytest.mark.parametrize(
    ("names", "reddest"),
    [("gSDSS,rSDSS", "rSDSS"), ("sdssu,sdssg", "sdssg"), ("F200LP,F475W,F814W", "F814W"), ("Bj,Rf", "Rf")],
)
def test_instruments_without_a_blank_and_long_pass_filters(names: str, reddest: str):
    bands = names.split(",")
    assert bands[reddest_first(bands)[0]] == reddest
