"""MLflow's own UI on the configured store."""

from __future__ import annotations

import sys

from infrastructure.tracking.mlflow.session import current_session


def ui_command(port: int) -> list[str]:
    """Return the command that serves the MLflow UI on 127.0.0.1."""
    uri = current_session().tracking_uri
    return [
        sys.executable,
        "-m",
        "mlflow",
        "ui",
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]


def experiment_page(port: int) -> str:
    """Return the address of the experiment's table of runs."""
    experiment_id = current_session().experiment_id
    return f"http://127.0.0.1:{port}/#/experiments/{experiment_id}/runs?workflowType=machine_learning"
