"""Completion in real shells, and examples in help texts that their own parsers understand."""

import argparse
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from plml.cli import WRONG_INPUT, main
from plml.completion import commands, script
from plml.parsers import walk

ROOT = Path(__file__).parents[2]
COMMANDS = commands()
PARSERS = {f"{name} {path}".strip(): parser for name, build in COMMANDS.items() for path, parser in walk(build())}
COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
complete -p "$1" > /dev/null || exit 3
"_shtab_${1//-/_}" 2> /dev/null
printf '%s\\n' "${COMPREPLY[@]}"
"""

# A terminal in which zsh reads its start file, and somebody types.
TYPE_INTO_ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell 'PS1=; autoload -U compinit; compinit -D -u; eval "$(<plml.zsh)"; echo re''ady'
zpty -r shell said '*ready*' || exit 1
zpty -w -n shell "$1"$'\\t'
zpty -r shell said "*$2*" && print -r -- "$said"
"""


@pytest.fixture(scope="module")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[str]]:
    """What bash offers for words of which the last one is being typed."""
    folder = tmp_path_factory.mktemp("completion")
    began = time.perf_counter()
    printed = subprocess.run([sys.executable, "-m", "plml", "completion", "bash"], capture_output=True, text=True)
    assert printed.returncode == 0, printed.stderr
    assert time.perf_counter() - began < 20
    (folder / "plml.bash").write_text(printed.stdout)
    (folder / "my config.yaml").touch()
    (folder / "results" / "begun").mkdir(parents=True)
    (folder / "results" / "begun" / "study.yaml").touch()

    def offered(*words: str) -> list[str]:
        command = ["bash", "-c", COMPLETE, "bash", str(folder / "plml.bash"), *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.split("\n")[:-1]

    return offered


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["plml", "tra"], ["train"]),
        (["plml", "cache", "b"], ["build"]),
        (["plml", "settings", ""], ["draw", "show", "export"]),
        (["plml", "train", "x.yaml", "--dev"], ["--devices"]),
        (["plml", "evaluate", "best.pt", "--split", ""], ["test", "val", "train"]),
        (["plml", "train", "my"], ["my config.yaml"]),
        (["plml", "completion", "z"], ["zsh"]),
        (["plml-study", "--study", "dig"], ["digits"]),
        (["plml-study", "--study", "beg"], ["begun"]),
        (["plml-promote", "--study", "beg"], ["begun"]),
        (["plml-study", "--study", "my"], ["my config.yaml"]),
        (["plml-grid", "--grid", "digits_b"], ["digits_boostlu"]),
        (["plml-status", "--wa"], ["--watch"]),
        (["plml-study", "--output-dir", "res"], ["results"]),
    ],
)
def test_bash_completes(complete: Callable[..., list[str]], words: list[str], expected: list[str]) -> None:
    assert complete(*words) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_script_for_every_shell(shell: str, name: str) -> None:
    text = script(shell, name, COMMANDS[name])
    assert name in text
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on the PATH")
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("plml tra", "train"),
        ("plml train x.yaml --dev", "--devices"),
        ("plml-study --study dig", "digits"),
        ("plml-study --study beg", "begun"),
    ],
)
def test_zsh_completes_after_what_the_page_puts_into_zshrc(typed: str, offered: str, tmp_path: Path) -> None:
    assert 'eval "$(<~/.plml-completion.zsh)"' in (ROOT / "docs" / "terminal.md").read_text()
    printed = subprocess.check_output([sys.executable, "-m", "plml", "completion", "zsh"], text=True)
    (tmp_path / "plml.zsh").write_text(printed)
    (tmp_path / "results" / "begun").mkdir(parents=True)
    (tmp_path / "results" / "begun" / "study.yaml").touch()
    command = ["zsh", "-f", "-c", TYPE_INTO_ZSH, "zsh", typed, offered]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "can only be called" not in done.stdout


@pytest.mark.skipif(shutil.which("tcsh") is None, reason="no tcsh on the PATH")
def test_tcsh_knows_every_command(tmp_path: Path) -> None:
    printed = subprocess.check_output([sys.executable, "-m", "plml", "completion", "tcsh"], text=True)
    (tmp_path / "plml.tcsh").write_text(printed)
    done = subprocess.run(
        ["tcsh", "-f", "-c", "source plml.tcsh; complete"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} >= set(COMMANDS)


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash", "plml-stud"]) == WRONG_INPUT
    assert "did you mean 'plml-study'?" in capsys.readouterr().err


def test_help_and_completion_import_nothing_heavy() -> None:
    heavy = "('torch', 'ray', 'optuna', 'mlflow', 'pydantic', 'numpy', 'rich')"
    code = (
        "import sys\nfrom plml.cli import build_parser\nfrom plml.completion import commands, script\n"
        "assert build_parser().format_help()\n"
        "assert all(script('bash', name, build) for name, build in commands().items())\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def typed_examples(parser: argparse.ArgumentParser) -> list[list[str]]:
    """The command lines among the examples of a help text, without what they redirect."""
    lines = (parser.epilog or "").splitlines()
    found = [re.split(r"\s{2,}|\s>\s", line.strip())[0] for line in lines if line.startswith("  ") and line.strip()]
    starts = (*COMMANDS, "python ")
    return [shlex.split(line) for line in found if line.startswith(starts)]


@pytest.mark.parametrize("command", sorted(PARSERS))
def test_help_has_examples_that_parse(command: str) -> None:
    parser = PARSERS[command]
    examples = typed_examples(parser)
    assert examples, f"the help of {command} has no example"
    name = command.split()[0]
    for words in examples:
        start = 2 if words[0] == "python" else 1
        options = COMMANDS[name]().parse_args(words[start:])  # exits with a message otherwise
        if name == "plml":
            assert words[0] == "plml"
            assert options.command
        assert Path(words[start - 1]).suffix == ".py" or words[0] == name
