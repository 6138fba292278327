"""Candidate label draws of partial multi-label learning, bit-exact."""

import numpy as np

from plml.labels import check_labels, from_candidates
from plml.observation import observe

FILE = "pml_candidates.npz"


def check(case):
    truth, seed, rate = check_labels(case["in_labels"]), int(case.number("in_seed")), case.number("in_rate")
    case.exact("in_uniform", np.random.RandomState(seed).random_sample(truth.shape))
    observed = observe(truth, {"name": "candidate_set", "rate": rate}, seed)
    np.testing.assert_array_equal(observed, from_candidates(case["out_candidates"]))


CHECKS = {"": check}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
