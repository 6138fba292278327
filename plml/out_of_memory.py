"""Memory that ran out, and what tensors leave behind."""

import gc

import torch


def release_memory() -> None:
    """Give back what tensors that are gone have left."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch or NumPy could not allocate; on CPU torch says so in a plain RuntimeError."""
    text = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
    )
