"""`assay sweep`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import (
    dry_run_option,
    force_option,
    project_options,
    quiet_option,
    run_training_step,
    shortcut,
    step,
    with_shortcuts,
    workers_option,
)


@click.command()
@project_options
@quiet_option
@workers_option
@shortcut("--max-trials", "hpo.max_trials", int, "Trials of the study in all.")
@shortcut("--timeout", "hpo.timeout", float, "Seconds after which no further trial is begun.")
@dry_run_option
@force_option
@click.option("--from", "study", metavar="STUDY", help="A study of the tracking store whose trials inform the sampler.")
@click.option("--import", "import_from", metavar="URL", help="An Optuna storage, or mlflow:EXPERIMENT, taken in first.")
def command(
    config_dir: Path | None,
    overrides: tuple[str, ...],
    study: str | None,
    import_from: str | None,
    *,
    dry_run: bool,
    force: bool,
    quiet: bool,
) -> None:
    """Run the study's trials, each cross-validated, going on where the tracking store ends.

    STUDY is the id or name of a study's run, or the beginning of its key hash. Its complete trials that are points of
    this search space inform the sampler; they don't count as trials of this study, and none of them is ever its best.
    """
    if dry_run:
        step("training.cli.answers.plan:show_plan")(config_dir=config_dir, overrides=with_shortcuts(overrides))
        return
    if study is not None:
        if import_from is not None:
            raise click.UsageError("--from and --import are two sources; give one, and the other with the next command")
        import_from = f"study:{study}"
    run_training_step(
        "training.cli.work:run_sweep", config_dir, overrides, quiet=quiet, force=force, import_from=import_from
    )
