"""`assay serve`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_option, step


@click.command()
@click.argument("model", default="champion")
@project_option
@click.option("--port", type=int, default=5001, show_default=True, help="The port on 127.0.0.1.")
def command(model: str, config_dir: Path | None, port: int) -> None:
    """Serve a model over HTTP on this machine alone, until it is interrupted.

    MODEL is an alias or version of the project's registered model, by default the champion, or the URI of any model.
    """
    step("training.cli.answers.servers:serve")(model=model, config_dir=config_dir, port=port)
