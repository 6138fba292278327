"""Configurations, studies and grids of any shape, and label matrices of any values: plml's own errors, or none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from fuzz_targets import CLASSES, IDS, TARGETS
from hypothesis import strategies as st

from plml.errors import PlmlError
from plml.label_files import FORMATS, find_format
from plml.label_files.rows import align

WORDS = st.sampled_from([
    "name", "base", "method", "data", "optim", "lr", "epochs", "seed", "seeds", "search_space", "type", "float", "low",
    "high", "log", "choices", "categorical", "int", "when", "default", "an", "role", "digits", "options", "observation",
    "single_positive", "mode", "sampler", "tpe", "pruner", "points", "factors", "design", "baseline", "exclude",
    "n_trials", "objective", "metric", "val/mAP", "optim.lr", "method.name", "method.lr_mult", "resources", "track",
    "auto", "..", "tune_per_cell", "label_draws", "time_budget", "30m", "warm_start", "epochs.x", "", "a.b.c", "best:x",
])  # fmt: skip
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8), WORDS, st.just("1e-3")
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=5)),
    max_leaves=20,
)


@st.composite
def grafted(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a valid tree in which some branches are replaced, dropped or added; as YAML."""
    tree: Any = yaml.safe_load(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        branch = tree
        while isinstance(branch, dict) and branch:
            key = draw(st.sampled_from(sorted(branch)))
            if not isinstance(branch[key], dict) or draw(st.booleans()):
                kind = draw(st.sampled_from(["replace", "drop", "add", "rename"]))
                if kind == "replace":
                    branch[key] = draw(TREES)
                elif kind == "drop":
                    del branch[key]
                elif kind == "add":
                    branch[draw(WORDS)] = draw(TREES)
                else:
                    branch[draw(WORDS)] = branch.pop(key)
                break
            branch = branch[key]
    return yaml.safe_dump(tree, allow_unicode=draw(st.booleans())).encode()


@pytest.mark.parametrize("name", ["config", "study", "grid"])
def test_trees(name: str, tmp_path: Path, fuzz: Callable[..., None]) -> None:
    target = TARGETS[name](tmp_path)
    fuzz(f"tree:{name}", target.execute, grafted(target.seeds))


@pytest.mark.parametrize("name", ["config", "study", "grid"])
def test_any_tree(name: str, tmp_path: Path, fuzz: Callable[..., None]) -> None:
    target = TARGETS[name](tmp_path)
    fuzz(f"any:{name}", target.execute, TREES.map(lambda tree: yaml.safe_dump(tree).encode()))


TYPES = ["i1", "u1", "i4", "<i8", ">i8", "f2", "f4", "f8", ">f8", "c16", "?", "U2", "S3", "M8[s]", "O"]


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Draw an array of any type and small shape, with the values that labels have and others."""
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3))) if draw(st.booleans()) else (4, 3)
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    some = draw(st.lists(st.sampled_from([0, 1, -1, 2, 255, float("nan"), float("inf"), 0.5]), min_size=1, max_size=12))
    with np.errstate(all="ignore"):
        values = np.resize(np.array(some, dtype=np.float64), shape)
        if dtype.kind in "iuM":
            values = np.nan_to_num(values, posinf=7).clip(-1, 1)
        return np.abs(values).astype(dtype) if dtype.kind == "u" else values.astype(dtype)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_matrices_of_any_type(name: str, tmp_path: Path, fuzz: Callable[..., None]) -> None:
    kind, file = find_format(name), tmp_path / "labels.npy"

    def read(matrix: np.ndarray[Any, Any]) -> bool:
        np.save(file, matrix, allow_pickle=True)
        try:
            labels = align(kind.read(file, 3, None), IDS, CLASSES, file)
        except PlmlError:
            return False
        assert labels.shape == (4, 3)
        assert set(np.unique(labels)) <= {-1, 0, 1}
        return True

    fuzz(f"matrix:{name}", read, matrices())
