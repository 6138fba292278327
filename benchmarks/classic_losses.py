"""The seven losses of Cole et al. (CVPR 2021, arXiv:2106.09708) as their released code computes them.

Written from the equations, independently of :mod:`plml`, for the loop that the benchmarks compare with. Labels are
in that code's encoding: observed 1 positive, 0 unknown; true 1 positive, 0 negative. Everything is computed from
probabilities with nl(x) = -ln(x + 1e-5), and the matrix of terms (B, L) is averaged over all its entries.
"""

import math

import torch
from torch import Tensor, nn

EPSILON = 1e-5
SMOOTHING = 0.1
ON_TRUE_LABELS = ("bce", "bce_ls")
NAMES = ("bce", "bce_ls", "an", "an_ls", "wan", "epr", "role")


def nl(probability: Tensor) -> Tensor:
    """Return -ln(x + 1e-5), element by element."""
    return -torch.log(probability + EPSILON)


def count_penalty(probability: Tensor, expected: float) -> Tensor:
    """Return ((mean number of predicted positives - k) / L)^2 of probabilities (B, L)."""
    return (probability.sum(dim=1).mean() - expected).square() / probability.shape[1] ** 2


def classic_loss(
    name: str, probability: Tensor, labels: Tensor, *, expected: float, estimates: Tensor | None = None
) -> Tensor:
    """Return the loss of one batch.

    Args:
        name: one of :data:`NAMES`.
        probability: (B, L), in (0, 1), with gradient.
        labels: (B, L), true labels for bce and bce_ls, observed ones otherwise; 1 positive, 0 not.
        expected: k, the expected number of positives an image.
        estimates: role's estimated labels (B, L) in (0, 1), with gradient.
    """
    positive = labels == 1
    if name in ("bce", "an"):
        return torch.where(positive, nl(probability), nl(1 - probability)).mean()
    if name in ("bce_ls", "an_ls"):
        target = positive.to(probability.dtype) * (1 - 2 * SMOOTHING) + SMOOTHING
        return (target * nl(probability) + (1 - target) * nl(1 - probability)).mean()
    if name == "wan":
        weak = nl(1 - probability) / (labels.shape[1] - 1)
        return torch.where(positive, nl(probability), weak).mean()
    known = torch.where(positive, nl(probability), torch.zeros_like(probability))
    if name == "epr":
        return known.mean() + count_penalty(probability, expected)
    assert name == "role"
    assert estimates is not None
    known_estimates = torch.where(positive, nl(estimates), torch.zeros_like(estimates))
    teacher, student = estimates.detach(), probability.detach()
    image = teacher * nl(probability) + (1 - teacher) * nl(1 - probability)
    table = student * nl(estimates) + (1 - student) * nl(1 - estimates)
    penalties = count_penalty(probability, expected) + count_penalty(estimates, expected)
    return (known + known_estimates + image + table).mean() / 2 + penalties / 2


class Estimates(nn.Module):
    """ROLE's table: one logit per training image and class, uniform in (-logit 0.6, logit 0.6) where unknown.

    Args:
        observed: (N, L), 1 positive, 0 unknown.
    """

    def __init__(self, observed: Tensor) -> None:
        super().__init__()
        reach = math.log(0.6 / 0.4)
        start = reach * (2 * torch.rand(observed.shape) - 1)
        start[observed == 1] = math.log(0.995 / 0.005)
        self.logits = nn.Parameter(start)

    def forward(self, index: Tensor) -> Tensor:
        """Return estimated labels (B, L) of the images ``index`` (B,)."""
        return torch.sigmoid(self.logits[index])
