"""Settings of every test process: one thread, no display, a cache of its own, no colours."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ["NO_COLOR"] = "1"
os.environ["COLUMNS"] = "160"

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded pixels and features of tests go to a temporary folder, never to the user's cache."""
    before = os.environ.get("PLML_CACHE_DIR")
    os.environ["PLML_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["PLML_CACHE_DIR"]
    else:
        os.environ["PLML_CACHE_DIR"] = before


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos and weights; the test is skipped where there is none."""
    folder = Path(os.environ.get("PLML_DATA_DIR", Path(__file__).parents[1].parent / "shared"))
    if not (folder / "data" / "voc2007_part").is_dir():
        pytest.skip(f"no real photos: {folder}/data/voc2007_part does not exist (set PLML_DATA_DIR)")
    return folder
