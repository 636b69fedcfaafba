"""`assay best`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import json_option, step, store_option


@click.command()
@click.argument("studies", nargs=-1, metavar="[STUDY]...")
@click.option("--top", type=int, default=3, show_default=True, help="The trials of a study whose median is its score.")
@store_option
@json_option
def command(studies: tuple[str, ...], top: int, config_dir: Path | None, *, as_json: bool) -> None:
    """Rank studies whose results mean the same, by the median of their best trials.

    STUDY is the id or name of a study's run, or the beginning of its key hash. Without any, all studies of the
    project's experiment are ranked that have the same data, folds and metric as the project's; the others are named
    with what differs. A study with fewer complete trials than --top doesn't compete.
    """
    step("training.cli.answers.best:show_best")(references=studies, config_dir=config_dir, top=top, as_json=as_json)
