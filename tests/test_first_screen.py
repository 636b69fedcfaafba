"""The README's first screen, as a newcomer would type it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY


def test_from_nothing_to_a_served_answer(tmp_path: Path) -> None:
    """The block's commands, word for word in an empty folder, end with the entities of the text that is sent."""
    readme = (REPOSITORY / "README.md").read_text()
    block = re.search(r"^## From nothing to a served model\n.*?^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert block is not None
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-c", f"set -e\n{block.group(1)}\necho"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert shell.stdout is not None
    try:
        answered = next((line for line in shell.stdout if '"predictions"' in line), "")
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
    _, errors = shell.communicate()
    assert answered, errors
    (prediction,) = json.loads(answered)["predictions"]
    found = {(entity["label"], entity["text"]) for entity in prediction["entities"]}
    assert found >= {("NAME", "Maria Lopez"), ("EMAIL", "maria.lopez@example.org"), ("PHONE", "020 7946 0018")}, found
    pages = list((tmp_path / "my-project" / "outputs").glob("*/report/index.html"))
    assert len(pages) == 1
