"""Text files that may be gzipped."""

import gzip
import io
from pathlib import Path

from plml.checkpoint import write_text, write_whole
from plml.data.memory import unpack_gzip
from plml.errors import DataError


def read_text(path: Path, expected: str) -> list[str]:
    """Return the non-empty lines of ``path``; raise DataError naming the file and what was expected."""
    try:
        data = path.read_bytes()
        text = (unpack_gzip(data) if path.suffix == ".gz" else data).decode("utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not a text file; expected {expected}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); expected {expected}") from None
    return [line for line in text.splitlines() if line.strip()]


def save_text(path: Path, text: str) -> None:
    """Write ``text``, gzipped if the name ends with .gz; the bytes depend on the text only."""
    if path.suffix != ".gz":
        write_text(path, text)
        return
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(text.encode())
    write_whole(path, lambda file: file.write(packed.getvalue()))
