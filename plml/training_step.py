"""One optimiser step: augment, forward, loss, backward, step. Nothing here is read back from the device."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from plml.auxiliary import Auxiliary
from plml.compiling import begin_pass, wants_compiled
from plml.config import TrainConfig
from plml.data.augment import augment_pixels, contrastive_views, crop, mirror
from plml.distributed.group import ALONE, Group
from plml.heartbeat import beat
from plml.labels import Batch, ModelOutput
from plml.methods import Method
from plml.models import Classifier
from plml.models.heads import pool
from plml.numerics import autocast, lay_out, set_rounding
from plml.optim import Optimization


@dataclass
class TrainingStep:
    """What a step works on.

    Attributes:
        config: precision, augmentation, clipping.
        model: the network that is trained.
        method: the loss and its state.
        auxiliary: a loss beside it, or None.
        optimization: optimisers and schedules.
        average: averaged weights that follow, or None.
        flip: whether views are flipped at random.
        group: processes that compute shares of each batch; every one of them takes the whole batch's loss.
    """

    config: TrainConfig
    model: Classifier
    method: Method
    auxiliary: Auxiliary | None
    optimization: Optimization
    average: AveragedModel | None
    flip: bool
    group: Group = ALONE

    def __post_init__(self) -> None:
        """Lay out and, if it is asked for, compile the networks.

        Raises:
            ConfigError: they cannot be compiled here.
        """
        self._device = next(self.model.parameters()).device
        compiled = self.group.size == 1 and wants_compiled(self.config.compile, self._device)
        for network in [self.model] if self.average is None else [self.model, self.average.module]:
            lay_out(network, self._device, self.config.precision)
            if compiled and isinstance(network, Classifier):
                network.compile_backbone()
        self._reduce_gradients = self.group.reduction(self.model)

    @property
    def views(self) -> int:
        """Augmented views of each image that method or auxiliary loss want."""
        return max(self.method.views, self.auxiliary.views if self.auxiliary else 0)

    def __call__(
        self, inputs: Tensor, observed: Tensor, index: Tensor, flips: Tensor | None, crops: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Step once; return the whole loss and the auxiliary term in it, without gradient.

        Args:
            inputs: uint8 images (b, C, H, W) or float features (b, D) of this process's share, on the device.
            observed: (B, L).
            index: (B,) positions in the training split.
            flips: (b,) bool, which images to mirror; None for features.
            crops: uint8 (b, C, H, W), boxes cut from the photos, which are trained on instead of ``inputs``; the
                views still come from those. None: crops are cut from ``inputs``.
        """
        beat()
        set_rounding(self._device, self.config.precision)
        self.optimization.zero_grad()
        begin_pass(self._device)
        share = self.group.share(len(index))
        views = None
        if self.views:
            views = contrastive_views(inputs, self.views, flip=self.flip, share=share)  # (V, b, C, H, W) uint8
        if flips is not None:
            changed = augment_pixels(inputs if crops is None else crops, self.config.data, share)
            inputs = self.model.preprocess(mirror(changed, flips))
            if self.config.data.crop_scale is not None and crops is None:
                inputs = crop(inputs, self.config.data.crop_scale, share)
        batch = Batch(inputs, observed, index)
        with autocast(self._device, self.config.precision):
            out: ModelOutput = self.model(inputs)
            if views is not None:
                pooled = pool(self.model.features(views.flatten(0, 1)))  # one pass: all views share batch statistics
                out = out._replace(views=pooled.unflatten(0, views.shape[:2]))
        out = self.group.gather(out.float(), share, maps=self.method.needs_maps)
        loss: Tensor = self.method(out, batch)
        beside = torch.zeros((), device=inputs.device)
        if self.auxiliary:
            beside = self.auxiliary.weight * self.auxiliary(out, batch)
            loss = loss + beside
        loss.backward()
        self._reduce_gradients()
        if self.config.optim.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip)
        self.optimization.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        with torch.no_grad():
            self.method.after_step(out, batch)
        return loss.detach(), beside.detach()
