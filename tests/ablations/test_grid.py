"""Grid files: factors, designs, cells, bases, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.factors import read_factors
from ablations.grid import Grid, load_grid
from ablations.grid_file import find_grid, grid_names, read_grid_file
from plml.errors import ConfigError

BASE: dict[str, Any] = {
    "epochs": 2,
    "data": {"name": "digits", "observation": "single_positive", "options": {"num_train": 120}},
    "method": {"name": "ll_r", "delta_rel": 0.3},
}


def write(folder: Path, **keys: Any) -> Path:
    tree = {"base": BASE, "factors": {"method.name": ["an", "role"]}, **keys}
    file = folder / "mine.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file


def grid(folder: Path, *assignments: str, **keys: Any) -> Grid:
    return load_grid(write(folder, **keys), assignments, output=folder / "results")


def refused(folder: Path, *assignments: str, **keys: Any) -> str:
    with pytest.raises(ConfigError) as error:
        grid(folder, *assignments, **keys)
    return str(error.value)


BOOST = {
    "boostlu": {"plain": {"model.head": "linear"}, "boostlu": {"model.head": "boostlu"}},
    "model.head.alpha": {"values": [2.0, 5.0], "when": {"boostlu": "boostlu"}},
}


def test_every_combination_once_with_conditions(tmp_path: Path) -> None:
    made = grid(tmp_path, factors={"method.name": ["ll_r", "an"], **BOOST})
    assert [cell.label for cell in made.cells] == [
        "ll_r, plain",
        "ll_r, boostlu, alpha=2",
        "ll_r, boostlu, alpha=5",
        "an, plain",
        "an, boostlu, alpha=2",
        "an, boostlu, alpha=5",
    ]
    assert made.baseline.label == "ll_r, plain"
    heads = [(cell.config.method["name"], cell.config.model.head) for cell in made.cells]
    assert heads[2] == ("ll_r", {"name": "boostlu", "alpha": 5.0})
    assert heads[3] == ("an", {"name": "linear"})


def test_a_method_named_as_in_the_base_keeps_the_options_it_has_there(tmp_path: Path) -> None:
    made = grid(tmp_path, factors={"method.name": ["ll_r", "ll_ct"]})
    assert made.cells[0].config.method["delta_rel"] == 0.3
    assert made.cells[1].config.method["delta_rel"] == 0.2  # ll_ct's own default


def test_one_at_a_time_changes_one_factor_and_what_its_condition_needs(tmp_path: Path) -> None:
    made = grid(tmp_path, design="one_at_a_time", factors={"optim.lr": [1e-3, 1e-2], **BOOST})
    assert [cell.label for cell in made.cells] == ["baseline", "lr=0.01", "boostlu, alpha=2", "boostlu, alpha=5"]
    assert len({cell.config.fingerprint for cell in made.cells}) == len(made.cells)


def test_leave_one_out_names_what_is_missing(tmp_path: Path) -> None:
    made = grid(
        tmp_path,
        design="leave_one_out",
        base={**BASE, "data": {**BASE["data"], "observation": "candidate_set"}, "method": "cones"},
        factors={
            "screening": {"on": {}, "off": {"method.tau": 0.0}},
            "suppression": {"on": {}, "off": {"method.beta": 0.0}},
            "method.r_ws": [3.0, 2.0],
        },
    )
    assert [cell.label for cell in made.cells] == ["full", "without screening", "without suppression", "r_ws=2"]
    assert made.baseline.label == "full"
    assert made.cells[1].config.method["tau"] == 0.0
    assert made.cells[2].config.method["tau"] != 0.0


def test_the_baseline_may_be_any_cell_and_combinations_may_be_left_out(tmp_path: Path) -> None:
    factors = {"method.name": ["an", "role"], "optim.batch_size": [8, 16]}
    made = grid(
        tmp_path,
        factors=factors,
        baseline={"method.name": "role", "optim.batch_size": 16},
        exclude=[{"method.name": "an", "optim.batch_size": 8}],
    )
    assert [cell.label for cell in made.cells] == ["an, batch_size=16", "role, batch_size=8", "role, batch_size=16"]
    assert made.baseline is made.cells[2]


@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3))
@settings(max_examples=20, deadline=None)
def test_designs_have_as_many_cells_as_they_should(sizes: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("designs")
    paths = ["optim.lr", "optim.weight_decay", "epochs"]
    factors = {path: [place + 1 for place in range(size)] for path, size in zip(paths, sizes, strict=False)}
    factors = {p: [float(v) if p != "epochs" else v for v in values] for p, values in factors.items()}
    product = 1
    for size in sizes:
        product *= size
    full = grid(folder, factors=factors)
    assert len(full.cells) == product == len({cell.config.fingerprint for cell in full.cells})
    single = grid(folder, factors=factors, design="one_at_a_time")
    assert len(single.cells) == 1 + sum(size - 1 for size in sizes)
    assert {cell.config.fingerprint for cell in single.cells} <= {cell.config.fingerprint for cell in full.cells}


def test_repeats_are_seeds_by_label_draws_and_one_draw_where_labels_are_not_drawn(tmp_path: Path) -> None:
    factors = {"labels": {"one": {}, "all": {"data.observation.name": "fully_observed"}}}
    made = grid(tmp_path, factors=factors, seeds=[0, 1], label_draws=[7, 8], base={**BASE, "method": "bce_ls"})
    one, everything = made.cells
    assert made.repeats(one) == [(0, 7), (1, 7), (0, 8), (1, 8)]
    assert made.repeats(everything) == [(0, 7), (1, 7)]
    own = grid(
        tmp_path, "pairing=own", factors=factors, seeds=[0, 1], label_draws=[7, 8], base={**BASE, "method": "bce_ls"}
    )
    assert [own.repeats(cell) for cell in own.cells] == [[(0, 7), (1, 8)], [(0, 7), (1, 7)]]
    again = one.at(1, 8)
    assert (again.seed, again.data.observation_seed) == (1, 8)


@pytest.mark.parametrize(
    ("keys", "parts"),
    [
        ({"factors": {"methd.name": ["an"]}}, ["methd", "method"]),
        ({"factors": {"method.name": ["an", "rol"]}}, ["rol", "role"]),
        ({"factors": {"optim.lr": [1e-3], "head": {"values": [1], "wen": {}}}}, ["factors.head", "wen", "when"]),
        ({"factors": {"optim.lr": [1e-3, 1e-3]}}, ["optim.lr", "0.001", "twice"]),
        ({"factors": {"optim.lr": {"values": [1.0], "when": {"hed": "x"}}, "head": {"a": {}}}}, ["hed", "head"]),
        ({"factors": {"optim.lr": {"values": [1.0], "when": {"head": "b"}}, "head": {"a": {}}}}, ["when.head", "'b'"]),
        ({"baseline": {"method.name": "rol"}}, ["baseline.method.name", "rol", "role"]),
        ({"exclude": [{"method.nam": "role"}]}, ["exclude[0]", "method.nam", "method.name"]),
        ({"exclude": [{"method.name": "an"}]}, ["baseline", "excluded"]),
        ({"blocks": "data.name"}, ["blocks", "data.name"]),
        ({"seeds": [1, 1]}, ["seeds", "differ"]),
        ({"pairing": "own", "seeds": [0, 1], "label_draws": [1200]}, ["pairing", "2 seeds", "1 label_draws"]),
        ({"metric": "selection/best"}, ["metric", "selection/best"]),
        ({"desing": "full"}, ["desing", "design"]),
        ({"design": "ful"}, ["design", "ful", "full"]),
        ({"base": "recipe:cole_an_linea"}, ["cole_an_linea", "cole_an_linear"]),
        ({"base": "best:digit"}, ["best:digit", "no finished trial"]),
        ({"base": "nothing.yaml"}, ["nothing.yaml", "not a file"]),
        ({"tune_per_cell": {"n_trials": 2, "search_space": {"optim.rl": {}}}}, ["optim.rl", "optim.lr"]),
        ({"factors": {"wd": {"a": {}, "b": {"optim.weight_decay": 0.0}}}}, ["'a'", "'b'", "same configuration"]),
        ({"factors": {"data.observation.name": ["single_positive", "candidate_set"]}}, ["cell", "exclude"]),
    ],
)
def test_what_is_wrong_is_named_with_its_nearest_right(tmp_path: Path, keys: dict[str, Any], parts: list[str]) -> None:
    message = refused(tmp_path, **keys)
    for part in parts:
        assert part in message, message


def test_assignments_reach_base_and_keys(tmp_path: Path) -> None:
    made = grid(tmp_path, "optim.lr=0.5", "seeds=[4]", "design=one_at_a_time")
    assert made.cells[0].config.optim.lr == 0.5
    assert made.config.seeds == [4]
    assert made.config.design == "one_at_a_time"
    assert "unknown key 'optim.rl'" in refused(tmp_path, "optim.rl=1")


def test_a_recipe_and_the_best_of_a_study_are_bases(tmp_path: Path) -> None:
    recipe = grid(tmp_path, "data.name=digits", base="recipe:cole_an_linear", factors={"optim.lr": [1e-3, 1e-2]})
    assert recipe.cells[0].config.compat == "reference"
    assert recipe.cells[0].config.data.name == "digits"
    folder = tmp_path / "results" / "digits"
    folder.mkdir(parents=True)
    (folder / "best.yaml").write_text(yaml.safe_dump({**BASE, "optim": {"lr": 0.123}}))
    best = grid(tmp_path, base="best:digits")
    assert {cell.config.optim.lr for cell in best.cells} == {0.123}


def test_a_begun_grid_is_read_back_equal(tmp_path: Path) -> None:
    from ablations.launch import dump_grid

    made = grid(tmp_path, "data.name=digits", base="recipe:cole_an_linear", factors={"optim.lr": [1e-3, 1e-2]})
    folder = tmp_path / "results" / "ablations" / "mine"
    folder.mkdir(parents=True)
    (folder / "grid.yaml").write_text(dump_grid(made))
    again = load_grid(find_grid("mine", folder.parent), output=tmp_path / "results")
    assert again.name == "mine"
    assert [c.config.fingerprint for c in again.cells] == [c.config.fingerprint for c in made.cells]


def test_conditions_that_go_round_in_a_circle() -> None:
    circle = {"a": {"variants": {"x": {}}, "when": {"b": "y"}}, "b": {"variants": {"y": {}}, "when": {"a": "x"}}}
    with pytest.raises(ConfigError, match="a, b"):
        read_factors(circle)


@pytest.mark.parametrize("name", grid_names())
def test_every_shipped_grid_is_sound(name: str, tmp_path: Path) -> None:
    made = load_grid(find_grid(name), output=tmp_path)
    assert made.config.description
    assert len(made.cells) > 1
    assert len({cell.label for cell in made.cells}) == len(made.cells)


def test_an_unknown_grid_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="digits_boostlu"):
        find_grid("digits_bostlu", tmp_path)


def test_trials_for_a_grid_that_searches_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from ablations.run import main

    assert main(["--grid", "digits_boostlu", "--trials", "3"]) == 2
    told = capsys.readouterr().err
    assert "--trials 3: " in told
    assert "has no tune_per_cell, so its cells search nothing" in told


def test_a_list_that_is_too_short_is_told_in_plain_words(tmp_path: Path) -> None:
    (tmp_path / "short.yaml").write_text("base: {epochs: 2}\nfactors: {method.name: [an, bce]}\nseeds: []\n")
    with pytest.raises(ConfigError, match=r"short\.yaml: seeds must have at least 1 item, got \[\]$"):
        read_grid_file(tmp_path / "short.yaml")
