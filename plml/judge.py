"""A criterion together with all that it looks at besides scores: which labels, of which images, lost in which way."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plml.compat import Compat
from plml.errors import ConfigError
from plml.labels import NEGATIVE, POSITIVE
from plml.mechanism import CandidateNoise, ChosenPerImage, KnownAtRandom, Mechanism
from plml.observation import make_observation
from plml.ranks import real
from plml.selection import standing_values
from plml.selection_config import SelectionConfig
from plml.standings import Evidence, Standings


@dataclass(frozen=True)
class Judge:
    """Gives models the values they are chosen by.

    Attributes:
        chosen: labels and criterion, not ``auto``.
        evidence: what the criterion looks at besides scores.
        images: rows of the validation split it looks at; None for all.
    """

    chosen: SelectionConfig
    evidence: Evidence
    images: Tensor | None = None

    def values(self, logits: Tensor, compat: Compat, standings: Standings | None = None) -> Tensor:
        """Return the value of each model, (K,); higher is better.

        Args:
            logits: (K, N, L) of the validation split.
            compat: see :mod:`plml.metrics`.
            standings: of the same logits, where other criteria have sorted them already.
        """
        if standings is None or self.images is not None:
            standings = Standings(logits if self.images is None else logits[:, self.images], compat)
        name = self.chosen.criterion
        # What nobody verified even in the truth (a "difficult" object) is left out, as in val/mAP.
        name = "known_map" if self.chosen.labels == "clean" and name == "map" else name
        return standing_values(name, standings, self.evidence, compat)


def find_judge(
    chosen: SelectionConfig,
    observation: Mapping[str, Any],
    *,
    truth: Tensor,
    observed: Tensor,
    expected_positives: float | None = None,
) -> Judge:
    """Return the judge that ``chosen`` describes.

    Args:
        chosen: labels and criterion; ``auto`` is resolved.
        observation: the label setting, ``{name, **options}``.
        truth: (N, L) of the validation split.
        observed: (N, L).
        expected_positives: declared k, or None.

    Raises:
        ConfigError: it needs what this validation split does not have.
    """
    chosen = chosen.resolved(observation)
    if chosen.labels == "clean":
        images = verified_images(chosen, len(truth))
        verified = truth if images is None else truth[images.to(truth.device)]
        return Judge(chosen, Evidence(verified), None if images is None else images.to(truth.device))
    mechanism = chosen.mechanism(observation)
    if chosen.criterion != "corrected_ap":
        return Judge(chosen, Evidence(observed, mechanism))
    rate = _rate(mechanism, observed, expected_positives) if isinstance(mechanism, CandidateNoise) else 0.0
    cardinality = _cardinality(chosen, mechanism, truth, expected_positives)
    return Judge(chosen, Evidence(observed, mechanism, cardinality, chosen.cardinality == "known", rate))


def applicable(
    observation: Mapping[str, Any], *, expected_positives: float | None = None, clean_images: Sequence[int] = ()
) -> list[SelectionConfig]:
    """Return every way to choose under a label setting: what it allows first, then what looks at the truth.

    Args:
        observation: the label setting, ``{name, **options}``.
        expected_positives: declared k, or None.
        clean_images: numbers of images with verified labels to choose by, besides all of them.
    """
    mechanism, known = make_observation(observation).mechanism, expected_positives is not None
    corrected: list[dict[str, Any]] = [{"criterion": "known_map"}]
    if isinstance(mechanism, ChosenPerImage):
        ways = ["declared", "estimated", "known"] if known else ["estimated", "known"]
        corrected += [{"criterion": "corrected_ap", "cardinality": way} for way in ways]
    elif isinstance(mechanism, CandidateNoise):
        corrected += [{"criterion": "corrected_ap"}]
        corrected += [{"criterion": "corrected_ap", "noise_rate": "derived"}] if known else []
    elif mechanism is not None and not isinstance(mechanism, KnownAtRandom):  # that is known_map
        corrected += [{"criterion": "corrected_ap"}]
    others = [{"criterion": name} for name in ("ap_auc", "pu_auc", "map", "loss")]
    clean = [{"labels": "clean", "criterion": "map", "clean_images": count} for count in (*clean_images, None)]
    found = [SelectionConfig(**keys) for keys in (*corrected, *others, *clean)]
    found.sort(key=lambda chosen: chosen.uses_truth)
    return [chosen for chosen in found if _is_allowed(chosen, observation)]


def _is_allowed(chosen: SelectionConfig, observation: Mapping[str, Any]) -> bool:
    try:
        chosen.check(observation, make_observation(observation).reveals)
    except ConfigError:
        return False
    return True


def verified_images(chosen: SelectionConfig, count: int) -> Tensor | None:
    """Return the rows of the validation split whose labels are verified, ascending; None for all.

    Raises:
        ConfigError: there are not so many.
    """
    wanted = chosen.clean_images
    if wanted is None:
        return None
    if wanted > count:
        raise ConfigError(
            f"selection.clean_images must be at most the number of validation images, {count}, got {wanted}"
        )
    rows = np.random.default_rng(chosen.clean_seed).permutation(count)[:wanted]
    return torch.from_numpy(np.sort(rows))


def _cardinality(
    chosen: SelectionConfig, mechanism: Mechanism | None, truth: Tensor, expected_positives: float | None
) -> Tensor | None:
    """Return the positives of each image, (N,); None where they are to be estimated, or do not matter."""
    if not isinstance(mechanism, ChosenPerImage) or chosen.cardinality == "estimated":
        return None
    if chosen.cardinality == "known":
        return real((truth == POSITIVE).sum(-1))
    if expected_positives is None:
        if chosen.cardinality is None:
            return None
        raise ConfigError(
            "selection.cardinality: 'declared' is data.expected_positives, which neither the configuration nor the "
            "data set declares; declare it, or set selection.cardinality to estimated"
        )
    return torch.full((len(truth),), expected_positives, dtype=torch.float64).to(real(truth[:0]))


def _rate(mechanism: CandidateNoise, observed: Tensor, expected_positives: float | None) -> float:
    r"""Return the share of candidates among negatives; derived, it is :math:`(C - k) / (L - k)` for C an image."""
    if mechanism.rate is not None:
        return mechanism.rate
    if expected_positives is None:
        raise ConfigError(
            "selection.noise_rate: 'derived' comes from data.expected_positives, which neither the configuration nor "
            "the data set declares; declare it, or give the rate"
        )
    candidates, classes = float((observed != NEGATIVE).sum()) / len(observed), observed.shape[1]
    if not expected_positives <= candidates < classes:
        raise ConfigError(
            f"selection.noise_rate: 'derived' needs at least data.expected_positives ({expected_positives:g}) and less "
            f"than {classes} candidates an image, and there are {candidates:.3g}"
        )
    return (candidates - expected_positives) / (classes - expected_positives)
