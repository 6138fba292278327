"""Processes are told apart by number, birth, host and space of numbers; only one that is here can be called dead."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tune.signature import Signature


def test_this_process_lives() -> None:
    own = Signature.own()
    assert Signature.parse(json.loads(json.dumps(own.tree()))) == own
    assert not own.is_dead


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        ({"born": 1.0}, True),
        ({"pid": 2**22 + 1}, True),
        ({"pid": 2**80}, True),
        ({"pid": -1}, True),
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
        ({"pid": 2**22 + 1, "space": -1}, False),
    ],
)
def test_what_is_dead_for_certain(changes: dict[str, Any], dead: bool) -> None:
    assert replace(Signature.own(), **changes).is_dead is dead


@pytest.mark.parametrize("broken", [None, 3, [], "x", {}, {"pid": "1"}, {"pid": 1, "born": 1.0, "host": "h"}])
def test_what_is_no_signature(broken: Any) -> None:
    assert Signature.parse(broken) is None
