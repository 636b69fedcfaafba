"""`assay diff`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from training.cli.options import json_option, step, store_option

if TYPE_CHECKING:
    from training.hpo.comparison import Comparison


@click.command()
@click.argument("one")
@click.argument("two")
@store_option
@json_option
def command(one: str, two: str, config_dir: Path | None, *, as_json: bool) -> None:
    """Show in which fields two studies, trials or configurations differ, and which of them matter.

    ONE and TWO are config folders, ids or names of runs, or the beginning of a study's key hash.
    """
    folders = Path(one), Path(two)
    if all(folder.is_dir() for folder in folders):
        answer = step("training.hpo.comparison:compare_configs")(*folders)  # without MLflow, which takes seconds
    else:
        answer = step("training.hpo.execution.explain:compare")(one, two, config_dir)
    found = cast("Comparison", answer)
    if as_json:
        step("training.cli.json_output:print_json")(found)
        return
    for heading, part in (("these make another key", found.identity), ("these don't matter", found.other)):
        if part:
            click.echo(f"{heading}:")
            for difference in part:
                click.echo(f"  {difference}")
    if not found.identity:
        click.echo("the same key")
