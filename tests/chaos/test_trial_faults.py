"""Trials that cannot be trained, raise, say nothing or run out of memory; code and clocks that change meanwhile."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning"),
]
Besiege = Callable[..., Any]
Sabotage = Callable[[str], dict[str, str]]
FAKETIME = next(Path("/usr/lib").glob("**/faketime/libfaketime.so.1"), None)


def test_some_configurations_diverge(besiege: Besiege) -> None:
    lr = {"optim.lr": {"type": "categorical", "choices": [1e-2, 1e-3, 1e20, 1e30]}}
    siege = besiege(
        changes={
            "base": {**besiege.study["base"], "optim": {"name": "sgd"}, "method": "an"},
            "search_space": lr, "sampler": {"name": "grid"}, "n_trials": 4,
        }
    )  # fmt: skip
    assert siege.run() == 0, siege.out()
    assert siege.out().count("diverged") >= 2
    siege.check("loss is not finite", 2, {"COMPLETE": 2, "PRUNED": 2})
    reasons = [t.user_attrs.get("error", "") for t in siege.study().trials if t.user_attrs.get("reason") == "diverged"]
    assert len(reasons) == 2
    assert all("not finite" in reason or "loss is" in reason for reason in reasons)


def test_an_exception_at_epoch_3_once(besiege: Besiege, sabotage: Sabotage) -> None:
    body = """
    def epochs(self):
        for report in true(self):
            once = self.files.path / "raised"
            if report.epoch == 3 and not once.exists():
                once.touch()
                raise RuntimeError("a fault that comes once")
            yield report
    """
    siege = besiege(environment=sabotage(body))
    assert siege.run() == 0, siege.out()
    assert siege.out().count("a fault that comes once; it will be tried again") == siege.n_trials
    siege.check("exception at epoch 3, once a trial", siege.n_trials)


def test_an_exception_whatever_the_configuration(besiege: Besiege, sabotage: Sabotage) -> None:
    body = """
    def epochs(self):
        raise RuntimeError("a fault that is always there")
        yield
    """
    siege = besiege(changes={"n_trials": 1000, "failure_budget": 3}, environment=sabotage(body))
    assert siege.run() == 3, siege.out()
    assert siege.out().count("stopped: 3 trials failed in a row") == 1
    assert siege.out().count("a fault that is always there") < 40
    begun = len(siege.study().trials)
    assert begun < 10
    siege.environment.clear()
    siege.shrink(begun)
    assert siege.run("--retry-failed", "--trials", str(begun)) == 0, siege.out()
    siege.check("exception for every configuration", begun)


def test_the_driver_dies_before_it_hears_of_a_trials_end(besiege: Besiege, sabotage: Sabotage) -> None:
    body = """
    def epochs(self):
        import psutil, time
        for report in true(self):
            once = self.files.path.parents[1] / "killed"
            if report.final and not once.exists():
                once.write_text(self.files.path.name)
                driver = [p for p in psutil.Process().parents() if any("run.py" in part for part in p.cmdline())]
                driver[-1].kill()
                time.sleep(60)
            yield report
    """
    siege = besiege(environment=sabotage(body))
    assert siege.run() == -signal.SIGKILL
    ended = siege.where.trial((siege.where.path / "killed").read_text())
    files = {name: (ended / name).stat().st_mtime_ns for name in ("last.pt", "best.pt")}
    assert siege.run() == 0, siege.out()
    assert files == {name: (ended / name).stat().st_mtime_ns for name in files}  # told again, not trained again
    siege.check("driver killed between a trial's end and its report", 1)


def test_a_trial_that_returns_without_a_word(besiege: Besiege, sabotage: Sabotage) -> None:
    body = """
    def epochs(self):
        if "silent" not in str(self.files.path) and self.config.method["name"] == "role":
            return
        yield from true(self)
    """
    siege = besiege(environment=sabotage(body))
    assert siege.run() == 0, siege.out()
    roles = sum(trial.user_attrs["values"]["method.name"] == "role" for trial in siege.study().trials)
    assert 0 < roles < siege.n_trials
    siege.check("trial returns without a report", roles, {"COMPLETE": siege.n_trials - roles, "FAILED": roles})
    siege.environment.clear()
    assert siege.run("--retry-failed") == 0, siege.out()
    siege.check("the same, tried again once mended", roles)


def test_a_batch_that_memory_does_not_do_for(besiege: Besiege, sabotage: Sabotage) -> None:
    """The process of a trial with large batches may take 40 MiB more than it has: what torch asks for is refused."""
    body = """
    def epochs(self):
        import resource
        if self.config.optim.batch_size < 100:
            yield from true(self)
            return
        taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + 40 * 2**20, resource.RLIM_INFINITY))
        try:
            yield from true(self)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    """
    sizes = {"optim.batch_size": {"type": "categorical", "choices": [16, 320, 20, 300]}}
    siege = besiege(
        changes={
            "base": {**besiege.study["base"], "method": "an"},
            "search_space": sizes, "sampler": {"name": "grid"}, "n_trials": 4,
        },
        environment=sabotage(body),
    )  # fmt: skip
    assert siege.run() == 0, siege.out()
    siege.check("out of memory", 2, {"COMPLETE": 2, "PRUNED": 2})
    reasons = {trial.user_attrs.get("reason", "complete") for trial in siege.study().trials}
    assert reasons == {"complete", "out_of_memory"}


def test_ray_kills_workers_for_memory(besiege: Besiege) -> None:
    siege = besiege(
        changes={"n_trials": 2, "failure_budget": 2},
        environment={"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"},
    )
    assert siege.run() == 3, siege.out()
    assert "out of memory" in siege.out()
    siege.environment.clear()
    assert siege.run("--retry-failed") == 0, siege.out()
    siege.check("workers killed for memory", 2)


def test_the_code_changes_between_two_launches(besiege: Besiege, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for package in ("plml", "tune"):
        shutil.copytree(besiege.root / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    siege = besiege(root=copy)
    process = siege.start()
    siege.wait(10, process)
    siege.interrupt(process)
    assert siege.finish(process) == 4, siege.out()
    with (copy / "plml" / "losses.py").open("a") as source:
        source.write("# another version\n")
    assert siege.run() == 0, siege.out()
    assert siege.out().count("the code has changed since this study was run last") == 1
    siege.check("code changed between two launches", 1)
    stamps = {trial.user_attrs["code"] for trial in siege.study().trials}
    assert any("+" in stamp for stamp in stamps)  # trials that both versions trained say so
    assert {run.data.tags["plml.code"] for run in siege.mlflow()[0]} == stamps
    assert siege.run() == 0
    assert "the code has changed" not in siege.out()


# libfaketime computes impossible times for sleeps by the steady clock now and then; they go to the kernel as they are.
SLEEP = """
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_nanosleep(clockid_t clock, int flags, const struct timespec *request, struct timespec *remain) {
    return syscall(SYS_clock_nanosleep, clock, flags, request, remain) == 0 ? 0 : errno;
}
"""


@pytest.mark.skipif(FAKETIME is None, reason="libfaketime is not installed (apt install faketime)")
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_clock_jumps(besiege: Besiege, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    (tmp_path / "sleep.c").write_text(SLEEP)
    sleep = tmp_path / "sleep.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(sleep), str(tmp_path / "sleep.c")], check=True)
    siege = besiege(
        environment={
            "LD_PRELOAD": f"{sleep}:{FAKETIME}",
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            "NO_FAKE_STAT": "1",  # or every compiled module counts as older than its source
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
        options=("--set", "resources.hang_timeout=60s"),
    )
    process = siege.start()
    for place, jump in enumerate(("+1d", "-2d", "+0"), start=1):
        siege.wait(place * siege.total // 5, process)
        clock.write_text(jump)
    siege.wait(4 * siege.total // 5, process)
    process.kill()  # and the next driver lives on another day than its predecessor
    process.wait()
    clock.write_text("-30d")
    assert siege.run() == 0, siege.out()
    siege.check("clock jumps by days", 4)
    assert os.environ.get("LD_PRELOAD") is None
