"""Outputs of the whole batch, in every process, with gradients that go to the process whose examples they are of."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from plml.data.share import Share
from plml.labels import ModelOutput


def gather_output(out: ModelOutput, share: Share, rank: int, size: int, *, maps: bool) -> ModelOutput:
    """Return the outputs of the whole batch.

    Every process computes the whole loss, so what its backward pass finds for its own rows is the whole gradient for
    them and needs nothing of the others. Class weights enter the loss in every process: only the leader's gradient for
    them counts.

    Args:
        out: outputs for this process's share of the batch.
        share: the share.
        rank: of this process.
        size: number of processes.
        maps: whether to gather feature maps; else there are none in the result.
    """
    views = None if out.views is None else out.views.transpose(0, 1)  # (b, V, D)
    given = {"logits": out.logits, "features": out.features, "maps": out.maps if maps else None, "views": views}
    named = {name: value for name, value in given.items() if value is not None}
    gathered = dict(zip(named, _Gather.apply(share, size, *named.values()), strict=True))
    if views is not None:
        gathered["views"] = gathered["views"].transpose(0, 1)
    return ModelOutput(
        **{"maps": None, **gathered},
        class_weights=_once(out.class_weights, rank),
        class_bias=_once(out.class_bias, rank),
    )


def _once(parameter: Tensor | None, rank: int) -> Tensor | None:
    return None if parameter is None else _Once.apply(parameter, rank)


class _Gather(torch.autograd.Function):
    """From each process's rows (b, ...) of several tensors to all rows (B, ...) of each, in one exchange."""

    @staticmethod
    def forward(ctx: Any, share: Share, size: int, *parts: Tensor) -> tuple[Tensor, ...]:
        ctx.share = share
        ctx.set_materialize_grads(False)
        lines = torch.cat([part.flatten(1) for part in parts], dim=1)  # (b, F)
        longest = len(Share.of_rank(share.whole, 0, size))
        padded = lines.new_zeros(longest, lines.shape[1])
        padded[: len(lines)] = lines
        everyone = lines.new_empty(size * longest, lines.shape[1])
        dist.all_gather_into_tensor(everyone, padded)
        if size * longest != share.whole:
            lengths = [len(Share.of_rank(share.whole, other, size)) for other in range(size)]
            chunks = everyone.split(longest)
            everyone = torch.cat([chunk[:length] for chunk, length in zip(chunks, lengths, strict=True)])
        columns = everyone.split([part[:0].flatten(1).shape[1] for part in parts], dim=1)
        return tuple(column.reshape(share.whole, *part.shape[1:]) for column, part in zip(columns, parts, strict=True))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        mine = [None if grad is None else grad[ctx.share.start : ctx.share.stop] for grad in grads]
        return None, None, *mine


class _Once(torch.autograd.Function):
    """The tensor itself; its gradient, the same in every process, is the leader's alone, so that the sum is right."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, rank: int) -> Tensor:
        ctx.rank = rank
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad if ctx.rank == 0 else torch.zeros_like(grad), None
