"""The contract of a method: one file in this folder, registered by subclassing, nothing else to edit."""

from typing import Any, ClassVar

from torch import Tensor, nn

from plml.compat import Compat as Compat
from plml.errors import ConfigError, nearest
from plml.labels import POSITIVE, Batch, LabelInfo, ModelOutput

METHODS: dict[str, type["Method"]] = {}


class Method(nn.Module):
    """A training objective for partial labels, with whatever state it keeps.

    A subclass names itself (``class Role(Method, name="role")``), takes :class:`LabelInfo` and keyword-only
    hyperparameters, and implements :meth:`forward`. All its state is parameters and buffers, so that a
    checkpoint holds it and a resumed run goes on bit for bit. Numeric hyperparameters may be 0-d tensors;
    ``forward`` neither branches on a tensor's value nor copies to the host.

    Class attributes:
        paper: authors, title, venue and arXiv id.
        search_space: ``{hyperparameter: distribution}`` in the vocabulary of study files.
        needs_positives: the method learns nothing unless some positive label is observed.
        needs_expected_positives: the method uses ``labels.expected_positives``.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    search_space: ClassVar[dict[str, dict[str, Any]]] = {}
    needs_positives: ClassVar[bool] = True
    needs_expected_positives: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if name in METHODS:
            raise TypeError(f"two methods are named '{name}': {METHODS[name].__module__} and {cls.__module__}")
        cls.name = name
        METHODS[name] = cls

    def __init__(self, labels: LabelInfo, *, compat: Compat = "fixed") -> None:
        super().__init__()
        self.compat: Compat = compat
        self.check(labels)

    @classmethod
    def check(cls, labels: LabelInfo) -> None:
        """Raise ConfigError, with the reason, when the method cannot learn from these labels."""
        if cls.needs_positives and not bool((labels.observed == POSITIVE).any()):
            raise ConfigError(
                f"method '{cls.name}' needs observed positive labels, and this label setting reveals none "
                "(a candidate set hides every positive among its candidates)"
            )
        if cls.needs_expected_positives and labels.expected_positives is None:
            raise ConfigError(
                f"method '{cls.name}' needs the expected number of positives an image: set data.expected_positives"
            )

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        """Return the scalar loss of a batch: ``out.logits`` (B, L), ``batch.observed`` (B, L)."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return optimiser groups of the method's own parameters; ``lr`` is the network's learning rate."""
        own = list(self.parameters())
        return [{"params": own, "lr": lr}] if own else []

    def on_epoch_start(self, epoch: int) -> None:
        """Called before the first step of ``epoch`` (0-based)."""

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        """Called after each optimiser step, without gradient."""

    def on_epoch_end(self, epoch: int) -> None:
        """Called after the last step of ``epoch``, before validation."""

    def continue_from(self, earlier: "Method") -> None:
        """Take over what ``earlier`` learned when a second training stage begins (LinearInit)."""

    def diagnostics(self) -> dict[str, Tensor]:
        """Return 0-d tensors worth a curve, read once an epoch."""
        return {}


def build_method(name: str, labels: LabelInfo, options: dict[str, Any], compat: Compat) -> Method:
    """Construct the method called ``name``; raise ConfigError for an unknown name or unusable labels."""
    return find_method(name)(labels, compat=compat, **options)


def find_method(name: str) -> type[Method]:
    """Return the class of the method called ``name``; raise ConfigError with the nearest name."""
    if name not in METHODS:
        raise ConfigError(f"method.name: there is no method '{name}'{nearest(name, METHODS)}")
    return METHODS[name]
