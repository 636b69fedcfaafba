"""`assay report`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command()
@project_options
def command(config_dir: Path | None, overrides: tuple[str, ...]) -> None:
    """Write one page about the study, with figures, and keep it with the study's run too."""
    page = step("training.hpo.execution.report:write_report")(config_dir=config_dir, overrides=overrides)
    click.echo(f"report: {page}")
