"""What a traced graph computes anew at each step although only shapes decide it, computed once.

The gradient of a mean begins with a tensor of ones, divides it by a count, and spreads it; a zero that a condition
chooses is a tensor as well. In a loss of twenty operations that is half of them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

_BY_SHAPE = ("ones_like", "zeros_like", "full_like", "new_zeros", "new_ones", "new_full")


def fold_constants(graph: GraphModule, *arguments: Tensor) -> GraphModule:
    """Replace every operation of ``graph`` whose result no argument's value decides by that result.

    Args:
        graph: a trace for arguments of these shapes, without operations that change their operands.
        arguments: an example; left as they are.
    """
    values = _Recorder(graph)
    values.run(*arguments)
    constant: set[Node] = set()
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            constant.add(node)
        if node.op != "call_function":
            continue
        schema = getattr(node.target, "_schema", None)  # what takes a tuple apart has none
        if schema is not None and schema.is_mutable:
            return graph
        by_shape = schema is not None and schema.name.removeprefix("aten::") in _BY_SHAPE
        if by_shape or all(operand in constant for operand in node.all_input_nodes):
            constant.add(node)
    for number, node in enumerate(list(graph.graph.nodes)):
        used = any(user not in constant for user in node.users)
        if node in constant and node.op == "call_function" and used and isinstance(values.of[node], Tensor):
            name = f"constant_{number}"
            graph.register_buffer(name, values.of[node].clone(), persistent=False)
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(name))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


class _Recorder(Interpreter):
    """Runs a graph and remembers what each node gave."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph, garbage_collect_values=False)
        self.of: dict[Node, Any] = {}

    @torch.no_grad()
    def run_node(self, n: Node) -> Any:
        """Run one node."""
        self.of[n] = super().run_node(n)
        return self.of[n]
