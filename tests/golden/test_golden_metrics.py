"""Average precision and its relatives against the released metric code and scikit-learn."""

import numpy as np

from plml.labels import UNKNOWN, as_tensor, check_labels, from_signed
from plml.metrics import (
    asl_mean_average_precision,
    average_precision,
    known_mean_average_precision,
    mean_average_precision,
    partial_metrics,
    top_k,
)

FILE = "spml_metrics.npz"


def read_labels(case):
    """Truth is stored as 1 and 0; the group ``obs`` holds observed labels as 1, -1 and 0 (unknown)."""
    return as_tensor(from_signed(case["in_y"]) if case.group == "obs" else check_labels(case["in_y"]))


def check_full(case):
    scores, target = case.tensor("in_scores"), read_labels(case)
    case.double("out_ap_per_class", average_precision(scores, target).nan_to_num(0.0))
    case.double("out_map", mean_average_precision(scores, target, compat="reference"))
    for field in case.fields("out_prec_at_"):
        k = int(field.removeprefix("out_prec_at_"))
        found = top_k(scores, target, k)
        case.double(f"out_prec_at_{k}", found.precision)
        case.double(f"out_rec_at_{k}", found.recall)
        case.double(f"out_top_{k}", found.hit)
    if "out_asl_map" in case:
        case.double("out_asl_map", asl_mean_average_precision(scores, target))


def check_partial(case):
    scores, target = case.tensor("in_scores"), read_labels(case)
    ap = average_precision(scores, target, known_only=True).nan_to_num(0.0)
    case.double("out_openimages_aps", ap[(target != UNKNOWN).any(0)])
    case.double("out_openimages_map", known_mean_average_precision(scores, target, compat="reference"))
    found = partial_metrics(scores, target)
    case.double("out_csl_ap_per_class", np.where(found.used, found.ap, -1.0))
    case.double("out_csl_map", found.mean)
    case.double("out_csl_map_weighted", found.weighted)
    case.exact("out_csl_counts_nolabel_noneg_nopos", [found.no_label, found.no_negative, found.no_positive])


CHECKS = {
    "plain": check_full,
    "ties": check_full,
    "nopos": check_full,
    "obs": check_full,
    "allpos": check_full,
    "partial": check_partial,
}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
