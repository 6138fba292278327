"""From a label setting and the keys of ``selection`` to what is judged by what; what cannot be judged is refused."""

from typing import Any

import pytest
import torch

from plml.config import make_config
from plml.errors import ConfigError
from plml.judge import applicable, find_judge, verified_images
from plml.observation import OBSERVATIONS
from plml.selection_config import SelectionConfig

SINGLE = {"name": "single_positive", "num_positives": 1}
TRUTH = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1]], dtype=torch.int8)
SEEN = torch.tensor([[1, -1, -1, -1], [1, -1, -1, -1], [-1, 1, -1, -1]], dtype=torch.int8)


def judge(
    observation: dict[str, Any] | None = None, observed: torch.Tensor = SEEN, k: float | None = None, **keys: Any
):
    chosen = SelectionConfig(**{"criterion": "corrected_ap", **keys})
    return find_judge(chosen, observation or SINGLE, truth=TRUTH, observed=observed, expected_positives=k)


@pytest.mark.parametrize(
    ("observation", "criterion"),
    [
        ("fully_observed", "map"),
        ("single_positive", "ap_auc"),
        ("biased_single_positive", "ap_auc"),
        ("positives_left", "ap_auc"),
        ("missing_positives", "ap_auc"),
        ("positives_negatives", "ap_auc"),
        ("as_given", "map"),
        ("known_fraction", "known_map"),
        ("random_per_sample", "known_map"),
        ("fixed_per_class", "known_map"),
        ("known_per_class", "known_map"),
        ("candidate_set", "map"),
        ("all_negatives", "map"),
    ],
)
def test_auto_is_what_the_setting_really_has(observation, criterion):
    config = make_config({"data": {"observation": observation}, "method": "role"})
    assert config.selection.criterion == "auto"
    assert config.choosing.criterion == criterion
    assert config.selected_by == f"{criterion} on observed labels"
    clean = make_config({"data": {"observation": observation}, "method": "role", "selection": {"labels": "clean"}})
    assert clean.selected_by == "map on clean labels"
    explicit = {"criterion": criterion, "labels": "observed"}
    same = make_config({"data": {"observation": observation}, "method": "role", "selection": explicit})
    assert same.fingerprint == config.fingerprint


def test_fingerprints_of_existing_configurations_stay():
    """Computed before there was ``auto`` and the keys beside it."""
    assert make_config({}).fingerprint == "0cc8d32710c34286"
    assert make_config({"selection": {"labels": "clean"}}).fingerprint == "7aa012d26a810bf4"
    single = {"data": {"observation": "single_positive"}, "method": "role"}
    assert make_config({**single, "selection": {"criterion": "map"}}).fingerprint == "76032000ab935e3f"


@pytest.mark.parametrize(
    "keys",
    [
        {"criterion": "corrected_ap"},
        {"criterion": "corrected_ap", "cardinality": "known"},
        {"criterion": "pu_auc"},
        {"criterion": "loss"},
        {"labels": "clean", "clean_images": 5},
        {"labels": "clean", "clean_images": 5, "clean_seed": 1},
        {"test_figures": "every_epoch"},
    ],
)
def test_every_key_that_decides_figures_is_in_the_fingerprint(keys):
    base = {"data": {"observation": "single_positive"}, "method": "role"}
    names = {make_config({**base, "selection": chosen}).fingerprint for chosen in ({}, {"labels": "clean"}, keys)}
    assert len(names) == 3


def test_what_chose_is_told_with_all_that_matters():
    assert (
        SelectionConfig(labels="clean", criterion="map", clean_images=200).text == "map on clean labels of 200 images"
    )
    known = SelectionConfig(criterion="corrected_ap", cardinality="known")
    assert known.text == "corrected_ap (cardinality known) on observed labels"
    assert (known.label, known.uses_truth) == ("corrected_ap:known", True)
    assert not SelectionConfig(criterion="corrected_ap", cardinality="declared").uses_truth
    assert SelectionConfig(criterion="map", cardinality="known").label == "map"
    assert SelectionConfig(labels="clean", clean_images=7).label == "clean:7"
    assert SelectionConfig(criterion="corrected_ap", noise_rate=0.2).text == (
        "corrected_ap (noise rate 0.2) on observed labels"
    )


@pytest.mark.parametrize(
    ("observation", "selection", "message"),
    [
        ("single_positive", {"criterion": "known_map"}, "'single_positive' reveals no negative label"),
        ("candidate_set", {"criterion": "known_map"}, "'candidate_set' reveals no positive label"),
        ("as_given", {"criterion": "corrected_ap"}, "'as_given' does not say; set selection.cardinality"),
        ({"name": "candidate_set", "rate": 1.0}, {"criterion": "corrected_ap"}, "rate 1; set selection.labels"),
        ("single_positive", {"noise_rate": 0.1}, "selection.noise_rate: belongs to candidate sets"),
        ("single_positive", {"clean_images": 3}, "clean_images belongs to labels: clean"),
        ("single_positive", {"labels": "clean", "criterion": "corrected_ap"}, "corrects observed labels"),
        ("single_positive", {"criterion": "corrected"}, "did you mean 'corrected_ap'"),
        ("single_positive", {"cardinality": "guessed"}, "selection.cardinality must be"),
        ("candidate_set", {"noise_rate": 1.0}, "selection.noise_rate"),
    ],
)
def test_what_cannot_be_judged_is_refused_before_compute(observation, selection, message):
    with pytest.raises(ConfigError, match=message):
        make_config({"data": {"observation": observation}, "method": "role", "selection": selection})


def test_a_file_may_be_declared_to_be_what_it_is():
    file = {"name": "from_file", "path": "x.npz"}
    declared = make_config(
        {"data": {"observation": file}, "selection": {"criterion": "corrected_ap", "noise_rate": 0.1}}
    )
    assert declared.choosing.mechanism(file).rate == 0.1
    found = judge(file, cardinality="known")
    assert found.evidence.cardinality.tolist() == [2, 1, 3]


def test_cardinality_is_known_declared_or_estimated():
    assert judge(cardinality="known").evidence.cardinality.tolist() == [2, 1, 3]
    assert judge(cardinality="declared", k=2.5).evidence.cardinality.tolist() == [2.5] * 3
    assert judge(k=2.5).evidence.cardinality.tolist() == [2.5] * 3
    assert judge().evidence.cardinality is None
    assert judge(cardinality="estimated", k=2.5).evidence.cardinality is None
    with pytest.raises(ConfigError, match="which neither the configuration nor the data set declares"):
        judge(cardinality="declared")


def test_noise_rate_is_the_settings_or_declared_or_derived():
    candidates = torch.tensor([[-1, -1, -1, 0], [-1, 0, -1, 0], [-1, -1, 0, 0]], dtype=torch.int8)  # 7 / 3 an image
    setting = {"name": "candidate_set", "rate": 0.3}
    assert judge(setting, candidates).evidence.rate == 0.3
    assert judge(setting, candidates, noise_rate=0.2).evidence.rate == 0.2
    derived = judge(setting, candidates, noise_rate="derived", k=2.0).evidence.rate
    assert derived == pytest.approx((7 / 3 - 2) / (4 - 2))
    with pytest.raises(ConfigError, match="or give the rate"):
        judge(setting, candidates, noise_rate="derived")
    with pytest.raises(ConfigError, match="there are 2.33"):
        judge(setting, candidates, noise_rate="derived", k=2.5)


def test_verified_images_are_drawn_once():
    chosen = SelectionConfig(labels="clean", clean_images=5)
    rows = verified_images(chosen, 50)
    assert rows.tolist() == sorted(set(rows.tolist())) == verified_images(chosen, 50).tolist()
    assert len(rows) == 5
    assert rows.tolist() != verified_images(chosen.model_copy(update={"clean_seed": 1}), 50).tolist()
    assert verified_images(SelectionConfig(labels="clean"), 50) is None
    with pytest.raises(ConfigError, match="at most the number of validation images, 4, got 5"):
        verified_images(chosen, 4)


def test_n_clean_images_are_judged_by_their_labels_only():
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    found = judge(labels="clean", criterion="map", clean_images=2)
    rows = found.images
    alone = judge(labels="clean", criterion="map")
    whole = find_judge(alone.chosen, SINGLE, truth=TRUTH[rows], observed=SEEN[rows])
    assert found.values(logits, "fixed").tolist() == whole.values(logits[:, rows], "fixed").tolist()


@pytest.mark.parametrize("name", sorted(set(OBSERVATIONS) - {"from_file", "as_given"}))
def test_all_that_applies_to_a_setting_can_be_computed(name):
    observation = make_config({"data": {"observation": name}, "method": "role"}).data.observation
    found = applicable(observation, expected_positives=2.0, clean_images=(2,))
    assert len({chosen.label for chosen in found}) == len(found)
    assert [chosen.uses_truth for chosen in found] == sorted(chosen.uses_truth for chosen in found)
    assert {"map", "pu_auc", "ap_auc", "loss", "clean", "clean:2"} <= {chosen.label for chosen in found}
    assert not any(chosen.cardinality == "declared" for chosen in applicable(observation))
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))
    positives = 1 in OBSERVATIONS[name].reveals
    observed = SEEN if positives else torch.where(TRUTH == 1, -1, TRUTH)
    for chosen in found:
        if chosen.noise_rate == "derived":
            continue  # needs false candidates
        judged = find_judge(chosen, observation, truth=TRUTH, observed=observed, expected_positives=2.0)
        assert torch.isfinite(judged.values(logits, "fixed")).all()
