"""Trials say which code trained them."""

import subprocess
from pathlib import Path

import pytest

from tune import code_version


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for package in code_version.PACKAGES:
        (tmp_path / package / "inner").mkdir(parents=True)
        (tmp_path / package / "inner" / "a.py").write_text("a = 1\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    monkeypatch.setattr(code_version, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    code_version.code_digest.cache_clear()
    code_version.commit.cache_clear()


def digest() -> str:
    forget()
    return code_version.code_digest()


def test_the_digest_follows_contents_and_names_of_python_files(copy: Path) -> None:
    first = digest()
    assert len(first) == 12
    (copy / "plml" / "notes.txt").write_text("no code")
    assert digest() == first
    (copy / "plml" / "inner" / "a.py").write_text("a = 2\n")
    second = digest()
    (copy / "plml" / "inner" / "a.py").rename(copy / "plml" / "inner" / "b.py")
    assert len({first, second, digest()}) == 3


def test_the_commit_is_known_inside_a_repository_only(copy: Path) -> None:
    assert code_version.commit() is None
    git = ["git", "-C", str(copy), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    forget()
    commit = code_version.commit()
    assert commit is not None
    assert len(commit) == 12
    (copy / "tune" / "inner" / "a.py").write_text("a = 3\n")
    forget()
    assert code_version.commit() == f"{commit}+"
    (copy / "pyproject.toml").unlink()  # installed, and the repository is somebody's who uses it
    forget()
    assert code_version.commit() is None
