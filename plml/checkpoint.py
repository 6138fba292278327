"""Files that survive a crash: written whole beside their place, synced, then renamed onto it."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plml.errors import CheckpointError

FORMAT = 1


def write_whole(path: Path, write: Callable[[BinaryIO], object], *, sync: bool = True) -> None:
    """Call ``write`` on a temporary file beside ``path``, then rename it; a reader sees old or new, never half.

    Without ``sync`` that holds for a process that dies, not for a machine that loses power.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole."""
    write_whole(path, lambda file: file.write(text.encode()))


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line, whole."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def write_array(path: Path, array: NDArray[Any], *, sync: bool = True) -> None:
    """Write a ``.npy`` file, whole."""
    write_whole(path, lambda file: np.save(file, array, allow_pickle=False), sync=sync)


def write_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """Write a ``.npz`` file, whole."""
    # numpy's stub takes the keyword arrays for its own `allow_pickle` flag.
    write_whole(path, lambda file: np.savez(file, **arrays))  # type: ignore[arg-type]


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; they load again with ``weights_only=True``."""
    whole = _compact({"format": FORMAT, **content}, {}, lambda tensor: tensor if _is_whole(tensor) else tensor.clone())
    write_whole(path, lambda file: torch.save(whole, file))


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
        CheckpointError: the file is missing, damaged, of another format, or holds anything but tensors and
            plain values.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is not a file; a run folder holds last.pt and best.pt")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} is damaged, or is no checkpoint: it is not a zip archive")
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} holds more than tensors and plain values, so it is not loaded") from error
    except Exception as error:
        reason = str(error).partition(". ")[0] or type(error).__name__
        raise CheckpointError(f"{path} is damaged: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a plml checkpoint of format {FORMAT}")
    return content
