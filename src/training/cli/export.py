"""`assay export`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command()
@project_options
@click.option("--optuna", "url", metavar="URL", required=True, help="An Optuna storage, such as sqlite:///study.db.")
def command(config_dir: Path | None, overrides: tuple[str, ...], url: str) -> None:
    """Write the study to an Optuna storage, for the tools that read one."""
    step("training.cli.answers.export:export")(url=url, config_dir=config_dir, overrides=overrides)
