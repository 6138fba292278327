"""The MLflow client: imported late and quietly, and the few things that are written and read through it."""

import logging
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plml.report import EpochReport
from plml.tracking_format import metric_points

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.store.entities import PagedList


def import_mlflow(uri: str, timeout_s: float) -> None:
    """Import what :func:`connect` needs, with settings that make MLflow fail fast and keep quiet; the user's win."""
    defaults = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(math.ceil(timeout_s)),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # two lines for every run that ends
    }
    for key, value in defaults.items():
        os.environ.setdefault(key, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between MLflow and SQLAlchemy are not the reader's to mend
        import mlflow.tracking

        if not uri.startswith("http"):
            import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
    # It prints what it raises, with the traceback; whoever catches it says it in a line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def connect(uri: str) -> "MlflowClient":
    """Open the store; for a database that is not there yet this creates it."""
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=uri)


def log_params(run_id: str, texts: Mapping[str, str], client: "MlflowClient") -> None:
    """Write parameters; the client splits them into batches that the store takes."""
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(*item) for item in texts.items()])


def log_points(run_id: str, reports: Sequence[EpochReport], client: "MlflowClient") -> None:
    """Write all points of ``reports``."""
    write(run_id, reports, {}, {}, client)


def write(
    run_id: str,
    reports: Sequence[EpochReport],
    params: Mapping[str, str],
    tags: Mapping[str, str],
    client: "MlflowClient",
) -> None:
    """Write the points of ``reports``, parameters and tags; the client splits what is too long."""
    from mlflow.entities import Metric, Param, RunTag

    client.log_batch(
        run_id,
        metrics=[Metric(*point) for report in reports for point in metric_points(report)],
        params=[Param(*item) for item in params.items()],
        tags=[RunTag(key, str(value)) for key, value in tags.items()],
    )


def search(experiment_ids: list[str], client: "MlflowClient", page_token: str | None) -> "PagedList[Run]":
    """Return a page of the runs of experiments, not deleted ones."""
    return client.search_runs(experiment_ids, max_results=1000, page_token=page_token)
