"""Documents with the version of their format."""

import json
import os
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from morphoscope.errors import MorphoscopeError
from morphoscope.versioned import read_document, understood


class Kept(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format_version: int = 2
    galaxies: int


PLACE = Path("kept.json")


@pytest.mark.parametrize("parse", [json.loads, yaml.safe_load])
@pytest.mark.parametrize("version", [1, 2])
def test_this_version_and_older_ones_are_read(parse, version):
    text = json.dumps({"format_version": version, "galaxies": 7})
    for content in (text, text.encode()):
        assert understood(Kept, content, parse, PLACE, "a count") == Kept(format_version=version, galaxies=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{", "kept.json is damaged: it is not a count"),
        (b"\xff\xfe\xff", "kept.json is damaged: it is not a count"),
        (b"[1]", "kept.json is damaged: it is not a count"),
        (b"{}", "kept.json is damaged: it is not a count"),
        (b'{"format_version": "new"}', "kept.json is damaged: it is not a count"),
        (
            b'{"format_version": 3, "stars": 1}',
            "made by a newer morphoscope; this one reads up to 2. Upgrade",
        ),
        (b'{"format_version": 2, "galaxies": "many"}', "kept.json is damaged: galaxies: Input should be"),
        (
            b'{"format_version": 2, "galaxies": 1, "stars": 1}',
            "damaged: stars: there is no such field",
        ),
    ],
)
@pytest.mark.parametrize("parse", [json.loads, yaml.safe_load])
def test_others_are_refused_with_the_reason(parse, text, message):
    with pytest.raises(MorphoscopeError, match=message):
        understood(Kept, text, parse, PLACE, "a count")


def test_a_pipe_in_place_of_a_document_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.yaml")
    for path in (tmp_path / "run.yaml", Path("/dev/zero")):
        with pytest.raises(MorphoscopeError, match="is a pipe or a device; a file was expected"):
            read_document(path)
