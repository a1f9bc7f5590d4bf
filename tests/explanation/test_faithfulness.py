from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from morphoscope.explanation import faithfulness, score
from morphoscope.explanation.score import mean_with_interval


@pytest.fixture
def galaxies() -> np.ndarray:
    """Four galaxies of one bright square each, on a sky of 20."""
    images = np.full((4, 32, 32, 3), 20, np.uint8)
    for number, (y, x) in enumerate([(4, 4), (4, 20), (20, 4), (20, 20)]):
        images[number, y : y + 8, x : x + 8] = 200
    return images


def _brightness(images: np.ndarray) -> np.ndarray:
    """An "answer" that looks at the light alone."""
    return (images.astype(float).mean(axis=(1, 2, 3)) - 20) / 11.25


def test_a_map_of_the_light_is_right_about_an_answer_that_is_the_light(galaxies: np.ndarray) -> None:
    light = faithfulness.light_map(galaxies)
    deleted, inserted = faithfulness.curves(galaxies, light, _brightness, steps=16)
    assert deleted[:, 0] == pytest.approx(1)
    assert deleted[:, -1] == pytest.approx(0)
    assert deleted[:, 1] == pytest.approx(0)  # a sixteenth of the pixels holds all the light
    assert inserted[:, 1] == pytest.approx(1)
    assert faithfulness.area(deleted) == pytest.approx(1 / 32)
    assert faithfulness.area(inserted) == pytest.approx(1 - 1 / 32)
    away, _ = faithfulness.curves(galaxies, -light, _brightness, steps=16)
    assert (faithfulness.area(away) > 0.9).all()


def test_a_second_method_takes_over_the_baselines(galaxies: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def answer(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return _brightness(images)

    monkeypatch.setattr(score, "_answer", lambda explainer, maps: answer)
    maps = SimpleNamespace(method="saliency", values=faithfulness.light_map(galaxies), images=galaxies)
    first = score.score_maps(None, maps, steps=4)  # type: ignore[arg-type]
    assert len(asked) == 4 * 8  # two at the ends and three on the way of each curve, of four maps
    maps.method = "gradcam"
    second = score.score_maps(None, maps, steps=4, baselines=first)  # type: ignore[arg-type]
    assert len(asked) == 5 * 8
    assert second.keys() == {"gradcam", *faithfulness.BASELINES}
    assert second["gradcam"] == first["saliency"]
    assert all(second[name] == first[name] for name in faithfulness.BASELINES)


def test_removed_pixels_become_sky(galaxies: np.ndarray) -> None:
    assert (faithfulness.sky(galaxies) == 20).all()
    assert faithfulness.sky(galaxies).shape == (4, 1, 1, 3)


def test_pointing_and_energy(galaxies: np.ndarray) -> None:
    truth = galaxies[:, :, :, 0] > 100
    light = faithfulness.light_map(galaxies)
    assert faithfulness.pointing(light, truth).tolist() == [1, 1, 1, 1]
    assert faithfulness.energy_inside(light, truth) == pytest.approx(1)
    flat = np.ones_like(light)
    assert faithfulness.energy_inside(flat, truth) == pytest.approx(64 / 1024)
    assert faithfulness.pointing(flat, truth).tolist() == [0, 0, 0, 0]
    corner = np.zeros_like(light)
    corner[:, 5, 5] = 1
    assert faithfulness.pointing(corner, truth).tolist() == [1, 0, 0, 0]
    truth[2] = False
    assert np.isnan(faithfulness.pointing(light, truth)[2])
    assert np.isnan(faithfulness.energy_inside(light, truth)[2])
    assert faithfulness.energy_inside(np.zeros_like(light), truth)[0] == 0


def test_baselines(galaxies: np.ndarray) -> None:
    gaussian = faithfulness.baseline("gaussian", galaxies)
    assert gaussian.shape == (4, 32, 32)
    assert np.unravel_index(gaussian[0].argmax(), (32, 32)) in [(15, 15), (15, 16), (16, 15), (16, 16)]
    first, second = faithfulness.baseline("random", galaxies), faithfulness.baseline("random", galaxies)
    assert np.array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_rank_correlation_sees_order_alone() -> None:
    draw = np.random.default_rng(0)
    maps = draw.random((2, 8, 8))
    assert faithfulness.rank_correlation(maps, np.exp(3 * maps)) == pytest.approx(1)
    assert faithfulness.rank_correlation(maps, -maps) == pytest.approx(-1)
    assert np.isnan(faithfulness.rank_correlation(maps, np.zeros_like(maps))).all()


def test_weights_are_randomised_from_the_output_down() -> None:
    from morphoscope.models.build import build
    from morphoscope.recipes import Model

    torch.manual_seed(0)
    network = build(Model(name="test_resnet", pretrained=False), 3, image_size=32)[0]
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    stages = list(faithfulness.randomised(network, stages=4))
    assert [share for share, _ in stages] == [0.25, 0.5, 0.75, 1.0]
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name]), "the trained network itself is left alone"
    first, last = stages[0][1].state_dict(), stages[-1][1].state_dict()
    stem = next(name for name in before if name.startswith("backbone") and name.endswith("weight"))
    assert not torch.equal(first["head.1.weight"], before["head.1.weight"])
    assert torch.equal(first[stem], before[stem])
    assert not torch.equal(last[stem], before[stem])


def test_means_leave_out_what_has_no_value() -> None:
    found = mean_with_interval(np.array([0.0, 1.0, np.nan, 1.0, 1.0]))
    assert found["n"] == 4
    assert found["value"] == 0.75
    assert found["low"] < 0.75 < found["high"] <= 1
    assert mean_with_interval(np.array([np.nan]))["value"] is None
