"""`assay run`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import (
    dry_run_option,
    force_option,
    project_options,
    quiet_option,
    run_training_step,
    shortcut,
    step,
    with_shortcuts,
    workers_option,
)


@click.command()
@project_options
@quiet_option
@workers_option
@shortcut("--max-trials", "hpo.max_trials", int, "Trials of the study in all.")
@dry_run_option
@force_option
def command(
    config_dir: Path | None,
    overrides: tuple[str, ...],
    *,
    dry_run: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Run the whole way: sweep with cross-validation, refit of the best, final training, report.

    What the tracking store has already is not done again.
    """
    chosen = with_shortcuts(overrides)
    if dry_run:
        step("training.cli.answers.plan:show_whole_plan")(config_dir=config_dir, overrides=chosen)
        return
    run_training_step("training.cli.work:run_all", config_dir, overrides, quiet=quiet, force=force)
    page = step("training.hpo.execution.report:write_report")(config_dir=config_dir, overrides=chosen)
    click.echo(f"report: {page}")
