"""LL-Ct: large loss correction, temporary. Unknown labels are negatives, those with the largest loss positives.

    loss = mean over all entries of BCE(z, 1 - a) in S, BCE(z, a) elsewhere,   a = 1 where positive, 0 elsewhere
    share of large entries = (e - 1) * delta_rel / 100 in epoch e = 1, 2, ...;   S: :mod:`plml.large_loss`

A correction holds for the step at hand only.
Kim et al., Large Loss Matters in Weakly Supervised Multi-Label Classification, CVPR 2022, arXiv:2206.03740 (LL-Ct).
"""

import torch
from torch import Tensor

from plml.labels import POSITIVE, Batch, ModelOutput
from plml.large_loss import label_losses
from plml.methods.ll_r import LargeLossRejection


class LargeLossTemporaryCorrection(LargeLossRejection, name="ll_ct"):
    """LL-R's growing share of entries, with the opposite label instead of none.

    A known negative is never corrected; see :mod:`plml.large_loss` for the one exception of ``compat: reference``.

    Args:
        labels: what is known of the data set.
        delta_rel: percent of all entries that are corrected more with every epoch, > 0.
        compat: see :mod:`plml.large_loss`.
    """

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        as_is, opposite = label_losses(out.logits, batch.observed == POSITIVE, self.compat)
        return torch.where(self.large(as_is, batch), opposite, as_is).mean()
