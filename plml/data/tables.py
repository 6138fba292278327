"""Comma-separated tables, plain or gzipped, with errors that name the line."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from plml.data.memory import unpack_gzip
from plml.errors import DataError, nearest


def read_text(path: Path, expected: str) -> str:
    """Return the text of a file that may be gzipped (name ends in .gz); raise DataError naming it and ``expected``."""
    try:
        data = path.read_bytes()
        packed = path.suffix == ".gz"
        return (unpack_gzip(data) if packed else data).decode("utf-8-sig")  # spreadsheets write a byte order mark
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected {expected}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; expected {expected}") from None
    except ValueError as error:
        raise DataError(f"{path}: is not a whole gzip file ({error}); expected {expected}") from None


def read_table(path: Path, expected: str) -> tuple[list[str], list[list[str]]]:
    """Return header and rows of a CSV file; raise DataError for a row of another length or a column named twice."""
    rows = list(_rows(path, read_text(path, expected)))
    if not rows:
        raise DataError(f"{path}: is empty; expected {expected}")
    header = [name.strip() for name in rows[0][1]]
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"{path}: has two columns '{name}'")
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise DataError(f"{path}: line {number} has {len(row)} fields, the header {len(header)}")
    if len(rows) == 1:
        raise DataError(f"{path}: has a header and no rows; expected {expected}")
    return header, [row for _, row in rows[1:]]


def column_index(path: Path, header: Sequence[str], name: str, option: str) -> int:
    """Return where a column stands; raise DataError naming the ``option`` that asked for it."""
    if name not in header:
        raise DataError(f"{path}: has no column '{name}' (data.options.{option}){nearest(name, header)}")
    return list(header).index(name)


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line numbers and fields of the lines that are not empty."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        for row in reader:
            if any(field.strip() for field in row):
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num} is not comma-separated text ({error})") from None
