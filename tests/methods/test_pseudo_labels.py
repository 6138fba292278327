"""What methods say they take unknown labels for: the contract of the hook, and each rule on a small case."""

import copy

import numpy as np
import pytest
import torch

from plml.labels import Batch, LabelInfo, ModelOutput, as_tensor
from plml.methods import METHODS, Method, build_method
from plml.pseudo_labels import PseudoLabels

OBSERVED = as_tensor([[1, -1, -1, -1], [-1, 1, 0, -1], [0, -1, -1, 1], [-1, -1, -1, -1]])
LOGITS = torch.tensor([[3.0, 2.0, -1.0, 0.3], [-2.0, 1.0, 4.0, 0.6], [0.0, -3.0, 1.5, 2.0], [0.1, -0.1, 5.0, -5.0]])
CORRECTING = {
    *("cdcr", "cones", "csl", "em_apl", "gr", "imcl", "label_cardinality"),
    *("ll_cp", "ll_ct", "ll_r", "plc", "role", "splc"),
}
each_method = pytest.mark.parametrize("name", sorted(METHODS))


def make(name: str, **options: object) -> Method:
    torch.manual_seed(0)
    return build_method(name, LabelInfo(OBSERVED, 1.5, feature_dim=3), options, "fixed")


def ask(method: Method) -> PseudoLabels | None:
    nothing = torch.empty(len(LOGITS), 0)
    with torch.no_grad():
        return method.pseudo_labels(ModelOutput(LOGITS, nothing), Batch(nothing, OBSERVED, torch.arange(len(LOGITS))))


def guesses_of(method: Method) -> PseudoLabels:
    guesses = ask(method)
    assert guesses is not None
    return guesses


def entries(mask: torch.Tensor | None) -> set[tuple[int, ...]]:
    """The marked unknown entries, which are the ones that count."""
    assert mask is not None
    return set(map(tuple, np.argwhere((mask & (OBSERVED == -1)).numpy()).tolist()))


@each_method
def test_guesses_are_masks_and_asking_changes_nothing(name: str) -> None:
    method = make(name)
    method.on_epoch_start(1, lambda: LOGITS)
    before = copy.deepcopy(method.state_dict())
    guesses = ask(method)
    assert all(torch.equal(value, before[key]) for key, value in method.state_dict().items())
    assert (guesses is not None) == (name in CORRECTING)
    for mask in guesses or ():
        assert mask is None or (mask.dtype == torch.bool and mask.shape == OBSERVED.shape)
    if guesses is not None and guesses.positive is not None and guesses.negative is not None:
        assert not entries(guesses.positive) & entries(guesses.negative)


@pytest.mark.parametrize("name", ["ll_r", "ll_ct"])
def test_large_losses_at_the_share_of_the_epoch(name: str) -> None:
    method = make(name, delta_rel=10.0)
    method.on_epoch_start(0, lambda: LOGITS)
    assert entries(guesses_of(method).positive) == set()  # nothing is given up in the first epoch
    method.on_epoch_start(2, lambda: LOGITS)  # 20 % of 16 entries: the 4 largest unknown logits
    assert entries(guesses_of(method).positive) == {(3, 2), (0, 1), (2, 2), (1, 3)}


def test_permanent_corrections_are_those_made_in_training() -> None:
    method = make("ll_cp")
    method.get_buffer("corrected")[0, 2] = True
    assert entries(guesses_of(method).positive) == {(0, 2)}


def test_splc_from_its_epoch_on() -> None:
    method = make("splc", tau=0.6, change_epoch=1)
    assert entries(guesses_of(method).positive) == set()
    method.on_epoch_start(1, lambda: LOGITS)
    assert entries(guesses_of(method).positive) == {(0, 1), (1, 3), (2, 2), (3, 2)}  # sigmoid(z) > 0.6, so z > 0.405


def test_asymmetric_pseudo_labels_are_negative() -> None:
    method = make("em_apl")
    method.get_buffer("pseudo_negative")[3, 3] = True
    guesses = guesses_of(method)
    assert guesses.positive is None
    assert entries(guesses.negative) == {(3, 3)}


def test_roles_table_decides_not_the_network() -> None:
    method = make("role")
    with torch.no_grad():
        method.get_parameter("theta").fill_(-1.0)
        method.get_parameter("theta")[3, 1] = 1.0
    assert entries(guesses_of(method).positive) == {(3, 1)}


def test_curriculum_keeps_and_leaves_out() -> None:
    method = make("cdcr")
    method.get_buffer("kept")[0, 2] = False
    guesses = guesses_of(method)
    assert entries(guesses.negative) == {(0, 2)}
    assert len(entries(guesses.positive)) == int((OBSERVED == -1).sum()) - 1


def test_confidence_above_the_equal_share_is_pseudo_positive() -> None:
    method = make("cones")
    method.get_buffer("confidence")[0] = torch.tensor([0.1, 0.7, 0.1, 0.1])
    guesses = guesses_of(method)
    assert (0, 1) in entries(guesses.positive)
    assert {(0, 2), (0, 3)} <= entries(guesses.negative)


def test_selective_mode_leaves_out_the_most_likely() -> None:
    found = entries(guesses_of(make("csl", likelihood_topk=1)).positive)
    assert found == {(0, 1), (1, 3), (2, 2), (3, 2)}  # 4 a batch of 4
    assert ask(make("csl", mode="negative")) is None


def test_belief_is_above_a_half_only_where_slopes_allow() -> None:
    method = make("gr", w_start=10.0, b_start=-5.0)
    assert entries(guesses_of(method).positive) == {
        (i, j) for i, j in np.argwhere((OBSERVED == -1).numpy()).tolist() if LOGITS[i, j] > 0
    }
    assert entries(guesses_of(make("gr")).positive) == set()


def test_consistency_is_asked_of_what_the_network_is_sure_of() -> None:
    guesses = guesses_of(make("plc", threshold=0.9))  # |z| >= 2.197
    assert entries(guesses.positive) == {(3, 2)}
    assert entries(guesses.negative) == {(2, 1), (3, 3)}


def test_completion_by_the_sign_of_the_squashed_score() -> None:
    guesses = guesses_of(make("imcl", asymmetry=1.0))
    assert (0, 1) in entries(guesses.positive)
    assert (0, 2) in entries(guesses.negative)
    assert ask(make("imcl", unknown="negative")) is None


def test_beyond_the_maximum_is_negative() -> None:
    guesses = guesses_of(make("label_cardinality", max_cardinality=1))
    known_one = {(0, 1), (0, 2), (0, 3), (1, 0), (1, 3), (2, 1), (2, 2)}
    assert entries(guesses.negative) == known_one | {(3, 0), (3, 1), (3, 3)}
