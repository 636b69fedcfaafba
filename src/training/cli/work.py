"""What the commands that train do once the libraries are loaded: run a step, and show what came of it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue
from rich.console import Console

from infrastructure.config.yaml_reader import read_value
from infrastructure.errors import ConfigError, ExecutionError
from training.cli.display import leaderboard, progress_on, show_params
from training.cli.json_output import print_json
from training.execution.local.train import train
from training.hpo.execution.local.cv import cv
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.reproduce import reproduce
from training.hpo.execution.local.sweep import import_trials, sweep
from training.hpo.execution.results import ModelResult


def run_all(config_dir: Path | None, overrides: Sequence[str], *, force: bool, quiet: bool) -> None:
    """Sweep, refit, and train the final model; show the leaderboard and where everything is."""
    console = Console()
    with progress_on(console, quiet=quiet) as progress:
        study = sweep(config_dir, overrides, force=force, progress=progress)
        champion = refit(config_dir, overrides, progress=progress)
        final = train(config_dir, overrides, progress=progress)
    console.print(leaderboard(study))
    show_model(console, "champion", champion)
    show_model(console, "final model", final)
    show_ui_hint(console, config_dir)


def run_sweep(
    config_dir: Path | None, overrides: Sequence[str], import_from: str | None, *, force: bool, quiet: bool
) -> None:
    """Run a sweep and show its leaderboard."""
    console = Console()
    with progress_on(console, quiet=quiet) as progress:
        study = sweep(config_dir, overrides, force=force, import_from=import_from, progress=progress)
    console.print(leaderboard(study))


def run_import(source: str, config_dir: Path | None, overrides: Sequence[str]) -> None:
    """Take trials into the study, and say how many were new."""
    console = Console()
    with progress_on(console) as progress:
        count = import_trials(source, config_dir, overrides, progress=progress)
    console.print(f"{count} new trials taken in; `assay sweep` goes on from them", markup=False, highlight=False)


def run_cv(config_dir: Path | None, overrides: Sequence[str], params: Sequence[str], *, quiet: bool) -> None:
    """Cross-validate one configuration and show its folds."""
    chosen: dict[str, JsonValue] = {}
    for text in params:
        name, separator, value = text.partition("=")
        if not separator:
            raise ConfigError([f"--param {text}: is no NAME=VALUE"])
        chosen[name] = read_value(value, f"--param {name}")
    console = Console()
    with progress_on(console, quiet=quiet) as progress:
        record, study = cv(chosen, config_dir, overrides, progress=progress)
    console.print(leaderboard(study))
    console.print(f"trial {record.number}: {record.value}  {show_params(record)}", markup=False, highlight=False)


def run_refit(
    config_dir: Path | None, overrides: Sequence[str], trial: int | None, *, force: bool, quiet: bool
) -> None:
    """Refit a trial and show its model."""
    console = Console()
    with progress_on(console, quiet=quiet) as progress:
        champion = refit(config_dir, overrides, trial=trial, force=force, progress=progress)
    show_model(console, "champion", champion)


def run_train(
    config_dir: Path | None, overrides: Sequence[str], trial: int | None, *, force: bool, quiet: bool
) -> None:
    """Train the final model and show it."""
    console = Console()
    with progress_on(console, quiet=quiet) as progress:
        final = train(config_dir, overrides, trial=trial, force=force, progress=progress)
    show_model(console, "final model", final)


def run_reproduce(reference: str, config_dir: Path | None, tolerance: float, *, quiet: bool, as_json: bool) -> None:
    """Do a training again, show both results, and fail if they differ by more than the tolerance."""
    console = Console(soft_wrap=True, highlight=False, markup=False, quiet=as_json)
    with progress_on(console, quiet=quiet) as progress:
        found = reproduce(reference, config_dir, progress=progress)
    if as_json:
        print_json(found)
    for pair in found.metrics:
        fold = "" if pair.fold_idx is None else f"fold {pair.fold_idx} "
        verdict = "identical" if pair.is_identical else f"differs by {abs(pair.recorded - pair.reproduced):.3g}"
        console.print(f"{fold}{pair.name}: {pair.recorded!r} → {pair.reproduced!r}, {verdict}")
    if found.environment is None:
        console.print("what it was executed with isn't kept, so it can't be compared")
    else:
        console.print("executed differently:" if found.environment else "executed with the same software and machine")
    for difference in found.environment or ():
        console.print(f"  {difference}")
    if all(pair.is_identical for pair in found.metrics):
        console.print(f"{found.name} is reproduced: all {len(found.metrics)} metrics are identical")
        return
    outside = [pair.name for pair in found.metrics if not pair.is_within(tolerance)]
    if outside:
        raise ExecutionError(f"{found.name} is not reproduced within {tolerance:g}: {', '.join(outside)}")
    console.print(f"{found.name} is reproduced within {tolerance:g} of each metric's value, or of 1 if that is smaller")


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
