"""Criteria applied to finished runs: real trainings, their folders, and nothing that was not computed."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from plml.cardinality import implied_cardinality
from plml.cli import DONE, WRONG_INPUT, main
from plml.config import TrainConfig, make_config
from plml.data.bundle import Bundle, Split
from plml.disagreement import SHARE
from plml.metrics import mean_average_precision
from plml.models.backbones import BACKBONES
from plml.rank_correlation import kendall
from plml.reselection import reselect, reselect_below
from plml.reselection_tables import bias_warnings, csv_text, markdown, records, summarise
from plml.selection import criterion_value
from plml.standings import Evidence, Standings
from plml.stored_runs import find_run_folders, read_stored_run
from plml.trainer import Trainer

CLASSES, DIMENSION, EPOCHS = 5, BACKBONES["small_cnn"].feature_dim, 3
SINGLE = {"name": "single_positive", "num_positives": 1}


def make_bundle(draw: int = 0) -> Bundle:
    """Noisy features in which classes are directions; one positive an image is seen, drawn anew by ``draw``."""
    rng, lottery = np.random.default_rng(0), np.random.default_rng(draw)

    def split(count: int, name: str) -> Split:
        truth = (rng.random((count, CLASSES)) < 0.35).astype(np.int8)
        truth[np.arange(count), rng.integers(0, CLASSES, count)] = 1
        array = rng.normal(size=(count, DIMENSION)) + 1.5 * truth @ np.eye(CLASSES, DIMENSION)
        observed = np.full(truth.shape, -1, dtype=np.int8)
        observed[np.arange(count), (truth * (1e-9 + lottery.random(truth.shape))).argmax(1)] = 1
        ids = [f"{name}{i}" for i in range(count)]
        tensors = torch.from_numpy(truth), torch.from_numpy(observed)
        return Split(ids, np.arange(count), array.astype(np.float32), *tensors)

    parts = {"train": split(150, "a"), "val": split(80, "b"), "test": split(90, "c")}
    names = [f"class{i}" for i in range(CLASSES)]
    return Bundle("toy", names, **parts, expected_positives=2.2, flip=False, digest=f"toy-{draw}", image_size=8)


def make(method: str, lr: float, draw: int = 0, **selection: Any) -> TrainConfig:
    return make_config(
        {
            "mode": "linear",
            "epochs": EPOCHS,
            "device": "cpu",
            "data": {"observation": SINGLE, "observation_seed": draw},
            "method": method,
            "optim": {"lr": lr},
            "selection": {"test_figures": "every_epoch", **selection},
        }
    )


def train(config: TrainConfig, folder: Path) -> None:
    for _ in Trainer(config, make_bundle(config.data.observation_seed), folder).epochs():
        pass


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five runs of two methods whose every test figure is known, at different depths."""
    folder = tmp_path_factory.mktemp("out") / "study"
    for number, (method, lr) in enumerate([("an", 1e-3), ("an", 3e-2), ("role", 1e-3), ("role", 3e-2)]):
        train(make(method, lr), folder / "trials" / f"{number:04d}")
    train(make("wan", 1e-2), folder / "runs" / "deep" / "seed_0")
    return folder


def scores(folder: Path, epoch: int) -> torch.Tensor:
    return torch.from_numpy(np.load(folder / "scores" / f"val_{epoch:04d}.npy"))


def test_every_epoch_has_a_test_figure_that_chose_nothing(study):
    folder = study / "trials" / "0000"
    reports = [json.loads(line)["metrics"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((folder / "result.json").read_text())
    told = [report["test_by_epoch/mAP"] for report in reports]
    assert len(told) == EPOCHS
    assert told[result["best_epoch"]] == pytest.approx(result["metrics"]["test/mAP"])
    assert reports[-1]["test/mAP"] == result["metrics"]["test/mAP"]
    assert not any(key.startswith("test_by_epoch") for key in result["metrics"])
    assert result["selection"] == {
        "labels": "observed",
        "criterion": "ap_auc",
        "test_figures": "every_epoch",
        "best": reports[-1]["selection/best"],
    }


def test_figures_are_those_computed_one_by_one(study):
    found = reselect_below([study])
    [group] = found.groups
    assert (len(group.runs), group.methods, found.left_out) == (5, ["an", "role", "wan"], ())
    tests = {(run.folder, epoch): run.test_map[epoch] for run in group.runs for epoch in run.epochs}
    assert group.best == max(tests.values())
    assert bias_warnings(found) == []
    truth, observed = group.runs[0].labels()
    for outcome in group.outcomes:
        if outcome.chosen.label not in ("map", "clean", "pu_auc", "ap_auc"):
            continue
        name, labels = ("map", truth) if outcome.chosen.label == "clean" else (outcome.chosen.criterion, observed)
        values = {
            (run.folder, epoch): criterion_value(name, scores(run.folder, epoch), labels)
            for run in group.runs
            for epoch in run.epochs
        }
        best = max(values, key=lambda pair: values[pair])
        assert (outcome.pick.run.folder, outcome.pick.epoch) == best
        assert outcome.pick.value == pytest.approx(values[best])
        assert outcome.regret == pytest.approx(group.best - tests[best])
        own = [max(run.epochs, key=lambda epoch, r=run: values[r.folder, epoch]) for run in group.runs]
        pairs = [(values[run.folder, e], tests[run.folder, e]) for run, e in zip(group.runs, own, strict=True)]
        assert outcome.run_tau == pytest.approx(kendalltau(*zip(*pairs, strict=True)).statistic)
        every = [(values[key], tests[key]) for key in values]
        assert outcome.epoch_tau == pytest.approx(kendalltau(*zip(*every, strict=True)).statistic)
        assert outcome.unknown == 0
        if outcome.chosen.label in ("pu_auc", "ap_auc"):
            assert outcome.level_error is None
        else:
            assert outcome.level_error == pytest.approx(np.mean([value - test for value, test in pairs]))
        lost = []
        for method in group.methods:
            mine = [run.folder for run in group.runs if run.method == method]
            inside = {key: value for key, value in values.items() if key[0] in mine}
            pick = max(inside, key=lambda key, v=inside: v[key])
            lost.append(max(tests[key] for key in inside) - tests[pick])
        assert outcome.method_regret == pytest.approx(np.mean(lost))


def test_a_run_picks_the_epoch_it_picked_in_training(study):
    [group] = reselect_below([study], criteria=["ap_auc"]).groups
    assert [one.epoch for one in group.outcomes[0].own] == [run.best_epoch for run in group.runs]


def test_criteria_that_look_at_the_truth_are_marked(study):
    rows = {row.criterion: row for row in summarise(reselect_below([study]))[0].rows}
    allowed = ["corrected_ap:declared", "corrected_ap:estimated", "ap_auc", "pu_auc", "map", "loss"]
    assert list(rows) == [*allowed, "corrected_ap:known", "clean"]  # clean:200 exceeds the 80 images
    assert [name for name, row in rows.items() if row.forbidden] == ["corrected_ap:known", "clean"]
    text = markdown(reselect_below([study], criteria=["clean", "corrected_ap:known"], clean_images=(20,)))
    assert "clean:20 (forbidden)" in text
    assert "corrected_ap:known (forbidden)" in text
    assert "pu_auc" not in text


def test_a_test_figure_that_was_never_computed_is_unknown(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    run = tmp_path / "study" / "trials" / "0001"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["metrics"]["test_by_epoch/mAP"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stored = read_stored_run(run)
    assert list(stored.test_map) == [stored.best_epoch]
    found = reselect_below([tmp_path])
    [group] = found.groups
    assert not group.knows_every_epoch
    for outcome in group.outcomes:
        assert outcome.epoch_tau is None
        mine = next(one for one in outcome.own if one.run.folder == run)
        assert outcome.unknown == (0 if mine.epoch == stored.best_epoch else 1)
        assert (mine.test_map is None) == (mine.epoch != stored.best_epoch)
    loss = next(outcome for outcome in group.outcomes if outcome.chosen.label == "loss")
    assert loss.unknown in (0, 1)
    text = markdown(found)
    assert "| ? |" in text
    assert "whose test mAP was never computed" in text


def test_what_cannot_be_compared_is_left_out_with_a_reason(study, tmp_path):
    shutil.copytree(study / "trials", tmp_path / "trials")
    (tmp_path / "trials" / "0000" / "result.json").unlink()
    (tmp_path / "trials" / "0001" / "config.yaml").write_text("optim: {batchsize: 3}\n")
    (tmp_path / "trials" / "0002" / "result.json").write_text("{")
    shutil.copytree(tmp_path / "trials" / "0003", tmp_path / "again")
    found = reselect_below([tmp_path])
    assert [len(group.runs) for group in found.groups] == [1]
    reasons = {folder.name: reason for folder, reason in found.left_out}
    assert reasons["0000"].startswith("not trained to its end")
    assert "unknown key 'optim.batchsize'" in reasons["0001"]
    assert reasons["0002"].startswith("damaged")


def test_label_draws_are_compared_apart_and_averaged(study, tmp_path):
    for number, lr in enumerate((1e-3, 3e-2)):
        train(make("an", lr, draw=7), tmp_path / f"{number}")
    found = reselect([*find_run_folders([study]), *find_run_folders([tmp_path])])
    assert [(group.observation_seed, len(group.runs)) for group in found.groups] == [(0, 5), (7, 2)]
    [summary] = summarise(found)
    assert (summary.draws, summary.runs) == (2, 7)
    by_name = [{one.chosen.label: one for one in group.outcomes} for group in found.groups]
    for row in summary.rows:
        assert row.regret == pytest.approx(np.mean([outcomes[row.criterion].regret for outcomes in by_name]))
    [told] = records(found)
    assert told["draws"] == 2
    assert [line["criterion"] for line in told["criteria"]] == [row.criterion for row in summary.rows]


def test_command_prints_and_writes_the_same_figures(study, tmp_path, capsys):
    files = ["--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]
    assert main(["reselect", "study", "--output-dir", str(study.parent), *files]) == DONE
    out = capsys.readouterr().out
    assert "5 runs of 3 methods, 1 label draw: an, role, wan." in out
    found = reselect_below([study])
    assert (tmp_path / "a.csv").read_text() == csv_text(found)
    assert json.loads((tmp_path / "a.json").read_text()) == records(found)
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    for row in rows:
        assert f"{float(row['regret']):.2f}" in out
    assert main(["reselect", str(study), "--criterion", "map", "--criterion", "clean:30", "--json"]) == DONE
    [told] = json.loads(capsys.readouterr().out)
    assert [line["criterion"] for line in told["criteria"]] == ["map", "clean:30"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["studdy"], "did you mean 'study'?"),
        (["study", "--criterion", "pu_acu"], "did you mean 'pu_auc'?"),
        (["study", "--criterion", "clean:many"], "clean:N needs a number of images"),
        (["study", "--criterion", "known_map"], "known_map can be computed for none of these runs"),
    ],
)
def test_command_refuses_what_it_cannot_do(study, capsys, arguments, message):
    assert main(["reselect", *arguments, "--output-dir", str(study.parent)]) == WRONG_INPUT
    assert message in capsys.readouterr().err


def test_a_folder_without_finished_runs_is_refused(tmp_path, capsys):
    assert main(["reselect", str(tmp_path)]) == WRONG_INPUT
    assert "no finished run with validation scores" in capsys.readouterr().err


def test_kendall_needs_figures_that_vary():
    assert kendall([(1.0, 2.0)]) is None
    assert kendall([(1.0, 2.0), (1.0, 3.0)]) is None
    assert kendall([(1.0, 2.0), (2.0, 3.0), (3.0, 1.0)]) == pytest.approx(-1 / 3)


@pytest.mark.parametrize("biased", [False, True])
def test_labels_seen_by_size_gather_where_classes_are_easy_to_see(biased):
    """Objects of very different sizes; large ones are easy to score. By size, the label is the largest object's."""
    rng = np.random.default_rng(4)
    truth = rng.random((3000, 6)) < 0.4
    truth[np.arange(3000), rng.integers(0, 6, 3000)] = True
    size = rng.lognormal(0, 1.2, truth.shape) * truth
    chosen = (size if biased else truth * rng.random(truth.shape)).argmax(1)
    labels = torch.full(truth.shape, -1, dtype=torch.int8)
    labels[torch.arange(3000), torch.from_numpy(chosen)] = 1
    scores = torch.from_numpy(size + rng.normal(0, 0.5, truth.shape))
    implied = float(implied_cardinality(Standings(scores, "fixed"), Evidence(labels).positive))
    assert (implied < SHARE * truth.sum(1).mean()) == biased


def test_without_criteria_only_label_bias_is_looked_for(study):
    found = reselect_below([study], criteria=())
    assert [group.outcomes for group in found.groups] == [()]
    assert found.groups[0].disagreement == reselect_below([study]).groups[0].disagreement
    assert found.groups[0].disagreement.models == 5


def test_scores_are_those_the_metrics_were_computed_from(study):
    run = read_stored_run(study / "trials" / "0000")
    truth, _ = run.labels()
    report = json.loads((run.folder / "metrics.jsonl").read_text().splitlines()[0])
    (epochs, logits), *_ = run.logits()
    assert epochs[0] == 0
    assert mean_average_precision(logits[0], truth).item() == pytest.approx(report["metrics"]["val/mAP"])
    assert run.expected_positives == 2.2
