"""Files that say their own digest, so that a byte that was lost or changed is noticed before anything is believed.

The seal is the end of the file: a name and the SHA-256, in hexadecimal, of all that comes before it. Other programs
read past it. In a zip archive (what ``torch.save`` writes) it is the archive's comment, and the two bytes that give the
comment's length count as the zeros that they were when the archive was written. In a ``.npy`` file it follows the
array. Files of earlier versions have no seal and are read as ever.
"""

import hashlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from plml.errors import DamagedError

NAME = b"plml-sha256:"
LENGTH = len(NAME) + 64  # bytes
ARCHIVE_END, ARCHIVE_MARK = 22, b"PK\x05\x06"  # the last record of a zip archive without comment, and how it begins
CHUNK = 2**20


class SealingWriter:
    """What is written here goes to ``file``; closing the content with :meth:`seal` adds the digest of all of it.

    Writers that turn whatever ends a write into an error of their own (``torch.save`` does) lose the reason, of a disk
    or of a user who interrupts: ``trouble`` has it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.trouble: BaseException | None = None
        self._digest = hashlib.sha256()

    def write(self, data: bytes | memoryview) -> int:
        """Write ``data``; return how many bytes it was."""
        try:
            self.file.write(data)
        except BaseException as error:
            self.trouble = error
            raise
        self._digest.update(data)
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Hand what is buffered to the system."""
        self.file.flush()

    def seal(self, *, archive: bool) -> None:
        """Add the seal: as its comment to an ``archive``, or simply at the end."""
        if archive:
            self.file.seek(-2, 2)
            self.file.write(LENGTH.to_bytes(2, "little"))
        self.file.write(NAME + self._digest.hexdigest().encode())


def check_archive(file: BinaryIO) -> None:
    """Compare a zip archive with its seal, if it has one; leaves the file at its beginning.

    Raises:
        DamagedError: they differ, or it is no whole archive; the message is what is wrong, without the file's name.
        OSError: it cannot be read.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - LENGTH - 2))
    end = file.read()
    if end[-ARCHIVE_END:].startswith(ARCHIVE_MARK) and end[-2:] == bytes(2):  # of an earlier version
        file.seek(0)
        return
    length, seal = end[:-LENGTH], end[-LENGTH:]
    if not seal.startswith(NAME) or length != LENGTH.to_bytes(2, "little"):
        raise DamagedError("its end is missing or garbled")
    _compare(file, size - LENGTH - 2, bytes(2), seal)


def read_array(file: BinaryIO) -> NDArray[Any]:
    """Read a ``.npy`` file from its beginning and compare it with its seal, if it has one.

    Raises:
        DamagedError: it is no whole array, or differs from its seal; the message is what is wrong.
        OSError: it cannot be read.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - LENGTH))
    seal = file.read()
    sealed = size >= LENGTH and seal.startswith(NAME)
    if sealed:
        _compare(file, size - LENGTH, b"", seal)
    file.seek(0)
    try:
        array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise DamagedError(str(error).partition("\n")[0] or type(error).__name__) from error
    if not sealed and file.tell() != size:
        raise DamagedError("its end is missing or garbled")
    return array


def _compare(file: BinaryIO, count: int, rest: bytes, seal: bytes) -> None:
    """Digest the first ``count`` bytes and ``rest``; leaves the file at its beginning."""
    digest = hashlib.sha256()
    file.seek(0)
    while count > 0:
        chunk = file.read(min(CHUNK, count))
        if not chunk:
            break
        digest.update(chunk)
        count -= len(chunk)
    digest.update(rest)
    if seal != NAME + digest.hexdigest().encode():
        raise DamagedError("its content does not agree with its digest")
    file.seek(0)
