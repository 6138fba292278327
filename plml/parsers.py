"""Parsers that name the nearest word to a mistyped one, and show examples of every sub-command."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from plml.errors import nearest


class Parser(argparse.ArgumentParser):
    """An :class:`argparse.ArgumentParser` whose errors name the nearest valid command, choice or option."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            names = map(str, action.choices)
            raise argparse.ArgumentError(action, f"there is no '{value}'{nearest(str(value), names)}")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse; exit with code 2 and a line that says what is wrong."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown, options)
        return options

    def _refuse(self, unknown: Sequence[str], options: argparse.Namespace) -> NoReturn:
        strange = [word.partition("=")[0] for word in unknown if word.startswith("-")]
        if not strange:  # else a word may be the value of an option that there is not
            self.error(f"'{unknown[0]}' is one argument too many")
        below = dict(walk(self))[options.words] if "words" in options else self
        known = [option for option in below._option_string_actions if option.startswith("--")]
        self.error("; ".join(f"there is no option '{word}'{nearest(word, known)}" for word in strange))


def walk(parser: argparse.ArgumentParser, path: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield ``parser`` and every parser below it with the words that lead to it, ``"cache build"`` for example."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield from walk(below, f"{path} {name}".strip())


def add_examples(parser: argparse.ArgumentParser, examples: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    """Show examples below the help of the commands that have some, and let options say which words led to them.

    Args:
        parser: of the whole command.
        examples: words that lead to a sub-command -> arguments and what they do.
    """
    for path, below in walk(parser):
        if path:
            below.set_defaults(words=path)
        if path in examples:
            below.epilog = _epilog(parser.prog, path, examples[path])
            below.formatter_class = argparse.RawDescriptionHelpFormatter


def _epilog(prog: str, path: str, examples: Sequence[tuple[str, str]]) -> str:
    typed = [(f"{prog} {path} {arguments}".rstrip(), what) for arguments, what in examples]
    width = max(len(line) for line, _ in typed)
    if width > 64:  # what it does would stand off the screen
        lines = [line for typed_line, what in typed for line in (f"  {typed_line}", f"      {what}")]
    else:
        lines = [f"  {line:{width}}   {what}" for line, what in typed]
    return "\n".join(["examples:", *lines])
