"""`assay run`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import (
    force_option,
    project_options,
    quiet_option,
    run_training_step,
    with_shortcuts,
    workers_option,
)


@click.command()
@project_options
@quiet_option
@workers_option
@click.option("--max-trials", type=int, help="Trials of the study in all.")
@force_option
def command(
    config_dir: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    max_trials: int | None,
    *,
    force: bool,
    quiet: bool,
) -> None:
    """Run the whole way: sweep with cross-validation, refit of the best, final training.

    What the tracking store has already is not done again.
    """
    chosen = with_shortcuts(overrides, hpo__workers=workers, hpo__max_trials=max_trials)
    run_training_step("training.cli.work:run_all", config_dir, chosen, quiet=quiet, force=force)
