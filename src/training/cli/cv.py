"""`assay cv`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, quiet_option, run_training_step, workers_option


@click.command()
@project_options
@quiet_option
@workers_option
@click.option("-p", "--param", "params", multiple=True, required=True, metavar="NAME=VALUE", help="A hyperparameter.")
def command(config_dir: Path | None, overrides: tuple[str, ...], params: tuple[str, ...], *, quiet: bool) -> None:
    """Cross-validate one configuration as a trial of the study."""
    run_training_step("training.cli.work:run_cv", config_dir, overrides, quiet=quiet, params=params)
