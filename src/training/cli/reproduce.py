"""`assay reproduce`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import json_option, quiet_option, step, store_option


@click.command()
@click.argument("run")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.01,
    show_default=True,
    help="How far a metric may be off, as a share of its value, or of 1 if that is smaller.",
)
@store_option
@quiet_option
@json_option
def command(run: str, tolerance: float, config_dir: Path | None, *, quiet: bool, as_json: bool) -> None:
    """Do a trial, fold, refit or final training again from what the tracking store has of it, and compare.

    RUN is the id or name of a run. Nothing is written to the store.
    """
    step("training.cli.work:run_reproduce")(
        reference=run, config_dir=config_dir, tolerance=tolerance, quiet=quiet, as_json=as_json
    )
