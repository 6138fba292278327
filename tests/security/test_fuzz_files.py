"""Every loader of files that others wrote, fed with damaged ones: nothing but plml's own errors may come out.

A short round here; ``make fuzz`` gives every target minutes, and ``PLML_FUZZ_SECONDS`` says how many seconds.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_contents import changed
from fuzz_targets import TARGETS


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_only_documented_errors(name: str, tmp_path: Path, fuzz: Callable[..., None]) -> None:
    chosen = TARGETS[name](tmp_path)
    for seed in chosen.seeds:
        chosen.execute(seed)
    fuzz(name, chosen.execute, changed(chosen.seeds))
