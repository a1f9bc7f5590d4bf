from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from morphoscope.errors import UsageError
from morphoscope.inference.ensemble import check_members
from morphoscope.labels.scheme import Classes
from morphoscope.runs.run import StoreFacts


def member(name: str, classes: tuple[str, ...] = ("a", "b"), **store: object) -> Any:
    facts = {"name": "s", "path": "s", "image_shape": (64, 64, 3), "pixel_scale": 0.25} | store
    scheme = Classes(name="own", classes=classes)
    header = SimpleNamespace(store=StoreFacts.model_validate(facts))
    return SimpleNamespace(path=Path(name), scheme=scheme, header=header)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (member("other", ("b", "a")), r"predicts b, a \(classes\) and one a, b \(classes\)"),
        (member("other", image_shape=(64, 64, 4)), "differ in their number of channels"),
        (member("other", crop=48), r"differ in their crop \(48 and None px\)"),
        (member("other", stretch="asinh"), r"differ in their stretch \(asinh and as-served\)"),
        (member("other", pixel_scale=0.5), r"differ in the sky they show \(32\.0″ and 16\.0″\)"),
        (member("one"), "the same one twice"),
    ],
)
def test_members_must_belong_together(other: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        check_members([member("one"), other])


def test_members_may_differ_in_resolution_and_in_what_is_not_known() -> None:
    finer = member("finer", image_shape=(128, 128, 3), pixel_scale=0.125)
    check_members([member("one"), finer, member("unknown", pixel_scale=None)])
