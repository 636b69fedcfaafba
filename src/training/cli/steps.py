"""What the commands do once the libraries are loaded: run a step, and show what came of it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue
from rich.console import Console

from infrastructure.config.yaml_reader import read_value
from infrastructure.errors import ConfigError
from infrastructure.tracking.mlflow.ui import experiment_page, ui_command
from training.cli.display import leaderboard, progress_on, show_params
from training.execution.local.train import train
from training.hpo.execution.local.cv import cv
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.project import open_project
from training.hpo.execution.results import ModelResult
from training.hpo.execution.status import study_status

for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)


def run_all(config_dir: Path | None, overrides: Sequence[str], *, force: bool) -> None:
    """Sweep, refit, and train the final model; show the leaderboard and where everything is."""
    console = Console()
    with progress_on(console) as progress:
        study = sweep(config_dir, overrides, force=force, progress=progress)
        champion = refit(config_dir, overrides, progress=progress)
        final = train(config_dir, overrides, progress=progress)
    console.print(leaderboard(study))
    show_model(console, "champion", champion)
    show_model(console, "final model", final)
    show_ui_hint(console, config_dir)


def run_sweep(config_dir: Path | None, overrides: Sequence[str], *, force: bool) -> None:
    """Run a sweep and show its leaderboard."""
    console = Console()
    with progress_on(console) as progress:
        study = sweep(config_dir, overrides, force=force, progress=progress)
    console.print(leaderboard(study))


def run_cv(config_dir: Path | None, overrides: Sequence[str], params: Sequence[str]) -> None:
    """Cross-validate one configuration and show its folds."""
    chosen: dict[str, JsonValue] = {}
    for text in params:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError([f"--param {text}: is no NAME=VALUE"])
        chosen[name] = read_value(value, f"--param {name}")
    console = Console()
    with progress_on(console) as progress:
        record, study = cv(chosen, config_dir, overrides, progress=progress)
    console.print(leaderboard(study))
    console.print(f"trial {record.number}: {record.value}  {show_params(record)}", markup=False, highlight=False)


def run_refit(config_dir: Path | None, overrides: Sequence[str], trial: int | None, *, force: bool) -> None:
    """Refit a trial and show its model."""
    console = Console()
    with progress_on(console) as progress:
        champion = refit(config_dir, overrides, trial=trial, force=force, progress=progress)
    show_model(console, "champion", champion)


def run_train(config_dir: Path | None, overrides: Sequence[str], trial: int | None, *, force: bool) -> None:
    """Train the final model and show it."""
    console = Console()
    with progress_on(console) as progress:
        final = train(config_dir, overrides, trial=trial, force=force, progress=progress)
    show_model(console, "final model", final)


def show_status(config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Show the study's trials by state, and its leaderboard."""
    console = Console()
    status = study_status(config_dir, overrides)
    console.print(status.summary, markup=False, highlight=False, soft_wrap=True)
    if status.result is not None:
        console.print(leaderboard(status.result))


def open_ui(config_dir: Path | None, overrides: Sequence[str], port: int) -> None:
    """Serve the MLflow UI until it is interrupted."""
    open_project(config_dir, overrides)
    Console().print(f"MLflow UI: {experiment_page(port)}", markup=False, highlight=False, soft_wrap=True)
    subprocess.run(ui_command(port), check=False)  # noqa: S603  our own interpreter


def show_model(console: Console, what: str, model: ModelResult) -> None:
    """Say where a model is and how it scored on the test split."""
    scores = "  ".join(f"test {name} {value:.4f}" for name, value in model.test.items()) or "no test split"
    registered = f" ({model.model_name} version {model.version})" if model.version else ""
    reused = ", found in the tracking store" if model.reused else ""
    text = f"{what}: {model.model_uri}{registered}, trial {model.trial_number}: {scores}{reused}"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def show_ui_hint(console: Console, config_dir: Path | None) -> None:
    """Say the one command that opens the UI, as it can be typed here."""
    command = "assay" if shutil.which("assay") else os.path.relpath(sys.argv[0])
    where = f" --config-dir {config_dir}" if config_dir else ""
    console.print(f"look at everything: {command} ui{where}", markup=False, highlight=False, soft_wrap=True)
