"""`assay lineage`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import step, store_option


@click.command()
@click.argument("run")
@store_option
def command(run: str, config_dir: Path | None) -> None:
    """Follow a model back to its refit, trial, study, data and commit, and check each link.

    RUN is models:/NAME@ALIAS, models:/NAME/VERSION, or the id or name of a run.
    """
    step("training.cli.reports:show_lineage")(reference=run, config_dir=config_dir)
