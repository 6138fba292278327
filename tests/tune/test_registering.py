"""The best model of a study as a registered version, and checkpoints of every epoch, in a real store."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from plml.checkpoint import load_checkpoint
from plml.errors import ConfigError
from plml.report_log import read_reports
from plml.terminal import Terminal
from plml.tracking import Tracker
from tune.closing import close_study
from tune.ledger import Ledger
from tune.registering import epoch_files
from tune.run import build_parser, study_options
from tune.standings import read_leaderboard
from tune.study_file import read_study_file
from tune.trial_runs import TrialRuns

STUDY: dict[str, Any] = {
    "base": {
        "epochs": 2,
        "device": "cpu",
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 48, "num_val": 24, "num_test": 24, "canvas": 24},
        },
        "selection": {"labels": "clean"},
        "method": "ll_ct",
        "diagnostics": "label_correction",
    },
    "search_space": {
        "optim.lr": {"type": "float", "low": 1e-3, "high": 1e-2, "log": True},
        "optim.batch_size": {"type": "categorical", "choices": [16, 24]},
    },
    "n_trials": 2,
    "track": {"register": "scenes", "alias": "champion", "checkpoints": "every_epoch"},
}


class Closing:
    """A trained study and a store to close it in, as often as one likes."""

    def __init__(self, ledger: Ledger, uri: str) -> None:
        self.ledger, self.uri, self.warnings = ledger, uri, list[str]()
        self.tracker = Tracker(uri, timeout_s=60)
        self.first = self.close()

    def close(self, *, force_alias: bool = False) -> str:
        console = Terminal(record=True, width=200)
        runs = TrialRuns(self.uri, self.ledger, warn=self.warnings.append)
        runs.open_study()
        close_study(self.ledger, runs, console, unfinished=False, force_alias=force_alias)
        return console.export_text()

    def models(self) -> list[Any]:
        experiment = self.tracker.open_experiment(f"plml/{self.ledger.folder.name}")
        return list(self.tracker.call(lambda client: client.search_logged_models([experiment]), "look"))

    def version(self, alias: str) -> Any:
        return self.tracker.call(lambda client: client.get_model_version_by_alias("scenes", alias), "look")

    def steps(self, run: str | None, key: str) -> list[int]:
        history = self.tracker.call(lambda client: client.get_metric_history(str(run), key), "look")
        return [point.step for point in history]

    def tags(self, kind: str) -> list[Mapping[str, str]]:
        experiment = self.tracker.open_experiment(f"plml/{self.ledger.folder.name}")
        return [tags for tags in self.tracker.run_tags(experiment).values() if tags["plml.kind"] == kind]


@pytest.fixture(scope="module")
def closing(trained_study: Callable[..., Ledger], tmp_path_factory: pytest.TempPathFactory) -> Closing:
    folder = tmp_path_factory.mktemp("registering")
    ledger = trained_study(folder / "mine", STUDY, stop=-1, fail=-1)
    return Closing(ledger, f"sqlite:///{folder}/mlflow.db")


def test_best_and_every_epoch_are_stored_once(closing: Closing) -> None:
    told = closing.first
    assert closing.warnings == []
    board = read_leaderboard(closing.ledger.optuna, closing.ledger.folder.path)
    best = board.best
    assert best is not None
    assert f"scenes version 1, trial {best.key}" in told
    assert "'champion' is version 1: no version had it" in told
    version = closing.version("champion")
    assert version.run_id == best.mlflow_run_id
    assert version.tags["plml.study"] == closing.ledger.folder.name
    assert version.tags["plml.key"] == best.key
    chosen = load_checkpoint(best.run_folder / "best.pt")
    assert float(version.tags["plml.selection/value"]) == chosen["metrics"]["selection/value"]
    models = {model.name: model for model in closing.models()}
    assert len(models) == 2 * 2 + 1
    for row in board.rows:
        reports = read_reports(row.run_folder)
        for report in reports:
            model = models[f"{row.key}-ll_ct-epoch-{report.epoch:03d}"]
            figures = {metric.key: (metric.value, metric.step) for metric in model.metrics}
            assert figures["val/mAP"] == (report.metrics["val/mAP"], report.epoch)
            assert "diagnosis/loss_false_negatives" in figures
            assert model.source_run_id == row.mlflow_run_id
        # The figures of a model are points that the run has already, not further ones.
        assert closing.steps(row.mlflow_run_id, "val/mAP") == [report.epoch for report in reports]
    again = closing.close()
    assert "scenes version 1, trial" in again
    assert "(it was already)" in again
    assert len(closing.models()) == 5


def test_choosing_by_clean_labels_is_stamped(closing: Closing) -> None:
    told = closing.first
    assert "clean labels are more than a partial label setting has" in " ".join(told.split())
    [study] = closing.tags("study")
    assert study["plml.selection_clean"] == "true"
    assert "**Chosen by clean validation labels**" in study["mlflow.note.content"]
    assert {tags["plml.selection_clean"] for tags in closing.tags("trial")} == {"true"}


def test_every_epoch_leaves_a_checkpoint_of_its_own(closing: Closing) -> None:
    for trial in closing.ledger.trials():
        folder = closing.ledger.folder.trial(trial.user_attrs["key"])
        contents = [load_checkpoint(file) for file in epoch_files(folder)]
        assert [content["epoch"] for content in contents] == [0, 1]
        best = load_checkpoint(folder / "best.pt")
        same = contents[best["epoch"]]
        assert all((same["model"][name] == value).all() for name, value in best["model"].items())


def test_of_several_seeds_the_first_ones_epochs(tmp_path: Path) -> None:
    for seed in (10, 2):
        folder = tmp_path / f"seed_{seed}" / "epochs"
        folder.mkdir(parents=True)
        (folder / "0000.pt").touch()
    assert epoch_files(tmp_path) == [tmp_path / "seed_2" / "epochs" / "0000.pt"]
    assert epoch_files(tmp_path / "nothing") == []


def test_the_command_line_names_model_and_alias(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "track": {}}))
    options = build_parser().parse_args(["--study", str(file), "--register", "scenes", "--alias", "champion"])
    track = read_study_file(file, (), study_options(options)).track
    assert (track.register_as, track.alias, track.checkpoints) == ("scenes", "champion", "best")
    assert read_study_file(file, ["track.register=other"]).track.register_as == "other"


@pytest.mark.parametrize(
    ("track", "message"),
    [
        ({"register": "a/b"}, "without any of"),
        ({"alias": "champion"}, "alias goes with register"),
        ({"checkpoints": "all"}, "every_epoch"),
    ],
)
def test_wrong_keys_are_told_before_anything_runs(track: dict[str, str], message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({**STUDY, "track": track}))
    with pytest.raises(ConfigError, match=message):
        read_study_file(file)
