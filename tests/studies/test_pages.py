"""The page of every study, from tiny trainings of its main rows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markupsafe import escape

from morphoscope.studies.reproduce import study
from morphoscope.studies.study import Options, find_study

ROWS = {
    "cheng": ("cheng/resnet18", "cheng/plain18", "cheng/resnet18-scratch"),
    "tong": ("tong/resnet50", "tong/cs-resnet50"),
    "yan": ("yan/mobilenetv2", "yan/efficientnetv2s"),
    "ng": ("ng/baseline", "ng/baseline-cbam"),
    "fu": ("fu/efficientnet-lite0-0", "fu/efficientnet-lite0-40", "fu/efficientnet-lite0-100"),
}
STORES = {"cheng": "ten", "tong": "five", "yan": "ten", "ng": "votes", "fu": "ten"}
SETTINGS = (
    *("augment.size=32", "augment.crop=24", "training.epochs=2", "training.batch=16"),
    "training.precision=fp32",
)
SMALL = (*SETTINGS, "training.epochs=1", "model.name=test_resnet", "model.attention=none", "model.fused=none")
SMALL_TONG = (*SMALL, "model.shortcut=standard", "model.biases=false")
EXPECTED = {
    "cheng": (
        "improvement",
        "confusion_resnet18",
        "network_vgg16",
        "unit_basic",
        "maps_saliency",
        "maps_gradcam",
    ),
    "tong": ("confusion_change", "processing", "unit_attention_unit", "network_cs-resnet50"),
    "yan": ("unit_mbconv", "network_efficientnetv2s-cbam", "maps_gradcam"),
    "ng": (
        "decision_tree",
        "curves_baseline",
        "votes_per_question",
        "network_baseline-cbam",
        "maps_ablationcam",
    ),
    "fu": ("sweep", "oversampling", "unit_dense_block", "frozen_maps_efficientnet-lite0"),
}


@pytest.fixture(scope="module")
def stores(ten_classes, five_classes, all_votes) -> dict:
    return {"ten": ten_classes, "five": five_classes, "votes": all_votes}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(ROWS))
def test_page(name: str, stores: dict, tmp_path: Path) -> None:
    _check_page(name, stores, tmp_path, SETTINGS)


@pytest.mark.usefixtures("undrawn", "stand_in_networks")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ("cheng", "ng") else pytest.mark.slow) for name in ROWS]
)
def test_page_of_small_networks_without_its_pictures(name: str, stores: dict, tmp_path: Path) -> None:
    _check_page(name, stores, tmp_path, SMALL_TONG if name == "tong" else SMALL)


def _check_page(name: str, stores: dict, tmp_path: Path, settings: tuple[str, ...]) -> None:
    options = Options(quick=True, from_scratch=True, rows=ROWS[name], settings=settings)
    done = study(name, stores[STORES[name]], tmp_path / name, options, progress=False)
    text = done.page.read_text()
    for figure in EXPECTED[name]:
        kind = "svg" if figure.startswith("unit_") else "png"
        drawn = (tmp_path / name / "figures" / f"{figure}.{kind}").is_file()
        assert drawn or f'id="{figure}"' in text, figure
    for number in ("all_curves", "best_curves", "run_times", "published_and_measured"):
        assert (tmp_path / name / "figures" / f"{number}.png").is_file()
    assert not re.search(r"<td[^>]*>\s*(nan|None|inf)\s*</td>", text)
    published = find_study(name).published
    assert all(escape(each.says) in text for each in published.contradictions)
    for row in set(find_study(name).rows()) - set(ROWS[name]):
        assert f"{row.split('/')[1]} was not requested" in text
