"""The loss of K runs of one method as a flat graph of tensor operations, traced once for each shape of a batch.

``torch.func.vmap`` over the method's own ``forward`` says what to compute; calling it at each step would cost several
times the arithmetic, because every operation passes through its interpreter. So the batched loss and its gradient
are traced once (``make_fx``) and the plain graph is what runs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from plml.folding import fold_constants
from plml.labels import Batch, ModelOutput
from plml.methods import Method
from plml.replay import Replay, replay_of


class StackedStep(NamedTuple):
    """What one step of K runs yields.

    Attributes:
        loss: (K,).
        logits: (K, B, L).
        products: (K, L, B), gradient of each run's loss in the products of its weights and inputs.
        bias: (K, L), gradient in its bias.
        parameters: by name, gradient in the method's own parameters (K, ...).
    """

    loss: Tensor
    logits: Tensor
    products: Tensor
    bias: Tensor
    parameters: dict[str, Tensor]


class StackedLoss:
    """Loss, gradients and ``after_step`` of K methods of one kind.

    Args:
        method: any of them; its forward says what is computed.
        parameters: K of them stacked, by name (K, ...).
        buffers: likewise; changed in place by :meth:`after_step`.
        hyperparameters: numeric attributes of the methods, by name (K,).
    """

    def __init__(
        self,
        method: Method,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        hyperparameters: Mapping[str, Tensor],
    ) -> None:
        self.method = method
        self.parameters, self.buffers, self.hyperparameters = dict(parameters), dict(buffers), dict(hyperparameters)
        self._state = [*self.parameters.values(), *self.buffers.values(), *self.hyperparameters.values()]
        self._graphs: dict[tuple[str, torch.Size], Replay] = {}
        self._has_after_step = type(method).after_step is not Method.after_step

    def __call__(self, products: Tensor, bias: Tensor, observed: Tensor, index: Tensor) -> StackedStep:
        """Return losses and gradients.

        Args:
            products: of weights and inputs (K, L, B), as one matrix product gives them.
            bias: of the heads (K, L).
            observed: labels (K, B, L).
            index: places of the examples in the training split (K, B).
        """
        graph = self._graph("loss", self._losses, products, bias, observed, index)
        loss, logits, of_products, of_bias, *of_parameters = graph(*self._state, products, bias, observed, index)
        return StackedStep(loss, logits, of_products, of_bias, dict(zip(self.parameters, of_parameters, strict=True)))

    def after_step(self, logits: Tensor, observed: Tensor, index: Tensor) -> None:
        """Do what the methods do after their optimiser step, with the logits that the step was computed from."""
        if self._has_after_step:
            self._graph("after", self._after, logits, observed, index)(*self._state, logits, observed, index)

    def _graph(self, name: str, function: Callable[..., Any], *arguments: Tensor) -> Replay:
        place = (name, arguments[0].shape)
        if place not in self._graphs:
            # A trace runs the operations: on copies, for some of them work in place.
            example = [tensor.clone() for tensor in (*self._state, *arguments)]
            self._graphs[place] = replay_of(fold_constants(make_fx(function)(*example), *example), example)
        return self._graphs[place]

    def _losses(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        parameters, buffers, hyperparameters, (products, bias, observed, index) = self._split(tensors)
        scores = (products + bias[:, :, None]).transpose(1, 2)

        def loss(
            own: Mapping[str, Tensor], z: Tensor, rest: Sequence[Mapping[str, Tensor]], o: Tensor, i: Tensor
        ) -> Tensor:
            value: Tensor = self._call(_forward, own, rest, z, o, i)
            return value

        derived, value = vmap(grad_and_value(loss, argnums=(0, 1)))(
            parameters, scores, (buffers, hyperparameters), observed, index
        )
        upstream = derived[1].transpose(1, 2).contiguous()
        return value, scores, upstream, upstream.sum(dim=2), *derived[0].values()

    def _after(self, *tensors: Tensor) -> None:
        parameters, buffers, hyperparameters, batch = self._split(tensors)

        def after(
            own: Mapping[str, Tensor], rest: Sequence[Mapping[str, Tensor]], z: Tensor, o: Tensor, i: Tensor
        ) -> Tensor:
            self._call(_after_step, own, rest, z, o, i)
            return z.new_zeros(())  # vmap wants a tensor

        vmap(after)(parameters, (buffers, hyperparameters), *batch)

    def _call(
        self,
        function: Callable[..., Any],
        parameters: Mapping[str, Tensor],
        rest: Sequence[Mapping[str, Tensor]],
        logits: Tensor,
        observed: Tensor,
        index: Tensor,
    ) -> Any:
        """Call ``function(method, out, batch)`` with one run's state in the place of the method's own."""
        buffers, hyperparameters = rest
        own = {name: getattr(self.method, name) for name in hyperparameters}
        try:
            for name, value in hyperparameters.items():
                setattr(self.method, name, value)
            caller = _Caller(self.method, function)
            state = {f"method.{name}": tensor for name, tensor in (*parameters.items(), *buffers.items())}
            return functional_call(caller, state, (ModelOutput(logits, logits), Batch(logits, observed, index)))
        finally:
            for name, value in own.items():
                setattr(self.method, name, value)

    def _split(self, tensors: Sequence[Tensor]) -> tuple[Any, ...]:
        """Parameters, buffers and hyperparameters by name, and the rest."""
        parts: list[Any] = []
        start = 0
        for names in (self.parameters, self.buffers, self.hyperparameters):
            parts.append(dict(zip(names, tensors[start : start + len(names)], strict=True)))
            start += len(names)
        return *parts, tensors[start:]


class _Caller(torch.nn.Module):
    """Lets ``functional_call`` reach more of a method than its forward."""

    def __init__(self, method: Method, function: Callable[..., Any]) -> None:
        super().__init__()
        self.method, self.function = method, function

    def forward(self, out: ModelOutput, batch: Batch) -> Any:
        return self.function(self.method, out, batch)


def _forward(method: Method, out: ModelOutput, batch: Batch) -> Tensor:
    loss: Tensor = method(out, batch)
    return loss


def _after_step(method: Method, out: ModelOutput, batch: Batch) -> None:
    method.after_step(out, batch)
