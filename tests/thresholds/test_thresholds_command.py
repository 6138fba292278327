"""``plml thresholds``: what is chosen by which labels, and that it is said and stamped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, precision_score, recall_score

from plml.cli import DONE, WRONG_INPUT, main
from plml.commands.evaluate import decided_metrics
from plml.config import make_config
from plml.data.load import load_bundle
from plml.errors import ConfigError, DataError
from plml.metrics import threshold_metrics
from plml.observation import observe
from plml.scored_split import score_split
from plml.thresholds.evidence import find_basis
from plml.thresholds.file import (
    FittedCalibration,
    Thresholds,
    as_threshold,
    beside,
    checkpoint_digest,
    find_thresholds,
    read_thresholds,
)
from plml.thresholds.own_labels import require_own_labels
from plml.trainer import Trainer

TREE: dict[str, Any] = {
    "epochs": 10,
    "device": "cpu",
    "method": "an",
    "optim": {"lr": 3e-3},
    "data": {
        "name": "digits",
        "observation": "single_positive",
        "options": {"num_train": 320, "num_val": 120, "num_test": 120, "canvas": 24},
    },
}


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    config = make_config(TREE)
    for _ in Trainer(config, load_bundle(config), folder).epochs():
        pass
    return folder / "best.pt"


def choose(best: Path, folder: Path, *options: str) -> Thresholds:
    out = folder / "chosen.json"
    assert main(["thresholds", str(best), *options, "--out", str(out)]) == DONE
    return find_thresholds(str(out), best, list(read_thresholds(out).thresholds))


def test_what_chose_is_said_and_stamped(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = choose(best, tmp_path)
    shown = capsys.readouterr().out
    assert found.chosen_by == (
        "number of positives per class on observed labels (single_positive, cardinality declared) "
        "of 120 validation images"
    )
    assert found.chosen_by in shown
    assert not found.uses_truth
    assert found.checkpoint_sha256 == checkpoint_digest(best)
    assert found.details["observation"] == {"name": "single_positive", "num_positives": 1}
    clean = choose(best, tmp_path, "--labels", "clean", "--clean-images", "50", "--criterion", "f1")
    assert clean.chosen_by == "F1 per class on clean labels of 50 validation images"
    assert clean.uses_truth
    assert "not part of the label setting" in capsys.readouterr().out


def test_rough_guesses_are_marked(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen = (score_split(best, "val").split.observed == 1).sum(0).tolist()
    found = choose(best, tmp_path)  # each counts for k
    assert [row["seen"] for row in found.estimates.values()] == pytest.approx(seen)
    capsys.readouterr()
    found = choose(best, tmp_path, "--labels", "clean", "--clean-images", "45")
    few = [name for name, row in found.estimates.items() if row["positives"] < 15]
    assert 0 < len(few) < 10
    assert found.details["rough"] == few
    shown = capsys.readouterr().out
    for name, cut in found.thresholds.items():
        assert (f"~{cut:.4f}" in next(line for line in shown.splitlines() if f" {name} " in line)) == (name in few)
    assert f"~ {len(few)} of 10 are rough guesses: fewer than 15 positives seen" in shown
    assert choose(best, tmp_path, "--global").details["rough"] == []
    assert "rough guesses" not in capsys.readouterr().out


def test_as_many_are_predicted_as_there_are(best: Path, tmp_path: Path) -> None:
    """k for each image of which a positive is seen; one of which none is has none."""
    scored = score_split(best, "val")
    k = scored.bundle.expected_positives
    assert k is not None
    expected = k * float((scored.split.observed == 1).sum())
    found = choose(best, tmp_path, "--global")
    assert sum(row["positives"] for row in found.estimates.values()) == pytest.approx(expected)
    assert float(found.decide(scored.logits).sum()) == pytest.approx(expected, abs=1)


def test_calibrated_probabilities_add_up_to_the_positives_and_decide_the_same(best: Path, tmp_path: Path) -> None:
    scored = score_split(best, "val")
    plain = choose(best, tmp_path, "--labels", "clean")
    found = choose(best, tmp_path, "--labels", "clean", "--calibrate")
    assert "calibrated by the same labels" in found.chosen_by
    probabilities = found.probabilities(scored.logits)
    assert float(probabilities.sum()) == pytest.approx(float((scored.split.truth == 1).sum()), rel=0.01)
    assert torch.equal(found.decide(scored.logits), plain.decide(scored.logits))
    matched = choose(best, tmp_path, "--calibrate")
    assert "offset to match the number of positives" in matched.chosen_by
    assert matched.scaling.slope == 1.0


def test_chosen_thresholds_beat_one_half_on_test(best: Path, tmp_path: Path) -> None:
    """AN takes unseen positives for negatives, so 0.5 finds few of them."""
    scored = score_split(best, "test")
    found = choose(best, tmp_path)
    decided = found.decide(scored.logits).double()
    tuned = threshold_metrics(decided, scored.split.truth, threshold=0.5)
    half = threshold_metrics(scored.logits.sigmoid(), scored.split.truth, threshold=0.5)
    assert float(tuned.macro_F1) > float(half.macro_F1) + 10
    assert float(tuned.OF1) > float(half.OF1) + 10


def test_evaluate_says_what_thresholds_are_worth(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against scikit-learn, on the test split."""
    found = choose(best, tmp_path, "--calibrate")
    chosen = str(tmp_path / "chosen.json")
    scored = score_split(best, "test")
    truth, decided = (scored.split.truth == 1).int().numpy(), found.decide(scored.logits).int().numpy()
    capsys.readouterr()
    assert main(["evaluate", str(best), "--thresholds", chosen, "--json"]) == DONE
    said = json.loads(capsys.readouterr().out)["thresholds"]
    assert said["chosen_by"] == found.chosen_by
    assert said["uses_truth"] is False
    for name, average in (("OF1", "micro"), ("macro_F1", "macro")):
        assert said["metrics"][name] == pytest.approx(100 * f1_score(truth, decided, average=average, zero_division=0))
    precision = precision_score(truth, decided, average="macro", zero_division=0)
    recall = recall_score(truth, decided, average="macro", zero_division=0)
    assert said["metrics"]["CF1"] == pytest.approx(100 * 2 * precision * recall / (precision + recall))
    assert main(["evaluate", str(best), "--thresholds", chosen, "--split", "val"]) == DONE
    shown = capsys.readouterr().out
    assert f"at thresholds: {found.chosen_by}" in shown
    assert "are optimistic here: this split chose them" in shown
    # At 0.5 they are the figures that are there anyway.
    assert main(["evaluate", str(best), "--thresholds", "0.5", "--json"]) == DONE
    half = json.loads(capsys.readouterr().out)
    assert half["thresholds"]["metrics"].items() <= half["metrics"].items()
    assert main(["evaluate", str(best), "--json"]) == DONE
    assert "thresholds" not in json.loads(capsys.readouterr().out)


def test_evaluate_refuses_the_thresholds_of_another_checkpoint(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(best, tmp_path)
    other = tmp_path / "last.pt"
    other.write_bytes((best.parent / "last.pt").read_bytes())
    assert main(["evaluate", str(other), "--thresholds", str(tmp_path / "chosen.json")]) == WRONG_INPUT
    assert "was chosen for another checkpoint" in capsys.readouterr().err


def test_figures_of_scores_that_are_no_numbers_are_none() -> None:
    half = Thresholds(chosen_by="hand", thresholds={"a": 0.5, "b": 0.5})
    logits, truth = torch.tensor([[1.0, torch.nan], [1.0, -1.0]]), torch.tensor([[1, 0], [1, 1]])
    assert all(value != value for value in decided_metrics(logits, truth, half, "fixed").values())


def test_decisions_are_made_where_single_precision_does_not_tell_probabilities_apart() -> None:
    cut = Thresholds(chosen_by="hand", thresholds={"a": as_threshold(torch.tensor(18.0)).item()})
    logits = torch.tensor([[17.0], [17.5], [17.999], [18.001], [19.0]])
    assert logits.sigmoid().unique().tolist() == [1.0]
    assert cut.decide(logits)[:, 0].tolist() == [False, False, False, True, True]
    low = Thresholds(chosen_by="hand", thresholds={"a": as_threshold(torch.tensor(-200.0)).item()})
    assert low.decide(torch.tensor([[-199.0], [-201.0]]))[:, 0].tolist() == [True, False]
    # Above 36.7 double precision does not tell either: a class is never closed to every image.
    high = Thresholds(chosen_by="hand", thresholds={"a": as_threshold(torch.tensor(90.0)).item()})
    assert high.decide(torch.tensor([[90.0], [36.0]]))[:, 0].tolist() == [True, False]


@given(slope=st.floats(0.05, 20.0), offset=st.floats(-5.0, 5.0), cut=st.floats(-15.0, 15.0))
@settings(max_examples=50, deadline=None)
def test_calibration_does_not_change_what_a_cut_decides(slope: float, offset: float, cut: float) -> None:
    scaling = FittedCalibration(slope=slope, offset=offset)
    assume(abs(slope * cut + offset) < 25)  # further out the probability in the file says the place less exactly
    place = as_threshold(torch.tensor(slope * cut + offset, dtype=torch.float64)).item()
    found = Thresholds(chosen_by="hand", calibration=scaling, thresholds={"a": place})
    assert found.cut_logits.item() == pytest.approx(cut, abs=1e-4)
    assert found.decide(torch.tensor([[cut - 0.01], [cut + 0.01]]))[:, 0].tolist() == [False, True]


def test_zero_is_passed_by_all_and_one_by_none() -> None:
    ends = Thresholds(chosen_by="hand", thresholds={"a": 0.0, "b": 1.0})
    decided = ends.decide(torch.tensor([[-1e4, 1e4], [1e4, -1e4]]))
    assert decided.tolist() == [[True, False], [True, False]]


def basis(setting: dict[str, Any], **options: Any) -> Any:
    """What 60 labels of a setting say; scores that know the truth."""
    generator = torch.Generator().manual_seed(0)
    truth = (torch.rand(60, 4, generator=generator) < 0.4).to(torch.int8)
    given = options.pop("expected_positives", 1.6)
    selection = options.pop("selection", {})
    config = make_config({"data": {"name": "digits", "observation": setting}, "method": "role", "selection": selection})
    drawn = truth if setting["name"] in ("as_given", "from_file") else None
    if drawn is None:
        observed = torch.from_numpy(observe(truth.numpy(), config.data.observation, 0))
    else:
        observed = torch.where(torch.rand(60, 4, generator=generator) < 0.5, truth, -1)
    logits = 4.0 * truth - 2.0
    return find_basis(config, logits, truth=truth, observed=observed, expected_positives=given, **options), truth


@pytest.mark.parametrize(
    ("setting", "words", "positives"),
    [
        ({"name": "single_positive"}, "cardinality declared", None),
        ({"name": "missing_positives", "fraction": 0.5}, "0.5 of positives seen", None),
        ({"name": "candidate_set", "rate": 0.2}, "noise rate 0.2", None),
        ({"name": "known_fraction", "fraction": 0.5}, "(known_fraction)", None),
        ({"name": "fully_observed"}, "(fully_observed)", "exact"),
        ({"name": "all_negatives"}, "noise rate 0", "exact"),
    ],
)
def test_every_setting_says_how_many_positives_there_are(setting: dict, words: str, positives: str | None) -> None:
    found, truth = basis(setting)
    assert words in found.text
    assert not found.uses_truth
    counted = found.estimates.counted
    share = float(found.estimates.values.sum() / counted.sum())
    expected = float((truth == 1).float().mean())
    assert share == pytest.approx(expected, abs=1e-6 if positives else 0.1)


def test_settings_that_do_not_say_how_labels_got_lost_are_refused() -> None:
    with pytest.raises(ConfigError, match="does not say how labels got lost"):
        basis({"name": "as_given"}, criterion="f1")
    with pytest.raises(ConfigError, match="does not say how labels got lost"):
        basis({"name": "as_given"}, criterion="cardinality", expected_positives=None)
    found, _ = basis({"name": "as_given"}, criterion="cardinality")
    assert not found.by_class
    said, _ = basis({"name": "as_given"}, criterion="f1", selection={"cardinality": "declared"})
    assert "cardinality declared" in said.text
    with pytest.raises(ConfigError, match="every label is a candidate"):
        basis({"name": "candidate_set", "rate": 1.0})
    with pytest.raises(ConfigError, match="belongs to --labels clean, got 10 with --labels observed"):
        basis({"name": "single_positive"}, clean_images=10)


def test_a_setting_that_shows_as_many_negatives_as_positives_is_refused() -> None:
    few = {"name": "fixed_per_class", "count": 10}
    for criterion in ("f1", "lee_liu"):
        with pytest.raises(ConfigError, match="'fixed_per_class' does not keep the share of positives"):
            basis(few, criterion=criterion)
    with pytest.raises(ConfigError, match="--criterion cardinality --global with data.expected_positives=K"):
        basis(few, expected_positives=None)
    declared, _ = basis(few)
    assert declared.text.startswith("1.6 positives an image, as declared")
    assert (declared.by_class, declared.by_entry) == (False, False)
    # Where it happens to show everything there is nothing to refuse.
    everything, truth = basis({"name": "fixed_per_class", "count": 60}, criterion="f1")
    assert torch.equal(everything.estimates.values, truth.double())
    clean, _ = basis(few, criterion="f1", labels="clean")
    assert clean.uses_truth


def test_the_command_refuses_what_tells_no_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {**TREE["data"], "observation": {"name": "fixed_per_class", "count": 20}}
    config = make_config({**TREE, "epochs": 1, "method": "csl", "data": data})
    for _ in Trainer(config, load_bundle(config), tmp_path).epochs():
        pass
    best = tmp_path / "best.pt"
    assert main(["thresholds", str(best), "--criterion", "f1", "--calibrate"]) == WRONG_INPUT
    assert "do not tell how often the class occurs" in capsys.readouterr().err
    assert main(["thresholds", str(best)]) == WRONG_INPUT
    assert "--per-class: the declared number of positives does not tell classes apart" in capsys.readouterr().err
    assert not beside(best).exists()
    assert main(["thresholds", str(best), "--global"]) == DONE
    declared = read_thresholds(beside(best))
    assert "positives an image, as declared" in declared.chosen_by
    assert all("seen" not in row for row in declared.estimates.values())


def test_true_cardinalities_are_stamped() -> None:
    found, _ = basis({"name": "single_positive"}, selection={"cardinality": "known"})
    assert found.uses_truth
    assert "cardinality known" in found.text


def test_wrong_input_is_told(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["thresholds", str(best), "--out", str(tmp_path / "x.yaml")]) == WRONG_INPUT
    assert "must end in .json" in capsys.readouterr().err
    assert main(["thresholds", str(best), "--labels", "clean", "--clean-images", "500"]) == WRONG_INPUT
    assert "at most the number of validation images, 120, got 500" in capsys.readouterr().err
    assert not beside(best).exists()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (
            "data.observation=fully_observed",
            "data.observation.name must be that of the checkpoint, 'single_positive', got 'fully_observed'",
        ),
        ("data.observation=all_negatives", "'single_positive', got 'all_negatives'"),
        ("data.observation.num_positives=2", "data.observation.num_positives must be that of the checkpoint, 1, got 2"),
        ("data.observation_seed=7", "data.observation_seed must be that of the checkpoint, 1200, got 7"),
        ("data.split_seed=7", "data.split_seed must be that of the checkpoint, 1200, got 7"),
        ("data.val_fraction=0.5", "data.val_fraction must be that of the checkpoint, 0.2, got 0.5"),
        ("data.subsample_val=0.5", "data.subsample_val must be that of the checkpoint, 1.0, got 0.5"),
    ],
)
@pytest.mark.parametrize("labels", ["observed", "clean"])
def test_labels_that_the_run_did_not_have_are_refused(
    best: Path, tmp_path: Path, labels: str, assignment: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "chosen.json"
    command = ["thresholds", str(best), assignment, "--labels", labels, "--out", str(out)]
    assert main(command) == WRONG_INPUT
    told = capsys.readouterr().err
    assert message in told
    assert "give --labels clean to choose by clean labels, which is stamped" in told
    assert not out.exists()


def test_other_labels_under_the_same_configuration_are_refused(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "chosen.json"
    command = ["thresholds", str(best), "data.options.num_val=60", "--out", str(out)]
    assert main(command) == WRONG_INPUT
    assert "must hold the labels that the checkpoint was trained with" in capsys.readouterr().err
    assert main([*command, "--labels", "clean"]) == DONE
    assert read_thresholds(out).uses_truth


def test_a_file_of_labels_may_have_moved(tmp_path: Path) -> None:
    labels = {"name": "from_file", "path": "here.npz"}
    config = make_config({"data": {"name": "digits", "observation": labels}, "method": "role"})
    content = {"config": json.dumps(config.tree()), "data": {"digest": "1" * 64}}
    moved = make_config(
        {**config.tree(), "data": {**config.tree()["data"], "observation": {**labels, "path": "there"}}}
    )
    require_own_labels(content, moved, "1" * 64, "observed")
    with pytest.raises(DataError, match="must hold the labels that the checkpoint was trained with"):
        require_own_labels(content, moved, "2" * 64, "observed")
    imported = {**content, "imported": {}}  # of such a checkpoint nobody knows the digest of what was seen
    require_own_labels(imported, config, "2" * 64, "observed")
    with pytest.raises(ConfigError, match="data.observation.path must be that of the checkpoint"):
        require_own_labels(imported, moved, "2" * 64, "observed")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "clean", "--clean-images", "0"], "argument --clean-images: must be at least 1, got 0"),
        (["--labels", "clean", "--clean-images", "all"], "--clean-images: must be a whole number, got 'all'"),
    ],
)
def test_a_number_of_clean_images_is_one(
    best: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["thresholds", str(best), *arguments])
    assert message in capsys.readouterr().err


def test_clean_images_without_clean_labels_are_told_before_anything_is_read(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["thresholds", "absent.pt", "--clean-images", "10"]) == WRONG_INPUT
    assert "--clean-images: belongs to --labels clean" in capsys.readouterr().err


def test_a_file_is_read_back_and_a_damaged_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    written = Thresholds(chosen_by="hand", thresholds={"a": 0.25, "b": 1.0}, details={"images": 3})
    written.write(path)
    assert read_thresholds(path) == written
    for text, message in (
        ("{", "is no JSON"),
        ("[]", "is no file of thresholds"),
        ('{"chosen_by": "x"}', "thresholds: Field required"),
        ('{"chosen_by": "x", "thresholds": {"a": 2.0}}', "thresholds.a"),
        ('{"chosen_by": "x", "thresholds": {}, "more": 1}', "more"),
        ('{"chosen_by": "x", "thresholds": {"a": NaN}}', "thresholds.a"),
    ):
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            read_thresholds(path)


@given(content=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_content_ends_in_another_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.json"
    path.write_bytes(content)
    try:
        read_thresholds(path)
    except DataError:
        return
    assert json.loads(content)
