"""`assay validate`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command()
@project_options
def command(config_dir: Path | None, overrides: tuple[str, ...]) -> None:
    """Check a project's configuration; all faults are reported at once."""
    step("training.hpo.execution.project:load_and_check")(config_dir=config_dir, overrides=overrides)
    click.echo("the configuration is sound")
