"""Running a study: what is trained, what is kept, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pytest

from morphoscope import api
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.models.network import Network
from morphoscope.recipes import Recipe
from morphoscope.studies import page_context
from morphoscope.studies import run as run_module
from morphoscope.studies.reproduce import StudyDone, study
from morphoscope.studies.run import run_study
from morphoscope.studies.study import NAMES, Options, find_study, for_store, resolved_rows

TINY = (
    *("augment.size=32", "training.epochs=1", "training.batch=16", "training.precision=fp32"),
    "model.hidden=8",
)

pytestmark = pytest.mark.usefixtures("undrawn")


def _tiny(**changes: object) -> Options:
    values: dict = {"quick": True, "from_scratch": True, "settings": TINY, "rows": ("cheng/resnet18",)}
    return Options(**(values | changes))


@pytest.fixture(scope="module")
def done(
    ten_classes: Store,
    tmp_path_factory: pytest.TempPathFactory,
    small_meta_network: Callable[[Recipe, int], Network],
) -> tuple[Path, StudyDone]:
    """A whole study of two rows and two seeds, small in everything."""
    out = tmp_path_factory.mktemp("studies") / "cheng"
    rows = ("cheng/resnet18", "cheng/plain18")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(page_context, "meta_network", small_meta_network)
        return out, study("cheng", ten_classes, out, _tiny(rows=rows, seeds=2), progress=False)


def test_every_row_and_seed_is_an_ordinary_run(done: tuple[Path, StudyDone]) -> None:
    out, found = done
    for row in ("resnet18", "plain18"):
        for seed in (0, 1):
            run = api.load(out / "runs" / row / str(seed)).run
            assert (run.recipe.seed, run.recipe.data.split_seed) == (seed, seed)
            assert run.metrics()["test"]["n"] == 20
    assert found.not_run == []


def test_numbers_of_all_seeds_are_kept(done: tuple[Path, StudyDone]) -> None:
    out, found = done
    kept = json.loads((out / "results.json").read_text())
    row = kept["cheng/plain18"]
    values = [seed["accuracy"] for seed in row["seeds"]]
    assert row["mean"]["accuracy"] == pytest.approx(sum(values) / 2)
    first, second = values
    assert row["standard_deviation"]["accuracy"] == pytest.approx(abs(first - second) / 2**0.5)
    assert found.results.rows["cheng/plain18"].mean("accuracy") == pytest.approx(sum(values) / 2)


def test_the_page_tells_what_was_run_and_what_not(done: tuple[Path, StudyDone]) -> None:
    out, found = done
    text = found.page.read_text()
    assert "Quick study at reduced size" in text
    assert "No network had pretrained weights." in text
    assert "vgg16 was not requested" in text
    assert "27\u202f627\u202f210" in text  # VGG16's weights, counted here although it was not trained
    assert "59.66" in text  # its published accuracy
    assert (out / "figures" / "published_and_measured.png").is_file()


def test_a_finished_row_is_not_trained_again(done: tuple[Path, StudyDone], ten_classes: Store) -> None:
    out, _ = done
    weights = out / "runs" / "plain18" / "0" / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    rows = ("cheng/plain18",)
    run_study(find_study("cheng"), ten_classes, out, _tiny(rows=rows, seeds=2), progress=False)
    assert weights.stat().st_mtime_ns == before


def test_a_study_goes_on_with_the_same_options_alone(
    done: tuple[Path, StudyDone], ten_classes: Store
) -> None:
    out, _ = done
    other = _tiny(settings=(*TINY, "optimiser.lr=0.01"))
    with pytest.raises(UsageError, match=r"was started with other options \(settings"):
        run_study(find_study("cheng"), ten_classes, out, other, progress=False)


def test_rows_with_the_same_recipe_are_trained_once(ten_classes: Store, tmp_path: Path) -> None:
    """Without pretrained weights `fu`'s 0 % of either reading is the same training."""
    rows = ("yan/efficientnetv2s-cbam-published", "yan/fused-3")
    settings = (*TINY[:4], "model.fused=none", "model.name=test_resnet", "model.attention=none")
    options = _tiny(rows=rows, settings=settings)
    results = run_study(find_study("yan"), ten_classes, tmp_path / "yan", options, progress=False)
    twin = results.rows["yan/fused-3"].trainings[0]
    assert twin.same_as == "yan/efficientnetv2s-cbam-published"
    assert not (tmp_path / "yan" / "runs" / "fused-3").exists()
    assert results.rows["yan/fused-3"].mean("accuracy") is not None


def test_a_row_without_weights_is_noted_and_the_others_go_on(
    ten_classes: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "weights").mkdir()
    options = Options(
        quick=True,
        weights=str(tmp_path / "weights"),
        rows=("cheng/vgg16", "cheng/plain18"),
        settings=TINY,
    )
    results = run_study(find_study("cheng"), ten_classes, tmp_path / "out", options, progress=False)
    assert results.rows["cheng/plain18"].mean("accuracy") is not None
    assert "vgg16.tv_in1k.safetensors" in results.rows["cheng/vgg16"].why_not()
    assert "vgg16, seed 0: not run" in capsys.readouterr().err


def test_no_row_at_all_is_an_error(ten_classes: Store, tmp_path: Path) -> None:
    options = Options(quick=True, weights=str(tmp_path / "none"), rows=("cheng/vgg16",), settings=TINY)
    with pytest.raises(MorphoscopeError, match="no row of study cheng could be trained"):
        run_study(find_study("cheng"), ten_classes, tmp_path / "out", options, progress=False)


def test_an_unfinished_row_is_continued(ten_classes: Store, tmp_path: Path, monkeypatch) -> None:
    from morphoscope.training import callbacks

    study, out = find_study("cheng"), tmp_path / "out"
    options = _tiny(settings=(*TINY, "training.epochs=2", "model.name=test_resnet"))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(callbacks, "note", interrupt)  # said at the end of the first epoch
        with pytest.raises(KeyboardInterrupt):
            run_study(study, ten_classes, out, options, progress=False)
    _reword_description(out / "runs" / "resnet18" / "0")
    results = run_study(study, ten_classes, out, options, progress=False)
    assert len(results.rows["cheng/resnet18"].runs()[0].history()["epoch"]) == 2
    _reword_description(out / "runs" / "resnet18" / "0")
    again = run_study(study, ten_classes, out, options, progress=False)
    assert again.rows["cheng/resnet18"].mean("accuracy") == results.rows["cheng/resnet18"].mean("accuracy")


def _reword_description(run: Path) -> None:
    """As another version of the program describes the same recipe."""
    recipe = Recipe.from_yaml(run / "recipe.yaml")
    (run / "recipe.yaml").write_text(recipe.changed(about="in other words").to_yaml())


def test_the_labels_must_be_the_studys(five_classes: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a store with the label scheme 'galaxy10'"):
        run_study(find_study("cheng"), five_classes, tmp_path / "out", _tiny(), progress=False)


def test_a_folder_with_something_else_is_left_alone(ten_classes: Store, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="is not a study"):
        run_study(find_study("cheng"), ten_classes, tmp_path, _tiny(), progress=False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": ("cheng/resnet19",)}, "no row 'cheng/resnet19'.*resnet18"),
        ({"literal": ("adam",)}, "no literal reading 'adam'"),
        ({"weights": "w"}, "contradict"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_options_that_cannot_be(changes: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolved_rows(find_study("cheng"), _tiny(**changes))


def test_unknown_studies_are_named() -> None:
    with pytest.raises(UsageError, match=r"no study 'tang'.*tong"):
        find_study("tang")


@pytest.mark.parametrize("name", NAMES)
def test_literal_readings_and_quick_settings_fit_every_row(name: str) -> None:
    study = find_study(name)
    plain = resolved_rows(study, Options())
    for reading in study.literal:
        changed = resolved_rows(study, Options(literal=(reading,)))
        if reading == "alphabetical":  # changes the page alone
            continue
        assert any(changed[row] != plain[row] for row in plain), reading
    quick = resolved_rows(study, Options(quick=True))
    assert all(recipe.training.epochs <= 10 for recipe in quick.values())


def test_literal_readings_are_off_by_default() -> None:
    rows = resolved_rows(find_study("cheng"), Options())
    assert rows["cheng/resnet18"].training.initial_epoch == 0
    literal = resolved_rows(find_study("cheng"), Options(literal=("initial-epoch",)))
    assert literal["cheng/resnet18"].training.initial_epoch == 3


def test_crops_follow_a_store_that_was_scaled(five_classes: Store) -> None:
    recipe = find_study("tong").rows()["tong/resnet50"]
    made = replace(five_classes, meta=five_classes.meta.model_copy(update={"crop": 48, "size": 32}))
    assert for_store(recipe.changed({"augment.crop": 24}), made, 424).augment.crop == 16


@pytest.mark.usefixtures("stand_in_networks")
def test_submission(all_votes: Store, tmp_path: Path) -> None:
    import csv

    import cv2
    import numpy as np

    images = tmp_path / "images_test_rev1"
    images.mkdir()
    for number in (200, 7, 30):
        cv2.imwrite(str(images / f"{number}.jpg"), np.full((32, 32, 3), number, np.uint8))
    options = Options(
        quick=True,
        from_scratch=True,
        rows=("ng/efficientnet-lite0",),
        settings=(*TINY[:4], "augment.crop=24", "model.name=test_resnet", "model.pretrained=false"),
    )
    done = study("ng", all_votes, tmp_path / "ng", options, test_images=images, progress=False)
    run = done.results.rows["ng/efficientnet-lite0"].runs()[0]
    with open(run.path / "submission.csv", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0][:2] == ["GalaxyID", "Class1.1"]
    assert rows[0][-1] == "Class11.6"
    assert [row[0] for row in rows[1:]] == ["7", "30", "200"]
    assert all(0 <= float(value) <= 1 for row in rows[1:] for value in row[1:])


@pytest.mark.slow
def test_rows_run_side_by_side_in_processes_of_their_own(
    ten_classes: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens with several GPUs, on a machine that has none."""
    from morphoscope.studies import run as running

    monkeypatch.setattr(running, "_gpus", lambda: 2)
    rows = ("cheng/plain18", "cheng/resnet18-published")
    settings = (*TINY, "augment.crop=400")  # larger than the images: the second kind of ending
    failed = run_study_quietly(ten_classes, tmp_path / "failed", _tiny(rows=rows, settings=settings))
    assert "augment.crop is 400 pixels" in failed
    assert (tmp_path / "failed" / "runs" / "plain18" / "0.log").is_file()


@pytest.mark.slow
def test_rows_trained_side_by_side_are_measured(
    ten_classes: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from morphoscope.studies import run as running

    monkeypatch.setattr(running, "_gpus", lambda: 2)
    rows = ("cheng/plain18", "cheng/resnet18-published")
    results = run_study(find_study("cheng"), ten_classes, tmp_path / "out", _tiny(rows=rows), progress=False)
    assert all(row.mean("accuracy") is not None for row in results.rows.values())


def run_study_quietly(store: Store, out: Path, options: Options) -> str:
    with pytest.raises(MorphoscopeError) as caught:
        run_study(find_study("cheng"), store, out, options, progress=False)
    return str(caught.value)


def test_rows_for_any_labels_run_on_other_labels(five_classes: Store, tmp_path: Path) -> None:
    study, name = find_study("fu"), "fu/efficientnet-lite0-100"
    options = Options(rows=(name,), quick=True, settings=(*TINY[:4], "data.limit=20"))
    results = run_study(study, five_classes, tmp_path / "out", options, progress=False)
    assert results.rows[name].runs()[0].scheme.name == "five-class"


def test_more_views_at_the_test_are_measured_once(all_votes: Store, tmp_path: Path) -> None:
    settings = (*TINY[:4], "augment.crop=none", "model.name=test_resnet", "model.attention=none")
    options = Options(rows=("ng/baseline",), quick=True, settings=(*settings, "model.pool=average"))
    results = run_study(find_study("ng"), all_votes, tmp_path / "ng", options, progress=False)
    values = results.rows["ng/baseline"].trainings[0].values
    assert values["rmse_turned_views"] == pytest.approx(values["rmse"], rel=1e-5)  # the test has 16 views
    assert len({values[f"rmse_{kind}_view{s}"] for kind, s in (("one", ""), ("scaled", "s"))}) == 2
    kept = tmp_path / "ng" / "runs" / "baseline" / "0" / "view_scores.json"
    before = kept.stat().st_mtime_ns
    run_study(find_study("ng"), all_votes, tmp_path / "ng", options, progress=False)
    assert kept.stat().st_mtime_ns == before


def test_a_crop_keeps_its_share_of_the_papers_images_and_no_others() -> None:
    """Half of a 512 px image, of which a store holds 64 px, is 32 px; 424 px has nothing to do with it."""
    recipe = find_study("tong").rows()["tong/resnet50"].changed({"augment.crop": 256})
    meta = StoreMeta(count=1, image_shape=(64, 64, 3), size=64)
    store = Store(Path("s"), meta, np.zeros((1, 64, 64, 3), np.uint8), pa.table({"id": ["a"]}))
    assert for_store(recipe, store, 512).augment.crop == 32
    cropped = replace(store, meta=meta.model_copy(update={"crop": 512}))
    assert for_store(recipe, cropped, 424).augment.crop == 32


def test_each_gpu_trains_one_row_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus: list[str] = []

    def train(command: list[str], stdout: IO[str], stderr: object, env: dict[str, str]) -> object:
        gpus.append(env["CUDA_VISIBLE_DEVICES"])
        row = Path(command[command.index("--out") + 1]).parent.name
        assert Path(command[command.index("train") + 1]).is_file()
        stdout.write({"full": "epoch 1/2\nmorphoscope: the disk is full\n"}.get(row, ""))
        return SimpleNamespace(returncode=0 if row == "good" else 1)

    monkeypatch.setattr(run_module, "_gpus", lambda: 2)
    monkeypatch.setattr(run_module.subprocess, "run", train)
    monkeypatch.setattr(run_module, "open_run", lambda folder, **_: folder)
    jobs = [(f"cheng/{row}", 0, Recipe()) for row in ("good", "full", "dead")]
    store: Any = SimpleNamespace(path=tmp_path / "store")
    done = run_module._train_all(jobs, store, tmp_path, progress=False)
    assert done["cheng/good", 0].run == tmp_path / "runs" / "good" / "0"
    assert done["cheng/full", 0].failure == "the disk is full"
    assert done["cheng/dead", 0].failure == "the training process died"
    assert len(gpus) == 3
    assert set(gpus) <= {"0", "1"}


def test_a_folder_with_another_training_or_damaged_options_is_not_continued(tmp_path: Path) -> None:
    old = Path(__file__).parents[1] / "compatibility" / "v0_1" / "run-galaxy10"
    with pytest.raises(UsageError, match="holds a run with another recipe; remove it"):
        run_module.finished(old, Recipe(), SimpleNamespace())  # type: ignore[arg-type]
    (tmp_path / "study.yaml").write_text("- quick")
    with pytest.raises(MorphoscopeError, match=r"study\.yaml is damaged; restore it"):
        run_module._begun(tmp_path / "study.yaml")


def test_frozen_layers_need_weights_to_keep() -> None:
    frozen = Recipe().changed({"model.frozen": 0.4})
    assert run_module._untrainable(frozen.changed({"model.pretrained": False})).startswith(
        "its frozen layers"
    )
    assert run_module._untrainable(frozen.changed({"model.pretrained": True})) == ""


def test_a_submission_belongs_to_one_study(ten_classes: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="test images and submissions are only for study ng"):
        study("cheng", ten_classes, tmp_path / "out", test_images=tmp_path)
    assert not (tmp_path / "out").exists()
