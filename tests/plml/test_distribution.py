"""What is in the source archive and the wheel, and that the wheel is all that a user needs."""

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("plml", "tune", "ablations")
COMMANDS = {"plml", "plml-study", "plml-status", "plml-promote", "plml-grid"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source archive, and the wheel that is built from it; with the setuptools that is here."""
    folder = tmp_path_factory.mktemp("dist")
    copy = tmp_path_factory.mktemp("source")  # setuptools writes beside what it builds
    for name in ("pyproject.toml", "README.md", "LICENSE", *PACKAGES):
        subprocess.run(["cp", "-r", str(ROOT / name), str(copy)], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def expected() -> set[str]:
    """Every file of the packages that somebody who installs them needs."""
    files = {
        file for package in PACKAGES for suffix in ("py", "yaml") for file in (ROOT / package).rglob(f"*.{suffix}")
    }
    return {file.relative_to(ROOT).as_posix() for file in files}


def test_both_hold_every_module_study_grid_and_recipe(built: tuple[Path, Path]) -> None:
    archive, wheel = built
    with tarfile.open(archive) as opened:
        in_archive = {name.partition("/")[2] for name in opened.getnames()}
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    assert expected() - in_archive == set()
    assert {"LICENSE", "README.md", "pyproject.toml"} <= in_archive
    assert expected() - in_wheel == set()
    others = {name for name in in_wheel - expected() if ".dist-info/" not in name}
    assert others == set()  # and nothing else: no tests, no results, no leavings of an earlier build


def test_the_wheel_says_its_licence_commands_and_requirements(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as wheel:
        told = {name.partition("/")[2]: name for name in wheel.namelist() if ".dist-info/" in name}
        assert wheel.read(told["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()
        metadata = email.message_from_bytes(wheel.read(told["METADATA"]))
        points = wheel.read(told["entry_points.txt"]).decode()
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert any(line.startswith("torch") for line in metadata.get_all("Requires-Dist", []))
    scripts = points.partition("[console_scripts]")[2].partition("[")[0]
    assert {line.partition(" ")[0] for line in scripts.split("\n") if "=" in line} == COMMANDS


@pytest.mark.cluster
@pytest.mark.timeout(1800)
def test_the_wheel_alone_runs_a_study_and_predicts(built: tuple[Path, Path], tmp_path: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.is_file():
        pytest.skip("uv is not installed (make setup)")
    place = tmp_path / "venv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, place], check=True)
    install = [uv, "pip", "install", "-q", "--python", place / "bin" / "python", built[1]]
    done = subprocess.run([*install, "-c", ROOT / "requirements.lock"], capture_output=True, text=True)
    if done.returncode and "error sending request" in done.stderr:
        pytest.skip(f"no package index: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "empty"
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = os.pathsep.join([str(place / "bin"), environment["PATH"]])

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    where = run("python", "-c", "import plml, tune, ablations; print(plml.__file__, tune.__file__, ablations.__file__)")
    assert all(str(place) in path for path in where.split())
    assert "plml-study --study digits" in run("plml-study", "--help")
    assert "digits_boostlu" in run("plml-grid", "--list")
    assert "cole_role_linear" in run("plml", "recipes")
    small = ["--trials", "2", "--set", "epochs=1", "--set", "data.options={num_train: 100, num_val: 60, num_test: 60}"]
    told = run("plml-study", "--study", "digits", *small)
    assert "continue  plml-study --study digits" in told
    assert "best      plml train" in told
    assert (folder / "results" / "digits" / "leaderboard.csv").is_file()
    assert "python tune" not in told + (folder / "results" / "digits" / "leaderboard.md").read_text()
    assert "2 done" in run("plml-status", "--study", "digits")
    from PIL import Image

    Image.new("L", (40, 40), 128).save(folder / "photo.png")
    best = next((folder / "results" / "digits" / "trials").glob("*/best.pt"))
    assert "photo.png" in run("plml", "predict", str(best), "photo.png", "--csv")
