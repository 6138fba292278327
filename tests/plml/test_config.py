"""A configuration is checked whole, by name, before any compute."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plml.config import TrainConfig, dump_config, load_config, make_config
from plml.errors import ConfigError
from plml.schema import assign, flatten, parse_assignment, read_yaml, validate


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"optim": {"batchsize": 8}}, "unknown key 'optim.batchsize'; did you mean 'optim.batch_size'?"),
        ({"epoch": 3}, "unknown key 'epoch'; did you mean 'epochs'?"),
        ({"optim": {"lr": "fast"}}, "optim.lr must be a number, got 'fast'"),
        ({"optim": {"lr": -1.0}}, "optim.lr must be greater than 0, got -1.0"),
        ({"optim": {"lr": float("nan")}}, "optim.lr must be"),
        ({"optim": {"batch_size": 8.0}}, "optim.batch_size must be"),
        ({"optim": {"batch_size": True}}, "optim.batch_size must be"),
        ({"optim": {"name": "adamm"}}, "did you mean 'adam'?"),
        ({"method": "rol"}, "method.name must be a known name, got 'rol'; did you mean 'role'?"),
        ({"method": {"name": "role", "lr_mul": 3.0}}, "unknown key 'method.lr_mul'; did you mean 'method.lr_mult'?"),
        ({"method": {"lr_mult": 3.0}}, "method must be a name or a mapping with a name"),
        ({"data": {"name": "digit"}}, "data.name must be a known name, got 'digit'; did you mean 'digits'?"),
        ({"data": {"observation": "single_positives"}}, "did you mean 'single_positive'?"),
        ({"data": {"observation": {"name": "candidate_set", "rate": 1.5}}}, "data.observation.rate must be"),
        ({"data": {"options": {"num_trian": 3}}}, "'data.options.num_trian'; did you mean 'data.options.num_train'?"),
        ({"model": {"backbone": "resnet5"}}, "did you mean 'resnet50'?"),
        ({"linear_init": {"epochs": 3}}, "linear_init is the first stage of mode: linear_init"),
        ({"seed": -1}, "seed must be"),
        ({"optim": 3}, "optim must be"),
    ],
)
def test_wrong_input_is_named(tree: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_config(tree)
    assert message in str(error.value)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        make_config({"epoch": 3, "optim": {"lr": 0.0, "batchsize": 3}})
    assert len(str(error.value).splitlines()) == 3


def test_a_candidate_set_reveals_no_positive() -> None:
    candidates = {"name": "candidate_set", "rate": 0.2}
    with pytest.raises(ConfigError, match="method.name: 'an' needs observed positive labels"):
        make_config({"data": {"observation": candidates}, "method": "an", "selection": {"labels": "clean"}})


def test_observed_selection_needs_positives() -> None:
    candidates = {"name": "candidate_set", "rate": 0.2}
    with pytest.raises(ConfigError, match="set selection.labels to clean"):
        make_config(
            {"data": {"observation": candidates}, "method": {"name": "role"}, "selection": {"criterion": "known_map"}}
        )


def test_every_default_is_written_out() -> None:
    config = make_config({"method": "role", "data": {"observation": "single_positive"}})
    flat = config.flat()
    assert flat["method.lr_mult"] == 10.0
    assert flat["data.observation.num_positives"] == 1
    assert flat["data.options.scene_seed"] is not None


def test_yaml_round_trip(tmp_path: Path) -> None:
    config = make_config({"method": "role", "optim": {"lr": 1e-4}})
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(config))
    assert load_config(file) == config


def test_command_line_assignments(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("method: {name: role, lr_mult: 3.0}\n")
    config = load_config(file, ["optim.lr=1e-4", "method=an", "data.observation=single_positive"])
    assert config.optim.lr == 1e-4
    assert config.method == {"name": "an"}  # another method drops the options of the one before
    with pytest.raises(ConfigError, match="must be path=value"):
        load_config(file, ["optim.lr"])


def test_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("{}")
    with pytest.raises(ConfigError, match="did you mean"):
        load_config(tmp_path / "studdy.yaml")


def test_fingerprint_ignores_the_machine_only() -> None:
    config = make_config({})
    assert make_config({"device": "cpu", "data": {"root": "elsewhere"}}).fingerprint == config.fingerprint
    for other in ({"seed": 1}, {"optim": {"lr": 0.5}}, {"threads": 2}, {"data": {"observation_seed": 1}}):
        assert make_config(other).fingerprint != config.fingerprint


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1.5", 1.5), ("3", 3), ("no", "no"), ("true", True), ("null", None), ("[1, 2]", [1, 2])],
)
def test_scalars_read_as_people_write_them(text: str, value: object) -> None:
    assert parse_assignment(f"a.b={text}") == ("a.b", value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: key 'a' stands twice"),
        ("a: [1", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("1: 2", "must be text"),
        ('a: !!int ""', "not of the kind that its tag"),
        ("a: !!bool maybe", "not of the kind that its tag"),
        ("a: !!timestamp soon", "not of the kind that its tag"),
        ("a: !!map [1]", "not of the kind that its tag"),
        ("- " * 2000, "is not valid YAML"),
        ("- " * 100_000, "is not valid YAML"),
    ],
)
def test_bad_yaml_names_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_yaml(text, "study.yaml")
    assert "study.yaml" in str(error.value)
    assert message in str(error.value)


def tidings(text: str) -> object:
    """Return what is read, or that it is refused."""
    try:
        return read_yaml(text)
    except ConfigError as error:
        return "refused" if "valid YAML" in str(error) else str(error)


WORDS = [
    "a", "b: ", "c:", "- ", "\n", "\n  ", "[", "]", "{", "}", ", ", '"', "'", "1e-4", "0x1f", "012", "true", "no", "~",
    "&x ", "*x", "!!int ", " #", "|\n", ": ", "<<: ", "\t", "é", "\x85", "---\n", ".inf", "2020-01-01", "\\n", "@",
]  # fmt: skip


@given(st.lists(st.sampled_from(WORDS), max_size=12).map("".join))
def test_short_and_long_files_are_read_alike(text: str) -> None:
    """Short ones are read by another parser; both know the same YAML."""
    assert repr(tidings(text)) == repr(tidings(text + "\n" + "#\n" * 2500))  # repr: nan is not nan


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        tree = read_yaml(text, "file")
        if isinstance(tree, dict):
            make_config(tree)
    except ConfigError:
        pass


keys = st.text("abc", min_size=1, max_size=3)
trees = st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner, min_size=1, max_size=3), max_leaves=8)


@given(st.dictionaries(keys, trees, min_size=1, max_size=3))
def test_assign_undoes_flatten(tree: dict[str, object]) -> None:
    built: dict[str, object] = {}
    for path, value in flatten(tree).items():
        built = assign(built, path, value)
    assert built == tree


def test_schema_lists_every_part() -> None:
    assert set(TrainConfig.model_fields) >= {"mode", "data", "model", "method", "optim", "selection", "stopping"}


@pytest.mark.parametrize(
    ("optim", "message"),
    [
        ({"schedule": "dynamic", "warmup_epochs": 1}, "optim: warmup_epochs must be 0 with schedule dynamic, got 1"),
        (
            {"schedule": "onecycle", "schedule_epochs": 3},
            "laid out for 3 epochs ends before training does",
        ),
    ],
)
def test_schedules_that_cannot_be_followed(optim: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({"epochs": 4, "optim": optim})


def test_a_value_that_may_be_of_several_kinds_is_told_in_one_line() -> None:
    from tune.study_file import ResourcesConfig

    with pytest.raises(ConfigError) as told:
        validate(ResourcesConfig, {"gpu": -1.0}, "resources")
    assert str(told.value) == "resources.gpu must be 'auto' or greater than or equal to 0, got -1.0"
    with pytest.raises(ConfigError) as told:
        validate(ResourcesConfig, {"gpu": -1.0, "max_concurrent": "all"}, "resources")
    assert len(str(told.value).splitlines()) == 2


def test_errors_of_named_parts_name_the_file_too(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("data: {observation: single_positive}\nmethod: {name: an, lr_mult: 3.0}\n")
    with pytest.raises(ConfigError) as told:
        load_config(file)
    assert str(told.value) == f"{file}: unknown key 'method.lr_mult'; 'an' has no options"


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "best.yaml").write_text("epochs: 1\n")
    with pytest.raises(ConfigError, match=r"is a folder, and a configuration is a YAML file.*best\.yaml"):
        load_config(tmp_path)


def test_a_device_that_there_is_not_names_those_that_there_are() -> None:
    from plml.device import pick_device

    with pytest.raises(ConfigError) as told:
        pick_device("gpu")
    assert str(told.value).startswith("device: there is no device 'gpu'; ")
    assert "cpu" in str(told.value)
