"""`assay best`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import json_option, step, store_option


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@store_option
@json_option
def command(studies: tuple[str, ...], config_dir: Path | None, *, as_json: bool) -> None:
    """Rank studies whose results mean the same by their best trials.

    STUDY is the id or name of a study's run, or the beginning of its key hash. Without any, all studies of the
    project's experiment are ranked that differ from the project's in nothing but the backbone.
    """
    step("training.cli.answers.best:show_best")(references=studies, config_dir=config_dir, as_json=as_json)
