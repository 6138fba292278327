"""Random batches with positives, negatives, unknown labels and an all-unknown row, and a method's loss on them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from plml.labels import UNKNOWN, Batch, LabelInfo, ModelOutput, as_tensor
from plml.methods import Method, build_method


class Example(NamedTuple):
    """Logits and observed labels of one batch, and what the oracles call the sigmoid and -ln of it."""

    z: NDArray  # (B, L) float64
    o: NDArray  # (B, L) int8
    k: float
    compat: str

    @property
    def p(self) -> NDArray:
        return 1.0 / (1.0 + np.exp(-self.z))

    def nl(self, x: float) -> float:
        """-ln x, with the released code's epsilon in reference mode."""
        return -np.log(x + (1e-5 if self.compat == "reference" else 0.0))


@pytest.fixture(params=["fixed", "reference"])
def compat(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[0, 1, 2])
def example(request: pytest.FixtureRequest, compat: str) -> Example:
    rng = np.random.default_rng(request.param)
    rows, classes = [(5, 4), (3, 7), (1, 3)][request.param]
    observed = rng.choice([-1, 0, 1], size=(rows, classes), p=[0.5, 0.2, 0.3]).astype(np.int8)
    observed[0, 0] = 1
    if rows > 1:
        observed[-1] = UNKNOWN
    return Example(rng.normal(scale=2.0, size=(rows, classes)), observed, k=1.3, compat=compat)


@pytest.fixture
def build() -> Callable[..., Method]:
    """Construct a method in double precision on observed labels (N, L)."""

    def make(name: str, observed: NDArray, *, k: float | None = 1.3, compat: str = "fixed", **options: Any) -> Method:
        return build_method(name, LabelInfo(as_tensor(observed), k), options, compat).double()

    return make


@pytest.fixture
def loss_of() -> Callable[..., float]:
    """The loss of a method on a batch that is the whole data set."""

    def compute(method: Method, z: NDArray, observed: NDArray) -> float:
        logits = torch.tensor(z, dtype=torch.float64)
        batch = Batch(logits, as_tensor(observed), torch.arange(len(logits)))
        return method(ModelOutput(logits, logits), batch).item()

    return compute
