"""Diagnostics of label correction: what a network makes of false negatives, and how good pseudo-labels are.

Only this module sees the truth of the training part. A method is asked for its guesses with logits and observed labels
(:meth:`plml.methods.Method.pseudo_labels`), its answer is compared here, and nothing goes back: a run trains to the
same weights with and without diagnostics.

The losses of false negatives (unknown, in truth positive) and true negatives (unknown, in truth negative) are those of
the label that is assumed, BCE(z, 0), so that a network's fit of false negatives shows as their loss coming down:
Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022, arXiv:2206.03740, figure 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from plml.data.bundle import Split
from plml.labels import NEGATIVE, POSITIVE, UNKNOWN, Batch, ModelOutput
from plml.methods import Method
from plml.pseudo_labels import PseudoLabels

PREFIX = "diagnosis"


@torch.no_grad()
def label_correction(method: Method, split: Split, logits: Tensor) -> dict[str, float]:
    """Return the figures of one epoch, ``diagnosis/...``; what has no entries has no figure.

    Args:
        method: is asked what it takes unknown labels for, at the end of the epoch. The whole split is one batch to
            it, so a rule about the k largest losses of a batch becomes one about as large a share of all losses.
        split: the training split.
        logits: (N, L) of it, in evaluation mode.
    """
    observed = split.observed.to(logits.device)
    index = torch.arange(len(split), device=logits.device)
    nothing = logits.new_empty(len(logits), 0)  # inputs and features: guesses are made of scores and labels
    guesses = method.pseudo_labels(ModelOutput(logits, nothing), Batch(nothing, observed, index))
    return correction_figures(logits, observed, split.truth.to(logits.device), guesses)


def correction_figures(
    logits: Tensor, observed: Tensor, truth: Tensor, guesses: PseudoLabels | None
) -> dict[str, float]:
    """Return losses by kind of entry, and precision and recall of pseudo-labels in percent.

    Entries that nobody verified even in the truth count nowhere. Recall is the share of all unknown positives
    (negatives) that are marked as such.

    Args:
        logits: (N, L).
        observed: (N, L).
        truth: (N, L).
        guesses: masks (N, L), or None.
    """
    unknown = observed == UNKNOWN
    hidden = {"positive": unknown & (truth == POSITIVE), "negative": unknown & (truth == NEGATIVE)}
    kinds = {
        "loss_false_negatives": (hidden["positive"], logits),
        "loss_true_negatives": (hidden["negative"], logits),
        "loss_observed_positives": (observed == POSITIVE, -logits),
    }
    figures: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for name, (mask, against) in kinds.items():
        counts[name] = mask.sum()
        figures[name] = torch.where(mask, F.softplus(against.double()), 0.0).sum() / counts[name]
    for kind in ("positive", "negative"):
        marked: Tensor | None = getattr(guesses, kind, None)
        if marked is None:
            continue
        marked = marked & unknown
        judged = (marked & (truth != UNKNOWN)).sum()
        right = (marked & hidden[kind]).sum()
        parts = {
            "share": (100.0 * marked.sum(), unknown.sum()),
            "precision": (100.0 * right, judged),
            "recall": (100.0 * right, hidden[kind].sum()),
        }
        for part, (value, count) in parts.items():
            figures[f"pseudo_{kind}_{part}"], counts[f"pseudo_{kind}_{part}"] = value / count, count
    # Read from the device at once.
    values = torch.stack([torch.stack([figures[name].double(), counts[name].double()]) for name in figures]).tolist()
    return {f"{PREFIX}/{name}": value for name, (value, count) in zip(figures, values, strict=True) if count > 0}
