"""Which version of a registered model has an alias, such as ``champion``, and when it moves."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from plml.model_candidate import CHOSEN_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient


def move_alias(name: str, alias: str, version: str, force: bool, client: "MlflowClient") -> tuple[bool, str]:
    """Move the alias if it should be; return whether this version has it now, and why."""
    mine = client.get_model_version(name, version).tags
    holder = client.get_registered_model(name).aliases.get(alias)
    if holder is None:
        client.set_registered_model_alias(name, alias, version)
        return True, f"'{alias}' is version {version}: no version had it"
    if str(holder) == version:
        return True, f"'{alias}' is version {version} already"
    verdict, why = better(mine, client.get_model_version(name, str(holder)).tags)
    if verdict or force:
        client.set_registered_model_alias(name, alias, version)
        reason = why if verdict else f"forced, though {why}"
        return True, f"'{alias}' moved from version {holder} to {version}: {reason}"
    return False, f"'{alias}' stays with version {holder}: {why}"


def better(mine: Mapping[str, str], theirs: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether a version (its tags) is better than another by what both were chosen by, and why or why not."""
    for key, what in (("plml.selection", "criterion and labels"), ("plml.data", "data set or label draw")):
        if mine.get(key) != theirs.get(key):
            return False, f"they were chosen by another {what} ({mine.get(key)}; {theirs.get(key)})"
    try:
        one, other = (float(tags[CHOSEN_TAG]) for tags in (mine, theirs))
    except (KeyError, ValueError):
        return False, "the other version has no selection figure"
    compared = f"{one:.2f} against {other:.2f}, {mine['plml.selection']}"
    return one > other, compared if one > other else f"it is not better ({compared})"
