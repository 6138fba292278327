"""Run folders in a store that all machines reach by a URL: what fsspec can open, such as s3://, gs://, sftp:// or file://.

A run is put so that the store holds one that training can go on from at any moment: files that the record does not need
first, then the weights that the new record names under the name of weights that wait, then the record, and last the
weights get their own name. :mod:`plml.run_record` finds its way through all of these. Of a run's files the record
before the last one stays on its machine: stores keep what they are given.
"""

import errno
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from plml.errors import ConfigError
from plml.heartbeat import FILE as ALIVE
from plml.heartbeat import beat
from plml.run_record import ASIDE, BEFORE, BEST, BEST_BEFORE, BEST_NEXT, LAST

T = TypeVar("T")
Stamp = tuple[int, int]  # time of change in ns and size of a file
OWNER = ".owner"  # in the store: which worker trains the run now
ERROR = "error.json"
AT_HOME = frozenset({BEFORE, BEST_BEFORE, BEST_NEXT, ALIVE, ".lock", OWNER, ".fetched.json"})
LIGHT = frozenset({".jsonl", ".json", ".yaml"})  # what is small, and all that tables and figures of MLflow need
WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss"})  # an object appears when it is complete
THREADS = 8
PAUSES_S = (0.3, 1.0, 3.0, 8.0)  # before an operation is tried again


class OwnerError(RuntimeError):
    """Another worker has taken the run over."""


class RunStore:
    """Runs under one URL.

    Args:
        url: of the folder.

    Raises:
        ConfigError: nothing here can open such a URL.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        self.url = url
        try:
            # Without listings of its own, which would not show what other machines put there.
            self.files, self.root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"--run-store {url}: {error}") from None
        protocols = [self.files.protocol] if isinstance(self.files.protocol, str) else self.files.protocol
        if "memory" in protocols:
            raise ConfigError(f"--run-store {url}: other machines, and later launches, cannot see this memory")
        self._whole = bool(WHOLE.intersection(protocols))
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="plml-store")

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises:
            ConfigError: that does not work; the message says why.
        """
        probe = f"{self.root}/.plml-{time.time_ns()}"
        try:
            self.files.makedirs(self.root, exist_ok=True)
            self.files.pipe_file(probe, b"plml")
            found = self.files.cat_file(probe)
            self.files.rm_file(probe)
        except Exception as error:  # noqa: BLE001 - each file system has errors of its own
            raise ConfigError(f"--run-store {self.url}: {type(error).__name__}: {error}") from None
        if found != b"plml":
            raise ConfigError(f"--run-store {self.url}: does not give back what was written")

    # -- a worker's side ----------------------------------------------------------------------------------

    def claim(self, run: str, owner: str) -> None:
        """Become the only one who puts files of a run."""

        def claim(path: str) -> None:
            if not self._whole:
                self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.files.pipe_file(path, owner.encode())

        self._try(f"{run}/{OWNER}", claim)

    def put(self, run: str, folder: Path, known: dict[str, Stamp], owner: str, *, light: bool = False) -> None:
        """Put what changed in a run's folder since ``known``, which is brought up to date.

        Args:
            run: its path below the root.
            folder: where it lies on this machine.
            known: files as they were put before.
            owner: who puts them.
            light: only small files that do not belong to the record.

        Raises:
            OwnerError: the run is another worker's by now.
            OSError: the store does not take them; see :func:`plml.storage.storage_trouble`.
        """
        now = stamps(folder)
        new = [name for name, stamp in now.items() if known.get(name) != stamp]
        if light:
            new = [name for name in new if is_light(name)]
        if not new:
            return
        if self._try(f"{run}/{OWNER}", self.files.cat_file) != owner.encode():
            raise OwnerError(f"{self.url}/{run} was taken over by another worker")
        records = [name for name in new if PurePosixPath(name).name in (LAST, BEST)]
        others = [name for name in new if name not in records]
        list(self._pool.map(lambda name: self._put_file(folder / name, f"{run}/{name}"), others))
        for place in sorted({PurePosixPath(name).parent for name in records}):
            best, last = str(place / BEST), str(place / LAST)
            if best in records:
                self._put_file(folder / best, f"{run}/{place / BEST_NEXT}")
            if last in records:
                self._put_file(folder / last, f"{run}/{last}")
            if best in records:
                self._rename(f"{run}/{place / BEST_NEXT}", f"{run}/{best}")
        known.update({name: now[name] for name in new})

    def forget_error(self, run: str) -> None:
        """Remove the note that an attempt before this one left."""
        self._try(f"{run}/{ERROR}", lambda path: self.files.exists(path) and self.files.rm_file(path))

    # -- both sides ---------------------------------------------------------------------------------------

    def listing(self, run: str) -> dict[str, str]:
        """Return ``{name: mark}`` of the files of a run; a mark changes when its file does."""

        def find(path: str) -> dict[str, str]:
            self.files.invalidate_cache()
            try:
                found: Mapping[str, Mapping[str, Any]] = self.files.find(path, detail=True)
            except FileNotFoundError:  # some say so of a folder that nobody has written to
                return {}
            base = str(self.files._strip_protocol(path)).rstrip("/")
            return {str(name)[len(base) + 1 :]: _mark(info) for name, info in found.items()}

        return {name: mark for name, mark in self._try(run, find).items() if _is_of_run(name)}

    def get(self, run: str, names: Iterable[str], folder: Path) -> None:
        """Bring files of a run into ``folder``, each whole, its records last."""
        names = list(names)
        for some in (
            [name for name in names if not name.endswith(".pt")],
            [name for name in names if name.endswith(".pt") and not name.endswith(LAST)],
            [name for name in names if name.endswith(LAST)],
        ):
            list(self._pool.map(lambda name: self._get_file(f"{run}/{name}", folder / name), some))

    def _put_file(self, source: Path, path: str) -> None:
        def put(path: str) -> None:
            beat()
            parent = path.rpartition("/")[0]
            if self._whole:
                self.files.put_file(str(source), path)
                return
            self.files.makedirs(parent, exist_ok=True)
            half = f"{parent}/.{source.name}.tmp"
            self.files.put_file(str(source), half)
            self.files.mv(half, path)

        self._try(path, put)

    def _get_file(self, path: str, target: Path) -> None:
        def get(path: str) -> None:
            beat()
            target.parent.mkdir(parents=True, exist_ok=True)
            half = target.with_name(f".{target.name}.tmp")
            self.files.get_file(path, str(half))
            half.replace(target)

        self._try(path, get)

    def _rename(self, path: str, to: str) -> None:
        def rename(path: str) -> None:
            # Where it takes a copy and a removal, the copy may have come through the time before.
            if self.files.exists(path):
                self.files.mv(path, f"{self.root}/{to}")

        self._try(path, rename)

    def _try(self, path: str, call: Callable[[str], T]) -> T:
        """Call with the full path; what may pass is tried again.

        Raises:
            OSError: it did not pass.
        """
        full = f"{self.root}/{path}"
        for pause in (*PAUSES_S, None):
            try:
                return call(full)
            except (FileNotFoundError, PermissionError, NotImplementedError) as error:
                trouble: Exception = error
                break
            except Exception as error:  # noqa: BLE001 - each file system has errors of its own
                trouble = error
                if pause is not None:
                    time.sleep(pause)
                    beat()
        raise OSError(errno.EIO, f"{type(trouble).__name__}: {trouble}", f"{self.url}/{path}") from trouble


def stamps(folder: Path) -> dict[str, Stamp]:
    """Return what can be put of a folder."""
    found = {}
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if _is_of_run(name) and file.is_file():
            status = file.stat()
            found[name] = (status.st_mtime_ns, status.st_size)
    return found


def is_light(name: str) -> bool:
    """Whether a file is small and does not belong to the record."""
    return PurePosixPath(name).suffix in LIGHT or name.startswith("matrices/") or "/matrices/" in name


def _is_of_run(name: str) -> bool:
    path = PurePosixPath(name)
    if path.name == BEST_NEXT:
        return True
    return path.name not in AT_HOME and ASIDE not in path.parts and not path.name.endswith(".tmp")


def _mark(info: Mapping[str, Any]) -> str:
    """Return what tells two versions of a file apart, in the words of its file system."""
    keys = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "modified")
    return "|".join(str(info[key]) for key in ("size", *keys) if key in info)
