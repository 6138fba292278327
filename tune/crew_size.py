"""How many trials a worker trains at once."""

from tune.study_file import ResourcesConfig, StudyConfig

CREW_ON_CPU, CREW_ON_GPU = 32, 256


def crew_limit(config: StudyConfig, n_trials: int, *, concurrent: int, gpu: float) -> int:
    """Return how many trials a worker may train at once.

    More of them make each one cheaper, up to what the cache of a core or the width of a GPU takes
    (``docs/performance.md``). A sampler that learns draws them without knowing each other's results, so with one all
    workers together train an eighth of the budget at once, or eight trials: replayed searches lose nothing by that.
    """
    most = most_in_crew(config.resources, gpu=gpu)
    if config.resources.population != "auto" or config.sampler.name in ("random", "grid"):
        return most
    return min(most, max(1, 8 // concurrent, n_trials // (8 * concurrent)))


def most_in_crew(resources: ResourcesConfig, *, gpu: float) -> int:
    """Return how many runs of known configurations a worker may train at once; one if several GPUs share it."""
    if gpu > 1:
        return 1
    if resources.population != "auto":
        return resources.population
    return CREW_ON_GPU if gpu else CREW_ON_CPU
