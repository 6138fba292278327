"""How much each searched parameter matters, also in spaces where some exist for one method only.

Optuna's evaluators look at the parameters that all trials share, under Optuna's names; here a path counts as one
parameter whichever of its ranges it came from, and each method's own parameters are judged among its trials.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from tune.standings import Leaderboard, Row

MIN_TRIALS = 6  # complete trials below which an importance says nothing
ALL = "all trials"
# Optuna's default depth, 64, grows a leaf for every trial, and time grows with the square of the leaves: minutes for
# 1,000 trials of 5 parameters. 2^8 leaves give the same shares (0.849 and 0.850 for the first of 200) in seconds.
TREES, DEPTH = 64, 8


def importances(board: Leaderboard) -> dict[str, dict[str, float]]:
    """Return ``{group: {path: share}}``: all trials, then every method with enough of them; shares sum to 1.

    Groups with too few complete trials, with equal values throughout, or without a varied parameter are left out.
    """
    groups = {ALL: board.ranked}
    if len(board.methods) > 1:
        groups |= {name: [row for row in board.ranked if row.method == name] for name in board.methods}
    shares = {name: _shares(board, rows) for name, rows in groups.items()}
    return {name: found for name, found in shares.items() if found}


def _shares(board: Leaderboard, rows: Sequence[Row]) -> dict[str, float]:
    """FANOVA (Hutter et al., ICML 2014) over the parameters that all ``rows`` have and that vary among them."""
    objectives = [row.objective for row in rows if row.objective is not None]
    if len(objectives) < MIN_TRIALS or len(set(objectives)) < 2:
        return {}
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances  # 4 s: it brings scikit-learn

    columns: dict[str, tuple[list[Any], BaseDistribution]] = {}
    for path in ["method.name", *board.varied]:
        values = [row.method if path == "method.name" else row.values.get(path) for row in rows]
        if None not in values and len({repr(value) for value in values}) > 1:
            columns[path] = _column(values, path in board.log_paths)
    if not columns:
        return {}
    study = optuna.create_study(direction="maximize" if board.maximize else "minimize")
    for place, objective in enumerate(objectives):
        study.add_trial(
            optuna.trial.create_trial(
                value=objective,
                params={path: values[place] for path, (values, _) in columns.items()},
                distributions={path: distribution for path, (_, distribution) in columns.items()},
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=0))


def _column(values: list[Any], log: bool) -> tuple[list[Any], BaseDistribution]:
    """Numbers on a linear axis, logarithms of log-scaled ones (zero one decade below the rest), else categories."""
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        names = [repr(value) for value in values]
        return names, CategoricalDistribution(sorted(set(names)))
    numbers = [float(value) for value in values]
    if log and any(value > 0 for value in numbers):
        floor = math.log10(min(value for value in numbers if value > 0)) - 1
        numbers = [math.log10(value) if value > 0 else floor for value in numbers]
    return numbers, FloatDistribution(min(numbers), max(numbers))
