"""Which errors are the storage's: the configuration cannot help them, and later they may be gone."""

import errno

TROUBLE = frozenset(
    {
        errno.ENOSPC,  # the disk is full
        errno.EDQUOT,  # so is the user's share of it
        errno.EFBIG,  # or what one file may take
        errno.EROFS,  # read-only, also after an error
        errno.EACCES,
        errno.EPERM,
        errno.EIO,
        errno.ENXIO,  # the device is gone
        errno.ENODEV,
        errno.ESTALE,  # the server no longer knows the file
        errno.ENOTCONN,  # what served a folder in user space died
    }
)
# What a path that somebody typed can be told; trying again does not help.
WRONG_PATH = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTEMPTY}
)


def storage_trouble(error: BaseException) -> str | None:
    """Return path and reason if ``error``, or one that it was raised for, is the storage's; None if it is not."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in TROUBLE:
            place = f"{seen.filename}: " if seen.filename is not None else ""
            return f"{place}{seen.strerror} ({errno.errorcode[seen.errno]})"
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def wrong_path(error: BaseException) -> str | None:
    """Return path and reason if ``error`` is about a path that cannot be what was asked for; None if it is not."""
    if isinstance(error, OSError) and error.filename is not None and error.errno in WRONG_PATH:
        return f"{error.filename}: {error.strerror} ({errno.errorcode[error.errno]})"
    return None
