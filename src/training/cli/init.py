"""`assay init`."""

from __future__ import annotations

from pathlib import Path

import click

from training.cli.options import step

TEMPLATES = {
    "resume-ner": "find labelled spans in texts, by fine-tuning a transformer",
    "text-classification": "label texts, by fine-tuning a transformer",
    "tabular": "a scikit-learn pipeline on a table",
    "function": "a training function of your own",
}


@click.command(epilog="Templates: " + "; ".join(f"{name}: {text}" for name, text in TEMPLATES.items()) + ".")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    default="resume-ner",
    show_default=True,
    help="What kind of work the project does.",
)
def command(folder: Path, template: str) -> None:
    """Start a project in FOLDER: a data set, and a configuration with comments that runs on it."""
    step("training.project_template:create_project")(folder=folder, template=template)
    click.echo(f"{folder} holds a project; run it:\n  assay run --config-dir {folder / 'config'}")
