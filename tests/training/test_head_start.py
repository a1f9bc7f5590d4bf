"""A head that starts as a linear probe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from morphoscope.augment.cpu import Augmenter
from morphoscope.data.splits.split import make_split
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES
from morphoscope.models.build import build
from morphoscope.models.network import Network
from morphoscope.recipes import Model, Recipe
from morphoscope.training.fit import fit
from morphoscope.training.head_start import start_head

CPU = torch.device("cpu")


def network_of(recipe: Recipe, outputs: int) -> Network:
    torch.manual_seed(0)
    return build(recipe.model, outputs, image_size=recipe.augment.size)[0]


def started(recipe: Recipe, store: Store) -> tuple[Network, str]:
    scheme = store.need_scheme()
    network = network_of(recipe, scheme.outputs)
    return network, start_head(network, recipe, store, make_split(store), scheme, CPU)


def predicted(network: Network, recipe: Recipe, store: Store, rows: np.ndarray) -> np.ndarray:
    batch = Augmenter(recipe.augment).evaluation([store.images[row] for row in rows])
    with torch.no_grad():
        outputs = network.eval()(torch.from_numpy(batch).permute(0, 3, 1, 2))
        return store.need_scheme().probabilities(outputs).numpy()


def test_a_network_knows_its_training_galaxies_before_the_first_step(colours: Store, tiny: Recipe):
    recipe = tiny.changed(model={"head": "probe"})
    network, said = started(recipe, colours)
    rows = make_split(colours).train
    assert said.startswith(f"head: a linear probe of {len(rows)} galaxies, penalty ")
    assert network.training
    right = predicted(network, recipe, colours, rows).argmax(axis=1) == colours.targets()[rows]
    assert right.all()


def test_fractions_start_at_those_of_their_training_galaxies(brightness: Store, tiny: Recipe):
    recipe = tiny.changed(model={"head": "probe"})
    rows = make_split(brightness).train
    targets = brightness.targets()[rows]
    errors = {}
    for head in ("random", "probe"):
        network, _ = started(recipe.changed(model={"head": head}), brightness)
        errors[head] = np.sqrt(np.mean((predicted(network, recipe, brightness, rows) - targets) ** 2))
    assert errors["probe"] < 0.5 * errors["random"]


def test_every_position_of_a_flattened_map_weighs_the_same(colours: Store, tiny: Recipe):
    recipe = tiny.changed(model={"pool": "flatten", "head": "probe"}, augment={"size": 64})
    network, _ = started(recipe, colours)
    positions = network.backbone.positions
    assert positions > 1
    layer = next(each for each in network.head.modules() if isinstance(each, torch.nn.Linear))
    of_position = layer.weight.detach().unflatten(1, (-1, positions))
    assert torch.equal(of_position, of_position[..., :1].expand_as(of_position))
    rows = make_split(colours).train
    right = predicted(network, recipe, colours, rows).argmax(axis=1) == colours.targets()[rows]
    assert right.all()


def test_labels_that_a_probe_cannot_learn_keep_a_random_head(
    brightness: Store, tiny: Recipe, capsys: pytest.CaptureFixture[str]
):
    recipe = tiny.changed(model={"head": "probe"})
    scheme = GALAXY_ZOO_2_VOTES.with_outputs("tree")
    network = network_of(recipe, scheme.outputs)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert start_head(network, recipe, brightness, make_split(brightness), scheme, CPU) == ""
    assert "the head starts at random: a linear probe cannot learn" in capsys.readouterr().err
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_features_that_are_no_numbers_are_refused(colours: Store, tiny: Recipe):
    recipe = tiny.changed(model={"head": "probe"})
    scheme = colours.need_scheme()
    network = network_of(recipe, scheme.outputs)
    with torch.no_grad():
        next(network.backbone.parameters()).fill_(float("nan"))
    with pytest.raises(MorphoscopeError, match="features of the starting weights are not finite"):
        start_head(network, recipe, colours, make_split(colours), scheme, CPU)


def test_a_head_with_hidden_layers_cannot_start_so():
    with pytest.raises(ValueError, match="head of one layer"):
        Model(head="probe", hidden=(16,))


def test_the_run_says_how_its_head_started(colours: Store, tiny: Recipe, tmp_path: Path):
    recipe = tiny.changed(model={"head": "probe"}, training={"epochs": 1})
    run = fit(recipe, colours, tmp_path / "run", progress=False)
    assert "head: a linear probe of" in run.header.start
