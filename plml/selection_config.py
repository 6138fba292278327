"""``selection``: the validation labels and the figure that choose, checked against what the label setting reveals."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from plml.errors import ConfigError
from plml.mechanism import CandidateNoise, ChosenPerImage, KnownAtRandom, Mechanism, SeenIndependently
from plml.schema import Strict

CriterionName = Literal["auto", "map", "known_map", "corrected_ap", "pu_auc", "ap_auc", "loss"]
Cardinality = Literal["known", "declared", "estimated"]
NoiseRate = Annotated[float, Field(ge=0, lt=1)]

_FIRST = ("labels", "criterion")  # keys that fingerprints have always had


class SelectionConfig(Strict):
    """Which validation labels and which figure choose the epoch (and, in a study, the configuration)."""

    labels: Literal["observed", "clean"] = "observed"
    criterion: CriterionName = Field("auto", description="auto: by what the label setting reveals")
    cardinality: Cardinality | None = Field(
        None, description="positives of an image, for corrected_ap; default: declared where that is, else estimated"
    )
    noise_rate: NoiseRate | Literal["derived"] | None = Field(
        None, description="candidate sets, for corrected_ap; derived: from data.expected_positives; default: the rate"
    )
    clean_images: Annotated[int, Field(ge=1)] | None = Field(
        None, description="labels: clean, of so many images only; default: all"
    )
    clean_seed: Annotated[int, Field(ge=0)] = Field(0, description="which images these are")
    test_figures: Literal["chosen", "every_epoch"] = Field(
        "chosen", description="every_epoch: test_by_epoch/mAP is reported too; it chooses nothing"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "SelectionConfig":
        if self.clean_images is not None and self.labels != "clean":
            raise ValueError(f"clean_images belongs to labels: clean, but labels is '{self.labels}'")
        if self.labels == "clean" and self.criterion == "corrected_ap":
            raise ValueError("criterion: 'corrected_ap' corrects observed labels, and labels is 'clean'; use map")
        return self

    def resolved(self, observation: Mapping[str, Any]) -> "SelectionConfig":
        """Return the same with a criterion in the place of ``auto``.

        Args:
            observation: the label setting, ``{name, **options}``.
        """
        if self.criterion != "auto":
            return self
        return self.model_copy(update={"criterion": self._auto(observation)})

    def _auto(self, observation: Mapping[str, Any]) -> str:
        if self.labels == "clean" or observation["name"] == "fully_observed":
            return "map"
        mechanism = self.mechanism(observation)
        if isinstance(mechanism, KnownAtRandom):
            return "known_map"
        return "ap_auc" if isinstance(mechanism, ChosenPerImage | SeenIndependently) else "map"

    def mechanism(self, observation: Mapping[str, Any]) -> Mechanism | None:
        """Return how labels got lost: what the setting says, else what is declared here; None if nobody says."""
        from plml.observation import make_observation

        found = make_observation(observation).mechanism
        declared = None if self.noise_rate == "derived" else self.noise_rate
        if isinstance(found, CandidateNoise):
            return found if self.noise_rate is None else CandidateNoise(declared)
        if found is None and self.noise_rate is not None:
            return CandidateNoise(declared)
        return ChosenPerImage(count=None) if found is None and self.cardinality is not None else found

    def check(self, observation: Mapping[str, Any], reveals: frozenset[int]) -> None:
        """Raise ConfigError if the labels of the setting cannot be scored by the criterion.

        Args:
            observation: the label setting.
            reveals: the values it can produce.
        """
        name, criterion = observation["name"], self.resolved(observation).criterion
        mechanism = self.mechanism(observation)
        if self.noise_rate is not None and not isinstance(mechanism, CandidateNoise):
            raise ConfigError(
                f"selection.noise_rate: belongs to candidate sets, and data.observation is '{name}', whose labels get "
                "lost in another way"
            )
        if self.labels == "clean":
            return
        if criterion == "known_map" and not {0, 1} <= reveals:
            what = "negative" if 1 in reveals else "positive"
            raise ConfigError(
                "selection.criterion: 'known_map' ranks known positives against known negatives, and data.observation "
                f"'{name}' reveals no {what} label; use auto, or set selection.labels to clean"
            )
        if criterion == "corrected_ap" and mechanism is None:
            raise ConfigError(
                f"selection.criterion: 'corrected_ap' must know how labels got lost, and data.observation '{name}' "
                "does not say; set selection.cardinality if an image shows some of its positives, "
                "selection.noise_rate if unknown labels are candidates, or use known_map or pu_auc"
            )
        if criterion == "corrected_ap" and isinstance(mechanism, CandidateNoise) and mechanism.rate == 1:
            raise ConfigError(
                f"selection.criterion: 'corrected_ap' has nothing to go by where every label is a candidate; "
                f"data.observation '{name}' has rate 1; set selection.labels to clean"
            )

    def told(self) -> dict[str, Any]:
        """Return labels and criterion, and of the other keys those that are not at their default."""
        chosen = self.model_dump(mode="json")
        default = type(self)().model_dump(mode="json")
        return {key: value for key, value in chosen.items() if key in _FIRST or value != default[key]}

    @property
    def text(self) -> str:
        """What chooses, in words: ``map on observed labels``, ``map on clean labels of 200 images``."""
        details = []
        if self.criterion == "corrected_ap" and self.cardinality is not None:
            details.append(f"cardinality {self.cardinality}")
        if self.criterion == "corrected_ap" and self.noise_rate is not None:
            details.append(f"noise rate {self.noise_rate}")
        inner = f" ({', '.join(details)})" if details else ""
        images = "" if self.clean_images is None else f" of {self.clean_images} images"
        return f"{self.criterion}{inner} on {self.labels} labels{images}"

    @property
    def label(self) -> str:
        """A short name: ``map``, ``corrected_ap:known``, ``corrected_ap:0.1``, ``clean``, ``clean:200``."""
        detail = self.cardinality or (None if self.noise_rate is None else str(self.noise_rate))
        if self.labels == "clean":
            name, detail = "clean", None if self.clean_images is None else str(self.clean_images)
            name = name if self.criterion in ("auto", "map", "known_map") else f"clean_{self.criterion}"
        else:
            name, detail = self.criterion, detail if self.criterion == "corrected_ap" else None
        return name if detail is None else f"{name}:{detail}"

    @property
    def uses_truth(self) -> bool:
        """Whether it looks at what the label setting does not provide, verified labels or true cardinalities."""
        return self.labels == "clean" or (self.criterion == "corrected_ap" and self.cardinality == "known")
