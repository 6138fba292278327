"""Batch normalisation by the statistics of the whole batch, of which every process has a part.

On CUDA that is PyTorch's own SyncBatchNorm, which does not run on a CPU. There the part's mean and sum of squares
are merged as Chan et al. (1979) do it, without the difference of large numbers.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def normalize_together(model: nn.Module, device: torch.device) -> None:
    """Replace the batch normalisations inside ``model``; names, parameters and buffers stay what they are."""
    if device.type == "cuda":
        for name, child in model.named_children():
            setattr(model, name, nn.SyncBatchNorm.convert_sync_batchnorm(child))
        return
    for name, child in model.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(model, name, WholeBatchNorm.of(child))
        else:
            normalize_together(child, device)


class WholeBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation of any number of dimensions, over the examples of all processes; any of them may have none.

    In evaluation it is what it replaces.
    """

    @classmethod
    def of(cls, original: nn.modules.batchnorm._BatchNorm) -> "WholeBatchNorm":
        """Return the replacement of ``original``, with its parameters and buffers."""
        if original.momentum is None or not original.affine or not original.track_running_stats:
            raise ValueError(f"only batch normalisation with weights and a moving average is shared, got {original}")
        new = cls(original.num_features, original.eps, original.momentum, device="meta")
        new.weight, new.bias = original.weight, original.bias
        new.running_mean, new.running_var = original.running_mean, original.running_var
        new.num_batches_tracked = original.num_batches_tracked
        new.training = original.training
        return new

    def _check_input_dim(self, values: Tensor) -> None:
        if values.ndim < 2:
            raise ValueError(f"batch normalisation takes (B, C, ...), got {values.ndim} axes")

    def forward(self, values: Tensor) -> Tensor:
        if not self.training:
            return super().forward(values)
        self._check_input_dim(values)
        mean, var, count = _statistics(values.detach())
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((var * (count / (count - 1))).to(self.running_var.dtype), self.momentum)
        out: Tensor = _Normalize.apply(values, self.weight, self.bias, mean, var, count, self.eps)
        return out


def _statistics(values: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and biased variance (C,) of (b, C, ...) over all processes, and the number of values a channel."""
    wide = values if values.dtype == torch.float64 else values.float()
    channels, count = wide.shape[1], wide.numel() // wide.shape[1]
    own = wide.new_zeros(2 * channels + 1, dtype=torch.float64)  # mean, sum of squares around it, count
    if count:
        axes = [axis for axis in range(wide.ndim) if axis != 1]
        var, mean = torch.var_mean(wide, dim=axes, correction=0)
        own[:channels], own[channels:-1], own[-1] = mean, var.double() * count, count
    everyone = own.new_empty(dist.get_world_size(), len(own))
    dist.all_gather_into_tensor(everyone, own[None])
    counts = everyone[:, -1:]
    total = counts.sum()
    number = int(total)
    if number < 2:  # as torch refuses it in one process
        raise ValueError(f"Expected more than 1 value per channel when training, got {number}")
    means, squares = everyone[:, :channels], everyone[:, channels:-1]
    mean = (counts * means).sum(0) / total
    var = (squares.sum(0) + (counts * (means - mean).square()).sum(0)) / total
    return mean.to(wide.dtype), var.to(wide.dtype), number


class _Normalize(torch.autograd.Function):
    """(x - mean) / sqrt(var + eps) * weight + bias, where mean and var depend on the inputs of all processes.

    Gradients of weight and bias are this process's part of the sum.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, count: int, eps: float
    ) -> Tensor:
        ctx.save_for_backward(values, weight, mean, var)
        ctx.count, ctx.eps = count, eps
        # The kernel of evaluation: it normalises by statistics that it is given.
        out: Tensor = torch.native_batch_norm(values, weight, bias, mean, var, False, 0.0, eps)[0]
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, weight, mean, var = ctx.saved_tensors
        constant, grad_weight, grad_bias = torch.zeros_like(values), torch.zeros_like(weight), torch.zeros_like(weight)
        if len(values):  # of none, PyTorch's kernel divides by their number
            # As if mean and var were constants; grad_weight is the sum of grad times the normalised values.
            constant, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
                grad, values, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
            )
        sums = torch.cat([grad_weight, grad_bias]).double()
        dist.all_reduce(sums)
        of_weight, of_bias = (sums / ctx.count).to(mean.dtype).chunk(2)
        scale = (var + ctx.eps).rsqrt()
        # The statistics depend on the values: weight * scale * (mean of grad + normalised * mean of grad_weight) less.
        slope = weight * scale * scale * of_weight
        offset = weight * scale * of_bias - slope * mean
        shape = [1, -1] + [1] * (values.ndim - 2)
        grad_values = constant - (values * slope.view(shape) + offset.view(shape)).to(constant.dtype)
        return grad_values, grad_weight, grad_bias, None, None, None, None
