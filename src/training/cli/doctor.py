"""`assay doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import json_option, project_options, step


@click.command()
@project_options
@json_option
def command(config_dir: Path | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Look at installation, configuration, data, tracking store and disks, and say what mends what is wrong.

    It ends with 1 if something would keep the project from running.
    """
    step("training.cli.answers.doctor:show_findings")(config_dir=config_dir, overrides=overrides, as_json=as_json)
