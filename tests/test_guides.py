"""The tutorial and the guides: every file that they show is written, and every command is run."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

GUIDES = [REPOSITORY / "docs" / "tutorial.md", *sorted((REPOSITORY / "docs" / "guides").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# file: (\S+)\n")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield an empty folder that others may enter, which pytest's may not: PostgreSQL doesn't run as root."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.stem)
def test_guide(guide: Path, folder: Path) -> None:
    """From an empty folder to the guide's end, each block in its turn."""
    if guide.stem == "azure-ml":
        pytest.importorskip("azure.ai.ml", reason="the extra `azure` isn't installed; `make test-azure` has it")
    script = ["set -e"]
    for kind, text in BLOCK.findall(guide.read_text()):
        shown = FILE.match(text)
        if kind == "sh":
            script.append(text)
        if kind in ("sh", "console"):  # what needs docker is shown only
            continue
        assert shown is not None, f"a {kind} block of {guide.name} doesn't say which file it is"
        (folder / shown.group(1)).parent.mkdir(parents=True, exist_ok=True)
        (folder / shown.group(1)).write_text(text)
    assert len(script) > 1
    code, printed = run_script("\n".join(script), folder)
    assert code == 0, printed


def run_script(script: str, folder: Path) -> tuple[int, str]:
    """Run a shell script and end what it began in the background; return its exit code and what was printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["ASSAY"] = str(REPOSITORY)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    log = folder / "printed.log"
    with log.open("w") as printed:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(timeout=600)
        finally:
            with suppress(ProcessLookupError):  # nothing is left of it
                os.killpg(shell.pid, signal.SIGKILL)
    return code, log.read_text()
