"""Files that survive a crash: written whole beside their place, synced, then renamed onto it.

Checkpoints and arrays carry a digest of their content, see :mod:`plml.seal`.
"""

import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml import seal
from plml.errors import CheckpointError, DamagedError

FORMAT = 1


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Give an error of the disk the file's name: one that is full says so of no file."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(
    path: Path, write: Callable[[BinaryIO], object], *, sync: bool = True, keep: Path | None = None
) -> None:
    """Call ``write`` on a temporary file beside ``path``, then rename it; a reader sees old or new, never half.

    Without ``sync`` that holds for a process that dies, not for a machine that loses power. With ``keep`` the former
    file gets that name before; a process that dies just then leaves none under its own.

    Raises:
        OSError: of whatever kind, with the name of the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                if sync:
                    os.fsync(file.fileno())
            if keep is not None:
                with suppress(FileNotFoundError):
                    path.replace(keep)
            temporary.replace(path)
    finally:
        with suppress(OSError):  # a disk in trouble, which was told already
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, whole."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_array(path: Path, array: NDArray[Any], *, sync: bool = True) -> None:
    """Write a ``.npy`` file, whole and sealed."""

    def write(file: BinaryIO) -> None:
        sealing = seal.SealingWriter(file)
        np.save(sealing, array, allow_pickle=False)
        sealing.seal(archive=False)

    write_whole(path, write, sync=sync)


def load_array(path: Path) -> NDArray[Any]:
    """Read a ``.npy`` file.

    Raises:
        DamagedError: it is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            return seal.read_array(file)
    except DamagedError as error:
        raise DamagedError(f"{path} is damaged: {error}") from error
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing") from error


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write a ``.npz`` file, whole."""
    # numpy's stub takes the keyword arrays for its own `allow_pickle` flag.
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read a ``.npz`` file; the archive has a checksum of each array.

    Raises:
        DamagedError: it is missing or damaged.
    """
    try:
        # Opened here, since numpy leaves open what is no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays}
    except FileNotFoundError as error:
        raise DamagedError(f"{path} is missing") from error
    except OSError:
        raise
    except Exception as error:
        raise DamagedError(f"{path} is damaged: {error}") from error


def save_checkpoint(path: Path, content: dict[str, Any], *, keep: Path | None = None) -> None:
    """Write tensors and plain values; they load again with ``weights_only=True``.

    Args:
        path: the file.
        content: what to write.
        keep: the name that the former file gets.
    """
    whole = _compact({"format": FORMAT, **content}, {}, lambda tensor: tensor if _is_whole(tensor) else tensor.clone())

    def write(file: BinaryIO) -> None:
        sealing = seal.SealingWriter(file)
        try:
            torch.save(whole, sealing)  # type: ignore[arg-type]  # it writes and flushes, and does no more
        except RuntimeError:
            if sealing.trouble is None:
                raise
            raise sealing.trouble from None  # torch says only that so many bytes are missing
        sealing.seal(archive=True)

    write_whole(path, write, keep=keep)


def own_copy(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``content`` with tensors of its own, which later training does not change."""
    copy: dict[str, Any] = _compact(dict(content), {}, Tensor.clone)
    return copy


def _is_whole(tensor: Tensor) -> bool:
    """Whether the tensor is all of its storage; of a part, torch.save would write the whole."""
    return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.itemsize


def _compact(value: Any, seen: dict[Any, Tensor], copy: Callable[[Tensor], Tensor]) -> Any:
    """Apply ``copy`` to every tensor; two names of the same one stay two names of one."""
    if isinstance(value, Tensor):
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
        if place not in seen:
            seen[place] = copy(value.detach())
        return seen[place]
    if isinstance(value, Mapping):
        return {key: _compact(item, seen, copy) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_compact(item, seen, copy) for item in value)
    return value


def load_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a checkpoint without executing anything in it.

    Raises:
        DamagedError: the file lost or changed bytes since it was written. One of an earlier version has no digest:
            what torch itself notices is all that is.
        CheckpointError: the file is missing, of another format, or holds anything but tensors and plain values.
        OSError: it cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; a run folder holds last.pt and best.pt")
    with path.open("rb") as file:
        try:
            seal.check_archive(file)
            content = torch.load(file, map_location=device, weights_only=True)
        except pickle.UnpicklingError as error:
            raise CheckpointError(f"{path} holds more than tensors and plain values, so it is not loaded") from error
        except OSError:
            raise
        except Exception as error:
            reason = str(error).partition(". ")[0] or type(error).__name__
            raise DamagedError(f"{path} is damaged, or is no checkpoint: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a plml checkpoint of format {FORMAT}")
    return content
