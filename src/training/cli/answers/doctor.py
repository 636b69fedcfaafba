"""`assay doctor`, once the libraries are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from infrastructure.errors import ExecutionError
from training.cli.json_output import print_json
from training.hpo.execution.doctor import examine


def show_findings(config_dir: Path | None, overrides: Sequence[str], *, as_json: bool) -> None:
    """Show what was found, each with its mend; fail if something would keep the project from running."""
    found = examine(config_dir, overrides)
    if as_json:
        print_json(found)
    console = Console(soft_wrap=True, highlight=False, markup=False, quiet=as_json)
    for finding in found:
        console.print(f"{finding.state:6}{finding.what}: {finding.found}")
        if finding.mend:
            console.print(f"      → {finding.mend}")
    if failed := [finding.what for finding in found if finding.state == "fail"]:
        raise ExecutionError(f"to be mended first: {', '.join(dict.fromkeys(failed))}")
