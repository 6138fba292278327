"""Searches replayed on a toy table: what they find, what they are charged, and what is made of it."""

import importlib
import json
import runpy
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from plml.errors import DataError
from tune.study_file import PrunerConfig, SamplerConfig

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "search_efficiency.py"))
TABLES = importlib.import_module("benchmarks.trial_table")  # the script has put the project on the path
REPLAY = importlib.import_module("benchmarks.search_replay")
CURVES, TrialTable, cells_of, load_table, save_table = (
    getattr(TABLES, name) for name in ("CURVES", "TrialTable", "cells_of", "load_table", "save_table")
)
Replay, Search, learnt, parameters, suggest = (
    getattr(REPLAY, name) for name in ("Replay", "Search", "learnt", "parameters", "suggest")
)
GRIDS = {
    "wan": {"negative_weight": (0.1, 0.3, 1.0)},
    "role": {"lr_mult": (1.0, 10.0), "regularizer_weight": (1.0, 2.0)},
}
RATES, BATCHES, EPOCHS = (1e-4, 1e-3, 1e-2), (8, 16), 6


def make_table(curve=None):
    """A table in which a higher rate is better; curves rise by a point an epoch."""
    cells = list(cells_of(GRIDS, len(RATES), BATCHES))
    rise = np.arange(EPOCHS, dtype=float)
    clean = np.array([10.0 * rate + place / 100 + rise for place, (_, rate, *_) in enumerate(cells)])
    clean = clean if curve is None else curve(clean)
    curves = {"clean": clean, "observed": clean / 2, "test": clean + 40.0}
    cost = np.array([[[1.0, 2.0], [0.5, 1.0]], [[4.0, 8.0], [2.0, 4.0]]])
    return TrialTable(GRIDS, RATES, BATCHES, curves, (1, 4), cost, {"task": "toy"})


TABLE = make_table()


def search(sampler="random", pruner="none", crew=1, budget=120, seed=0, **options):
    return Search(
        SamplerConfig(name=sampler, seed=seed),
        PrunerConfig.model_validate({"name": pruner, **options}),
        crew,
        budget,
    )


def test_a_table_reads_back_to_a_hundredth_of_a_point(tmp_path):
    rng = np.random.default_rng(0)
    table = make_table(lambda clean: 100 * rng.random(clean.shape))  # jumps in both directions
    save_table(table, tmp_path / "deep" / "toy.npz")
    found = load_table(tmp_path / "deep" / "toy.npz")
    assert found.cells == TABLE.cells
    assert (found.about, found.epochs) == ({"task": "toy"}, EPOCHS)
    for name in CURVES:
        np.testing.assert_allclose(found.curves[name], table.curves[name], atol=0.00501)
    np.testing.assert_array_equal(found.cost, table.cost)


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"x\.npz is not a table of trials"):
        load_table(tmp_path / "x.npz")


def test_a_part_of_a_table_has_the_same_curves():
    part = TABLE.only(["role"])
    assert {cell[0] for cell in part.cells} == {"role"}
    for row, cell in enumerate(part.cells):
        np.testing.assert_array_equal(part.curves["test"][row], TABLE.curves["test"][TABLE.rows[cell]])
    assert part.seconds("role", 16, 1) == TABLE.seconds("role", 16, 1) == 2.0


def test_the_cost_of_a_population_lies_between_those_measured():
    assert TABLE.seconds("wan", 8, 1) == 1.0
    assert TABLE.seconds("wan", 8, 2) == pytest.approx(1.0 + 1 / 3)
    assert TABLE.seconds("wan", 8, 8) == 4.0  # beyond: as many of the largest


def test_whole_trials_are_charged_their_epochs():
    trace = Replay(TABLE, search(budget=4 * EPOCHS)).run()
    assert trace.trials == 4
    np.testing.assert_array_equal(trace.epochs, np.arange(1, 4 * EPOCHS + 1))


@pytest.mark.parametrize("pruner", ["successive_halving", "hyperband", "median"])
def test_a_pruned_trial_is_charged_its_epochs_only(pruner):
    replay = Replay(TABLE, search(pruner=pruner, budget=150))
    trace = replay.run()
    trials = replay.study.get_trials(deepcopy=False)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert all(trial.last_step < EPOCHS for trial in pruned)
    assert trace.epochs[-1] == sum(len(trial.intermediate_values) for trial in trials)
    assert trace.trials > trace.epochs[-1] / EPOCHS


def test_patience_stops_what_no_longer_improves():
    flat = make_table(lambda clean: np.minimum(clean, clean[:, 1:2]))  # nothing improves after the second epoch
    replay = Replay(flat, search(pruner="patient", patience=2, budget=40))
    replay.run()
    ended = [trial for trial in replay.study.get_trials(deepcopy=False) if trial.state.is_finished()]
    assert ended
    assert {(trial.state, trial.last_step) for trial in ended} == {(TrialState.PRUNED, 4)}


def test_a_crew_is_charged_for_everybody_and_drawn_before_anybody_is_known():
    replay = Replay(TABLE, search(crew=4, budget=8 * EPOCHS))
    trace = replay.run()
    np.testing.assert_array_equal(trace.epochs, 4 * np.arange(1, 2 * EPOCHS + 1))
    assert trace.trials == 8
    starts = [trial.datetime_start for trial in replay.study.get_trials(deepcopy=False)]
    ends = [t.datetime_complete for t in replay.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    assert sorted(starts)[3] < min(ends) < sorted(starts)[4]


def test_training_costs_what_its_populations_cost():
    replay = Replay(TABLE, search(crew=3, budget=3))
    trace = replay.run()
    kinds = [(live.cell[0], live.cell[2]) for live in replay.live]
    assert trace.training[0] == pytest.approx(sum(TABLE.seconds(*kind, kinds.count(kind)) for kind in set(kinds)))


def test_every_trial_is_another_cell_until_all_are_known():
    replay = Replay(TABLE, search("tpe", crew=4, budget=10_000))
    trace = replay.run()
    assert trace.trials == len(TABLE.cells)
    assert trace.epochs[-1] == len(TABLE.cells) * EPOCHS
    assert trace.best[-1] == TABLE.curves["clean"].max()
    assert trace.test[-1] == TABLE.curves["test"].max()
    assert (np.diff(trace.best) >= 0).all()


def test_what_is_reported_is_the_cell_that_was_drawn():
    replay = Replay(TABLE, search("tpe", crew=2, budget=300))
    replay.run()
    complete = [t for t in replay.study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
    assert complete
    by_params = {
        tuple(sorted(parameters(TABLE, c).items())): TABLE.curves["clean"][r].max() for c, r in TABLE.rows.items()
    }
    for trial in complete:
        assert trial.value == by_params[tuple(sorted(trial.params.items()))]


def test_parameters_are_the_inverse_of_a_draw():
    study = optuna.create_study()
    for cell in TABLE.cells:
        study.enqueue_trial(parameters(TABLE, cell))
        assert suggest(study.ask(), TABLE) == cell


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "successive_halving"), ("random", "median")])
def test_a_repetition_gives_the_same(sampler, pruner):
    one, two, other = (Replay(TABLE, search(sampler, pruner, crew=3, budget=120, seed=s)).run() for s in (1, 1, 2))
    for name in ("epochs", "training", "best", "test"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    assert len(one.best) != len(other.best) or (one.best != other.best).any()


def test_a_search_that_learnt_begins_where_the_other_one_ended():
    teacher = Replay(TABLE, search("tpe", crew=2, budget=200))
    teacher.run()
    prior = learnt(teacher.study)
    states = [trial.state for trial in teacher.study.get_trials(deepcopy=False)]
    assert len(prior) == states.count(TrialState.COMPLETE) == 32
    assert all(trial.number < 0 for trial in prior)
    assert max(trial.value for trial in prior) < 1.0
    first = [
        Replay(TABLE, search("tpe", budget=EPOCHS, seed=s), known).run().best[-1]
        for known in ((), prior)
        for s in range(8)
    ]
    assert np.mean(first[8:]) > np.mean(first[:8]) + 3.0


def test_compute_is_read_off_a_trace():
    trace = Replay(TABLE, search(crew=2, budget=60)).run()
    assert np.isnan(trace.at(1))
    assert trace.at(2) == trace.at(3) == trace.best[0]
    assert trace.at(10**6, "test") == trace.test[-1]
    assert trace.needed(trace.best[0]) == 2
    assert trace.needed(1000.0) == float("inf")
    assert list(SCRIPT["needed"]([trace, trace], 1000.0, "epochs", 70.0)) == [70.0, 70.0]
    assert list(SCRIPT["needed"]([trace], trace.best[0], "epochs", 70.0)) == [2.0]
    assert trace.needed(trace.best[0], axis="seconds") == pytest.approx(trace.training[0] + trace.drawing[0])


def test_a_ratio_has_an_interval_that_holds_one_where_nothing_differs():
    rng = np.random.default_rng(0)
    mine = rng.random(20) + 1.0
    ratio, low, high = SCRIPT["ratio_of_medians"](mine, rng.permutation(mine))
    assert ratio == 1.0
    assert low < 1.0 < high
    ratio, low, high = SCRIPT["ratio_of_medians"](mine, 3.0 * mine)
    assert ratio == pytest.approx(3.0)
    assert 1.5 < low < 3.0 < high


def test_figures_and_picture_of_a_whole_run(tmp_path, monkeypatch):
    for name in ("voc2007", "digits"):
        save_table(TABLE, tmp_path / f"{name}.npz")
    out, plot = tmp_path / "out.json", tmp_path / "plot.png"
    words = ["--tables", str(tmp_path), "--repetitions", "2", "--budget", "36", "--processes", "1"]
    monkeypatch.setattr("sys.argv", ["x", *words, "--parts", "startup", "warm", "--out", str(out), "--plot", str(plot)])
    SCRIPT["main"]()
    assert plot.stat().st_size > 10_000
    rows = json.loads(out.read_text())
    warm = [row for row in rows if "warm from" in row["what"] and "epochs to" in row["what"]]
    assert {row["against"] for row in warm} == {"cold start"}
    assert all(row["n"] == 2 for row in rows)


def test_the_tables_that_come_along_are_whole():
    names = {name for part in SCRIPT["PARTS"] for one in SCRIPT["arms"](part, 100) for name in (one.table, one.teacher)}
    for name in names - {""}:
        table = load_table(SCRIPT["DATA"] / f"{name}.npz")
        for curve in table.curves.values():
            assert curve.shape == (len(table.cells), 20)
            assert curve.min() >= 0.0
            assert 40.0 < curve.max() <= 100.0 or curve is table.curves["observed"]
        assert "root" not in table.about["data"]
