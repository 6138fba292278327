"""When training stops and which epoch is kept: rules by name, fed one value of the selection criterion an epoch.

A rule holds a few plain numbers, so a resumed run decides as an uninterrupted one.
"""

import math
from typing import Any, ClassVar

from plml.errors import ConfigError, nearest

STOP_RULES: dict[str, type["StopRule"]] = {}


class StopRule:
    """Keeps the best epoch so far (strictly greater, so the first maximum wins) and says when to stop.

    The first value is always an improvement. The released code of Large Loss Matters and BoostLU compares the first one
    with 0 instead: as long as every value is 0 it keeps no epoch at all and fails when it loads the best one. For
    any sequence with a value above 0 both choose the same epoch.

    Attributes:
        best_epoch: epoch of the best value; meaningless before the first update.
        best_value: the best value; minus infinity before the first update.
        waited: updates since the best epoch.
        stop: no further epoch should be trained.
    """

    name: ClassVar[str]
    source: ClassVar[str]

    def __init_subclass__(cls, *, name: str) -> None:
        super().__init_subclass__()
        cls.name = name
        STOP_RULES[name] = cls

    def __init__(self) -> None:
        self.best_epoch = 0
        self.best_value = -math.inf
        self.waited = 0
        self.stop = False

    def update(self, epoch: int, value: float) -> bool:
        """Take the criterion's value of ``epoch`` (higher is better, finite); return whether it is the best so far."""
        if not math.isfinite(value):
            raise ValueError(f"the selection criterion is {value} in epoch {epoch}; it must be finite")
        improved = value > self.best_value
        if improved:
            self.best_epoch, self.best_value, self.waited = epoch, value, 0
        else:
            self.waited += 1
        self.stop = self.stop or self.gives_up(value)
        return improved

    def gives_up(self, value: float) -> bool:
        """Return whether to stop after ``value``, the latest one; the best is up to date."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return the rule's memory as plain numbers."""
        return {
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "waited": self.waited,
            "stop": self.stop,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict` of the same rule."""
        self.best_epoch, self.best_value = state["best_epoch"], state["best_value"]
        self.waited, self.stop = state["waited"], state["stop"]


class Cole(StopRule, name="cole"):
    """Train every epoch, keep the best."""

    source = "Cole et al., CVPR 2021, arXiv:2106.09708"


class BoostLU(StopRule, name="boostlu"):
    """Train every epoch, keep the best."""

    source = "Kim et al., Bridging the Gap between Model Explanations in Partially Annotated MLC, CVPR 2023"


class AckTheUnknown(StopRule, name="ack"):
    """Stop at the first epoch that does not improve; an APL warm-up may be cut short by it, as in the release."""

    source = "Zhou et al., Acknowledging the Unknown, ECCV 2022, arXiv:2203.16219"

    def gives_up(self, value: float) -> bool:
        return self.waited > 0


class LargeLossMatters(StopRule, name="llm"):
    """Stop once the value lies more than 3 points below the best."""

    source = "Kim et al., Large Loss Matters, CVPR 2022, arXiv:2206.03740"
    tolerance = 3.0

    def gives_up(self, value: float) -> bool:
        return self.best_value - value > self.tolerance


class Patience(StopRule, name="patience"):
    """Stop after ``patience`` epochs in a row without improvement.

    Args:
        patience: number of epochs, >= 1.
    """

    source = "common practice"

    def __init__(self, patience: int) -> None:
        super().__init__()
        self.patience = patience

    def gives_up(self, value: float) -> bool:
        return self.waited >= self.patience


def make_stop_rule(rule: str, *, patience: int = 5) -> StopRule:
    """Return a fresh rule; ``patience`` matters to the rule of that name only. Raise ConfigError if unknown."""
    if rule not in STOP_RULES:
        raise ConfigError(f"stopping.rule: there is no rule '{rule}'{nearest(rule, STOP_RULES)}")
    kind = STOP_RULES[rule]
    return Patience(patience) if kind is Patience else kind()
