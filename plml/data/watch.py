"""Whether the image files of a data set are still those that a study began with.

Training reads decoded copies, so a file that changes while an epoch runs changes nothing there. But a process that
loads the data later finds another size or time, decodes the file anew, and learns from other pixels than the trials
before.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from plml.config import DataConfig
from plml.data.inputs import parts, read_source


@dataclass(frozen=True)
class ImageWatch:
    """Image files as they were at one moment.

    Attributes:
        stamps: size in bytes and time of modification in nanoseconds of each file; None for one that was not there.
    """

    stamps: dict[Path, tuple[int, int] | None]

    @classmethod
    def of(cls, data: DataConfig) -> "ImageWatch":
        """Look at the images of a data set; one without image files has none. Raises what reading it raises."""
        if data.root is None:
            return cls({})
        found = [part.paths or () for _, part in parts(read_source(data))]
        return cls({path: _stamp(path) for paths in found for path in paths})

    def changed(self) -> list[Path]:
        """Return the files that are no longer as they were, in the order of the data set."""
        return [path for path, stamp in self.stamps.items() if _stamp(path) != stamp]

    def digest(self) -> str | None:
        """Return what names the files wherever they lie, by names and sizes; None if there are none."""
        if not self.stamps:
            return None
        lines = sorted(f"{path.name}\0{stamp[0] if stamp else -1}" for path, stamp in self.stamps.items())
        return sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:24]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns
