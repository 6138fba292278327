"""Whether labels of finished runs seem to be seen by chance, by the scores of each at the epoch that it chose itself.

Nothing here looks at the truth.
"""

import numpy as np
import torch
from torch import Tensor

from plml.cardinality import implied_cardinality
from plml.disagreement import FEWEST, Disagreement, noise_free_correlation
from plml.judge import Judge, find_judge
from plml.mechanism import ChosenPerImage, SeenIndependently
from plml.selection_config import SelectionConfig
from plml.standings import Evidence, Standings
from plml.stored_runs import StoredRun, read_scores, scores_file

SPLITS = 4  # random halves of the images
GROUPS = 10  # of images, each left out once
STACK = 16  # models whose classes are sorted in one go
BEST_SHARE = 4  # one of so many models is asked what it implies


def find_disagreement(runs: tuple[StoredRun, ...]) -> Disagreement | None:
    """Compare corrected AP with PU-AUC, and what the best runs imply of the cardinality with what is declared.

    Args:
        runs: with one label draw and one split.

    Returns:
        None where label bias makes no sense: nothing is seen as positive only, as in candidate sets.
    """
    first = runs[0]
    observation, k = first.config.data.observation, first.expected_positives
    mechanism = first.config.choosing.mechanism(observation)
    if not isinstance(mechanism, ChosenPerImage | SeenIndependently):
        return None
    observed = first.labels()[1]
    files = [scores_file(run.folder, run.best_epoch) for run in runs]
    logits = [torch.from_numpy(read_scores(file))[None] for file in files if file.is_file()]
    if not logits:
        return None
    correlation = _correlation(first, logits, observed) if len(logits) >= FEWEST else None
    implied, error = None, 0.0
    if mechanism == ChosenPerImage():
        implied, error = _cardinality(first, logits, observed)
    return Disagreement(correlation, len(logits), implied, error, k)


def _correlation(like: StoredRun, logits: list[Tensor], observed: Tensor) -> float | None:
    """Return the correlation of corrected AP and PU-AUC over models, freed of the noise of few images."""
    generator = torch.Generator().manual_seed(0)
    stacks = [torch.cat(logits[first : first + STACK]) for first in range(0, len(logits), STACK)]
    corrected: list[list[float]] = []
    pu_auc: list[list[float]] = []
    for _ in range(SPLITS):
        for half in torch.randperm(len(observed), generator=generator).chunk(2):
            standings = [Standings(some[:, half].contiguous(), like.config.compat) for some in stacks]
            for values, name in ((corrected, "corrected_ap"), (pu_auc, "pu_auc")):
                judge = _judge(name, like, observed[half])
                found = [judge.values(some.logits, like.config.compat, some) for some in standings]
                values.append(torch.cat(found).tolist())
    return noise_free_correlation(corrected, pu_auc)


def _cardinality(like: StoredRun, logits: list[Tensor], observed: Tensor) -> tuple[float | None, float]:
    """Return how many positives an image has by the best models, None if labels are few, and its standard error."""
    judge = _judge("ap_auc", like, observed)
    values = torch.cat([judge.values(one, like.config.compat) for one in logits])
    best = values.argsort(descending=True, stable=True)[: max(1, len(logits) // BEST_SHARE)]
    asked = torch.cat([logits[int(number)] for number in best])
    everything = torch.arange(len(observed))
    groups = torch.randperm(len(observed), generator=torch.Generator().manual_seed(0)) % GROUPS
    told = [_implied(asked, observed, everything[groups != group], like) for group in range(GROUPS)]
    sure = np.array([value for value in told if value is not None])
    if len(sure) < GROUPS:
        return None, 0.0
    error = np.sqrt((GROUPS - 1) / GROUPS * ((sure - sure.mean()) ** 2).sum())  # delete-a-group jackknife
    return _implied(asked, observed, everything, like), float(error)


def _judge(name: str, run: StoredRun, observed: Tensor) -> Judge:
    """Return a criterion over observed labels; the truth it is handed for form's sake is the observed labels again."""
    cardinality = "estimated" if run.expected_positives is None else "declared"
    chosen = SelectionConfig.model_validate({"criterion": name, "cardinality": cardinality})
    return find_judge(
        chosen,
        run.config.data.observation,
        truth=observed,
        observed=observed,
        expected_positives=run.expected_positives,
    )


def _implied(logits: Tensor, observed: Tensor, images: Tensor, run: StoredRun) -> float | None:
    """Return what models (K, N, L) imply on some images, mean over them; None if no class has enough labels."""
    standings = Standings(logits[:, images].contiguous(), run.config.compat)
    found = implied_cardinality(standings, Evidence(observed[images], ChosenPerImage()).positive)
    return None if found is None else float(found.mean())
