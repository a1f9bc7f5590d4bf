"""`fu`'s ranking recomputed."""

from __future__ import annotations

from morphoscope.studies.claims import Claim, Conditions
from morphoscope.studies.fu.paper import (
    FROZEN_LAYERS,
    GRADCAM,
    PERCENT,
    PUBLISHED,
    TABLE_1,
    claims_of,
    ranking,
)
from morphoscope.studies.published import dense_parameters

ACCURACY = dict(zip(TABLE_1.column("percent"), TABLE_1.column("test accuracy"), strict=True))


def measured(network: str, accuracies: dict[int, float]) -> dict[str, dict[str, float]]:
    return {f"fu/{network}-{percent}": {"accuracy": value} for percent, value in accuracies.items()}


def test_ranking_of_table_one() -> None:
    assert ranking(ACCURACY) == (20, 60, 40, 80, 0, 100)
    losses = dict(zip(TABLE_1.column("percent"), TABLE_1.column("test loss"), strict=True))
    assert sorted(losses, key=losses.__getitem__) == [20, 60, 40, 80, 0, 100]


def test_ties_go_to_the_smaller_percentage() -> None:
    assert ranking({40: 0.5, 0: 0.5, 20: 0.7}) == (20, 0, 40)


def test_maps_and_accuracies_rank_40_and_60_otherwise() -> None:
    ranks = dict(zip(GRADCAM.column("percent"), GRADCAM.column("rank"), strict=True))
    assert ranks[40] < ranks[60]
    assert ACCURACY[40] < ACCURACY[60]
    assert [percent for percent in PERCENT if ranks[percent] is None] == [0]
    by_map = sorted((percent for percent in PERCENT if percent), key=lambda percent: ranks[percent])
    assert by_map == [20, 40, 60, 80, 100]


def test_training_accuracy_is_above_test_accuracy_everywhere() -> None:
    for _, train_loss, train_accuracy, test_loss, test_accuracy in TABLE_1.rows:
        assert train_accuracy > test_accuracy
        assert train_loss < test_loss


def test_the_frozen_end_is_a_linear_probe() -> None:
    """DenseNet-121 has 1024 features, and at 100 % only the layer to ten classes learns."""
    trainable = dict(zip(FROZEN_LAYERS.column("percent"), FROZEN_LAYERS.column("trainable"), strict=True))
    assert trainable[100] == dense_parameters(1024, 10)
    assert trainable[0] == 7_047_754 - 83_648  # without the running statistics
    assert list(trainable.values()) == sorted(trainable.values(), reverse=True)
    for percent, layers, _ in FROZEN_LAYERS.rows:
        assert layers == 427 * percent // 100


def about_accuracy(claims: tuple[Claim, ...]) -> list[Claim]:
    return [
        claim
        for claim in claims
        if claim.check and all(each.metric == "accuracy" for each in claim.check.needs)
    ]


def test_claims_about_maps_are_decided_by_the_maps() -> None:
    on_galaxy = {0: 0.3, 20: 0.6, 40: 0.5, 60: 0.4, 80: 0.4, 100: 0.3}
    dead = dict.fromkeys(PERCENT, 0.0) | {0: 0.7}
    numbers = {
        f"fu/densenet121-{percent}": {"on_galaxy": on_galaxy[percent], "dead_maps": dead[percent]}
        for percent in PERCENT
    }
    best, vanish = claims_of("densenet121")[5:7]
    assert best.verdict(numbers) is True
    assert vanish.verdict(numbers) is True
    numbers["fu/densenet121-60"]["on_galaxy"] = 0.55
    numbers["fu/densenet121-0"]["dead_maps"] = 0.0
    assert best.verdict(numbers) is False
    assert vanish.verdict(numbers) is False


def test_each_claim_fails_where_its_ordering_is_turned_round() -> None:
    network = "efficientnet-lite0"
    claims = about_accuracy(claims_of(network, asked_of="another network"))
    assert len(claims) == 6
    assert all(claim.verdict(measured(network, ACCURACY)) is True for claim in claims)
    turned = {percent: 1 - value for percent, value in ACCURACY.items()}
    assert all(claim.verdict(measured(network, turned)) is False for claim in claims)
    assert all(claim.verdict(measured("densenet121", ACCURACY)) is None for claim in claims)


def test_claims_about_no_weights_are_void_where_all_layers_begin_with_imagenet() -> None:
    claims = about_accuracy(claims_of("efficientnet-lite0"))
    numbers = measured("efficientnet-lite0", ACCURACY)
    everywhere = [claim.status(numbers, Conditions(("rest-imagenet",))) for claim in claims]
    assert everywhere == [
        "holds",
        "holds",
        "not tested here: with rest-imagenet its rows all start from ImageNet weights",
        "holds",
        "not tested here: with rest-imagenet its rows all start from ImageNet weights",
        "holds",
    ]
    assert [claim.status(numbers, Conditions(("something-else",))) for claim in claims] == ["holds"] * 6


def test_rows_of_the_study_are_the_table() -> None:
    for percent in PERCENT:
        row = PUBLISHED.row(f"fu/densenet121-{percent}")
        assert row is not None
        assert row.metrics["accuracy"] == ACCURACY[percent]
