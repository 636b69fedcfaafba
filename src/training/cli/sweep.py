"""`assay sweep`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import (
    force_option,
    project_options,
    quiet_option,
    run_training_step,
    step,
    with_shortcuts,
    workers_option,
)


@click.command()
@project_options
@quiet_option
@workers_option
@click.option("--max-trials", type=int, help="Trials of the study in all.")
@click.option("--timeout", type=float, help="Seconds after which no further trial is begun.")
@click.option("--dry-run", is_flag=True, help="Say what would be run and what is there already, and run nothing.")
@force_option
@click.option("--import", "import_from", metavar="URL", help="An Optuna storage, or mlflow:EXPERIMENT, taken in first.")
def command(
    config_dir: Path | None,
    overrides: tuple[str, ...],
    workers: int | None,
    max_trials: int | None,
    timeout: float | None,
    import_from: str | None,
    *,
    dry_run: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Run the study's trials, each cross-validated, going on where the tracking store ends."""
    chosen = with_shortcuts(overrides, hpo__workers=workers, hpo__max_trials=max_trials, hpo__timeout=timeout)
    if dry_run:
        step("training.cli.answers.plan:show_plan")(config_dir=config_dir, overrides=chosen)
        return
    run_training_step(
        "training.cli.work:run_sweep", config_dir, chosen, quiet=quiet, force=force, import_from=import_from
    )
