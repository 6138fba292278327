"""Optuna's samplers and pruners, built from a study's configuration."""

import hashlib
import warnings
from typing import TYPE_CHECKING

from tune.study_file import PrunerConfig, SamplerConfig

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler


def build_sampler(config: SamplerConfig, number: int, *, conditional: bool) -> "BaseSampler":
    """Return the sampler that draws trial ``number``.

    Each trial has a sampler and a seed of its own, so that a draw depends on the study's seed, the trial's
    number and the ledger alone: a study that was interrupted neither repeats nor skips a draw.

    Args:
        config: name and seed.
        number: the trial's number in the ledger.
        conditional: whether some parameters exist only under a condition.
    """
    from optuna import samplers

    digest = hashlib.sha256(f"{config.seed}/{number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "little")
    startup = config.n_startup_trials
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental": group is what makes TPE model conditional parameters
        match config.name:
            case "tpe":
                return samplers.TPESampler(
                    seed=seed, n_startup_trials=startup, multivariate=True, group=conditional, constant_liar=True
                )
            case "cmaes":
                return samplers.CmaEsSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
            case "gp":
                return samplers.GPSampler(seed=seed, n_startup_trials=startup, warn_independent_sampling=False)
            case "random" | "grid":  # a grid's points are enqueued one by one, and nothing is left to draw
                return samplers.RandomSampler(seed=seed)


def build_pruner(config: PrunerConfig, total_epochs: int) -> "BasePruner":
    """Return the pruner; its steps are completed epochs, 1 to ``total_epochs``, its values running bests."""
    from optuna import pruners

    from tune.patience import PatiencePruner
    from tune.pruning import KnownMedianPruner

    first, factor = config.min_epochs, config.reduction_factor
    pruner: BasePruner
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "experimental"
        match config.name:
            case "none":
                return pruners.NopPruner()
            case "successive_halving":
                pruner = pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=factor)
            case "hyperband":
                pruner = pruners.HyperbandPruner(
                    min_resource=first, max_resource=max(first, total_epochs), reduction_factor=factor
                )
            case "median":
                pruner = KnownMedianPruner(n_startup_trials=config.n_startup_trials, n_warmup_steps=first)
            case "patient":
                return PatiencePruner(None, patience=config.patience or 1, min_epochs=first)
    return pruner if config.patience is None else PatiencePruner(pruner, patience=config.patience, min_epochs=first)
