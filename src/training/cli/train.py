"""`assay train`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import executor_options, force_option, project_options, quiet_option, run_training_step


@click.command()
@project_options
@quiet_option
@executor_options
@click.option(
    "--trial", type=int, help="The trial whose hyperparameters are used; by default the one that is refitted."
)
@force_option
def command(
    config_dir: Path | None, overrides: tuple[str, ...], trial: int | None, *, force: bool, quiet: bool
) -> None:
    """Train the final model: the best hyperparameters, on training and validation data."""
    run_training_step("training.cli.work:run_train", config_dir, overrides, quiet=quiet, trial=trial, force=force)
