"""Beginning a study again (``--fresh``), or with what another one knows (``--fork``, ``warm_start``)."""

import sys

import optuna
from optuna.trial import TrialState, create_trial
from rich.markup import escape

from plml.errors import ConfigError
from plml.terminal import Terminal
from tune.folders import StudyFolder
from tune.lease import bare_study, is_database, wait_for_dead
from tune.ledger import Ledger
from tune.records import counted_trials, open_study
from tune.trial_runs import discard_runs


def begin_again(folder: StudyFolder, uri: str, terminal: Terminal, *, storage: str | None, sure: bool) -> str | None:
    """Move the old study to the trash, its MLflow runs too; ask first unless ``sure``.

    A ledger in a database is deleted there.

    Args:
        folder: of the study.
        uri: of the MLflow store.
        terminal: where it is told.
        storage: that was asked for.
        sure: do not ask.

    Returns:
        The storage of the new study: what was asked for, or the database of the old one.
    """
    if not folder.path.exists():
        return storage
    where = folder.storage(storage)
    if not sure:
        if not sys.stdin.isatty():
            raise ConfigError(f"--fresh moves {folder.path} to the trash; give --yes too to confirm")
        if input(f"move {folder.path} and its MLflow runs to the trash, and begin again? [y/N] ").lower() != "y":
            raise ConfigError("nothing was changed")
    with folder.hold():
        discard_runs(folder, uri, terminal.warn)
        if is_database(where):
            old = bare_study(folder.name, where)
            wait_for_dead(old)
            optuna.delete_study(study_name=folder.name, storage=old._storage)
        trash = folder.discard()
    if trash:
        terminal.print(f"the old study is in {escape(str(trash))}", soft_wrap=True)
    return where if is_database(where) else storage


def old_study(folder: StudyFolder, name: str) -> StudyFolder:
    """Return the folder of the study that is forked; raise ConfigError if it was never begun."""
    old = StudyFolder(folder.path.parent / name)
    if not old.storage_file.is_file():
        raise ConfigError(f"--fork {folder.name}: there is no study '{name}' in {folder.path.parent} to learn from")
    return old


def learn(ledger: Ledger, old: StudyFolder, terminal: Terminal) -> None:
    """Fill a forked study with what the old one knows, once."""
    if "forked_from" in ledger.optuna.user_attrs:
        return
    fitted, refused = learn_from(ledger, open_study(old))
    ledger.optuna.set_user_attr("forked_from", old.name)
    outside = f"; {refused} lie outside the new space" if refused else ""
    terminal.print(f"learnt from {fitted} trials of {old.name}{outside}")


def learn_from(ledger: Ledger, other: optuna.Study) -> tuple[int, int]:
    """Add another study's finished trials as prior knowledge; return how many fitted and how many did not."""
    space = ledger.study.space
    fitted = refused = 0
    known = {trial.user_attrs.get("prior") for trial in ledger.optuna.get_trials(deepcopy=False)}
    for trial in counted_trials(other, (TrialState.COMPLETE, TrialState.PRUNED)):
        values, prior = trial.user_attrs["values"], f"{other.study_name}/{trial.user_attrs['key']}"
        try:
            params = space.to_params(values)
        except ConfigError:
            refused += 1
            continue
        fitted += 1
        if prior not in known:
            ledger.add_prior(
                create_trial(
                    state=trial.state,
                    value=trial.value,
                    params=params,
                    distributions=space.distributions(params),
                    intermediate_values=trial.intermediate_values,
                    user_attrs={"prior": prior, "values": values},
                )
            )
    return fitted, refused


def warm_start(ledger: Ledger, teacher: StudyFolder, terminal: Terminal) -> None:
    """Let a study's sampler know what another study learnt, and say so."""
    fitted, refused = ledger.warm_start(teacher)
    outside = f"; {refused} lie outside this search space" if refused else ""
    terminal.print(f"the sampler knows {fitted} trials of {escape(teacher.name)}{outside}")
