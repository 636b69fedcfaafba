"""`assay sync`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import step, store_option


@click.command()
@store_option
def command(config_dir: Path | None) -> None:
    """Send what waits on disk since the tracking store was away."""
    step("training.cli.answers.sync:send_waiting")(config_dir=config_dir)
