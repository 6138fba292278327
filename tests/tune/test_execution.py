"""How many trials fit on a machine."""

from typing import Any

import pytest

from plml.errors import ConfigError
from tune.execution import make_plan
from tune.study_file import ResourcesConfig


@pytest.mark.parametrize(
    ("resources", "cpus", "gpus", "expected"),
    [
        ({"cpu": 1, "gpu": 0}, 8, 0, (1, 0.0, 8)),
        ({"cpu": 3, "gpu": 0}, 8, 2, (3, 0.0, 2)),
        ({"cpu": 1}, 8, 2, (1, 1.0, 2)),
        ({"cpu": 1}, 8, 0, (1, 0.0, 8)),
        ({"cpu": 1, "gpu": 0.5}, 8, 2, (1, 0.5, 4)),
        ({"cpu": 1, "gpu": 0.4}, 8, 2, (1, 0.4, 4)),
        ({"cpu": 3, "gpu": 0.5}, 8, 2, (3, 0.5, 2)),
        ({"cpu": 1, "gpu": 0, "max_concurrent": 2}, 8, 0, (1, 0.0, 2)),
        ({"cpu": 1, "gpu": 0, "max_concurrent": 16}, 8, 0, (1, 0.0, 8)),
    ],
)
def test_how_many_trials_fit(resources: dict[str, Any], cpus: float, gpus: float, expected: tuple[Any, ...]) -> None:
    plan = make_plan(ResourcesConfig(**resources), cpus, gpus)
    assert (plan.cpu, plan.gpu, plan.concurrent) == expected


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"cpu": 9}, r"resources.cpu: a trial asks for 9 CPU cores, and there are 8"),
        ({"gpu": 1}, r"resources.gpu: a trial asks for 1 GPU, and there are 0"),
    ],
)
def test_a_trial_that_never_fits_is_an_error(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(ResourcesConfig(**resources), 8, 0)


def test_a_ray_that_cannot_start_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from tune.execution import ray_cluster
    from tune.trouble import TroubleError

    def busy(**_: Any) -> None:  # a machine that is so busy cannot be arranged
        raise Exception("The current node timed out during startup.\nThis could happen because ...")

    monkeypatch.setattr(ray, "init", busy)
    told = "Ray cannot start on this machine: The current node timed out during startup"
    with pytest.raises(TroubleError, match=told), ray_cluster(ResourcesConfig(gpu=0)):
        pass


def test_a_plan_says_what_holds_trials_back() -> None:
    assert (
        make_plan(ResourcesConfig(cpu=1, gpu=0), 8, 0).describe() == "8 at once, each 1 CPU, no GPU (there are 8 CPU)"
    )
    held = make_plan(ResourcesConfig(cpu=1, gpu=0, max_concurrent=2), 8, 0).describe()
    assert held == "2 at once, each 1 CPU, no GPU (there are 8 CPU; 8 would fit, max_concurrent allows 2)"
