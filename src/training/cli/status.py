"""`assay status`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command()
@project_options
def command(config_dir: Path | None, overrides: tuple[str, ...]) -> None:
    """Show the study's trials as the tracking store has them."""
    step("training.cli.reports:show_status")(config_dir=config_dir, overrides=overrides)
