"""Study files: every mistake is named with its path and the nearest valid name, before Ray starts."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from plml.errors import ConfigError
from tune.study import load_study
from tune.study_file import PrunerConfig, SamplerConfig, find_study, parse_duration, read_study_file

ROOT = Path(__file__).parents[2]
STUDY: dict[str, Any] = {
    "base": {"epochs": 3, "data": {"name": "digits", "observation": "single_positive"}, "method": "an"},
    "search_space": {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "n_trials": 4,
}


def write(folder: Path, tree: dict[str, Any], name: str = "mine.yaml") -> Path:
    file = folder / name
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file


def test_a_minimal_study_has_sensible_defaults(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY))
    assert (study.name, study.budget()) == ("mine", 4)
    assert study.config.objective.metric == "selection/best"
    assert study.config.sampler.name == "tpe"
    assert study.config.pruner.name == "none"
    assert study.base.epochs == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_trial": 3}, r"mine.yaml: unknown key 'n_trial'; did you mean 'n_trials'"),
        ({"scheduler": {"name": "asha"}}, r"unknown key 'scheduler'; did you mean 'pruner'"),
        ({"sampler": {"name": "tpee"}}, r"sampler.name must be .*did you mean 'tpe'"),
        ({"pruner": "mediann"}, r"pruner.name must be .*did you mean 'median'"),
        ({"resources": "many"}, r"resources must be a mapping of cpu, gpu, .*, got 'many'"),
        ({"pruner": {"name": "median", "min_epoch": 2}}, r"did you mean 'pruner.min_epochs'"),
        ({"pruner": {"name": "patient"}}, r"pruner patient needs patience"),
        ({"objective": {"metric": "test/mAP"}}, r"objective.metric: must be a validation figure"),
        ({"objective": {"metric": "val/mAPP"}}, r"did you mean 'val/mAP'"),
        ({"objective": {"mode": "maximise"}}, r"objective.mode must be 'max' or 'min'"),
        ({"base": {"optim": {"batchsize": 4}}}, r"did you mean 'optim.batch_size'"),
        ({"base": "nowhere.yaml"}, r"base: .*nowhere.yaml is not a file"),
        ({"n_trials": 0}, r"n_trials must be greater than or equal to 1, got 0"),
        ({"time_budget": "8 hours"}, r"a duration is written 90s, 30m, 8h"),
        ({"resources": {"gpu": 1.5}}, r"a fraction of a GPU, or on whole ones"),
        ({"resources": {"cpus": 2}}, r"did you mean 'resources.cpu'"),
        ({"seeds": [0, 0]}, r"seeds must differ"),
        ({"points": [{"optim.lr": 1.0}]}, r"points\[0\]: optim.lr must be a number in \[0.0001, 0.01\]"),
        ({"sampler": {"name": "grid"}}, r"sampler grid needs finitely many values"),
        ({"search_space": {}}, r"search_space"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(write(tmp_path, {**STUDY, **change}))


def test_seeds_and_a_searched_seed_exclude_one_another(tmp_path: Path) -> None:
    space = {"seed": {"type": "int", "low": 0, "high": 9}}
    with pytest.raises(ConfigError, match="seeds: the search space varies 'seed'"):
        load_study(write(tmp_path, {**STUDY, "search_space": space, "seeds": [0, 1]}))


def test_a_name_alone_stands_for_its_defaults(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, {**STUDY, "sampler": "random", "pruner": "median"}), ["pruner.min_epochs=4"])
    assert study.config.sampler == SamplerConfig(name="random")
    assert study.config.pruner == PrunerConfig(name="median", min_epochs=4)


def test_assignments_reach_the_base_and_the_study(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY), ["epochs=7", "sampler.seed=5", "method=role", "method.lr_mult=3.0"])
    assert (study.base.epochs, study.config.sampler.seed) == (7, 5)
    assert study.base.method["lr_mult"] == 3.0


def test_an_assignment_to_a_searched_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--set optim.lr: this study searches optim.lr"):
        load_study(write(tmp_path, STUDY), ["optim.lr=1e-3"])


def test_base_may_be_a_file_beside_the_study(tmp_path: Path) -> None:
    write(tmp_path, STUDY["base"], "base.yaml")
    assert load_study(write(tmp_path, {**STUDY, "base": "base.yaml"})).base.epochs == 3


def test_relative_file_names_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w.pth").touch()
    study = load_study(write(tmp_path, STUDY), ["data.root=photos", "model.weights=w.pth"])
    assert study.space.base_tree["data"]["root"] == str(tmp_path / "photos")
    assert study.space.base_tree["model"]["weights"] == str(tmp_path / "w.pth")
    named = load_study(write(tmp_path, STUDY), ["model.weights=IMAGENET1K_V1"])
    assert named.space.base_tree["model"]["weights"] == "IMAGENET1K_V1"


FROM_FILE = ["data.observation.name=from_file"]


def test_label_files_become_absolute_if_they_are_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.txt").touch()

    def path_of(given: str) -> str:
        words = f"data.observation.path='{given}'"
        return str(load_study(write(tmp_path, STUDY), [*FROM_FILE, words]).base.data.observation["path"])

    assert path_of("train.txt") == str(tmp_path / "train.txt")
    assert path_of("{part}.txt") == str(tmp_path / "{part}.txt")
    assert path_of("lists/below_the_data.txt") == "lists/below_the_data.txt"
    moved = [
        load_study(write(tmp_path, STUDY), [*FROM_FILE, f"data.observation.path={p}"]) for p in ("a/x.txt", "b/x.txt")
    ]
    assert moved[0].spec() == moved[1].spec()  # where a file lies is no other study


def test_the_grid_is_the_budget(tmp_path: Path) -> None:
    space = {"optim.batch_size": {"type": "categorical", "choices": [8, 16, 32]}}
    tree = {**STUDY, "search_space": space, "sampler": {"name": "grid"}, "n_trials": None}
    assert load_study(write(tmp_path, tree)).budget() == 3
    assert load_study(write(tmp_path, tree), options={"n_trials": 2}).budget() == 2


def test_where_files_lie_is_not_part_of_what_is_computed(tmp_path: Path) -> None:
    file = write(tmp_path, STUDY)
    assert load_study(file).spec() == load_study(file, ["data.root=elsewhere", "device=cpu"]).spec()
    assert load_study(file).spec() != load_study(file, ["epochs=4"]).spec()


def test_studies_are_found_by_name_by_path_and_by_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, STUDY)
    monkeypatch.chdir(tmp_path)
    assert find_study("mine.yaml") == file
    assert find_study("digits").name == "digits.yaml"
    (tmp_path / "results" / "fork").mkdir(parents=True)
    saved = write(tmp_path / "results" / "fork", STUDY, "study.yaml")
    assert find_study("fork", tmp_path / "results") == saved
    assert load_study(saved).name == "fork"
    with pytest.raises(ConfigError, match="there is no study 'digit'; did you mean 'digits'"):
        find_study("digit")
    with pytest.raises(ConfigError, match=r"did you mean 'mine.yaml'"):
        find_study("mini.yaml")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("30m", 1800), ("8h", 28800), ("1h30m", 5400), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_keys_are_checked_without_torch_and_help_is_quick(tmp_path: Path) -> None:
    file = write(tmp_path, {**STUDY, "n_trial": 3})
    code = f"""
import sys
from tune.run import main
code = main(["--study", {str(file)!r}])
assert code == 2, code
loaded = {{"torch", "ray", "optuna", "mlflow"}} & set(sys.modules)
assert not loaded, loaded
try:
    main(["--help"])
except SystemExit:
    pass
"""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "did you mean 'n_trials'" in done.stderr
    assert "exit codes" in done.stdout
    assert time.perf_counter() - began < 10  # generous: a busy machine; the imports above are what matters


@pytest.mark.parametrize("script", ["tune/run.py", "tune/status.py", "tune/promote.py", "ablations/run.py"])
def test_help_is_quick(script: str) -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-X", "importtime", str(ROOT / script), "--help"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds.append(time.perf_counter() - began)
    assert "usage:" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "argparse" in imported
    assert not {"torch", "ray", "optuna", "mlflow", "pydantic"} & imported
    assert min(seconds) < 1


def test_read_study_file_checks_ranges_too(tmp_path: Path) -> None:
    space = {"optim.lr": {"type": "float", "low": 1e-4, "high": 1e-2, "logg": True}}
    with pytest.raises(ConfigError, match=r"mine.yaml: .*did you mean 'search_space.optim.lr.log'"):
        read_study_file(write(tmp_path, {**STUDY, "search_space": space}))
