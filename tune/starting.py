"""Ray's start, while the driver does something else: it waits for other processes most of the time."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType

from tune.execution import Plan, local_resources, make_plan, ray_cluster
from tune.study_file import ResourcesConfig


class StartingCluster:
    """A Ray cluster that begins to start now; entering it waits until it is up, see :func:`ray_cluster`.

    Args:
        resources: of a trial.
        address: a running cluster, or None for this machine.

    Raises:
        ConfigError: a trial does not fit on this machine; on entering: there is no cluster at ``address``.
    """

    def __init__(self, resources: ResourcesConfig, address: str | None) -> None:
        if address is None:
            make_plan(resources, *local_resources())
        self._cluster = ray_cluster(resources, address)
        self._up: Future[Plan] = Future()
        self._leave = threading.Event()
        self._thread = threading.Thread(target=self._hold, name="plml-ray", daemon=True)
        self._thread.start()

    def _hold(self) -> None:
        # Ray asks the kernel to kill its processes when the thread that started them ends, so it stays to the end.
        try:
            with self._cluster as plan:
                self._up.set_result(plan)
                self._leave.wait()
        except BaseException as error:
            if self._up.done():
                raise
            self._up.set_exception(error)

    def __enter__(self) -> Plan:
        return self._up.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @contextmanager
    def meanwhile(self) -> Iterator[None]:
        """Do something while Ray starts; if that fails, Ray is stopped again."""
        try:
            yield
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it, once it is up; nothing if it has been stopped."""
        self._leave.set()
        self._thread.join()
