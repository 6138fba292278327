"""Which code trained a trial: a digest of the packages' sources, and the commit they were checked out from."""

import hashlib
import subprocess
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("plml", "tune")


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return 12 hexadecimal digits that differ when a Python file of ``plml`` or ``tune`` does."""
    digest = hashlib.blake2b(digest_size=6)
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


@lru_cache(maxsize=1)
def commit() -> str | None:
    """Return the commit that is checked out, ``+`` appended if files differ from it; None outside a repository."""
    if not (ROOT / "pyproject.toml").is_file():
        return None  # installed; a repository around it, of whoever uses it, says nothing of this code
    head = _git("rev-parse", "--short=12", "HEAD")
    if head is None:
        return None
    return head + ("+" if _git("status", "--porcelain", "--", *PACKAGES) else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments # nosec B607
            ["git", "-C", str(ROOT), *arguments],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
