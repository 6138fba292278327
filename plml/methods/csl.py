"""CSL: class-aware selective loss (partial ASL). Unknown labels are negatives, except where that is probably wrong.

    q = min(1 - p + clip, 1)
    loss = - sum over b, i of omega w alpha ln(p where positive, q elsewhere)
    w = (1 - p)^gamma_pos where positive, (1 - q)^gamma_neg where negative, (1 - q)^gamma_unknown where unknown

``mode`` says what omega is:
    negative: 1.
    ignore: 1 where known, 0 where unknown.
    ignore_normalize_classes: 1 / (1 + known labels of the image) + 1 where known, 0 where unknown.
    selective: 1, except for unknown labels of classes whose prior exceeds prior_threshold, and for the
        likelihood_topk * B unknown labels of the batch that the network holds most likely to be positive; 0 there.

Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware Selective Loss, CVPR 2022,
arXiv:2110.10955. The authors estimate the prior with a separate model: the mean output, over all
training batches so far, of a network trained with mode ``ignore``. Here that is a run of this method with
``mode: ignore``, ``plml prior RUN --out prior.csv``, and ``prior: file, prior_file: prior.csv``.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from plml.class_prior import read_prior
from plml.errors import ConfigError
from plml.focal import (
    Reduction,
    clipped_negative,
    clipped_negative_log,
    negative_miss,
    positive_log,
    positive_miss,
    power,
    reduce,
)
from plml.labels import POSITIVE, UNKNOWN, Batch, LabelInfo, ModelOutput
from plml.methods.base import Compat, Method
from plml.pseudo_labels import PseudoLabels


class ClassAwareSelectiveLoss(Method, name="csl"):
    """ASL on three kinds of labels, with a choice of which unknown ones to learn from.

    The factors w are always constants to the gradient. Whatever the mode, the method keeps the mean output of each
    class over all training steps so far, which is the prior that ``plml prior`` writes.

    Args:
        labels: what is known of the data set.
        mode: what unknown labels count for, see above.
        gamma_pos: focal exponent of positives, >= 0.
        gamma_neg: focal exponent of known negatives, >= 0; the authors' runs have 1 (half of the labels known at
            random) and 3 (1000 known labels a class).
        gamma_unknown: focal exponent of unknown labels, >= 0; 4 in the authors' runs, 2 in their class.
        alpha_pos: weight of positives, >= 0.
        alpha_neg: weight of known negatives, >= 0.
        alpha_unknown: weight of unknown labels, >= 0.
        clip: probability in [0, 1) below which a label taken for negative costs nothing.
        likelihood_topk: unknown labels an image, on average over the batch, that are left out; mode selective.
        prior: "none"; "file", of another model, as published; or "running", the method's own mean output so far,
            which costs no second model but follows the very network that it steers. Mode selective.
        prior_file: table or vector with the prior of each class, for ``prior: file``.
        prior_threshold: prior in (0, 1] above which a class's unknown labels are left out; 0.5 in the authors'
            runs, 0.05 in their class.
        reduction: the authors' sum over all B * L entries, or the mean; see :func:`plml.focal.reduce`.
        compat: see :mod:`plml.focal`. "fixed" also leaves out equally likely labels together.

    Raises:
        ConfigError: prior and prior_file do not go together.
        DataError: prior_file cannot be used.
    """

    paper = (
        "Ben-Baruch et al., Multi-label Classification with Partial Annotations using Class-aware Selective Loss, "
        "CVPR 2022, arXiv:2110.10955"
    )
    search_space: ClassVar[dict[str, dict[str, Any]]] = {
        "gamma_neg": {"type": "float", "low": 0.0, "high": 4.0},
        "gamma_unknown": {"type": "float", "low": 1.0, "high": 7.0},
        "likelihood_topk": {"type": "int", "low": 0, "high": 10},
        "prior_threshold": {"type": "float", "low": 0.05, "high": 0.8},
    }

    prior_values: Tensor
    output_sum: Tensor
    images_seen: Tensor

    def __init__(
        self,
        labels: LabelInfo,
        *,
        mode: Literal["negative", "ignore", "ignore_normalize_classes", "selective"] = "selective",
        gamma_pos: Annotated[float, Field(ge=0)] = 0.0,
        gamma_neg: Annotated[float, Field(ge=0)] = 1.0,
        gamma_unknown: Annotated[float, Field(ge=0)] = 4.0,
        alpha_pos: Annotated[float, Field(ge=0)] = 1.0,
        alpha_neg: Annotated[float, Field(ge=0)] = 1.0,
        alpha_unknown: Annotated[float, Field(ge=0)] = 1.0,
        clip: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        likelihood_topk: Annotated[int, Field(ge=0)] = 5,
        prior: Literal["none", "running", "file"] = "none",
        prior_file: str | None = None,
        prior_threshold: Annotated[float, Field(gt=0, le=1)] = 0.5,
        reduction: Reduction = "sum",
        compat: Compat = "fixed",
    ) -> None:
        super().__init__(labels, compat=compat)
        if (prior == "file") != (prior_file is not None):
            raise ConfigError(f"method.prior_file goes with method.prior 'file', got {prior_file!r} and '{prior}'")
        if prior != "none" and mode != "selective":
            raise ConfigError(f"method.prior '{prior}' is used by method.mode 'selective' only, got '{mode}'")
        self.mode, self.prior, self.prior_threshold, self.likelihood_topk = (
            mode,
            prior,
            prior_threshold,
            likelihood_topk,
        )
        self.gamma_pos, self.gamma_neg, self.gamma_unknown = gamma_pos, gamma_neg, gamma_unknown
        self.alpha_pos, self.alpha_neg, self.alpha_unknown = alpha_pos, alpha_neg, alpha_unknown
        self.clip, self.reduction = clip, reduction
        num_classes = labels.observed.shape[1]
        values = torch.zeros(num_classes, dtype=torch.float64)
        if prior_file is not None:
            values = torch.from_numpy(read_prior(Path(prior_file), labels.class_names, num_classes))
        self.register_buffer("prior_values", values)
        self.register_buffer("output_sum", torch.zeros(num_classes, dtype=torch.float64))
        self.register_buffer("images_seen", torch.zeros((), dtype=torch.float64))

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        z, compat = out.logits, self.compat
        positive, unknown = batch.observed == POSITIVE, batch.observed == UNKNOWN  # (B, L)
        miss = negative_miss(z, self.clip, compat)
        factor = torch.where(
            positive,
            self.alpha_pos * power(positive_miss(z, compat), self.gamma_pos),
            torch.where(
                unknown,
                self.alpha_unknown * power(miss, self.gamma_unknown),
                self.alpha_neg * power(miss, self.gamma_neg),
            ),
        )
        log = torch.where(positive, positive_log(z, compat), clipped_negative_log(z, self.clip, compat))
        return reduce(-self.selection_weight(out, batch) * factor.detach() * log, self.reduction)

    def selection_weight(self, out: ModelOutput, batch: Batch) -> Tensor:
        """Return omega of this batch, (B, L), without gradient."""
        unknown = batch.observed == UNKNOWN
        known = (~unknown).to(out.logits.dtype)
        if self.mode == "negative":
            return torch.ones_like(known)
        if self.mode == "ignore":
            return known
        if self.mode == "ignore_normalize_classes":
            return known * (1.0 / (1.0 + known.sum(dim=1, keepdim=True)) + 1.0)
        left_out = self._most_likely(out.logits.detach(), unknown)
        if self.prior != "none":
            left_out = left_out | (self.class_prior() > self.prior_threshold)
        return 1.0 - (unknown & left_out).to(out.logits.dtype)

    def class_prior(self) -> Tensor:
        """Return the prior in use, (L,); 0 before the first step where it is a running mean."""
        return self.prior_values if self.prior == "file" else self.output_sum / self.images_seen.clamp(min=1)

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        self.output_sum += out.logits.sigmoid().sum(dim=0, dtype=torch.float64)
        self.images_seen += len(batch.index)

    def continue_from(self, earlier: Method) -> None:
        """Go on with the running mean of the first stage: it is never reset."""
        assert isinstance(earlier, ClassAwareSelectiveLoss)
        self.output_sum.copy_(earlier.output_sum)
        self.images_seen.copy_(earlier.images_seen)

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels | None:
        """Positive: unknown labels that mode ``selective`` leaves out."""
        if self.mode != "selective":
            return None
        return PseudoLabels(positive=self.selection_weight(out, batch) == 0)

    def _most_likely(self, logits: Tensor, unknown: Tensor) -> Tensor:
        """Unknown labels among the likelihood_topk * B most likely positive ones of the batch, (B, L) bool."""
        count = min(self.likelihood_topk * len(logits), logits.numel())
        if count == 0:
            return torch.zeros_like(unknown)
        if self.compat == "reference":
            q = clipped_negative(logits, self.clip, self.compat)
            order = torch.where(unknown, q, torch.inf).flatten().argsort(stable=True)  # a tie goes by place
            chosen = torch.zeros_like(order, dtype=torch.bool).scatter(0, order[:count], True)
            return chosen.view_as(unknown) & unknown
        # The logit orders as q does, but keeps apart what is 0 or 1 in single precision.
        threshold = torch.where(unknown, logits, -torch.inf).flatten().topk(count).values[-1]
        return unknown & (logits >= threshold)
