"""`assay diff`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import step


@click.command()
@click.argument("one")
@click.argument("two")
@click.option(
    "--config-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The project in whose tracking store runs are looked for.",
)
def command(one: str, two: str, config_dir: Path | None) -> None:
    """Show in which fields two studies, trials or configurations differ, and which of them matter.

    ONE and TWO are config folders, ids or names of runs, or the beginning of a study's key hash.
    """
    step("training.cli.steps:show_differences")(one=one, two=two, config_dir=config_dir)
