"""Running a traced graph again and again without Python between its operations.

The operations of a loss on a small batch take less time than Python needs to call them. TorchScript's interpreter calls
the same kernels in the same order, two to three times faster; it rounds as before. On a GPU launches bound such a
graph either way.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

Replay = Callable[..., Any]


def replay_of(graph: GraphModule, arguments: Sequence[Tensor]) -> Replay:
    """Return what computes ``graph`` for arguments of these shapes.

    Args:
        graph: flat, of tensor operations only; it may change its arguments in place.
        arguments: an example, which is used up: the graph runs on it.
    """
    if any(tensor.device.type != "cpu" for tensor in arguments):
        return graph
    with warnings.catch_warnings(), torch.no_grad():
        # TorchScript is no longer developed; where a version of torch has none, the graph itself does the same.
        warnings.simplefilter("ignore")
        try:
            trace = torch.jit.trace(graph.eval(), tuple(arguments), check_trace=False)
            return torch.jit.freeze(trace)
        except (AttributeError, RuntimeError):
            return graph
