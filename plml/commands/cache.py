"""``plml cache list|build|verify|drop``: decoded images and extracted features on this machine's disk."""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from plml.cli import DONE, FAILED
from plml.config import TrainConfig, load_config, make_config
from plml.data.cache import default_cache_dir
from plml.data.cache_entry import Entry, drop_entry, list_entries, verify_entry
from plml.errors import ConfigError, DataError
from plml.schema import parse_assignment

SIZES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
}
AGES = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

console = Console(highlight=False, soft_wrap=True)


def run(options: argparse.Namespace) -> int:
    """List, build, verify or drop cached arrays; return an exit code."""
    actions = {"list": _list, "build": _build, "verify": _verify, "drop": _drop}
    return actions[options.action](options)


def parse_size(text: str) -> int:
    """Return the bytes that ``20GB``, ``1.5 GiB`` or ``500MB`` mean; raise ConfigError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", text.strip())
    if match is None or match[2].upper() not in SIZES:
        raise ConfigError(f"--to-size must be a number and a unit such as 20GB, got '{text}'")
    return int(float(match[1]) * SIZES[match[2].upper()])


def parse_age(text: str) -> float:
    """Return the seconds that ``30d``, ``12h`` or ``2w`` mean; raise ConfigError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip())
    if match is None:
        raise ConfigError(f"--unused-for must be a number and one of s, m, h, d, w, such as 30d, got '{text}'")
    return float(match[1]) * AGES[match[2]]


def choose(
    entries: Sequence[Entry], keys: Sequence[str], *, unused_for: float | None, to_size: int | None, at: float
) -> list[Entry]:
    """Return the entries to drop, the least recently used first.

    Args:
        entries: all there are, the least recently used first.
        keys: beginnings of keys; none: of all.
        unused_for: leave those that were used in so many seconds before ``at``.
        to_size: leave the most recently used that fit into so many bytes together with all that is not chosen.
        at: seconds since the epoch.

    Raises:
        ConfigError: no key begins so.
    """
    chosen = _matching(entries, keys)
    if unused_for is not None:
        chosen = [entry for entry in chosen if at - entry.last_used >= unused_for]
    if to_size is not None:
        left = sum(entry.num_bytes for entry in entries)
        dropped = []
        for entry in chosen:
            if left <= to_size:
                break
            dropped.append(entry)
            left -= entry.num_bytes
        chosen = dropped
    return chosen


def _matching(entries: Sequence[Entry], keys: Sequence[str]) -> list[Entry]:
    for key in keys:
        if not any(entry.key.startswith(key) for entry in entries):
            raise ConfigError(f"no cached array has a key that begins with '{key}'; plml cache list shows them")
    return [entry for entry in entries if not keys or entry.key.startswith(tuple(keys))]


def _list(options: argparse.Namespace) -> int:
    folder = default_cache_dir()
    entries = list_entries(folder)
    if options.json:
        console.print_json(json.dumps([_row(entry) for entry in entries]))
        return DONE
    if not entries:
        console.print(f"{folder}: nothing is cached")
        return DONE
    _print(entries)
    total = sum(entry.num_bytes for entry in entries)
    console.print(f"{folder}: {len(entries)} arrays, {_size_text(total)}")
    return DONE


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "kind": entry.kind,
        **entry.about,
        "bytes": entry.num_bytes,
        "complete": entry.complete,
        "built": entry.built,
        "seconds": entry.seconds,
        "last_used": _time_text(entry.last_used),
        "used_by": entry.used_by,
    }


def _print(entries: Sequence[Entry]) -> None:
    whole = {name: Column(name, no_wrap=True) for name in ("key", "kind", "size", "last used (UTC)", "state")}
    names = ("key", "kind", "what", "images", "pixels", "size", "last used (UTC)", "state")
    table = Table(*(whole.get(name, name) for name in names))
    for entry in entries:
        about = entry.about
        state = {"build": "building", "read": "in use"}.get(entry.used_by or "", "")
        table.add_row(
            entry.key[:8],
            entry.kind,
            " ".join(str(about[name]) for name in ("data", "part", "backbone", "weights") if name in about),
            str(about.get("images", "")),
            str(about.get("image_size", "")),
            _size_text(entry.num_bytes),
            _time_text(entry.last_used)[:16].replace("T", " "),
            state or ("" if entry.complete else "incomplete"),
        )
    console.print(table)


def _build(options: argparse.Namespace) -> int:
    from plml.data.load import cache_inputs
    from plml.device import pick_device
    from plml.models.weights import find_weights

    config = _config(options.config)
    if options.download and config.model.weights:
        find_weights(config.model, download=True)
    began = time.monotonic()
    for stage in _stages(config):
        cache_inputs(stage, device=pick_device(config.device), progress=console.is_terminal)
    console.print(f"{config.data.name}: everything is cached ({time.monotonic() - began:.1f} s)")
    return DONE


def _config(words: Sequence[str]) -> TrainConfig:
    """Read CONFIG.yaml or recipe:NAME and what overrides it, or assignments alone."""
    if words and "=" not in words[0]:
        return load_config(words[0], list(words[1:]))
    return make_config({"method": "an"}, dict(map(parse_assignment, words)))  # no loss has a say in what is decoded


def _stages(config: TrainConfig) -> list[TrainConfig]:
    """One configuration for features and one for images, as far as the mode needs them."""
    if config.mode != "linear_init":
        return [config]
    return [config.model_copy(update={"mode": mode, "linear_init": None}) for mode in ("linear", "end_to_end")]


def _verify(options: argparse.Namespace) -> int:
    entries = _matching(list_entries(default_cache_dir()), options.keys)
    found = 0
    for entry in entries:
        damaged = verify_entry(entry)
        found += bool(damaged)
        for start, stop in damaged:
            console.print(f"{entry.kind}/{entry.key}: rows {start} to {stop - 1} are damaged")
    skipped = sum(not entry.complete for entry in entries)
    console.print(
        f"{len(entries) - skipped} arrays verified, {found} damaged"
        + (f", {skipped} incomplete and not looked at" if skipped else "")
    )
    if found:
        console.print("what is damaged is computed again by the next run that needs it, or by plml cache build")
    return FAILED if found else DONE


def _drop(options: argparse.Namespace) -> int:
    if not (options.keys or options.all or options.unused_for or options.to_size):
        raise ConfigError("name what to drop: beginnings of keys, --unused-for 30d, --to-size 20GB, or --all")
    chosen = choose(
        list_entries(default_cache_dir()),
        options.keys,
        unused_for=parse_age(options.unused_for) if options.unused_for else None,
        to_size=parse_size(options.to_size) if options.to_size else None,
        at=time.time(),
    )
    if not chosen:
        console.print("nothing to drop")
        return DONE
    if not options.yes:
        _print(chosen)
        if not _agreed(f"Delete these {len(chosen)} arrays, {_size_text(sum(e.num_bytes for e in chosen))}? [y/N] "):
            console.print("nothing was deleted")
            return DONE
    kept = [entry for entry in chosen if not drop_entry(entry)]
    freed = sum(entry.num_bytes for entry in chosen if entry not in kept)
    console.print(f"{len(chosen) - len(kept)} arrays deleted, {_size_text(freed)}")
    if kept:
        raise DataError(
            "left alone, because a live process builds or reads them: "
            + ", ".join(f"{entry.kind}/{entry.key[:10]}" for entry in kept)
        )
    return DONE


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("plml cache drop asks before it deletes, and there is nobody to ask; add --yes")
    return console.input(question).strip().lower() in ("y", "yes")


def _size_text(num_bytes: int) -> str:
    unit = next((u for u in ("TB", "GB", "MB", "KB") if num_bytes >= SIZES[u]), "B")
    return f"{num_bytes / SIZES[unit]:.1f} {unit}" if unit != "B" else f"{num_bytes} B"


def _time_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
