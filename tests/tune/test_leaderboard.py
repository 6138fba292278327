"""The leaderboard against the ledger and the run folders it is read from."""

import csv
import io
import json
import shutil
from pathlib import Path

import optuna
import pytest
from rich.console import Console

from plml.config import load_config
from plml.tracking import Tracker
from tune.leaderboard import Leaderboard, best_yaml, render, to_csv, write_leaderboard
from tune.publishing import best_runs, conclusion, parallel_axes, publish
from tune.records import best_trials, counted_trials
from tune.standings import read_leaderboard, short


@pytest.fixture(scope="module")
def study(short_study: tuple[optuna.Study, Path]) -> optuna.Study:
    return short_study[0]


@pytest.fixture(scope="module")
def folder(short_study: tuple[optuna.Study, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(short_study[1], tmp_path_factory.mktemp("copy") / "short"))


@pytest.fixture(scope="module")
def board(study: optuna.Study, folder: Path) -> Leaderboard:
    return write_leaderboard(study, folder)


def result(board: Leaderboard, key: str) -> dict[str, object]:
    return json.loads((board.folder / "trials" / key / "result.json").read_text())["metrics"]


def test_complete_trials_are_ranked_by_the_objective_and_the_others_follow(
    study: optuna.Study, board: Leaderboard
) -> None:
    assert [row.key for row in board.ranked] == [t.user_attrs["key"] for t in best_trials(study, 99)]
    assert [row.state for row in board.rows] == ["COMPLETE"] * 6 + ["PRUNED", "FAILED"]
    objectives = [row.objective for row in board.ranked]
    assert objectives == sorted(objectives, reverse=True)  # type: ignore[type-var]
    assert board.best is board.rows[0]
    assert board.rows[6].key == "0004"
    assert board.rows[6].test_map is None
    assert (board.rows[7].objective, board.rows[7].reason) == (None, "failed")


def test_best_of_each_method(board: Leaderboard) -> None:
    for row in board.best_of_each:
        assert row.objective == max(r.objective or 0.0 for r in board.ranked if r.method == row.method)
    assert {row.method for row in board.best_of_each} == {"an", "role"}


def test_the_csv_holds_every_trial_with_every_figure(study: optuna.Study, board: Leaderboard) -> None:
    lines = {line["key"]: line for line in csv.DictReader(io.StringIO(board.csv_file.read_text()))}
    trials = counted_trials(study)
    assert lines.keys() == {t.user_attrs["key"] for t in trials}
    for trial in trials:
        line = lines[trial.user_attrs["key"]]
        for path, value in trial.user_attrs["values"].items():
            assert line[path] == (value if isinstance(value, str) else json.dumps(value))
        if trial.state != optuna.trial.TrialState.COMPLETE:
            assert line["rank"] == ""
            assert line["test/mAP"] == ""
            continue
        assert float(line["objective"]) == trial.value
        figures = result(board, line["key"])
        assert {name: float(line[name]) for name in figures} == figures
        assert line["fingerprint"] == trial.user_attrs["fingerprint"]
        assert line["selected_by"] == "ap_auc on observed labels"
    assert sorted(int(line["rank"]) for line in lines.values() if line["rank"]) == list(range(1, 7))


def test_best_yaml_is_the_winners_configuration(study: optuna.Study, board: Leaderboard) -> None:
    assert board.best_file is not None
    assert board.best is not None
    again = load_config(board.best_file)
    assert again.fingerprint == best_trials(study, 1)[0].user_attrs["fingerprint"]
    assert again == board.best.config
    head = [line for line in board.best_file.read_text().splitlines() if line.startswith("#")]
    assert f"trial {board.best.key}" in head[0]
    assert repr(board.best.objective) in head[1]
    assert any("plml train best.yaml" in line for line in head)
    assert head[-1].endswith(f"test mAP {result(board, board.best.key)['test/mAP']!r}")


def test_the_table_hides_what_does_not_vary_and_shows_what_wins(board: Leaderboard) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(board))
    text = console.export_text()
    assert board.best is not None
    assert f"{board.best.objective:.2f}" in text
    assert f"{board.best.test_map:.2f}" in text
    assert all(row.key in text for row in board.rows)
    assert "lr_mult" in text
    assert "epochs " not in text.splitlines()[2]  # the same in every trial
    assert "ap_auc on observed labels" in text


def test_a_long_table_is_cut_but_keeps_the_best_of_each_method(board: Leaderboard) -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(render(board, limit=1))
    text = console.export_text()
    assert all(row.key in text for row in board.best_of_each)
    assert "6 more in leaderboard.csv" in text


def test_numbers_are_whole_where_there_is_little_room(board: Leaderboard) -> None:
    console = Console(file=io.StringIO(), width=88)
    console.print(render(board))
    printed = console.file.getvalue().split()  # type: ignore[attr-defined]
    for row in board.rows:
        for path in ("optim.lr", "optim.weight_decay", "method.lr_mult"):
            assert short(row.values.get(path)) in printed


def test_the_conclusion_says_who_leads_by_how_much_and_by_which_labels(board: Leaderboard) -> None:
    first, second = board.best_of_each
    text = conclusion(board)
    assert text.startswith(f"**{first.method}** is best")
    assert f"{(first.objective or 0) - (second.objective or 0):.2f} points behind" in text
    assert "ap_auc on observed labels" in text
    assert "one seed" in text
    assert text in board.notes_file.read_text()


def test_axes_are_parameters_of_every_trial_by_logarithm_where_positive(board: Leaderboard) -> None:
    axes = parallel_axes(board)
    assert axes[0] == "Method"
    assert "log10 optim.lr" in axes
    assert "optim.weight_decay" in axes  # it is zero in some trials, so it has no logarithm there
    assert not any("lr_mult" in axis for axis in axes)  # a parameter of one method only


def test_several_seeds_name_the_configuration_of_the_first(
    board: Leaderboard, study: optuna.Study, folder: Path, tmp_path: Path
) -> None:
    """Run folders of a study with seeds lie one level deeper; the figures beside them are means."""
    copy = Path(shutil.copytree(folder, tmp_path / "short"))
    assert board.best is not None
    trial = copy / "trials" / board.best.key
    (trial / "seed_7").mkdir()
    for name in ("config.yaml", "result.json", "scores"):
        (trial / name).rename(trial / "seed_7" / name)
    spec = {**study.user_attrs["spec"], "seeds": [7, 8]}
    other = optuna.create_study(study_name="short", direction="maximize")
    other.add_trials(study.get_trials())
    other.set_user_attr("spec", spec)
    seeded = read_leaderboard(other, copy)
    assert seeded.best is not None
    assert (seeded.best.seeds, seeded.best.run_folder) == (2, trial / "seed_7")
    assert seeded.best.config == board.best.config
    assert "means over 2 seeds" in best_yaml(seeded)


def test_a_study_without_a_complete_trial(tmp_path: Path) -> None:
    empty = write_leaderboard(optuna.create_study(study_name="empty", direction="maximize"), tmp_path)
    assert empty.best is None
    assert empty.best_file is None
    assert empty.figures == ()
    assert not (tmp_path / "best.yaml").exists()
    assert "No trial has trained to its end" in empty.notes_file.read_text()
    assert len(to_csv(empty).splitlines()) == 1
    render(empty)


def test_minimised_objectives_rank_the_other_way(study: optuna.Study, folder: Path, board: Leaderboard) -> None:
    other = optuna.create_study(study_name="short", direction="minimize")
    other.add_trials(study.get_trials())
    turned = read_leaderboard(other, folder)
    assert [row.key for row in turned.ranked] == [row.key for row in reversed(board.ranked)]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (1.23456e-4, "0.000123"), ("an", "an"), ([1], "[1]"), (0, "0")]
)
def test_short_values(value: object, text: str) -> None:
    assert short(value) == text


def test_everything_reaches_the_summary_run(study: optuna.Study, folder: Path, tmp_path: Path) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db", timeout_s=60)
    experiment = tracker.open_experiment("plml/short")
    other = optuna.create_study(study_name="short", direction="maximize")
    other.add_trials(study.get_trials())
    other.set_user_attr("spec", study.user_attrs["spec"])
    runs = {}
    for trial in counted_trials(study):
        key = trial.user_attrs["key"]
        runs[key] = tracker.create_run(experiment, key, params=trial.user_attrs["values"], tags={})
        other.set_user_attr(f"note {key}", {"run": {"id": runs[key], "uri": tracker.uri}})
    summary = tracker.create_run(experiment, "short", params={}, tags={"plml.kind": "study"})
    board = write_leaderboard(other, folder, tracker=tracker, run_id=summary)
    client = tracker._client
    assert client is not None
    names = {item.path for item in [*client.list_artifacts(summary), *client.list_artifacts(summary, "figures")]}
    assert {"leaderboard.csv", "best.yaml", "leaderboard.md"} <= names
    assert {f"figures/{figure.name}" for figure in board.figures} <= names
    assert conclusion(board) in client.get_run(summary).data.tags["mlflow.note.content"]
    colors = {client.get_run(runs[row.key]).data.tags["mlflow.runColor"] for row in board.rows if row.method == "an"}
    assert len(colors) == 1
    for row in board.rows:  # also those that ended early: they learned from the same data
        inputs = client.get_run(runs[row.key]).inputs.dataset_inputs
        assert [i.dataset.name for i in inputs] == (["digits"] if row.config else [])
    publish(board, tracker, summary)  # again, as every launch does
    assert len(client.get_run(runs[board.rows[0].key]).inputs.dataset_inputs) == 1
    assert best_runs(board) == [runs[row.key] for row in board.best_of_each]
    state = json.loads(client.get_experiment(experiment).tags["mlflow.sharedViewState.plml"])
    assert state["compareRunCharts"][0]["selectedParams"] == parallel_axes(board)
