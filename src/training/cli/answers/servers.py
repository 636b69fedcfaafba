"""`assay ui` and `assay serve`, once the libraries are loaded."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from infrastructure.tracking.mlflow.pages import experiment_page, in_server
from infrastructure.tracking.mlflow.servers import (
    invocations,
    serve_command,
    server_environment,
    ui_command,
)
from training.hpo.execution.serving import model_to_serve, study_view


def open_ui(config_dir: Path | None, overrides: Sequence[str], port: int) -> None:
    """Say where the study is in the MLflow UI, and unless the store has a server serve it until it is interrupted."""
    page = experiment_page(port, study_view(config_dir, overrides))
    Console().print(f"MLflow UI: {page}", markup=False, highlight=False, soft_wrap=True)
    if not in_server():
        subprocess.run(ui_command(port), env=server_environment(), check=False)  # noqa: S603  our own interpreter


def serve(model: str, config_dir: Path | None, port: int) -> None:
    """Serve a model until it is interrupted, and say how it is asked."""
    served = model_to_serve(model, config_dir)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{served.uri} answers at {invocations(port)}, as soon as it is loaded; ask it:")
    body = json.dumps({"dataframe_records": [served.question]}, ensure_ascii=False)
    console.print(f"curl -H 'Content-Type: application/json' -d {shlex.quote(body)} {invocations(port)}")
    subprocess.run(serve_command(served.uri, port), env=server_environment(), check=False)  # noqa: S603  our own
