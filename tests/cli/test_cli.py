from __future__ import annotations

import errno
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from morphoscope import cli as command_line
from morphoscope.cli import main
from morphoscope.data.store import open_store
from morphoscope.errors import MorphoscopeError
from morphoscope.runs.run import open_run
from morphoscope.studies import registry

FAST = [
    *("--set", "model.name=test_resnet"),
    *("--set", "training.epochs=2"),
    *("--set", "training.batch=16"),
    *("--set", "augment.size=32"),
]
OTHER = ["--set", "seed=1", "--set", "data.validation=0.3"]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Answer]:
    """Call the command line in this process."""
    before = signal.getsignal(signal.SIGTERM)

    def call(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["morphoscope", *(str(word) for word in words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        signal.signal(signal.SIGTERM, before)
        said = capsys.readouterr()
        code = end.value.code
        return Answer(code if isinstance(code, int) else 0, said.out, said.err)

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with simulated galaxies and two small runs, made by the command line."""
    place = tmp_path_factory.mktemp("cli")
    commands = [
        ["data", "simulate", "galaxies", "--count", "120", "--size", "32", "--workers", "1"],
        ["train", "small/simulated", "--store", "galaxies", "--out", "run", *FAST],
        ["train", "small/simulated", "--store", "galaxies", "--out", "other", "--no-report", *FAST, *OTHER],
    ]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        for command in commands:
            patched.setattr(sys, "argv", ["morphoscope", *command])
            with pytest.raises(SystemExit) as end:
                main()
            assert not end.value.code, command
    signal.signal(signal.SIGTERM, before)
    return place


def test_help_names_the_verbs(cli: Callable[..., Answer]):
    said = cli("--help")
    assert said.status == 0
    for verb in ("demo", "data", "models", "train", "calibrate", "evaluate", "compare", "predict"):
        assert verb in said.out
    assert "audit" in cli("data", "--help").out


def test_models_lists_recipes_and_fields(cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch):
    every = registry.recipes()
    assert {"small/five-class", "small/five-class-scratch", "small/own-labels"} <= set(every)
    # tests/studies/test_models.py counts the parameters of all
    some = {name: every[name] for name in ("small/simulated", "cheng/resnet18")}
    monkeypatch.setattr(registry, "recipes", lambda: some)
    listed = {row["name"]: row for row in json.loads(cli("models", "--json").out)}
    assert list(listed) == list(some)
    assert listed["cheng/resnet18"]["parameters"] == 11_506_122
    assert listed["cheng/resnet18"]["outputs"] == 10
    assert "optimiser.lr" in cli("models", "--fields").out


def test_a_run_is_whole_and_evaluates_to_what_it_says(cli: Callable[..., Answer], made: Path):
    for name in ("recipe.yaml", "weights.safetensors", "history.csv", "metrics.json", "report.html"):
        assert (made / "run" / name).stat().st_size > 0, name
    said = cli("evaluate", made / "run", "--json")
    assert said.status == 0, said.err
    measured = json.loads(said.out)
    wanted = {"n", "accuracy", "macro_precision", "macro_recall", "macro_f1", "weighted_f1", "ece"}
    assert wanted | {"per_class", "confusion"} <= set(measured)
    assert set(measured["accuracy"]) == {"value", "low", "high"}
    assert measured["n"] == 24  # a fifth
    kept = json.loads((made / "run" / "metrics.json").read_text())
    assert measured["accuracy"] == kept["test"]["accuracy"]
    assert "accuracy" in cli("evaluate", made / "run", "--tta").out


def test_a_run_is_calibrated_and_gives_sets(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    other, out = made / "other", tmp_path / "sets.parquet"
    kept = json.loads((other / "metrics.json").read_text())
    assert kept["calibration"]["galaxies"] == 36
    (other / "calibration.json").unlink()
    said = cli("calibrate", other, "--no-report")
    assert said.status == 0, said.err
    assert "chosen on 36 validation galaxies" in said.out
    assert json.loads((other / "metrics.json").read_text()) == kept
    measured = json.loads(cli("evaluate", other, "--coverage", "0.8", "--json").out)
    assert measured["sets"]["coverage"] == 0.8
    assert measured["calibration"] == kept["calibration"]
    own = json.loads(cli("evaluate", other, "--no-calibration", "--json").out)
    assert own["calibration"] is None
    assert own["log_loss"] == kept["calibration"]["before"]["log_loss"]
    said = cli("predict", other, made / "galaxies", "--out", out, "--coverage", "0.9", "--per-class")
    assert said.status == 0, said.err
    assert all(pq.read_table(out)["set"].to_pylist())
    new = tmp_path / "refused.csv"
    refused = cli("predict", made / "run", made / "galaxies", "--out", new, "--coverage", "0.9")
    assert refused.status == 2
    assert "needs a calibrated run" in refused.err  # six validation galaxies are too few


def test_runs_are_compared(cli: Callable[..., Answer], made: Path):
    said = cli("compare", made / "run", made / "other", "--json")
    assert said.status == 0, said.err
    pair = json.loads(said.out)["pairs"][0]
    assert "mcnemar" in pair
    assert cli("compare", made / "run", made / "other").status == 0
    assert cli("compare", made / "run").status == 2


def test_a_recipe_of_a_run_can_be_run_again(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    again = ("train", made / "run" / "recipe.yaml", "--store", made / "galaxies", "--no-report")
    said = cli(*again, "--out", tmp_path / "again")
    assert said.status == 0, said.err
    history = [
        (place / "history.csv").read_text().splitlines() for place in (made / "run", tmp_path / "again")
    ]
    losses = [[line.split(",")[3:] for line in lines] for lines in history]
    assert losses[0] == losses[1]


def test_predict_writes_what_could_be_read_and_says_what_could_not(
    cli: Callable[..., Answer], made: Path, tmp_path: Path
):
    images = tmp_path / "images"
    images.mkdir()
    draw = np.random.default_rng(0)
    for number in range(5):
        cv2.imwrite(str(images / f"g{number}.png"), draw.integers(0, 255, (40, 40, 3), np.uint8))
    said = cli("predict", made / "run", images, "--out", tmp_path / "whole.parquet")
    assert said.status == 0, said.err
    assert pq.read_table(tmp_path / "whole.parquet").num_rows == 5
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    said = cli("predict", made / "run", images, "--out", tmp_path / "part.csv")
    assert said.status == 1
    assert "1 of 6 images could not be read" in said.err
    assert pyarrow.csv.read_csv(tmp_path / "part.csv").num_rows == 5
    assert "broken" in (tmp_path / "part.unreadable.csv").read_text()


def test_ingest_keeps_what_could_be_read_and_its_status_says_that_some_could_not(
    cli: Callable[..., Answer], tmp_path: Path
):
    for kind in ("round", "spiral"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for number in range(2):
            picture = np.full((40, 40, 3), 60 * number + 20, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / kind / f"g{number}.png"), picture)
    assert cli("data", "ingest", "folder", tmp_path / "images", tmp_path / "whole").status == 0
    (tmp_path / "images" / "round" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    said = cli("data", "ingest", "folder", tmp_path / "images", tmp_path / "part")
    assert said.status == 1
    assert len(open_store(tmp_path / "part")) == 4
    assert "broken" in (tmp_path / "part" / "unreadable.csv").read_text()


def test_one_picture_of_the_sky_is_searched_and_drawn(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    from skimage.data import hubble_deep_field

    cv2.imwrite(str(tmp_path / "field.png"), hubble_deep_field()[:200, :300, ::-1])
    said = cli(
        *("predict", made / "run", tmp_path / "field.png", "--detect"),
        *("--out", tmp_path / "found.parquet", "--picture", tmp_path / "drawn.png"),
    )
    assert said.status == 0, said.err
    found = pq.read_table(tmp_path / "found.parquet")
    assert found.num_rows >= 5
    assert {"x", "y", "predicted", "probability"} <= set(found.column_names)
    assert cv2.imread(str(tmp_path / "drawn.png")).shape[0] > 200
    again = ("predict", made / "run", tmp_path / "field.png", "--out", tmp_path / "more.parquet")
    assert cli(*again, "--detect", "--min-area", "20").status == 0
    assert pq.read_table(tmp_path / "more.parquet").num_rows > 1.5 * found.num_rows
    said = cli(*again, "--overwrite", "--min-area", "20")
    assert said.status == 2
    assert "--min-area is for the sources of --detect" in said.err
    said = cli(*again, "--overwrite", "--detect", "--estimate-shares")
    assert said.status == 2
    assert "--estimate-shares is for catalogues of cutouts" in said.err


def test_a_store_is_described_audited_and_exported(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    described = json.loads(cli("data", "info", made / "galaxies", "--json").out)
    assert described["labels"]["classes"]["Round Smooth"] == 12
    audited = json.loads(cli("data", "audit", made / "galaxies", "--split", made / "run", "--json").out)
    assert [row["radius_arcsec"] for row in audited["radii"]] == [0.1, 5.0, 67.0]
    assert audited["split"]["crossing"] == 0
    assert cli("data", "info", made / "galaxies", "--export", tmp_path / "folders").status == 0
    parts = ("--export", tmp_path / "parts", "--split", "cheng")
    assert cli("data", "info", made / "galaxies", *parts).status == 0
    assert (tmp_path / "parts" / "test").is_dir()
    for wrong in (("--split", "cheng"), ("--export", tmp_path / "x.h5", "--split", "cheng")):
        assert cli("data", "info", made / "galaxies", *wrong).status == 2
    assert len(list((tmp_path / "folders").rglob("*.png"))) == 120
    said = cli("data", "ingest", "folder", tmp_path / "folders", tmp_path / "back")
    assert said.status == 0, said.err


def test_the_coordinates_of_galaxy10_repeat_as_known(cli: Callable[..., Answer], shared_data: Path):
    table = shared_data / "galaxy10_decals" / "coordinates_17736.csv"
    audited = json.loads(cli("data", "audit", table, "--json").out)
    assert [(row["radius_arcsec"], row["pairs"]) for row in audited["radii"]] == [
        *((0.1, 59), (5.0, 77), (67.0, 236))
    ]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("train", "small/five-clas"), 2, "did you mean 'small/five-class'"),
        (("train", "small/simulated", "--set", "optimizer.lr=1"), 2, "did you mean 'optimiser.lr'"),
        (("train", "small/simulated", "--set", "optimiser.lr=fast"), 2, "optimiser.lr"),
        (("train", "small/simulated", "--weights", "w", "--from-scratch"), 2, "exclude each other"),
    ],
)
def test_a_typo_in_a_training_is_one_sentence(
    cli: Callable[..., Answer], made: Path, tmp_path: Path, words: tuple[str, ...], status: int, sentence: str
):
    said = cli(*words, "--store", made / "galaxies", "--out", tmp_path / "run")
    assert said.status == status
    assert sentence in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_wrong_paths_are_one_sentence(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    for words in (
        ("train", "small/simulated", "--store", tmp_path / "none", "--out", tmp_path / "run"),
        ("evaluate", tmp_path / "none"),
        ("predict", tmp_path / "none", tmp_path, "--out", tmp_path / "c.csv"),
        ("predict", made / "run", tmp_path / "none", "--out", tmp_path / "c.csv"),
        ("predict", made / "run", made / "galaxies", "--out", tmp_path / "c.xlsx"),
        ("data", "info", tmp_path / "none"),
        ("data", "ingest", "galaxy10", tmp_path / "none.h5", tmp_path / "store"),
        ("data", "ingest", "folder", tmp_path / "none", tmp_path / "store"),
    ):
        said = cli(*words)
        assert said.status == 2, words
        assert said.err.startswith("morphoscope: "), words
        assert len(said.err.strip().splitlines()) == 1, said.err


def test_a_run_of_a_newer_program_is_refused(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    shutil.copytree(made / "run", tmp_path / "newer")
    header = yaml.safe_load((tmp_path / "newer" / "run.yaml").read_text())
    (tmp_path / "newer" / "run.yaml").write_text(yaml.safe_dump(header | {"format_version": 99}))
    said = cli("evaluate", tmp_path / "newer")
    assert said.status == 1
    assert "newer morphoscope" in said.err


def test_edited_weights_are_noticed(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    shutil.copytree(made / "run", tmp_path / "edited")
    place = tmp_path / "edited" / "weights.safetensors"
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    said = cli("evaluate", tmp_path / "edited")
    assert said.status == 1
    assert "checksum" in said.err


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("morphoscope.training.callbacks.write_history", OSError(errno.ENOSPC, "No space left on device")),
        ("morphoscope.training.folder.torch.save", RuntimeError("file write failed")),
    ],
)
def test_a_full_disk_in_a_training_is_one_sentence(
    cli: Callable[..., Answer],
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
):
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(place, full)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    said = cli(
        *("train", "small/simulated", "--store", made / "galaxies", "--out", tmp_path / "run", *FAST),
    )
    assert said.status == 1
    assert said.err.strip().splitlines()[-1].endswith("then run the same command with --resume")


def test_ctrl_c_ends_in_one_sentence_and_resumes(
    cli: Callable[..., Answer], made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from morphoscope.training.folder import AtomicCheckpoints

    out, kept = tmp_path / "run", AtomicCheckpoints.save_checkpoint
    words = ("train", "small/simulated", "--store", made / "galaxies", "--out", out, *FAST, "--no-report")

    def keep(*arguments: object, **options: object) -> None:
        kept(*arguments, **options)
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(AtomicCheckpoints, "save_checkpoint", keep)
            said = cli(*words)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert said.status == 1
    assert "Traceback" not in said.err
    assert "--resume" in said.err.strip().splitlines()[-1]
    assert len(open_run(out, unfinished=True).history()["epoch"]) == 1
    assert cli(*words, "--resume").status == 0
    assert len(open_run(out).history()["epoch"]) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interruption_that_compiled_code_made_an_error_of_is_one(
    cli: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
):
    """torch, onnxruntime and imports raise errors of their own where a signal comes while they work."""

    def turned_into(error: Exception) -> Callable[..., None]:
        def interrupted(**_: object) -> None:
            try:
                signal.raise_signal(number)
            except KeyboardInterrupt:
                raise error from None

        return interrupted

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for error in (
            ValueError("could not determine the shape"),
            ImportError("initialization failed"),
            MorphoscopeError("this network cannot be exported"),
        ):
            monkeypatch.setattr(command_line, "app", turned_into(error))
            said = cli("predict")
            assert said.status == 1
            assert said.err.count("morphoscope: ") == 1
            assert "interrupted; no partial output is left" in said.err
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)

    def wrong(**_: object) -> None:
        raise ValueError("an error of the program")

    monkeypatch.setattr(command_line, "app", wrong)
    with pytest.raises(ValueError, match="of the program"):
        main()


@pytest.mark.slow
def test_ctrl_c_ends_a_process_of_its_own_in_one_sentence(made: Path, tmp_path: Path):
    out = tmp_path / "run"
    words = ["train", "small/simulated", "--store", str(made / "galaxies"), "--out", str(out), *FAST]
    command = [sys.executable, "-m", "morphoscope", *words, "--set", "training.epochs=500", "--no-report"]
    with subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has told its children to ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        deadline = time.monotonic() + 120
        while not (out / "resume" / "last.ckpt").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "--resume" in err.strip().splitlines()[-1]


def test_explain_writes_maps_a_page_and_scores(cli: Callable[..., Answer], made: Path, tmp_path: Path):
    said = cli(
        "explain", made / "run", "--out", tmp_path / "maps", "--count", "2", "--method", "gradcam", "--score"
    )
    assert said.status == 0, said.err
    assert (tmp_path / "maps" / "figures" / "maps_gradcam.png").stat().st_size > 5_000
    assert "Centred Gaussian" in (tmp_path / "maps" / "explain.html").read_text()
    scores = json.loads((tmp_path / "maps" / "scores.json").read_text())
    assert set(scores["scores"]["gradcam"]) == {"gradcam", "gaussian", "light", "random"}
    assert [row["random"] for row in scores["sanity"]["gradcam"]] == [0.25, 0.5, 0.75, 1.0]
    for options, words in (
        (("--method", "gradcm"), "did you mean 'gradcam'"),
        (("--class", "Spirl"), "has no output 'Spirl'"),
        (("--layer", "backbone.layer9"), "has no layer 'backbone.layer9'"),
    ):
        said = cli("explain", made / "run", "--out", tmp_path / "other", *options)
        assert said.status == 2
        assert words in said.err
        assert not (tmp_path / "other").exists()
    assert cli("explain", made / "run", "--out", tmp_path / "maps").status != 0  # it is there already
