"""What the commands that read the tracking store do once the libraries are loaded; they load nothing that trains."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from infrastructure.errors import ExecutionError
from infrastructure.tracking.mlflow.ui import experiment_page, ui_command, ui_environment
from training.cli.display import leaderboard, ranking_lines
from training.hpo.execution.best import best
from training.hpo.execution.explain import trace
from training.hpo.execution.optuna_exchange import write_optuna_study
from training.hpo.execution.project import open_project
from training.hpo.execution.status import study_status
from training.hpo.execution.sync import sync


def show_status(config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Show the study's trials by state, and its leaderboard."""
    console = Console()
    status = study_status(config_dir, overrides)
    console.print(status.summary, markup=False, highlight=False, soft_wrap=True)
    if status.result is not None:
        console.print(leaderboard(status.result))


def show_best(references: Sequence[str], config_dir: Path | None) -> None:
    """Show comparable studies, the best first."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    for line in ranking_lines(best(references, config_dir)):
        console.print(line)


def show_lineage(reference: str, config_dir: Path | None) -> None:
    """Show each link of a lineage, and fail if one doesn't hold."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    links = trace(reference, config_dir)
    for link in links:
        mark = "BROKEN" if link.problems else "?" if link.unchecked else "ok"
        console.print(
            f"{mark:8}{link.what}: {link.shown}{f' (not checked: {link.unchecked})' if link.unchecked else ''}"
        )
        for problem in link.problems:
            console.print(f"        {problem}")
    if broken := [link.what for link in links if link.problems]:
        raise ExecutionError(f"the lineage of {reference} doesn't hold: {', '.join(broken)}")


def export(url: str, config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Write the study to an Optuna storage and say what was written."""
    name, count = write_optuna_study(url, config_dir, overrides)
    Console().print(f"{count} trials written as the study {name}", markup=False, highlight=False, soft_wrap=True)


def send_waiting(config_dir: Path | None) -> None:
    """Send what waits, and say of which studies it was."""
    console = Console(soft_wrap=True, highlight=False, markup=False)
    sent = 0
    for name, count in sync(config_dir):
        console.print(f"{name}: {count} records sent")
        sent += count
    if not sent:
        console.print("nothing waits")


def open_ui(config_dir: Path | None, overrides: Sequence[str], port: int) -> None:
    """Serve the MLflow UI until it is interrupted."""
    open_project(config_dir, overrides)
    Console().print(f"MLflow UI: {experiment_page(port)}", markup=False, highlight=False, soft_wrap=True)
    subprocess.run(ui_command(port), env=ui_environment(), check=False)  # noqa: S603  our own interpreter
