import numpy as np
import pytest
import torch

from plml.interpolated_precision import area_average_precision, eleven_point_average_precision
from plml.labels import as_tensor
from plml.metrics import average_precision


def by_definition(scores, target):
    """Area and eleven points of one class, from lists of (recall, precision) at every rank."""
    rows = [i for i in np.argsort(-scores, kind="stable") if target[i] != -1]
    positives = sum(target[i] == 1 for i in rows)
    curve, hits = [], 0
    for rank, i in enumerate(rows, start=1):
        hits += target[i] == 1
        curve.append((hits / positives, hits / rank))
    at = lambda recall: max((p for r, p in curve if r >= recall - 1e-12), default=0.0)  # noqa: E731
    area = sum(at(h / positives) for h in range(1, positives + 1)) / positives
    return area, sum(at(t / 10) for t in range(11)) / 11


@pytest.mark.parametrize("seed", range(5))
def test_follows_the_definitions(seed):
    rng = np.random.default_rng(seed)
    scores, target = rng.random((30, 3)), rng.choice([1, 0, -1], size=(30, 3), p=[0.3, 0.5, 0.2])
    expected = [by_definition(scores[:, j], target[:, j]) for j in range(3)]
    area = area_average_precision(torch.tensor(scores), as_tensor(target))
    points = eleven_point_average_precision(torch.tensor(scores), as_tensor(target))
    np.testing.assert_allclose(area, [a for a, _ in expected])
    np.testing.assert_allclose(points, [p for _, p in expected])
    assert (area >= average_precision(torch.tensor(scores), as_tensor(target), known_only=True) - 1e-12).all()


def test_perfect_and_absent_classes():
    scores, target = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.1, 0.3]]), as_tensor([[1, 0], [1, 0], [0, -1]])
    for measure in (area_average_precision, eleven_point_average_precision):
        values = measure(scores, target)
        assert values[0] == 1
        assert values[1].isnan()


def test_several_models_are_scored_in_one_call():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(3, 20, 4, generator=generator)
    target = torch.randint(-1, 2, (20, 4), generator=generator, dtype=torch.int8)
    for measure in (area_average_precision, eleven_point_average_precision):
        alone = torch.stack([measure(one, target) for one in scores])
        torch.testing.assert_close(measure(scores, target), alone, rtol=1e-13, atol=0, equal_nan=True)
