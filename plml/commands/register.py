"""``plml register``: a checkpoint as a version of a registered model in MLflow."""

import argparse
from pathlib import Path

from rich.console import Console

from plml.cli import DONE
from plml.tracking import Tracker, check_uri

console = Console(highlight=False, soft_wrap=True)
DEFAULT_STORE = Path("results") / "mlflow.db"


def run(options: argparse.Namespace) -> int:
    """Register ``options.checkpoint``, and say which version it is and who has the alias."""
    uri = check_uri(options.tracking_uri or f"sqlite:///{DEFAULT_STORE.absolute()}")
    from plml.model_candidate import Candidate
    from plml.tracking_models import register, run_of_checkpoint

    candidate = Candidate.read(Path(options.checkpoint), options.weights)
    tracker = Tracker(uri)
    run_id = run_of_checkpoint(tracker, candidate)
    done = register(tracker, candidate, name=options.name, run_id=run_id, alias=options.alias, force=options.force)
    console.print(f"{done.name} version {done.version}" + ("" if done.new else ", which this checkpoint was already"))
    if done.reason:
        console.print(done.reason, markup=False)
    where = f"models:/{done.name}@{options.alias}" if done.alias else f"models:/{done.name}/{done.version}"
    console.print(f'to load it: mlflow.pyfunc.load_model("{where}"), with MLFLOW_TRACKING_URI={tracker.shown}')
    return DONE
