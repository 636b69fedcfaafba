"""MLflow's own UI on the configured store."""

from __future__ import annotations

import os
import sys

from infrastructure.tracking.mlflow.session import current_session


def ui_command(port: int) -> list[str]:
    """Return the command that serves the MLflow UI on 127.0.0.1."""
    return [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)]


def ui_environment() -> dict[str, str]:
    """Return the environment for it, which names the store: other users can read a command, password and all."""
    return {**os.environ, "MLFLOW_BACKEND_STORE_URI": current_session().tracking_uri}


def experiment_page(port: int) -> str:
    """Return the address of the experiment's table of runs."""
    experiment_id = current_session().experiment_id
    return f"http://127.0.0.1:{port}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
