"""`assay lineage`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import json_option, step, store_option


@click.command()
@click.argument("run")
@store_option
@json_option
def command(run: str, config_dir: Path | None, *, as_json: bool) -> None:
    """Follow a model back to its refit, trial, study, data and commit, and check each link.

    RUN is models:/NAME@ALIAS, models:/NAME/VERSION, or the id or name of a run.
    """
    step("training.cli.answers.lineage:show_lineage")(reference=run, config_dir=config_dir, as_json=as_json)
