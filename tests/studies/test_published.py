"""What holds for all five papers."""

from __future__ import annotations

import importlib
import json
import math
import subprocess
import sys

import pytest

from morphoscope.errors import UsageError
from morphoscope.studies.claims import METRICS, class_metric
from morphoscope.studies.published import Published, PublishedRow, Table
from morphoscope.studies.registry import PAPERS, published, recipes

# What the papers say and their own numbers refute, or cannot show.
WITHOUT_NUMBER = {
    "Attention helps each of the five classes.",
    "It is also the best of the five on galaxies it was not trained on.",
    "More residual blocks need more parameters and more training time.",
    "Stacking residual blocks draws attention to the bright centre.",
    "It is also the fastest of the five: its epochs are the shortest.",
    "CBAM improves EfficientNetV2-S.",
    "A simple sigmoid does better than a softmax within each question, weighted by the tree or not.",
    "Larger kernels make the baseline much better: 17, 13, 9 and 7 px instead of 3.",
    "Averaging over rotated and mirrored views at test time lowers the error.",
    "Adding scaled views lowers it further.",
    "DINOv2 overfits after 15 epochs: 30 are worse.",
    "ResNets end with a higher loss than VGG16 although they are more accurate.",
    "The network looks at the centre of a galaxy and its surroundings.",
    "The network looks at the middle of the galaxy.",
    "With CBAM, attention follows the galaxy's shape instead of spreading out.",
    "Grad-CAM finds the galaxy best at 20 and 40 %, worse at 60, 80 and 100 %.",
    "With 0 % the gradients vanish, and there is no Grad-CAM map.",
}
REFUTED = {
    "The other ResNets exceed 90 % on the training galaxies.",
    "Round Smooth galaxies are hard to recognise: their recall is below the mean over classes.",
}


def known_metric(name: str) -> bool:
    return name in METRICS or name.partition(": ")[0] in ("precision", "recall", "f1", "support")


@pytest.fixture(scope="module", params=PAPERS)
def study(request: pytest.FixtureRequest) -> Published:
    return published(request.param)


def test_every_row_is_a_recipe_of_its_study(study: Published) -> None:
    known = recipes()
    for row in study.rows:
        assert row.key in known
        assert row.key.startswith(f"{study.paper.key}/")
        assert not row.same_row_as or study.row(row.same_row_as) is not None


def test_every_claim_asks_for_rows_and_metrics_that_can_be_there(study: Published) -> None:
    known = recipes()
    for claim in study.claims:
        for row, metric, _ in claim.evidence({}):
            assert row in known, claim.text
            assert known_metric(metric), claim.text


def test_metrics_are_named_as_everywhere_and_of_the_right_size(study: Published) -> None:
    shares = ("accuracy", "precision", "recall", "f1")
    for row in study.rows:
        assert {*row.approximate, *row.derived} <= set(row.metrics)
        for name, value in row.metrics.items():
            assert known_metric(name), name
            assert math.isfinite(value)
            assert value > 0
            if name.partition(":")[0].endswith(shares):
                assert value < 1, f"{row.key} {name} is a percentage, not a share"


def test_the_papers_own_numbers_bear_their_claims_out(study: Published) -> None:
    values = study.values()
    for claim in study.claims:
        verdict = claim.verdict(values)
        own = not claim.asked_of or claim.asked_of == "the attention as the text describes it"
        if claim.check is None or not own or claim.text in WITHOUT_NUMBER:
            assert verdict is None, claim.text
        else:
            assert verdict is (claim.text not in REFUTED), claim.text


def test_something_is_claimed_contradicted_left_open_and_done_otherwise(study: Published) -> None:
    assert study.rows
    assert study.claims
    assert study.contradictions
    assert study.readings
    assert study.deviations
    for part in (study.claims, study.contradictions, study.readings, study.deviations):
        assert len(set(part)) == len(part)


def test_options_that_are_named_exist(study: Published) -> None:
    options = importlib.import_module(f"morphoscope.studies.{study.paper.key}.study").LITERAL
    for note in (*study.readings, *study.deviations):
        assert not note.option or note.option in options


def test_every_option_is_mentioned(study: Published) -> None:
    mentioned = {note.option for note in (*study.readings, *study.deviations)}
    assert set(importlib.import_module(f"morphoscope.studies.{study.paper.key}.study").LITERAL) <= mentioned


def test_tables_are_found_by_name(study: Published) -> None:
    for table in study.tables:
        assert study.table(table.name) is table
        assert len(table.column(table.columns[-1])) == len(table.rows)
    with pytest.raises(KeyError):
        study.table("Table 99")


def test_a_recipe_without_a_published_number_has_no_row() -> None:
    assert published("fu").row("fu/efficientnet-lite0-20") is None
    assert published("cheng").row("cheng/plain50") is None


def test_an_unknown_paper_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'cheng'"):
        published("chen")


def test_wrong_pieces_are_refused() -> None:
    with pytest.raises(ValueError, match="2 cells"):
        Table("T", "", ("a", "b"), ((1,),))
    with pytest.raises(ValueError, match="no class score 'accuracy'"):
        class_metric("accuracy", "Spiral")
    row = PublishedRow("x/y", "y", {"accuracy": 0.5}, "Table 1")
    with pytest.raises(TypeError):
        row.metrics["accuracy"] = 0.6  # type: ignore[index]
    paper = published("fu").paper
    with pytest.raises(ValueError, match="have the same key"):
        Published(paper, (row, row), (), (), (), (), ())


def test_nothing_heavy_is_loaded() -> None:
    code = (
        "import json, sys\nfrom morphoscope.studies.registry import PAPERS, published\n"
        "[published(name) for name in PAPERS]\nprint(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "numpy" in loaded
    assert not loaded & {"torch", "timm", "lightning", "matplotlib", "sklearn", "scipy", "pyarrow", "h5py"}
