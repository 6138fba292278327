"""What makes trials comparable: a study that goes on must be defined as it was when it began."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import optuna

from plml import __version__
from plml.errors import ConfigError
from plml.schema import flatten
from tune.folders import StudyFolder
from tune.study import Study


def keep_definition(ledger: optuna.Study, study: Study, folder: StudyFolder) -> None:
    """Store the study's definition in a new ledger, or compare it with the one that is stored.

    Raises:
        ConfigError: the ledger was begun with another search space, base configuration or objective.
    """
    spec = json.loads(json.dumps(study.spec()))
    stored = ledger.user_attrs.get("spec")
    if stored is None:
        ledger.set_user_attr("plml_version", __version__)
        ledger.set_user_attr("uid", uuid.uuid4().hex[:12])
        ledger.set_user_attr("spec", spec)
        return
    changes = spec_changes(stored, spec)
    if changes:
        raise ConfigError(
            f"study '{study.name}' in {folder.path} was begun with another definition:\n"
            + "\n".join(f"  {change}" for change in changes)
            + "\nfinished trials cannot be compared with new ones; give --fork NEW to go on under another name "
            "with the old trials as prior knowledge, or --fresh to begin again"
        )


def spec_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one line for each path whose value differs."""
    before, after = flatten(old), flatten(new)
    return [
        f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}"
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    ]
