"""Whether this Python is the one that plml was set up for."""

import importlib.util
import sys


def require_packages() -> None:
    """End with exit code 2 and one line, not with an import's traceback, where packages were never installed."""
    if importlib.util.find_spec("pydantic") is None or importlib.util.find_spec("rich") is None:
        sys.stderr.write(
            f"error: {sys.executable} does not have plml's packages; `make setup` installs them into .venv, "
            "`source .venv/bin/activate` chooses its Python\n"
        )
        sys.exit(2)
