"""Where the pages of a tracking store are: the command that serves them, and links into them."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from plml.tracking_uri import LOCAL_UI, without_password
from plml.tracking_view import VIEW_KEY

PAGES = "PLML_MLFLOW_PAGES"  # environment variable: a server's address for browsers, where workers know it by another


class Pages:
    """Links into the pages of the store at ``uri``, which is absolute."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @property
    def shown(self) -> str:
        """The URI as it is printed, without a password."""
        return without_password(self.uri)

    @property
    def is_server(self) -> bool:
        """Whether the store is an MLflow server rather than a database."""
        return self.uri.startswith("http")

    @property
    def ui_command(self) -> str | None:
        """The command that serves the pages of a database; None for a server, which serves them already.

        Without the job runner, of which nothing here makes use, it is two processes instead of ten.
        """
        if self.is_server:
            return None
        program = "mlflow" if shutil.which("mlflow") else str(Path(sys.executable).with_name("mlflow"))
        store = f"--backend-store-uri {shlex.quote(self.shown)} --host 127.0.0.1 --port 5000"
        return f"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {shlex.quote(program)} server {store}"

    @property
    def ui(self) -> str:
        """Address of the pages: the server's, or that of ``ui_command``."""
        if not self.is_server:
            return LOCAL_UI
        return without_password(os.environ.get(PAGES, "")).rstrip("/") or self.shown

    def experiment_url(self, experiment_id: str, *, key: str = VIEW_KEY) -> str:
        """Return the link that opens on filled charts: parallel coordinates, figures, learning curves, best first."""
        query = {"viewStateShareKey": key, "compareRunsMode": "CHART", "workflowType": "machine_learning"}
        return f"{self.ui}/#/experiments/{experiment_id}/runs?{urlencode(query)}"

    def table_url(self, experiment_id: str, *, key: str = VIEW_KEY) -> str:
        """Return the link that opens on the runs table with columns of metrics and searched parameters."""
        query = {"viewStateShareKey": key, "workflowType": "machine_learning"}
        return f"{self.ui}/#/experiments/{experiment_id}/runs?{urlencode(query)}"

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Return the link to the page of one run."""
        return f"{self.ui}/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"

    def compare_url(self, experiment_id: str, run_ids: Sequence[str]) -> str:
        """Return the link that compares the given runs, such as the best of each method."""
        lists = (list(run_ids), [experiment_id])
        runs, experiments = (quote(json.dumps(ids, separators=(",", ":"))) for ids in lists)
        return f"{self.ui}/#/compare-runs?runs={runs}&experiments={experiments}&workflowType=machine_learning"
