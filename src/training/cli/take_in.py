"""`assay import`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import project_options, step


@click.command("import")
@project_options
@click.option("--mlflow", "experiment", metavar="EXPERIMENT", help="An experiment of the tracking store.")
@click.option("--optuna", "url", metavar="URL", help="An Optuna storage.")
def command(config_dir: Path | None, overrides: tuple[str, ...], experiment: str | None, url: str | None) -> None:
    """Take trials into the project's study that were made without Assay, and run none.

    With --mlflow they are the finished runs that have a point of the search space as params and the objective as a
    metric, as Optuna's MLflow callback and nested runs by hand leave them. They inform the sampler of the next
    `assay sweep`, and are shown beside the study's own trials; since nobody knows on which data and folds they were
    scored, they are never its best.
    """
    if (experiment is None) == (url is None):
        raise click.UsageError("name where the trials are: either --mlflow EXPERIMENT or --optuna URL")
    source = url if experiment is None else f"mlflow:{experiment}"
    step("training.cli.work:run_import")(source=source, config_dir=config_dir, overrides=overrides)
