"""How much of somebody's file may be unpacked: what fits into this machine's free memory."""

import gzip
import io
import zlib
from pathlib import Path

_CHUNK = 2**20  # bytes unpacked at a time
_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Return the bytes that this process could allocate: of the machine, or of its container if that has less."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = (_CGROUP / "memory.max").read_text(encoding="ascii").strip()
        used = int((_CGROUP / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free  # no container, or an older kernel
    return free if limit == "max" else max(0, min(free, int(limit) - used))


def require_memory(num_bytes: int, what: str) -> None:
    """Raise ValueError, which begins with ``what``, if ``num_bytes`` are more than the free memory."""
    free = free_memory()
    if num_bytes > free:
        raise ValueError(f"{what} {num_bytes / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB of memory are free")


def unpack_gzip(data: bytes) -> bytes:
    """Return what a gzip file holds.

    Raises:
        ValueError: it is no whole gzip file, or unpacks to more than a quarter of the free memory; text that is read
            into lists takes several times its length.
    """
    allowed = free_memory() // 4
    whole = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            while chunk := file.read(_CHUNK):
                whole += chunk
                if len(whole) > allowed:
                    raise ValueError(f"it unpacks to more than {allowed / 2**30:.1f} GiB, a quarter of the free memory")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(str(error)) from None
    return bytes(whole)
