"""Which labels choose thresholds: those that the setting has, or, said so and stamped, clean ones."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from plml.config import TrainConfig
from plml.errors import ConfigError
from plml.judge import find_judge
from plml.labels import UNKNOWN
from plml.mechanism import CandidateNoise, ChosenPerImage, KnownAtRandom, SeenIndependently
from plml.selection_config import SelectionConfig
from plml.standings import Evidence
from plml.thresholds.choice import CriterionName
from plml.thresholds.label_estimates import LabelEstimates, cardinality_only, estimate_labels

LabelsName = Literal["observed", "clean"]


@dataclass(frozen=True)
class Basis:
    """What thresholds are chosen by.

    Attributes:
        logits: (N, L) of the validation images that are looked at.
        estimates: of their labels.
        text: which labels these are, in words.
        uses_truth: whether the setting does not have them.
        by_class: whether they tell classes apart.
        by_entry: whether the estimate of every entry is right on average, and not only their sum.
    """

    logits: Tensor
    estimates: LabelEstimates
    text: str
    uses_truth: bool
    by_class: bool = True
    by_entry: bool = True


def require_clean(labels: LabelsName, clean_images: int | None) -> None:
    """Raise ConfigError if a number of images with clean labels is given, and other labels are to choose."""
    if clean_images is not None and labels != "clean":
        raise ConfigError(f"--clean-images: belongs to --labels clean, got {clean_images} with --labels {labels}")


def find_basis(
    config: TrainConfig,
    logits: Tensor,
    *,
    truth: Tensor,
    observed: Tensor,
    expected_positives: float | None,
    labels: LabelsName = "observed",
    clean_images: int | None = None,
    criterion: CriterionName = "cardinality",
) -> Basis:
    """Return what the labels of a validation split say about thresholds.

    Cardinality and noise rate are what ``selection`` of the configuration says; by default what is declared.

    Args:
        config: the run.
        logits: (N, L) of the validation split.
        truth: (N, L).
        observed: (N, L).
        expected_positives: declared k, or None.
        labels: observed or clean.
        clean_images: with clean labels, so many images only, drawn by ``selection.clean_seed``.
        criterion: what the thresholds are to be good for.

    Raises:
        ConfigError: labels of this setting cannot say what the criterion asks.
    """
    count, observation = len(logits), config.data.observation
    truth, observed = truth.to(logits.device), observed.to(logits.device)
    given: dict[str, Any] = {"truth": truth, "observed": observed, "expected_positives": expected_positives}
    require_clean(labels, clean_images)
    if labels == "clean":
        chosen = SelectionConfig(
            labels="clean", criterion="map", clean_images=clean_images, clean_seed=config.selection.clean_seed
        )
        judge = find_judge(chosen, observation, **given)
        kept = logits if judge.images is None else logits[judge.images]
        text = f"clean labels of {len(kept)} validation images"
        return Basis(kept, estimate_labels(judge.evidence, kept), text, uses_truth=True)
    setting = f"({observation['name']}"
    mechanism = config.selection.mechanism(observation)
    # Where a class is shown as often as not by design, its known entries are no sample of how often it occurs.
    lopsided = isinstance(mechanism, KnownAtRandom) and not mechanism.keeps_share
    complete = bool((observed == UNKNOWN).eq(truth == UNKNOWN).all())
    if complete or (isinstance(mechanism, KnownAtRandom) and not lopsided):
        text = f"observed labels {setting}) of {count} validation images"
        return Basis(logits, estimate_labels(Evidence(observed), logits), text, uses_truth=False)
    if (mechanism is None or lopsided) and criterion == "cardinality" and expected_positives is not None:
        text = f"{expected_positives:g} positives an image, as declared, of {count} validation images"
        return Basis(
            logits, cardinality_only(logits, expected_positives), text, uses_truth=False, by_class=False, by_entry=False
        )
    way_out = "use --labels clean, or --criterion cardinality --global with data.expected_positives=K"
    if lopsided:
        raise ConfigError(
            f"--labels: data.observation '{observation['name']}' does not keep the share of positives of a class, so "
            f"its 'observed' labels do not tell how often the class occurs; {way_out}"
        )
    if mechanism is None:
        raise ConfigError(
            f"--labels: data.observation '{observation['name']}' does not say how labels got lost, so its 'observed' "
            f"labels tell no thresholds; {way_out}; or say how they got lost: selection.cardinality=declared if an "
            "image shows some of its positives, selection.noise_rate=RATE if unknown labels are candidates"
        )
    if isinstance(mechanism, CandidateNoise) and mechanism.rate == 1:
        raise ConfigError(
            f"--labels: where every label is a candidate, 'observed' labels tell nothing; data.observation "
            f"'{observation['name']}' has rate 1; use --labels clean"
        )
    asked = config.selection
    corrected = SelectionConfig(
        criterion="corrected_ap", cardinality=asked.cardinality, noise_rate=asked.noise_rate, labels="observed"
    )
    evidence = find_judge(corrected, observation, **given).evidence
    one_for_all = isinstance(mechanism, ChosenPerImage) and asked.cardinality != "known"
    if isinstance(mechanism, ChosenPerImage):
        way = asked.cardinality or ("estimated" if evidence.cardinality is None else "declared")
        setting += f", cardinality {way}"
    elif isinstance(mechanism, CandidateNoise):
        setting += f", noise rate {evidence.rate:.3g}"
    elif isinstance(mechanism, SeenIndependently):
        setting += f", {mechanism.fraction:g} of positives seen"
    text = f"observed labels {setting}) of {count} validation images"
    estimates = estimate_labels(evidence, logits)
    return Basis(logits, estimates, text, uses_truth=corrected.uses_truth, by_entry=not one_for_all)
