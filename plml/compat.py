"""The switch between what was published as code and what was meant."""

from typing import Literal

# reference: the numbers of the released code, its epsilons and conventions included.
# fixed: the paper's definition, numerically stable; what our own studies use.
Compat = Literal["fixed", "reference"]
