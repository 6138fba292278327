"""Fuzzing: how long, and what becomes of the figures."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("PLML_FUZZ_SECONDS", "0"))  # of each target; 0: a short fixed round
QUICK, ROUND = 8, 400  # examples

Fuzz = Callable[[str, Callable[[bytes], bool], "st.SearchStrategy[bytes]"], None]


@pytest.fixture
def fuzz() -> Fuzz:
    """Return a function that feeds a check for a short round, or for PLML_FUZZ_SECONDS; a crash is an error."""

    def run(name: str, check: Callable[[bytes], bool], strategy: st.SearchStrategy[bytes]) -> None:
        counts = {"executions": 0, "accepted": 0}

        def one(content: bytes) -> None:
            counts["executions"] += 1
            counts["accepted"] += check(content)

        began, processor = time.monotonic(), time.process_time()
        number = 0
        while number == 0 or time.monotonic() - began < SECONDS:
            rules = settings(
                max_examples=ROUND if SECONDS else QUICK,
                deadline=None,
                database=None,
                derandomize=not SECONDS,
                phases=(Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            )
            test = rules(given(strategy)(one))
            if SECONDS:
                test = hypothesis.seed(int.from_bytes(os.urandom(6)))(test)
            test()
            number += 1
        if report := os.environ.get("PLML_FUZZ_REPORT"):
            figures = {"target": name, **counts, "cpu_s": round(time.process_time() - processor, 2)}
            with Path(report).open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")

    return run
