"""A study's images must stay as they are: told when they did not, within a launch and between launches."""

from typing import TYPE_CHECKING

from plml.data.watch import ImageWatch
from plml.terminal import Terminal

if TYPE_CHECKING:
    from tune.ledger import Ledger

_ATTR = "images"


def watch_images(ledger: "Ledger", terminal: Terminal) -> ImageWatch:
    """Look at the images of a study's base configuration before it trains.

    The first launch notes their names and sizes in the ledger; later ones compare, and say if they differ.
    """
    watch = ImageWatch.of(ledger.study.base.data)
    digest, noted = watch.digest(), ledger.optuna.user_attrs.get(_ATTR)
    if noted is None and digest is not None:
        ledger.optuna.set_user_attr(_ATTR, digest)
    if noted not in (None, digest):
        _warn(
            "the image files of this study are not those that it began with: names or sizes differ; new trials learn "
            "from other images than those that are done, and --fork NEW or --fresh keeps them apart",
            terminal,
        )
    return watch


def tell_changes(watch: ImageWatch, terminal: Terminal) -> None:
    """Say if images changed since ``watch`` looked at them."""
    changed = watch.changed()
    if changed:
        _warn(
            f"{len(changed)} of {len(watch.stamps)} image files changed while trials were trained, {changed[0]} for "
            "one: trials that loaded the data since then learned from other images; restore the files, or begin again "
            "(--fresh)",
            terminal,
        )


def _warn(text: str, terminal: Terminal) -> None:
    terminal.warn(f"warning   {text}")
