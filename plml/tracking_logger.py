"""What a trial's process tells MLflow: reports by epoch, and the load of the machine; training never waits for it."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from plml.report import EpochReport
from plml.tracking_calls import bounded, reason
from plml.tracking_client import connect, import_mlflow, log_points
from plml.tracking_format import batches
from plml.tracking_uri import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)


class RunLogger:
    """A trial's pen: writes reports to a run that the driver made, and never disturbs training.

    After a failure it stays quiet for a while and keeps what it could not tell, to tell it with the next report
    that gets through. What is still missing at the end, the driver back-fills from the run folder.

    Args:
        uri: tracking URI; None, or no run, writes nothing.
        run_id: MLflow's id of the run.
        timeout_s: longest time one report may hold up training, in seconds.
        quiet_s: pause after a failure, in seconds.
    """

    def __init__(self, uri: str | None, run_id: str | None, *, timeout_s: float = 10.0, quiet_s: float = 60.0) -> None:
        self._uri, self._run_id = uri or "", run_id or ""
        self._timeout_s, self._quiet_s = timeout_s, quiet_s
        self._client: MlflowClient | None = None
        self._untold: list[EpochReport] = []
        self._quiet_until = 0.0
        self._warned = False
        if self._uri and self._run_id:
            import_mlflow(self._uri, timeout_s)

    def log(self, report: EpochReport) -> None:
        """Tell ``report`` and those that could not be told before; never raises, never waits longer than allowed."""
        if not (self._uri and self._run_id):
            return
        self._untold.append(report)
        if time.monotonic() < self._quiet_until:
            return
        told = list(self._untold)
        try:
            bounded(lambda: self._tell(told), self._timeout_s)
        except Exception as error:  # noqa: BLE001 - no trouble with tracking may end a training run
            self._quiet_until = time.monotonic() + self._quiet_s
            if not self._warned:
                self._warned = True
                logger.warning(
                    "MLflow at %s does not take metrics (%s); training goes on, they are delivered later",
                    without_password(self._uri),
                    reason(error, without_password(self._uri)),
                )
        else:
            self._untold = self._untold[len(told) :]

    def _tell(self, reports: list[EpochReport]) -> None:
        if self._client is None:
            self._client = connect(self._uri)
        for batch in batches(reports):
            log_points(self._run_id, batch, self._client)


@contextmanager
def system_load(uri: str | None, run_id: str | None) -> Iterator[None]:
    """Log the load of processor, memory, disk and GPUs to a run within the block; None: log nothing.

    MLflow samples every GPU of the machine, not only those of the run.
    """
    if uri is None or run_id is None:
        yield
        return
    import_mlflow(uri, 10.0)
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    try:
        monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
        monitor.start()
    except Exception as error:  # noqa: BLE001 - no trouble with tracking may end a training run
        logger.warning("MLflow at %s does not take system metrics (%s)", without_password(uri), reason(error, uri))
        yield
        return
    try:
        yield
    finally:
        monitor.finish()
