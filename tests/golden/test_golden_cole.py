"""Losses and gradients of the probability-space family (Cole et al., CVPR 2021), in both precisions."""

import numpy as np
import torch

from plml.labels import NEGATIVE, Batch, LabelInfo, ModelOutput, as_tensor, check_labels, from_signed
from plml.losses import expected_positives_penalty
from plml.methods import build_method

FILE = "spml_cole.npz"

OPTIONS = {"hp_ls_coef": "ls_coef"}


def check(case, method_name, observed):
    """Loss, regulariser and gradient of one method on the observed labels (B, L)."""
    k = case.number("hp_expected_num_pos") if "hp_expected_num_pos" in case else None
    options = {OPTIONS[field]: case.number(field) for field in case.fields("hp_") if field in OPTIONS}
    # A method refuses a data set without positives; a batch without any is fine. So: one row more in the data set.
    data_set = as_tensor(np.vstack([observed, np.ones_like(observed[:1])]))
    method = build_method(method_name, LabelInfo(data_set, k), options, "reference")
    for dtype, mark in ((torch.float64, "f64"), (torch.float32, "f32")):
        logits = case.tensor("in_logits", dtype).requires_grad_()
        batch = Batch(inputs=logits.detach(), observed=as_tensor(observed), index=torch.arange(len(observed)))
        loss = method(ModelOutput(logits, logits.detach()), batch)
        loss.backward()
        penalty = expected_positives_penalty(logits, k) if k is not None else torch.zeros((), dtype=dtype)
        compare_loss = case.double if dtype == torch.float64 else case.single_loss
        compare_gradient = case.double if dtype == torch.float64 else case.single_gradient
        compare_loss(f"out_loss_{mark}", loss)
        compare_loss(f"out_reg_{mark}", penalty)
        compare_gradient(f"out_grad_{mark}", logits.grad)


def labels(case):
    """True and observed labels in the project's encoding."""
    return check_labels(case["in_y_true"], "in_y_true"), from_signed(case["in_y_obs"])


def on_truth(method_name):
    """The field trains this one on clean labels."""
    return lambda case: check(case, method_name, labels(case)[0])


def on_observed(method_name):
    return lambda case: check(case, method_name, labels(case)[1])


def check_iun_intended(case):
    """IUN is BCE on known labels where every true negative is revealed (the label setting all_negatives)."""
    truth, observed = labels(case)
    check(case, "bce", np.where(truth == NEGATIVE, NEGATIVE, observed))


CHECKS = {
    "bce": on_truth("bce"),
    "bce_ls": on_truth("bce_ls"),
    "an": on_observed("an"),
    "an_ls": on_observed("an_ls"),
    "wan": on_observed("wan"),
    "epr": on_observed("epr"),
    "pr": on_observed("pr"),
    "iu": on_observed("bce"),  # IU is BCE on known labels (the label setting positives_negatives)
    "iun_intended": check_iun_intended,
    # The released IUN looks for true labels equal to -1 in a matrix of 0 and 1, finds none, and so reveals no
    # negative: what it computes is BCE on the observed positives alone.
    "iun_shipped": on_observed("bce"),
}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
