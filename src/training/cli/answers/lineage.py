"""`assay lineage`, once the libraries are loaded."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from infrastructure.errors import ExecutionError
from training.cli.json_output import print_json
from training.hpo.execution.explain import trace


def show_lineage(reference: str, config_dir: Path | None, *, as_json: bool) -> None:
    """Show each link of a lineage, and fail if one doesn't hold."""
    links = trace(reference, config_dir)
    if as_json:
        print_json(links)
    console = Console(soft_wrap=True, highlight=False, markup=False, quiet=as_json)
    for link in links:
        mark = "BROKEN" if link.problems else "?" if link.unchecked else "ok"
        console.print(
            f"{mark:8}{link.what}: {link.shown}{f' (not checked: {link.unchecked})' if link.unchecked else ''}"
        )
        for problem in link.problems:
            console.print(f"        {problem}")
    if broken := [link.what for link in links if link.problems]:
        raise ExecutionError(f"the lineage of {reference} doesn't hold: {', '.join(broken)}")
