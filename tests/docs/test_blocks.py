"""Every block of README and docs says what it is; configurations load, and command lines are understood."""

from pathlib import Path

import pytest
from command_lines import commands, read
from pages import SHELL, SHOWN, YAML_KINDS, Block, all_blocks, blocks_of, page_names
from surroundings import write_named_yaml

from plml.config import TrainConfig, load_config, make_config
from plml.errors import ConfigError
from plml.schema import assign, check_keys, parse_assignment, read_yaml

BLOCKS = all_blocks()
YAML = [block for block in BLOCKS if block.language == "yaml" and block.reason is None]
TYPED = [block for block in BLOCKS if block.language in SHELL]
FORMS = ("[", "...", "NAME|")  # brackets and dots: the form of a command, not one


@pytest.mark.parametrize("page", page_names())
def test_every_block_says_what_it_is(page: str) -> None:
    for block in blocks_of(page):
        if block.language == "yaml":
            kind = block.comment.partition(":")[0]
            assert kind in (*YAML_KINDS, "not run"), f"{block}: a comment above must say what this YAML is"
        elif block.language in (*SHELL, "python"):
            told = block.comment in ("", "fast") or block.reason is not None or block.comment.startswith("file: ")
            assert told, f"{block}: unknown comment {block.comment!r}"
        else:
            assert block.language in SHOWN, f"{block}: the fence has no language, or an unknown one"


@pytest.mark.parametrize("block", YAML, ids=str)
def test_yaml_is_accepted(block: Block, tmp_path: Path) -> None:
    from ablations.grid import load_grid
    from tune.study import load_study

    write_named_yaml(tmp_path, block.page)  # one may be the base of another
    file = tmp_path / "block.yaml"
    file.write_text(block.text, encoding="utf-8")
    match block.comment.partition(":")[0]:
        case "study":
            load_study(file)
        case "grid":
            load_grid(file, output=tmp_path)
        case "config":
            load_config(file)
        case "config lines":
            for line in filter(None, block.text.splitlines()):
                make_config({"data": {"observation": "single_positive"}, "method": "an", **read_yaml(line)})
        case "data lines":
            for line in filter(None, block.text.splitlines()):
                make_config({"data": read_yaml(line)})
        case "search space":
            base = "base: {data: {observation: single_positive}, method: an}\nsearch_space:\n"
            names = "  method.name: {type: categorical, choices: [an, epr, role]}\n"
            file.write_text(base + names + block.text, encoding="utf-8")
            load_study(file)


@pytest.mark.parametrize("block", TYPED, ids=str)
def test_command_lines_are_understood(block: Block, capsys: pytest.CaptureFixture[str]) -> None:
    for words in commands(block):
        if any(form in word for form in FORMS for word in words):
            continue
        try:
            options = read(words)
        except SystemExit as error:
            pytest.fail(f"{block}: {' '.join(words)}: {error} {capsys.readouterr().err}")
        if options is not None:
            check_content(options, f"{block}: {' '.join(words)}")


def check_content(options: object, where: str) -> None:
    """Let loaders read what the options name: studies, grids, recipes, and paths of configurations."""
    from ablations.grid_file import find_grid, read_grid_file
    from tune.study_file import find_study, read_study_file, study_names

    given = vars(options)
    study, grid, config = given.get("study"), given.get("grid"), given.get("config")
    words = [*(given.get("assignments") or []), *(config if isinstance(config, list) else [])]
    assignments = [word for word in words if "=" in word and not word.startswith("against.")]
    try:
        if study in study_names():
            read_study_file(find_study(study), assignments)
        elif grid and not grid.endswith(".yaml"):
            read_grid_file(find_grid(grid, Path("none")), assignments)
        elif isinstance(config, str) and config.startswith("recipe:"):
            load_config(config, assignments)
        else:
            for path, value in map(parse_assignment, assignments):
                check_keys(TrainConfig, assign({}, path, value))
    except ConfigError as error:
        pytest.fail(f"{where}: {error}")
