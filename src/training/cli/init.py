"""`assay init`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import step


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def command(folder: Path) -> None:
    """Start a project in FOLDER: a span-labelled résumé data set, and a configuration that runs on it."""
    step("training.project_template:create_project")(folder=folder)
    click.echo(f"{folder} holds a project; run it:\n  assay run --config-dir {folder / 'config'}")
