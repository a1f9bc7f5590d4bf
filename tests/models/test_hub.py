"""What a hub's answers come to, without a hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import errors

from morphoscope.errors import MorphoscopeError
from morphoscope.models.hub import FOLDER, hub_backbone, hub_reason


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (errors.GatedRepoError, "accept its terms first"),
        (errors.RepositoryNotFoundError, "no such model, or it is private"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.HFValidationError, "the form owner/name"),
        (errors.LocalEntryNotFoundError, "the hub cannot be reached"),
        (errors.EntryNotFoundError, "lacks a file that was expected"),
    ],
)
def test_a_failure_of_the_hub_says_what_to_do(kind: type[Exception], said: str) -> None:
    assert said in hub_reason(kind.__new__(kind))  # which takes an answer of the hub to make


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"architecture": "no_such_model"}, "this timm has no model 'no_such_model'"),
        ({"architecture": 3}, r"config\.json is not that of a timm model"),
        (
            {"architecture": "test_resnet", "model_args": ["x"], "pretrained_cfg": {}},
            r"config\.json is not that of a timm model",
        ),
        ({}, r"config\.json is not that of a timm model"),
    ],
)
def test_a_folder_that_is_no_timm_model_is_said(tmp_path: Path, content: object, said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(MorphoscopeError, match=said):
        hub_backbone(f"{FOLDER}{tmp_path}")
