"""Mistyped commands, choices and options: one line with the nearest word, and exit code 2."""

import importlib

import pytest

from plml.cli import build_parser
from plml.parsers import Parser, walk


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("trian config.yaml", "there is no 'trian'; did you mean 'train'?"),
        ("cache biuld x", "there is no 'biuld'; did you mean 'build'?"),
        ("evaluate best.pt --split tset", "argument --split: there is no 'tset'; did you mean 'test'?"),
        ("train config.yaml --devces 2", "there is no option '--devces'; did you mean '--devices'?"),
        ("train config.yaml --quite=yes", "there is no option '--quite'; did you mean '--quiet'?"),
        ("cache list --jsn", "there is no option '--jsn'; did you mean '--json'?"),
        ("methods role", "'role' is one argument too many"),
        ("train", "the following arguments are required: config"),
    ],
)
def test_the_nearest_word_is_named(typed: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(typed.split())
    assert ended.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(told)


@pytest.mark.parametrize(
    ("module", "typed", "told"),
    [
        ("tune.run", "--study digits --trials 0", "argument --trials: must be at least 1, got 0"),
        ("tune.run", "--study digits --trials many", "argument --trials: must be a whole number, got 'many'"),
        ("tune.run", "--study digits --gpus-per-trial -1", "argument --gpus-per-trial: must be at least 0, got -1"),
        ("tune.run", "--study digits --gpus-per-trial nan", "argument --gpus-per-trial: must be at least 0, got nan"),
        ("tune.run", "--study digits --tria 3", "there is no option '--tria'; did you mean '--trials'?"),
        ("tune.promote", "--study digits --top 0", "argument --top: must be at least 1, got 0"),
        ("tune.status", "--study digits --top x", "argument --top: must be a whole number, got 'x'"),
        ("ablations.run", "--gird digits", "there is no option '--gird'; did you mean '--grid'?"),
    ],
)
def test_runners_name_option_rule_and_value(
    module: str, typed: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(typed.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(told)


def test_words_lead_to_every_parser() -> None:
    parsers = dict(walk(build_parser()))
    assert {"", "train", "cache", "cache build", "settings draw"} <= set(parsers)
    assert all(isinstance(parser, Parser) for parser in parsers.values())
