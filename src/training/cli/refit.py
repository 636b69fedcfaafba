"""`assay refit`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import executor_options, force_option, project_options, quiet_option, run_training_step


@click.command()
@project_options
@quiet_option
@executor_options
@click.option(
    "--trial", type=int, help="The trial to refit; by default the best, or the one that hpo.selection chooses."
)
@force_option
def command(
    config_dir: Path | None, overrides: tuple[str, ...], trial: int | None, *, force: bool, quiet: bool
) -> None:
    """Train the best trial on all training data, test it, and register its model as champion.

    With hpo.selection its candidates are refitted and their latency is measured; the one that is chosen is registered.
    """
    run_training_step("training.cli.work:run_refit", config_dir, overrides, quiet=quiet, trial=trial, force=force)
