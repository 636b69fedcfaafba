"""`assay submit`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command()
@project_options
@click.option("--azureml", is_flag=True, required=True, help="As a command job of the workspace in mlflow.yaml.")
@click.option("--dry-run", is_flag=True, help="Print the job, and send nothing.")
def command(config_dir: Path | None, overrides: tuple[str, ...], *, azureml: bool, dry_run: bool) -> None:  # noqa: ARG001
    """Run the study's trials elsewhere: submit a job that gives `assay sweep` with these overrides.

    The job tracks in its workspace. Submitted again, or begun again after its node was taken away, it goes on where
    the tracking store ends.
    """
    step("training.cli.answers.submit:submit_sweep")(config_dir=config_dir, overrides=overrides, dry_run=dry_run)
