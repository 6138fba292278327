"""Studies and grids by name: a file, one that comes with the project, or one that was begun in the output folder."""

from pathlib import Path

from plml.errors import ConfigError, nearest
from plml.user_path import user_path


def shipped_names(folder: Path) -> list[str]:
    """Return the names of the YAML files in ``folder``."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_named(what: str, name: str, shipped: Path, home: Path | None) -> Path:
    """Return the file of a study or grid.

    Args:
        what: ``study`` or ``grid``; also the option that gave the name, and the file's name in a folder that was begun.
        name: a path, or a name.
        shipped: the folder of those that come with the project.
        home: where those lie that were begun, each in a folder of its own.

    Raises:
        ConfigError: there is none; the nearest name is given.
    """
    if name.endswith((".yaml", ".yml")) or "/" in name:
        file = user_path(name).absolute()
        if file.is_file():
            return file
        beside = [path.name for path in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        raise ConfigError(f"--{what} {name}: {file} is not a file{nearest(file.name, beside) if beside else ''}")
    if name in shipped_names(shipped):
        return shipped / f"{name}.yaml"
    begun = {path.parent.name: path for path in home.glob(f"*/{what}.yaml")} if home else {}
    if name in begun:
        return begun[name]
    raise ConfigError(f"--{what}: there is no {what} '{name}'{nearest(name, [*shipped_names(shipped), *begun])}")


def name_of_file(what: str, file: Path) -> str:
    """Return the name of the study or grid in ``file``: its stem, or the folder's name for one that was begun."""
    return file.parent.name if file.name == f"{what}.yaml" else file.stem
