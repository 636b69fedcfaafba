"""`assay status`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import json_option, project_options, step


@click.command()
@project_options
@json_option
def command(config_dir: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Show the study's trials as the tracking store has them."""
    step("training.cli.answers.status:show_status")(config_dir=config_dir, overrides=overrides, as_json=as_json)
