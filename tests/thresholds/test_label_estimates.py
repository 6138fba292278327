"""Estimates of labels are right on average: every way in which a small label matrix can be seen is gone through."""

from itertools import product

import pytest
import torch

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN
from plml.mechanism import CandidateNoise, ChosenPerImage, KnownAtRandom, SeenIndependently
from plml.standings import Evidence
from plml.thresholds.label_estimates import cardinality_only, estimate_labels

TRUTH = torch.tensor([[1, 1, 0], [0, 1, 0], [1, 1, 1]], dtype=torch.int8)
LOGITS = torch.zeros(3, 3)
CARDINALITY = TRUTH.sum(1).double()


def test_single_positives_average_to_the_truth() -> None:
    choices = [[place for place in range(3) if row[place]] for row in TRUTH.tolist()]
    total, draws = torch.zeros(3, 3, dtype=torch.float64), 0
    for picked in product(*choices):
        observed = torch.full((3, 3), UNKNOWN, dtype=torch.int8)
        observed[range(3), picked] = POSITIVE
        total += estimate_labels(Evidence(observed, ChosenPerImage(), CARDINALITY), LOGITS).values
        draws += 1
    torch.testing.assert_close(total / draws, TRUTH.double())


@pytest.mark.parametrize(
    ("mechanism", "of_positive", "of_negative"),
    [
        (SeenIndependently(0.25), {POSITIVE: 0.25, UNKNOWN: 0.75}, {UNKNOWN: 1.0}),
        (CandidateNoise(0.2), {UNKNOWN: 1.0}, {UNKNOWN: 0.2, NEGATIVE: 0.8}),
        (CandidateNoise(0.0), {POSITIVE: 0.5, UNKNOWN: 0.5}, {NEGATIVE: 1.0}),
    ],
)
def test_an_entry_averages_to_its_label(mechanism: object, of_positive: dict, of_negative: dict) -> None:
    for label, seen in ((1.0, of_positive), (0.0, of_negative)):
        rate = getattr(mechanism, "rate", 0.0)
        mean = 0.0
        for value, probability in seen.items():
            evidence = Evidence(torch.tensor([[value]], dtype=torch.int8), mechanism, rate=rate)
            estimates = estimate_labels(evidence, torch.zeros(1, 1))
            assert estimates.counted.all()
            mean += probability * float(estimates.values)
        assert mean == pytest.approx(label)


@pytest.mark.parametrize("mechanism", [None, KnownAtRandom()])
def test_known_entries_stand_for_themselves(mechanism: object) -> None:
    labels = torch.tensor([[1, 0, -1]], dtype=torch.int8)
    found = estimate_labels(Evidence(labels, mechanism), torch.zeros(1, 3))
    assert found.values.tolist() == [[1.0, 0.0, 0.0]]
    assert found.counted.tolist() == [[True, True, False]]


def test_estimated_cardinality_weighs_what_is_seen_and_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(400, 5, generator=generator) < 0.4
    logits = 6.0 * truth - 3.0 + torch.randn(400, 5, generator=generator)
    pick = torch.rand(400, 5, generator=generator).masked_fill(~truth, -1).argmax(1)
    observed = torch.full((400, 5), UNKNOWN, dtype=torch.int8)
    rows = truth.any(1)
    observed[torch.arange(400)[rows], pick[rows]] = POSITIVE
    found = estimate_labels(Evidence(observed, ChosenPerImage(), exact=False), logits).values
    assert bool((found[observed == POSITIVE] >= 1).all())
    assert bool((found[observed != POSITIVE] == 0).all())
    # A model that ranks well knows how many positives there are; frequencies are lower bounds, so it says a bit more.
    assert 0.95 < float(found.sum() / truth.sum()) < 1.25


def test_the_declared_number_alone_spreads_over_everything() -> None:
    found = cardinality_only(torch.zeros(4, 5), 1.5)
    assert float(found.values.sum()) == pytest.approx(6.0)
    assert found.counted.all()
