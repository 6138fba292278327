"""``plml completion``: a script that lets a shell complete ``plml`` and the runners."""

import argparse
import sys

from plml.cli import DONE
from plml.completion import commands, script
from plml.errors import ConfigError, nearest


def run(options: argparse.Namespace) -> int:
    """Print the script of the commands that are named, or of all."""
    known = commands()
    for name in options.names:
        if name not in known:
            raise ConfigError(f"there is no command '{name}' to complete{nearest(name, known)}")
    for name in options.names or known:
        sys.stdout.write(script(options.shell, name, known[name]) + "\n")
    return DONE
