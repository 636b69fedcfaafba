"""`assay ui`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command()
@project_options
@click.option("--port", type=int, default=5000, show_default=True, help="The port on 127.0.0.1.")
def command(config_dir: Path | None, overrides: tuple[str, ...], port: int) -> None:
    """Open the MLflow UI on the project's tracking store, until it is interrupted.

    For a store in an MLflow server, which has a UI already, only the study's page there is told.
    """
    step("training.cli.answers.servers:open_ui")(config_dir=config_dir, overrides=overrides, port=port)
