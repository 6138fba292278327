"""The contract of a method: one file in this folder, registered by subclassing, nothing else to edit."""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

from torch import Tensor, nn

from plml.compat import Compat as Compat
from plml.errors import ConfigError, nearest
from plml.labels import NEGATIVE, POSITIVE, Batch, LabelInfo, ModelOutput
from plml.pseudo_labels import PseudoLabels

METHODS: dict[str, type["Method"]] = {}

# Scores the whole training split when it is called: logits (N, L), in the order of ``Batch.index``, on the device,
# in evaluation mode but with training's random flips, as the released code of APL and CDCR does it.
TrainingScores = Callable[[], Tensor]


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
        needs_negatives: the same for negative labels; methods for candidate sets need them.
        needs_expected_positives: the method uses ``labels.expected_positives``.
        needs_images: the method wants images (augmented views, maps), so mode ``linear`` has nothing for it.
        needs_class_weights: the method uses ``out.class_weights``, which not every head has.
        needs_maps: the method uses ``out.maps``; on several devices only then are they there.
        views: augmented views of each image whose pooled features the method wants in ``out.views``.
        stackable: K of them can be trained at once (:mod:`plml.population`), because steps need nothing but logits,
            labels and the method's own state, which they change in place.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    search_space: ClassVar[dict[str, dict[str, Any]]] = {}
    needs_positives: ClassVar[bool] = True
    needs_negatives: ClassVar[bool] = False
    needs_expected_positives: ClassVar[bool] = False
    needs_images: ClassVar[bool] = False
    needs_class_weights: ClassVar[bool] = False
    needs_maps: ClassVar[bool] = False
    views: ClassVar[int] = 0
    stackable: ClassVar[bool] = True

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
        for value, word in ((POSITIVE, "positive"), (NEGATIVE, "negative")):
            if not bool((labels.observed == value).any()):
                reason = cls.refusal(reveals={POSITIVE, NEGATIVE} - {value})
                if reason:
                    raise ConfigError(f"method '{cls.name}' {reason}, and this label setting reveals no {word} label")
        if cls.needs_expected_positives and labels.expected_positives is None:
            raise ConfigError(
                f"method '{cls.name}' needs the expected number of positives an image: set data.expected_positives"
            )

    @classmethod
    def refusal(cls, *, reveals: Collection[int], mode: str = "end_to_end", class_weights: bool = True) -> str | None:
        """Return what the method lacks, as the end of a sentence; None when it can be trained.

        Args:
            reveals: the known label values that the setting produces.
            mode: training mode.
            class_weights: whether the head gives ``out.class_weights``.
        """
        if cls.needs_positives and POSITIVE not in reveals:
            return "needs observed positive labels (a candidate set hides every positive among its candidates)"
        if cls.needs_negatives and NEGATIVE not in reveals:
            return "needs observed negative labels (with positives alone every label stays possible)"
        if cls.needs_images and mode == "linear":
            return "needs images, and mode 'linear' trains on stored features"
        if cls.needs_class_weights and not class_weights:
            return "needs a head that reads every class by one weight vector"
        return None

    def forward(self, out: ModelOutput, batch: Batch) -> Tensor:
        """Return the scalar loss of a batch: ``out.logits`` (B, L), ``batch.observed`` (B, L)."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return optimiser groups of the method's own parameters; ``lr`` is the network's learning rate.

        A group with the key ``optimizer`` (adam, sgd, rmsprop) is stepped by one of that kind, whatever trains the
        network.
        """
        own = list(self.parameters())
        return [{"params": own, "lr": lr}] if own else []

    def on_epoch_start(self, epoch: int, score: TrainingScores) -> None:
        """Called before the first step of ``epoch`` (0-based, of this stage), without gradient."""

    def after_step(self, out: ModelOutput, batch: Batch) -> None:
        """Called after each optimiser step, without gradient."""

    def on_epoch_end(self, epoch: int, score: TrainingScores) -> None:
        """Called after the last step of ``epoch``, before validation, without gradient."""

    def continue_from(self, earlier: "Method") -> None:
        """Take over what ``earlier`` learned when a second training stage begins (LinearInit)."""

    def diagnostics(self) -> dict[str, Tensor]:
        """Return 0-d tensors worth a curve, read once an epoch."""
        return {}

    def pseudo_labels(self, out: ModelOutput, batch: Batch) -> PseudoLabels | None:
        """Return what unknown labels are taken for now; None for a method that does not tell one from another.

        Called without gradient after an epoch by runs with ``diagnostics: label_correction``. It changes nothing.

        Args:
            out: ``logits`` (N, L) of the whole training split; there is nothing else in it.
            batch: ``observed`` (N, L) and ``index`` (N,).
        """
        return None

    def matrices(self) -> dict[str, Tensor]:
        """Return class by class matrices (L, L) worth a picture, read once an epoch."""
        return {}


def build_method(name: str, labels: LabelInfo, options: dict[str, Any], compat: Compat) -> Method:
    """Construct the method called ``name``; raise ConfigError for an unknown name or unusable labels."""
    return find_method(name)(labels, compat=compat, **options)


def find_method(name: str) -> type[Method]:
    """Return the class of the method called ``name``; raise ConfigError with the nearest name."""
    if name not in METHODS:
        raise ConfigError(f"method.name: there is no method '{name}'{nearest(name, METHODS)}")
    return METHODS[name]
