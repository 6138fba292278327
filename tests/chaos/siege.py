"""A small study that can be attacked, what must hold afterwards, and a table of all attacks at the end.

The study draws at random, each draw by its trial's number, and prunes nothing: whatever happens to it, its trials and
their figures must be those of a study that nothing happened to.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from plml.checkpoint import load_checkpoint
from plml.report_log import CLOCK, read_reports
from tune.folders import StudyFolder
from tune.records import best_trials, counted_trials, open_study, state_of

ROOT = Path(__file__).parents[2]
LIMIT_S = 600.0
TRIALS, EPOCHS = 6, 12
STUDY: dict[str, Any] = {
    "base": {
        "epochs": EPOCHS,
        "data": {
            "name": "digits",
            "observation": "single_positive",
            "options": {"num_train": 320, "num_val": 60, "num_test": 80},
        },
        "stopping": {"rule": "patience", "patience": 99},
    },
    "search_space": {
        "method.name": {"type": "categorical", "choices": ["an", "role"]},
        "method": "default",
        "optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    },
    "sampler": {"name": "random", "seed": 7},
    "resources": {"cpu": 1, "gpu": 0, "max_concurrent": 2},
    "n_trials": TRIALS,
}
ROWS: list[tuple[str, int, int, int, int]] = []
SAID: list[str] = []


def print_figures(reporter: pytest.TerminalReporter) -> None:
    """Print what became of studies, and what was measured, since the last call.

    The tests of one machine, of clusters and of containers share both.
    """
    if ROWS:
        print_table(reporter)
    if SAID:
        reporter.section("measured")
    for line in SAID:
        reporter.write_line(line)
    ROWS.clear()
    SAID.clear()


def print_table(reporter: pytest.TerminalReporter) -> None:
    """Print what was done to studies, and what became of them."""
    head = ("fault", "times", "lost", "duplicated", "stuck")
    width = max(len(row[0]) for row in [*ROWS, head])
    reporter.section("faults")
    for name, *counts in (head, *ROWS):
        reporter.write_line(f"{name:{width}}" + "".join(f"{count!s:>12}" for count in counts))
    totals = [sum(column) for column in list(zip(*ROWS, strict=True))[1:]]
    reporter.write_line(f"{'in all':{width}}" + "".join(f"{total:>12}" for total in totals))


@dataclass
class Siege:
    """A study in a folder of its own, and what can be done to it.

    Attributes:
        folder: where the command is typed.
        changes: to :data:`STUDY`.
        options: of every command.
        root: of the code that is run.
        tracking: URI of the MLflow store; None: the database in the output folder.
        reference: what an undisturbed study found, by fingerprint; None: not to be compared.
    """

    folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    tracking: str | None = None
    reference: Mapping[str, Any] | None = None
    environment: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "small.yaml").write_text(yaml.safe_dump({**STUDY, **self.changes}, sort_keys=False))

    @property
    def where(self) -> StudyFolder:
        return StudyFolder(self.folder / "results" / "small")

    @property
    def total(self) -> int:
        """Return the epochs of all trials."""
        return self.n_trials * EPOCHS

    @property
    def n_trials(self) -> int:
        return int(self.changes.get("n_trials", TRIALS))

    def shrink(self, n_trials: int) -> None:
        """Ask for fewer trials from now on."""
        self.changes = {**self.changes, "n_trials": n_trials}

    # -- commands -----------------------------------------------------------------------------------------

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        """Type the command in a terminal of its own."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        tracking = ("--tracking-uri", self.tracking) if self.tracking else ()
        with (self.folder / "out.txt").open("wb") as out:
            process = subprocess.Popen(
                [
                    sys.executable, str(self.root / "tune" / "run.py"), "--study", "small.yaml",
                    *tracking, *self.options, *arguments,
                ],
                cwd=self.folder,
                env=environment | self.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        return process

    def out(self) -> str:
        """Return what the last command said."""
        return (self.folder / "out.txt").read_text(errors="replace")

    def finish(self, process: "subprocess.Popen[bytes]") -> int:
        """Wait for a command; one that does not end counts as stuck."""
        try:
            return process.wait(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"stuck for {LIMIT_S:g} s:\n{self.out()}")

    def run(self, *arguments: str) -> int:
        return self.finish(self.start(*arguments))

    def interrupt(self, process: "subprocess.Popen[bytes]") -> None:
        """Type Ctrl-C: everything in the terminal's foreground gets it, Ray's processes as well."""
        os.killpg(process.pid, signal.SIGINT)

    def again(self) -> "subprocess.CompletedProcess[str]":
        """Type the command in a second terminal; its output is its own."""
        line = [sys.executable, str(self.root / "tune" / "run.py"), "--study", "small.yaml", *self.options]
        return subprocess.run(line, cwd=self.folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)

    # -- watching -----------------------------------------------------------------------------------------

    def epochs(self) -> int:
        """Return how many epochs the run folders tell of."""
        return sum(file.read_bytes().count(b"\n") for file in self.where.path.glob("trials/*/metrics.jsonl"))

    def wait(self, epochs: int, process: "subprocess.Popen[bytes]") -> None:
        """Wait until that many epochs have been trained in all."""
        self.wait_until(lambda: self.epochs() >= epochs, process)

    def wait_until(self, reached: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + LIMIT_S
        while not reached():
            assert process.poll() is None, f"it ended too early:\n{self.out()}"
            assert time.monotonic() < deadline, f"it did not come so far:\n{self.out()}"
            time.sleep(0.05)

    def workers(self, process: "subprocess.Popen[bytes]") -> list[psutil.Process]:
        """Return the processes in which Ray trains trials now."""
        found = []
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if any("ImplicitFunc" in part or "ray_trial" in part for part in child.cmdline()):
                    found.append(child)
        return found

    def keeper(self, process: "subprocess.Popen[bytes]", name: str) -> psutil.Process:
        """Return a process of Ray by its name."""
        children = psutil.Process(process.pid).children(recursive=True)
        return next(child for child in children if child.name() == name and child.status() != psutil.STATUS_ZOMBIE)

    # -- what must hold -----------------------------------------------------------------------------------

    def findings(self) -> dict[str, Any]:
        """Return what each trial found, by fingerprint, without what depends on the clock."""
        return {
            trial.user_attrs["fingerprint"]: (
                trial.value,
                [
                    {name: value for name, value in report.metrics.items() if name != CLOCK}
                    for report in read_reports(self.where.trial(trial.user_attrs["key"]))
                ],
            )
            for trial in counted_trials(self.study())
        }

    def study(self) -> Any:
        return open_study(self.where)

    def check(self, fault: str, times: int, states: Mapping[str, int] | None = None) -> None:
        """Count what was lost, done twice or left open, enter it in the table, and fail if there is anything.

        Args:
            fault: what was done to the study.
            times: how often.
            states: trials by state; default: all are complete.
        """
        study = self.study()
        trials = counted_trials(study)
        by_state = Counter(map(state_of, trials))
        expected = Counter(states or {"COMPLETE": self.n_trials})
        runs, histories = self.mlflow()
        keys = Counter(run.data.tags["plml.key"] for run in runs)
        fingerprints = Counter(trial.user_attrs["fingerprint"] for trial in trials)
        lost = sum((expected - by_state).values()) + len({t.user_attrs["key"] for t in trials} - set(keys))
        twice = sum(n - 1 for n in [*keys.values(), *fingerprints.values()]) + max(0, len(trials) - self.n_trials)
        stuck = by_state["RUNNING"] + by_state["INTERRUPTED"] + sum(run.info.status == "RUNNING" for run in runs)
        for key, steps in histories.items():
            told = [report.epoch for report in read_reports(self.where.trial(key))]
            twice += len(steps) - len(set(steps)) + len(told) - len(set(told))
            lost += len(set(told) - set(steps))
        ROWS.append((fault, times, lost, twice, stuck))
        assert (lost, twice, stuck) == (0, 0, 0), (by_state, keys, self.out())
        assert by_state == expected
        for trial in trials:
            if state_of(trial) == "COMPLETE":
                folder = self.where.trial(trial.user_attrs["key"])
                best = load_checkpoint(folder / "best.pt")["epoch"]
                assert best == json.loads((folder / "result.json").read_text())["best_epoch"]
                assert sorted(trial.intermediate_values) == list(range(1, len(trial.intermediate_values) + 1))
        if self.reference is not None:
            complete = {t.user_attrs["fingerprint"] for t in trials if state_of(t) == "COMPLETE"}
            for fingerprint, result in self.findings().items():
                if fingerprint not in complete:
                    continue
                assert result == self.reference[fingerprint], f"another result than undisturbed: {fingerprint}"
        if any(state_of(trial) == "COMPLETE" for trial in trials):
            assert best_trials(study, 1)[0].value is not None

    def check_stopped(self) -> None:
        """A study that stands still has nothing open: its trials wait, their runs are KILLED or FINISHED."""
        assert "RUNNING" not in set(map(state_of, counted_trials(self.study())))
        assert "RUNNING" not in {run.info.status for run in self.mlflow()[0]}

    def mlflow(self) -> tuple[list[Any], dict[str, list[int]]]:
        """Return the runs of trials, and by key the steps that their store holds of one figure."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.tracking or f"sqlite:///{self.folder}/results/mlflow.db")
        experiment = client.get_experiment_by_name("plml/small")
        assert experiment is not None, self.out()
        runs = list(client.search_runs([experiment.experiment_id], "tags.`plml.kind` = 'trial'", max_results=1000))
        steps = {
            run.data.tags["plml.key"]: [p.step for p in client.get_metric_history(run.info.run_id, "val/mAP")]
            for run in runs
        }
        return runs, steps

    def stop(self) -> None:
        """Leave nothing running."""
        for process in self.processes:
            if process.poll() is None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            child.kill()
                process.kill()
                process.wait()
