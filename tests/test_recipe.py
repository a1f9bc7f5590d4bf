from __future__ import annotations

import functools
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from morphoscope.errors import UsageError
from morphoscope.recipes import Augment, Data, Model, Optimiser, Recipe, Schedule, Training, fields


def set_to(*settings: str) -> Recipe:
    return Recipe().with_settings(list(settings))


def value_at(recipe: Recipe, path: str) -> object:
    return functools.reduce(getattr, path.split("."), recipe)


def refused(message: str, *settings: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        set_to(*settings)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_every_default_is_valid_and_described():
    assert Recipe() == Recipe.model_validate(Recipe().model_dump())
    assert "optimiser.lr" in fields()
    assert "seed" in fields()
    assert "optimiser" not in fields()


def test_a_recipe_cannot_be_changed_in_place():
    with pytest.raises(Exception, match="frozen"):
        Recipe().seed = 3  # type: ignore[misc]
    with pytest.raises(Exception, match="frozen"):
        Recipe().optimiser.lr = 3.0  # type: ignore[misc]


def test_changed_leaves_the_base_alone():
    base = Recipe()
    other = base.changed({"optimiser.lr": 0.5}, seed=7, augment={"size": 64, "crop": 128})
    assert (other.optimiser.lr, other.seed, other.augment.size, other.augment.crop) == (0.5, 7, 64, 128)
    assert base == Recipe()
    assert other.training == base.training


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("optimiser.lr=1e-3", 0.001),
        ("optimiser.lr=2", 2.0),
        ("seed=010", 10),  # YAML 1.1 reads 8
        ("training.epochs=1_000", 1000),
        ("training.patience=3", 3),
        ("training.patience=null", None),
        ("training.patience=none", None),
        ("augment.crop=", None),
        ("augment.zoom=0.8,1.2", (0.8, 1.2)),
        ("augment.zoom=[0.8, 1.2]", (0.8, 1.2)),
        ("optimiser.betas=9e-1,0.95", (0.9, 0.95)),
        ("model.hidden=512", (512,)),
        ("model.hidden=512,128", (512, 128)),
        ("model.hidden=", ()),
        ("augment.train_size=96,128", (96, 128)),
        ("augment.flip_horizontal=no", False),
        ("augment.flip_horizontal=true", True),
        ("training.compile=yes", True),
        ("evaluation.views=16", 16),
        ("data.balance=none", "none"),
        ("data.balance=class-weights", "class-weights"),
        ("model.name=on", "on"),  # YAML reads true
        ("model.weights=2024", "2024"),
        ("model.weights=1e5", "1e5"),
        ("model.weights='none'", "none"),
        ("model.weights=none", None),
        ("about=tried: twice, a=b #3", "tried: twice, a=b #3"),
        (" seed = 5 ", 5),
    ],
)
def test_settings_from_the_command_line(setting, value):
    found = value_at(set_to(setting), setting.partition("=")[0].strip())
    assert found == value
    assert type(found) is type(value)


def test_later_settings_win():
    assert set_to("seed=1", "seed=2").seed == 2


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optimizer.lr=1", r"no field 'optimizer\.lr' \(did you mean 'optimiser\.lr'\?\)"),
        ("lr=1", r"no field 'lr' \(did you mean 'optimiser\.lr'\?\)"),
        ("decay=1", r"no field 'decay' \(did you mean 'schedule\.decay'\?\)"),
        ("lib.name=1", r"no field 'lib\.name' \(did you mean '"),
        ("epochs=1", r"no field 'epochs' \(did you mean 'training\.epochs'\?\)"),
        ("wibble=1", "no field 'wibble'$"),
        ("optimiser=1", r"'optimiser' is a part of the recipe; set one of its fields: optimiser\.name, "),
        ("optimiser.lr", r"--set optimiser\.lr: expected field=value"),
        ("optimiser.lr=", r"optimiser\.lr: .*unable to parse string as a number .got ''"),
        ("optimiser.lr=fast", r"optimiser\.lr: .* \(got 'fast'\)"),
        ("optimiser.lr=0", r"optimiser\.lr: Input should be greater than 0 \(got 0\)"),
        ("optimiser.lr=nan", "finite number"),
        ("optimiser.lr=1e400", "finite number"),
        ("schedule.final=inf", "finite number"),
        ("optimiser.betas=0.9,1", r"optimiser\.betas\.1: .* less than 1"),
        ("optimiser.betas=0.9", r"optimiser\.betas\.1: Field required"),
        ("seed=1.5", "seed: .*fractional part"),
        ("seed=12:30", "seed: .*unable to parse"),  # YAML 1.1 reads 750
        ("training.epochs=yes", r"training\.epochs: .*unable to parse"),
        ("model.hidden=true", r"model\.hidden: true or false is not a value of this field"),
        ("evaluation.views=3", r"evaluation\.views: Input should be 1, 2, 4, 8, 16, 24 or 48 \(got 3\)"),
        ("model.kernels=3,3,3", r"model: kernels must be four odd numbers, not \(3, 3, 3\)"),
        ("model.kernels=3,3,3,4", "four odd numbers"),
        ("data.balance=oversampel", "'none', 'oversample', 'square-root' or 'class-weights'"),
        (
            "augment.zoom=1.2,0.8",
            r"augment: zoom must be two positive factors, low then high, not \(1\.2, 0\.8\)$",
        ),
        ("augment.zoom=0,1", "zoom must be two positive"),
        ("augment.zoom=[1", "cannot be read as a value"),
        ("augment.train_size=64,96", r"the last of train_size \(64, 96\) must equal size 128"),
        ("augment.train_size=4,128", "train_size must be 8 to 8192"),
        ("training.regularisation=0.5,0.9", r"last share of regularisation \(0.5, 0.9\) must be 1"),
        ("training.initial_epoch=20", "initial_epoch 20 must be less than epochs 20"),
        ("data.test=1", r"data\.test: Input should be less than 1"),
    ],
)
def test_settings_that_are_refused(setting, message):
    refused(message, setting)


def test_settings_that_fit_only_together():
    assert set_to("augment.size=64", "augment.train_size=32,64").augment.train_size == (32, 64)


def test_yaml_and_back(tmp_path):
    recipe = set_to("augment.zoom=0.7,1.3", "model.hidden=64", "training.patience=4", "about=größer: ±1")
    place = tmp_path / "recipe.yaml"
    place.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(place) == recipe
    assert Recipe.from_yaml(str(place)) == recipe
    written = yaml.safe_load(recipe.to_yaml())
    assert set(written) == set(Recipe.model_fields)
    assert set(written["training"]) == set(Training.model_fields)  # every field is written out


# Without control characters and line separators, some of which PyYAML loses (U+0085 comes back as a space).
TEXT = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=8)
RECIPES = st.builds(
    Recipe,
    name=TEXT,
    seed=st.integers(0, 2**40),
    data=st.builds(Data, test=st.floats(0, 0.9), limit=st.none() | st.integers(1, 9)),
    augment=st.builds(Augment, rotation=st.floats(0, 180), flip_horizontal=st.booleans()),
    model=st.builds(
        Model, hidden=st.lists(st.integers(1, 99), max_size=3).map(tuple), weights=st.none() | TEXT
    ),
    optimiser=st.builds(Optimiser, lr=st.floats(1e-12, 1e6), name=st.sampled_from(["adamw", "adam", "sgd"])),
    schedule=st.builds(Schedule, warmup=st.floats(0, 0.99)),
)


@settings(deadline=None, max_examples=50)
@given(RECIPES)
def test_any_recipe_survives_yaml(recipe):
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


@settings(deadline=None, max_examples=50)
@given(RECIPES)
def test_any_recipe_can_be_set_field_by_field(recipe):
    paths = ("seed", "optimiser.lr", "augment.rotation", "data.limit", "model.hidden")
    values = {path: value_at(recipe, path) for path in paths}
    texts = {path: str(list(v)) if isinstance(v, tuple) else str(v) for path, v in values.items()}
    again = set_to(*(f"{path}={text}" for path, text in texts.items()))
    assert {path: value_at(again, path) for path in paths} == values


def from_text(folder: Path, text: str) -> Recipe:
    place = folder / "recipe.yaml"
    place.write_text(text, encoding="utf-8")
    return Recipe.from_yaml(place)


def test_fields_left_out_take_their_defaults(tmp_path):
    recipe = from_text(tmp_path, "optimiser: {lr: 0.01}\n")
    assert recipe == Recipe().changed({"optimiser.lr": 0.01})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a recipe is a YAML mapping"),
        ("- 1", "a recipe is a YAML mapping"),
        ("a: [", "is not valid YAML"),
        ("optimizer: {lr: 1}", r"no field 'optimizer' \(did you mean 'optimiser'\?\)"),
        ("optimiser: {lrr: 1}", r"no field 'optimiser\.lrr' \(did you mean 'optimiser\.lr'\?\)"),
        ("training: {lr: 1}", r"no field 'training\.lr' \(did you mean 'optimiser\.lr'\?\)"),
        ("augment: 3", r"augment: .* \(got 3\)"),
        ("augment: {zoom: [2, 1]}", "augment: zoom must be two positive factors"),
        ("training: {epochs: true}", r"training\.epochs: true or false is not a value of this field"),
        ("model: {hidden: [64, yes]}", r"model\.hidden: true or false"),
        ("1: 2", "Keys should be strings"),
    ],
)
def test_recipe_files_that_are_refused(tmp_path, text, message):
    with pytest.raises(UsageError, match=message) as caught:
        from_text(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "recipe.yaml"))
    assert "\n" not in str(caught.value)


def test_recipe_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml: cannot be read as a recipe"):
        Recipe.from_yaml(tmp_path / "nowhere.yaml")
    with pytest.raises(UsageError, match="cannot be read as a recipe"):
        Recipe.from_yaml(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read as a recipe"):
        Recipe.from_yaml(tmp_path / "bytes.yaml")


def test_changed_refuses_what_does_not_exist_or_fit():
    with pytest.raises(
        UsageError, match=r"no field 'optimiser\.momentun' .did you mean 'optimiser.momentum'"
    ):
        Recipe().changed(optimiser={"momentun": 0.5})
    with pytest.raises(UsageError, match=r"recipe: model\.dropout: Input should be less than 1"):
        Recipe().changed({"model.dropout": 1.0})
    with pytest.raises(UsageError, match=r"training\.epochs: true or false"):
        Recipe().changed({"training.epochs": True})


def test_mirror_views_are_refused_with_both_flips_off_before_any_work():
    handed = {"augment.flip_horizontal": False, "augment.flip_vertical": False}
    assert Recipe().changed(handed, evaluation={"views": 8}).evaluation.views == 8
    with pytest.raises(UsageError, match=r"^recipe: evaluation\.views = 16 uses mirror images"):
        Recipe().changed(handed, evaluation={"views": 16})
