"""Writes docs/commands.md, the reference of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from training.cli.main import COMMANDS, cli

TARGET = Path(__file__).with_name("commands.md")
HEAD = """# Commands

What each command takes; written by `make docs` from the commands themselves. A command ends with 0 when it is done, 1
when work failed, 2 for wrong usage or configuration, 75 when the tracking store is away and what was done waits on
disk, 130 after Ctrl-C, 143 after SIGTERM. For completion in a shell: `eval "$(_ASSAY_COMPLETE=bash_source assay)"`,
or `zsh_source`, or `fish_source`.
"""


def text() -> str:
    """Return the page."""
    return "\n".join([HEAD, *(line for name in COMMANDS for line in section(name))])


def section(name: str) -> Iterator[str]:
    """Yield what is said of one command."""
    context = click.Context(cli)
    command = cli.get_command(context, name)
    assert command is not None
    yield f"## `assay {name}`"
    yield ""
    usage = " ".join(command.collect_usage_pieces(click.Context(command, parent=context, info_name=name)))
    yield f"`assay {name} {usage}`"
    yield ""
    yield inspect.cleandoc(command.help or "")
    yield ""
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        yield "| option | what it does |"
        yield "|---|---|"
    for option in options:
        shown = option.get_help_record(context)
        assert shown is not None, f"assay {name}: {option.name} has no help"
        yield f"| `{escaped(shown[0])}` | {escaped(shown[1])} |"
    if options:
        yield ""


def escaped(text: str) -> str:
    """Return a text for a cell of a table, in which `|` would begin the next one."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    TARGET.write_text(text())
