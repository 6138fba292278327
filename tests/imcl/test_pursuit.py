import math

import pytest
import torch

from plml.imcl.completion import complete, known_cross_entropy, squash
from plml.imcl.pursuit import SAME_IMAGE, apart, pursue

ONE = torch.ones((), dtype=torch.float64)


def pursue_features(features, dictionary, k=2, **options):
    """Features alone decide; labels play no part."""
    labels = torch.zeros(len(features), 1, dtype=torch.float64)
    dictionary_labels = torch.ones(len(dictionary), 1, dtype=torch.float64)
    allowed = options.pop("allowed", torch.ones(len(features), len(dictionary), dtype=torch.bool))
    chosen = {"neighbours": k, "label_weight": 0 * ONE, "feature_weight": ONE, "threshold": 1e-6, **options}
    return pursue(labels, features, dictionary_labels, dictionary, allowed, **chosen)


AXES = torch.eye(4, dtype=torch.float64)
TARGET = torch.tensor([[0.0, 3.0, 1.0, 0.0]], dtype=torch.float64)


def test_takes_what_explains_most_and_then_what_is_left():
    support = pursue_features(TARGET, AXES, k=3)
    assert support.indices[0, :2].tolist() == [1, 2]
    assert support.used.tolist() == [[True, True, False]]  # nothing is left for a third
    torch.testing.assert_close(support.feature_weights, torch.tensor([[3.0, 1.0, 0.0]], dtype=torch.float64))


def test_leaves_out_the_image_itself_and_what_is_not_allowed():
    dictionary = torch.cat([TARGET + 1e-5, AXES])
    support = pursue_features(TARGET, dictionary, k=1)
    assert support.indices.item() == 2
    allowed = torch.tensor([[True, True, False, True, True]])
    assert pursue_features(TARGET, dictionary, k=1, allowed=allowed).indices.item() == 3


def test_an_empty_dictionary_gives_an_empty_support():
    support = pursue_features(TARGET, AXES, allowed=torch.zeros(1, 4, dtype=torch.bool))
    assert not support.used.any()
    assert not support.feature_weights.any()


def test_opposite_directions_are_not_chosen():
    support = pursue_features(TARGET, -AXES)
    assert not support.used.any()


def test_the_released_slip_ends_the_pursuit_at_the_first_image():
    dictionary = AXES[[2, 1, 3, 0]]
    assert pursue_features(TARGET, dictionary).used.sum() == 2
    slipped = pursue_features(TARGET, dictionary, wasted_first=True)
    assert slipped.used.tolist() == [[True, False]]
    assert slipped.indices[0, 0] == 1


def test_equal_labels_give_the_shortest_weights():
    labels = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    twins = torch.ones(2, 2, dtype=torch.float64)
    features = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    support = pursue(
        labels,
        features,
        twins,
        torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64),
        torch.ones(1, 2, dtype=torch.bool),
        neighbours=2,
        label_weight=ONE,
        feature_weight=ONE,
        threshold=1e-6,
    )
    assert support.used.all()
    torch.testing.assert_close(support.label_weights, torch.full((1, 2), 0.5, dtype=torch.float64))
    torch.testing.assert_close(support.feature_weights, torch.ones(1, 2, dtype=torch.float64))


@pytest.mark.parametrize("c", [1.0, 2.0, 5.0])
def test_squash_runs_from_minus_one_over_c_to_one(c):
    x = torch.tensor([-50.0, 0.0, 50.0], dtype=torch.float64)
    torch.testing.assert_close(squash(x, c), torch.tensor([-1 / c, 0.0, 1.0], dtype=torch.float64))
    if c == 1:
        torch.testing.assert_close(squash(x / 50, c), (x / 50).tanh())


def test_known_labels_are_kept_and_unknown_ones_filled():
    labels = complete(torch.tensor([1, -1, 0, 10]), torch.full((4,), 0.3), 2.0)
    assert labels.tolist() == pytest.approx([1.0, -0.5, 0.3, 10.0])


def test_cross_entropy_is_a_mean_over_known_labels():
    loss = known_cross_entropy(torch.tensor([[0.0, 5.0, 1.0]]), torch.tensor([[1, 0, -1]]))
    assert loss.item() == pytest.approx((math.log(2) + math.log1p(math.e)) / 2)
    assert known_cross_entropy(torch.ones(1, 2), torch.zeros(1, 2)) == 0


@pytest.mark.parametrize("copies", [0, 3, 2000])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_copies_are_found_however_distances_are_computed(copies: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(copies)
    features = scale * torch.rand(8, 300, generator=generator)
    rows = scale * torch.rand(2000, 300, generator=generator)
    for row in range(copies):  # some exact, some a rounding away, some just another image
        rows[row] = features[row % 8] + (0.0, 2e-5, 2e-4)[row % 3]
    subtracted = torch.cdist(features, rows, compute_mode="donot_use_mm_for_euclid_dist")
    found = apart(features, rows, rows.square().sum(dim=1))
    assert torch.equal(found, subtracted >= SAME_IMAGE)
    assert (~found).sum() == sum((0.0, 2e-5, 2e-4)[row % 3] * 300**0.5 < SAME_IMAGE for row in range(copies))
