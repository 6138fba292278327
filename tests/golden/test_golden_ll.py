"""Large Loss Matters: losses, gradients, large entries, the schedule of k, and label corrections over epochs."""

import numpy as np
import torch

from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput, as_tensor, check_labels, from_signed
from plml.large_loss import clean_rate, label_losses, large_count, large_loss_mask
from plml.methods import build_method

FILE = "spml_ll.npz"

NAMES = {"LL-R": "ll_r", "LL-Ct": "ll_ct", "LL-Cp": "ll_cp"}


def no_scores():
    raise AssertionError("large loss needs no pass over the training split")


def large_loss(scheme, observed, percent, epoch, **options):
    """The method in reference mode at the 1-based ``epoch``; the data set has one row more, in case all is unknown."""
    data_set = as_tensor(np.vstack([observed, np.ones_like(observed[:1])]))
    method = build_method(NAMES[scheme], LabelInfo(data_set), {"delta_rel": percent, **options}, "reference")
    method.on_epoch_start(epoch - 1, no_scores)
    return method


def count_of(scheme, percent, rate, entries):
    share = 1.0 - rate if scheme != "LL-Cp" else torch.as_tensor(percent / 100.0, dtype=torch.float64)
    return large_count(entries, share, "reference") * (rate < 1.0)


def check_scheme(case):
    scheme = case.group
    truth, observed = check_labels(case["in_y_true"]), from_signed(case["in_y_obs"])
    assert truth.shape == observed.shape
    percent, epoch = case.number("hp_delta_rel_percent"), int(case.number("hp_epoch"))
    rate = clean_rate(epoch - 1, percent, "reference")
    assert rate.item() == case.number("hp_clean_rate")
    assert percent / 100 == case.number("hp_delta_rel")
    for dtype, mark in ((torch.float64, "f64"), (torch.float32, "f32")):
        logits = case.tensor("in_logits", dtype).requires_grad_()
        out = ModelOutput(logits, logits.detach())
        batch = Batch(logits.detach(), as_tensor(observed), torch.arange(len(observed)))
        method = large_loss(scheme, observed, percent, epoch)
        loss = method(out, batch)
        loss.backward()
        (case.double if mark == "f64" else case.single_loss)(f"out_loss_{mark}", loss)
        (case.double if mark == "f64" else case.single_gradient)(f"out_grad_{mark}", logits.grad)
        losses, _ = label_losses(logits, batch.observed == POSITIVE, "reference")
        case.exact(f"out_modified_mask_{mark}", method.large(losses, batch))
        count = count_of(scheme, percent, rate, logits.numel())
        case.exact(f"out_k_{mark}", count)
        strict = large_loss_mask(losses, batch.observed == UNKNOWN, count, "reference", strict=True)
        case.exact(f"out_corrected_mask_strict_{mark}", strict)


def check_schedule(case):
    assert [str(name) for name in case["columns"]] == [
        "scheme_index(0=LL-R,1=LL-Ct,2=LL-Cp)",
        "delta_rel_percent",
        "B",
        "L",
        "epoch_1based",
        "clean_rate",
        "k",
    ]
    for scheme_index, percent, batch, classes, epoch, expected_rate, k in case["rows"].tolist():
        rate = clean_rate(int(epoch) - 1, percent, "reference")
        assert rate.item() == expected_rate
        count = count_of(list(NAMES)[int(scheme_index)], percent, rate, int(batch * classes))
        assert count.item() == k, (scheme_index, percent, batch, classes, epoch)


def check_trace(case):
    """Four epochs in the trainer's order of operations; the last batch of each is short."""
    scheme = case.group.removeprefix("trace_")
    truth, observed = check_labels(case["in_y_true"]), from_signed(case["in_y_obs"])
    assert truth.shape == observed.shape
    correction = {"correction": case.name.rpartition("__")[2]} if scheme == "LL-Cp" else {}
    size = int(case.number("hp_batch_size"))
    method = large_loss(scheme, observed, case.number("hp_delta_rel_percent"), 1, **correction)
    losses, rates, labels = [], [], []
    epochs = zip(case.tensor("in_logits_per_epoch", torch.float64), case.tensor("in_order_per_epoch"), strict=True)
    for epoch, (logits, order) in enumerate(epochs):
        method.on_epoch_start(epoch, no_scores)
        rates.append(method.clean_rate.item())
        for index in order.split(size):
            batch = Batch(logits[index], as_tensor(observed)[index], index)
            out = ModelOutput(logits[index], logits[index])
            losses.append(method(out, batch))
            method.after_step(out, batch)
        now = observed.copy()
        if scheme == "LL-Cp":
            now[method.corrected[:-1].numpy()] = POSITIVE
        # Back to the encoding of the released code.
        labels.append(np.select([now == POSITIVE, now == NEGATIVE], [1.0, -1.0], 0.0))
    case.double("out_loss_per_batch_f64", torch.stack(losses))
    case.exact("out_labels_after_epoch", np.stack(labels))
    case.exact("out_clean_rate_per_epoch", rates)


CHECKS = {
    **dict.fromkeys(NAMES, check_scheme),
    "schedule": check_schedule,
    **{f"trace_{scheme}": check_trace for scheme in NAMES},
}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
