"""MLflow's own servers, on the configured store and on this machine alone: its UI, and models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from infrastructure.tracking.mlflow.pages import LOOPBACK
from infrastructure.tracking.mlflow.session import current_session


def ui_command(port: int) -> list[str]:
    """Return the command that serves the MLflow UI on 127.0.0.1."""
    return [sys.executable, "-m", "mlflow", "ui", "--host", LOOPBACK, "--port", str(port), "--workers", "1"]


def serve_command(model_uri: str, port: int) -> list[str]:
    """Return the command that serves a model on 127.0.0.1, with what is installed here."""
    model = ["--model-uri", model_uri, "--env-manager", "local"]
    server = ["--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "models", "serve", *model, *server]


def server_environment() -> dict[str, str]:
    """Return the environment for either, which names the store: other users can read a command, password and all.

    MLflow looks for the programs that it starts on the path. Its eight processes for jobs have nothing to do here.
    """
    uri = current_session().tracking_uri
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    named = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_TRACKING_URI": uri, "PATH": path}
    return {**os.environ, **named, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def invocations(port: int) -> str:
    """Return the address at which a served model answers."""
    return f"http://{LOOPBACK}:{port}/invocations"
