from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.splits.split import make_split
from morphoscope.data.splits.training_split import check_count, check_crop, check_scheme, split_of
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.recipes import Recipe
from morphoscope.training.galaxies import loss_weights


def test_a_recipe_may_name_a_split_file(colours: Store, tiny: Recipe, tmp_path: Path):
    drawn = make_split(colours, "random", seed=5)
    drawn.save(tmp_path / "mine.json")
    recipe = tiny.changed(data={"split": str(tmp_path / "mine.json")})
    assert split_of(recipe, colours, tmp_path / "run").test.tolist() == drawn.test.tolist()
    (tmp_path / "run").mkdir()
    begun = make_split(colours, "random", seed=6)
    begun.save(tmp_path / "run" / "split.json")  # of an interrupted training, which it continues with
    assert split_of(recipe, colours, tmp_path / "run").test.tolist() == begun.test.tolist()


def test_fewer_than_two_galaxies_are_no_training(colours: Store, tiny: Recipe):
    split = replace(make_split(colours, "random"), train=np.array([3]))
    with pytest.raises(MorphoscopeError, match="1 training galaxies; at least two"):
        check_count(tiny, colours, split)


def test_a_recipe_for_other_labels_or_larger_images_is_refused(colours: Store, tiny: Recipe):
    check_scheme(tiny.changed(data={"scheme": "colours"}), colours)
    with pytest.raises(
        UsageError, match=r"for the scheme 'galaxy10' and .* has 'colours'; .*data\.scheme=none"
    ):
        check_scheme(tiny.changed(data={"scheme": "galaxy10"}), colours)
    check_crop(tiny.changed(augment={"crop": 32}), colours)
    with pytest.raises(UsageError, match=r"augment\.crop is 33 pixels and the images of .* have 32"):
        check_crop(tiny.changed(augment={"crop": 33}), colours)


def test_classes_alone_can_be_balanced(colours: Store, brightness: Store, tiny: Recipe):
    recipe = tiny.changed(data={"balance": "class-weights"})
    weights = loss_weights(recipe, colours, make_split(colours, "random"))
    assert weights is not None
    assert weights.argmax() == 0  # red is rare
    assert loss_weights(tiny, colours, make_split(colours, "random")) is None
    with pytest.raises(UsageError, match=r"data\.balance needs classes as labels; this store has "):
        loss_weights(recipe, brightness, make_split(brightness, "random"))
