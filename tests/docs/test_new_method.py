"""docs/new_method.md: the example, put where the page says, passes the tests of methods and is trained."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
TRAINING = ["epochs=2", "method=ramped_wan", "data.observation=single_positive", "mode=end_to_end"]
SMALL = ["data.options.num_train=64", "data.options.num_val=32", "data.options.num_test=32", "optim.batch_size=16"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the page talks about, with the example in it."""
    for folder in ("plml", "tests/methods"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(EXAMPLES / "ramped_wan.py", tmp_path / "plml" / "methods")
    shutil.copy(EXAMPLES / "test_ramped_wan.py", tmp_path / "tests" / "methods")
    return tmp_path


def run(checkout: Path, *command: str) -> str:
    """Run Python in the copy and return its output."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_passes_the_tests_of_methods(checkout: Path) -> None:
    tests = [f"tests/methods/{name}.py" for name in ("test_ramped_wan", "test_contract")]
    output = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, "-k", "ramped_wan")
    assert " passed" in output
    assert int(output.split(" passed")[0].split()[-1]) >= 40  # its own and the contract's


def test_it_is_trained_and_its_weight_grows(checkout: Path) -> None:
    (checkout / "config.yaml").write_text("data: {name: digits}\n", encoding="utf-8")
    run(checkout, "-m", "plml", "train", "config.yaml", *TRAINING, *SMALL, "-o", "run")
    import torch

    method = torch.load(checkout / "run" / "last.pt", weights_only=True)["method"]
    assert float(method["share"]) == 0.25  # of the second epoch, of four
