"""Ray: start it, size it, run trials on it, and leave nothing behind."""

import logging
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plml.checkpoint import write_text
from plml.errors import ConfigError, PlmlError
from tune.shipping import check_address, joined
from tune.site import Site, check_machines
from tune.stopping import Stopper
from tune.study_file import ResourcesConfig
from tune.trouble import TroubleError

if TYPE_CHECKING:
    from tune.trial_source import TrialSource

ROOT = Path(__file__).resolve().parents[1]

# Before Ray is imported; what the user has set already stays.
ENVIRONMENT = {
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # workers stay in the folder that relative paths mean
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard copies of what MLflow has
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours, see tune.stopping
    "TUNE_WARN_THRESHOLD_S": "30",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the ledger is the state; Tune's own snapshots are read by nobody
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial without GPU sees none
    "RAY_DEDUP_LOGS": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 starves trials on a machine that does something else as well
}
# A worker that Ray starts ahead is not up when the first trial asks for one, so that each trial's would be a second.
AHEAD = {"RAY_prestart_worker_first_driver": "0", "RAY_enable_worker_prestart": "0"}
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # the one switch that keeps every Ray port on 127.0.0.1
PRELOADED = "tune.preload"
GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvhost-gpu", "/dev/dxg", "/dev/kfd")  # NVIDIA, Jetson, WSL, AMD
OBJECT_STORE_BYTES = 128 * 2**20  # trials exchange nothing but figures


@dataclass(frozen=True)
class Plan:
    """How trials share the machine.

    Attributes:
        cpu: processor cores of one trial.
        gpu: GPUs of one trial; a fraction shares one, two and more train it together.
        concurrent: trials at once.
        cpus: cores there are.
        gpus: GPUs there are.
        own: whether Ray is started for this plan, with one CPU for each trial; a cluster counts its cores.
        hang_timeout: seconds without a sign of life after which a worker is killed; None: never.
        resources: of a trial, as they were asked for, where the machines may change; None: they do not.
        store: URL under which runs are kept between machines; None: all machines see the study's folder.
        fits: trials that would fit at once if ``max_concurrent`` did not hold some back.
    """

    cpu: int
    gpu: float
    concurrent: int
    cpus: float
    gpus: float
    own: bool = True
    hang_timeout: float | None = None
    resources: ResourcesConfig | None = None
    store: str | None = None
    fits: int = 0

    @property
    def share(self) -> int:
        """What a trial takes of Ray's CPUs."""
        return 1 if self.own else self.cpu

    def describe(self) -> str:
        """Return the plan in words."""
        gpu = f", {self.gpu:g} GPU" if self.gpu else ", no GPU"
        have = f"{self.cpus:g} CPU" + (f", {self.gpus:g} GPU" if self.gpus else "")
        held = (
            f"; {self.fits} would fit, max_concurrent allows {self.concurrent}" if self.fits > self.concurrent else ""
        )
        return f"{self.concurrent} at once, each {self.cpu} CPU{gpu} (there are {have}{held})"


def make_plan(
    resources: ResourcesConfig, cpus: float, gpus: float, *, own: bool = True, nodes: Sequence[float] | None = None
) -> Plan:
    """Return how many trials fit at once, on this machine (``own``) or on a cluster that is running.

    Args:
        resources: of a trial.
        cpus: cores there are.
        gpus: GPUs there are.
        own: see :class:`Plan`.
        nodes: GPUs of each machine of the cluster; None: they are all in this one.

    Raises:
        ConfigError: not even one trial fits.
    """
    gpu = float(min(gpus, 1.0)) if resources.gpu == "auto" else float(resources.gpu)
    if resources.cpu > cpus:
        raise ConfigError(f"resources.cpu: a trial asks for {resources.cpu} CPU cores, and there are {cpus:g}")
    if gpu > gpus:
        raise ConfigError(f"resources.gpu: a trial asks for {gpu:g} GPU, and there are {gpus:g}")
    fits = int(cpus // resources.cpu)
    if gpu:
        # Ray puts fractions of different devices together.
        fits = min(fits, trials_at_once(gpu, [gpus] if nodes is None else nodes))
    wanted = fits if resources.max_concurrent == "auto" else resources.max_concurrent
    return Plan(resources.cpu, gpu, max(1, min(wanted, fits)), cpus, gpus, own, resources.hang_timeout, fits=fits)


def trials_at_once(gpu: float, nodes: Sequence[float]) -> int:
    """Return how many trials of ``gpu`` > 0 GPUs each fit on machines with ``nodes`` GPUs.

    Trials that share a device must fit on it whole, and devices that share a trial are on one machine.

    Raises:
        ConfigError: no machine has enough for one.
    """
    if gpu <= 1:
        a_device = int(1 / gpu + 1e-9)
        return a_device * sum(int(there) for there in nodes)
    fits = sum(int(there // gpu) for there in nodes)
    if not fits:
        raise ConfigError(
            f"resources.gpu: a trial asks for {gpu:g} GPU of one machine, and no machine has more than {max(nodes):g}"
        )
    return fits


def local_resources() -> tuple[float, float]:
    """Return CPU cores and GPUs that this process may use."""
    if not any(Path(device).exists() for device in GPU_DEVICES):
        return float(usable_cores()), 0.0  # without waiting for torch
    import torch

    return float(usable_cores()), float(torch.cuda.device_count())


def usable_cores() -> int:
    """Return the number of CPU cores this process may use: affinity, and the quota of a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = Path("/sys/fs/cgroup/cpu.max")
    if quota.is_file():
        limit, period = quota.read_text(encoding="utf-8").split()
        if limit != "max":
            cores = min(cores, max(1, int(limit) // int(period)))
    return cores


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables within the block."""
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value


@contextmanager
def ray_cluster(resources: ResourcesConfig, address: str | None = None) -> Iterator[Plan]:
    """Start Ray on this machine, bound to loopback, or join the cluster at ``address``; yield the plan.

    Raises:
        ConfigError: a trial does not fit, or there is no cluster at ``address``.
        TroubleError: Ray cannot start here.
    """
    plan = None if address else make_plan(resources, *local_resources())
    if address:
        check_address(address)
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if not address:
        os.environ.update(LOOPBACK)
        os.environ.pop("RAY_ADDRESS", None)  # parts of Ray would look for the cluster there
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    for package in ("ray.tune", "ray.air", "ray.train"):  # a worker that dies is told in one line, not in forty
        logging.getLogger(package).setLevel(logging.CRITICAL)
    # Workers find an installed project by themselves; PYTHONPATH would put site-packages before the standard library.
    own = [] if ROOT.name == "site-packages" else [str(ROOT)]
    path = os.pathsep.join([*own, *filter(None, [os.environ.get("PYTHONPATH")])])
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": False}
    if address:
        from tune.nodes import nodes_now, plan_for

        with joined(address, **common):
            yield plan_for(resources, nodes_now())
        return
    assert plan is not None
    with environment(PYTHONPATH=path, RAY_preload_python_modules=PRELOADED, **AHEAD):
        try:
            ray.init(
                address="local",
                num_cpus=plan.concurrent,
                num_gpus=int(plan.gpus),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                **common,
            )
        except OSError:
            raise  # of the disk, which the caller tells
        except Exception as error:  # Ray raises plain ones: of a machine that is too busy, for one
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise TroubleError(f"Ray cannot start on this machine: {reason}") from error
    try:
        yield plan
    finally:
        ray.shutdown()


def run_trials(source: "TrialSource", plan: Plan, folder: Path, stopper: Stopper, leave: Callable[[], None]) -> None:
    """Run all trials that ``source`` gives, ``plan.concurrent`` at a time, on a Ray that is running.

    On a cluster as many at a time as its machines have room for, which may change.

    Returns when the source has finished or ``stopper`` was asked; Tune says nothing of the difference.

    Args:
        source: gives trials and takes their reports.
        plan: resources.
        folder: for Tune's own files, which are removed.
        stopper: ends the run.
        leave: puts everything back that is being trained, before this process starts over because Ray has died.

    Raises:
        ConfigError: a machine of the cluster cannot work.
    """
    from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner, with_resources
    from ray.tune.search import ConcurrencyLimiter

    from tune.fetching import Pulse
    from tune.following import Following
    from tune.scheduler import PrunerScheduler
    from tune.vigil import Vigil
    from tune.worker import ray_trial

    name = f"launch-{uuid.uuid4().hex}"  # never used twice, whatever the clock says: Tune would mix two launches' files
    site = _site(plan, folder.parent, name)
    limiter = ConcurrencyLimiter(source, plan.concurrent)
    vigil = Vigil(source, stopper, plan.hang_timeout, leave)
    callbacks: list[Callback] = [vigil]
    if plan.store is not None:
        callbacks.insert(0, Pulse(source, site))
    if plan.resources is not None:
        check_machines(site)
        callbacks.append(Following(limiter, source, plan.resources, stopper))
    tuner = Tuner(
        with_resources(partial(ray_trial, site=site), {"cpu": plan.share, "gpu": plan.gpu}),
        tune_config=TuneConfig(
            search_alg=limiter,
            scheduler=PrunerScheduler(source, stopper),
            num_samples=-1,
            reuse_actors=True,  # a warm worker starts a trial in 0.1 s instead of 5
            trial_name_creator=lambda trial: trial.trial_id,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(folder),
            verbose=0,
            failure_config=FailureConfig(max_failures=0),
            callbacks=callbacks,
        ),
    )
    try:
        if not stopper.asked():
            with vigil.relaunch.watching(stopper.asked, stopper.deadline):
                _fit(tuner, folder, stopper)
    finally:
        site.witness.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _site(plan: Plan, root: Path, name: str) -> Site:
    """Return what workers are told of a launch; leave the file by which they know that they see its folder."""
    if plan.own:
        return Site(str(root), None, plan.store, name)
    site = Site(str(root), name, plan.store, name)
    write_text(site.witness, name)
    return site


def _fit(tuner: Any, folder: Path, stopper: Stopper) -> None:
    """Run a Tuner; what went wrong on our side of it is raised as it was, not as the text that Tune makes of it.

    At its end Tune looks for files of its own in ``folder``, and nobody needs what it would find.
    """
    from ray.tune import TuneError

    try:
        tuner.fit()
    except TuneError as error:
        ours = error.__context__
        if isinstance(ours, PlmlError | OSError):
            raise ours from None
        raise
    except ValueError:
        if folder.is_dir() and any(folder.iterdir()):
            raise
        if not stopper.asked():
            raise TroubleError(f"{folder.parent}: what lay there is gone") from None
