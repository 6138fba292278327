"""One training on several devices, with the result of one device up to rounding.

Every device has a process of its own, and all of them run the same :class:`plml.trainer.Trainer` on the same
configuration, seeds and data. Only the network is split: a process augments its share of a batch and runs the network
on it; the outputs of all are gathered, so that each computes the loss of the whole batch, with the whole of the
method's state; gradients of the network are summed. The first process, the leader, is the one that asked for it; it
alone touches the run folder and tells the others what it read there.
"""

from plml.distributed.errors import DeviceGroupError
from plml.distributed.group import ALONE, Group
from plml.distributed.opening import open_group

__all__ = ["ALONE", "DeviceGroupError", "Group", "open_group"]
