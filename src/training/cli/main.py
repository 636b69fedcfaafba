"""The command `assay`: finds the command, turns errors into one line and an exit code, and prints no credential."""

from __future__ import annotations

import importlib
import logging
import signal
import sys
from types import FrameType
from typing import Final

import click

from infrastructure.errors import AssayError, printable
from infrastructure.redaction import redact_output

COMMANDS: Final = {
    "init": "Start a project that runs, with configuration and data.",
    "doctor": "Look for what would go wrong, and say what mends it.",
    "validate": "Check a project's configuration without running anything.",
    "run": "Sweep, refit the best, and train the final model.",
    "sweep": "Run the study's trials, each cross-validated.",
    "submit": "Run the study's trials elsewhere, as a job of Azure ML.",
    "cv": "Cross-validate one configuration as a trial of the study.",
    "refit": "Train the best trial on all training data and register its model.",
    "train": "Train the final model.",
    "status": "Show the study's trials.",
    "report": "Write one page about the study, with figures.",
    "best": "Rank studies whose results mean the same, and name the champion.",
    "diff": "Show in which fields two studies, trials or configurations differ.",
    "lineage": "Follow a model back to its data and commit, and check each link.",
    "reproduce": "Do a training of the tracking store again and compare.",
    "import": "Take trials into the study that were made without Assay.",
    "export": "Write the study to an Optuna storage.",
    "sync": "Send what waits on disk since the tracking store was away.",
    "serve": "Serve the champion over HTTP.",
    "ui": "Open the MLflow UI on the project's store.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that help is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Return the names of all commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module = "take_in" if cmd_name == "import" else cmd_name  # no module can be called `import`
        command: click.Command = importlib.import_module(f"training.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="assay")
def cli() -> None:
    """Sweep, cross-validation, refit and final training, tracked in MLflow and resumable from it."""


def main() -> None:
    """Run the command line and exit with its code.

    0 done, 1 work failed, 2 usage or configuration, 75 the tracking store is away and what was done waits on disk,
    130 interrupted by Ctrl-C, 143 by SIGTERM.
    """
    redact_output()
    _log_plainly()
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except click.Abort as error:
        how = "the same command without --force" if "--force" in sys.argv else "the same command"
        click.echo(f"interrupted: what had finished is saved; {how} goes on from there", err=True)
        code = 143 if isinstance(error.__cause__, _Terminated) else 130
    except AssayError as error:
        for line in str(error).splitlines():
            click.echo(f"error: {line}", err=True)
        code = error.exit_code
    except OSError as error:
        if error.errno is None or error.filename is None:
            raise
        click.echo(f"error: {printable(f'{error.filename}: {error.strerror}')}", err=True)
        code = 1
    sys.exit(code or 0)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def _as_interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  the handler's signature
    raise _Terminated


def _log_plainly() -> None:
    """Print what Assay logs as it is, and of the libraries below it warnings alone."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name in ("infrastructure", "training"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
