"""The README's commands, as a newcomer would type them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.test_guides import run_script

README = (REPOSITORY / "README.md").read_text()
RUN_ELSEWHERE = ("assay ui", "assay serve", "assay submit")
"""Commands that end by Ctrl-C alone, or need Azure's packages; other tests run them."""


def block(heading: str, kind: str) -> str:
    """Return the first block of this kind below a heading of the README."""
    found = re.search(rf"^## {heading}\n.*?^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_from_nothing_to_a_served_answer(tmp_path: Path) -> None:
    """The block's commands, word for word in an empty folder, end with the entities of the text that is sent."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    shell = subprocess.Popen(
        ["bash", "-c", f"set -e\n{block('From nothing to a served model', 'sh')}\necho"],
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
        with suppress(ProcessLookupError):  # it ended by itself, and so did what it began
            os.killpg(shell.pid, signal.SIGKILL)
    _, errors = shell.communicate()
    assert answered, errors
    (prediction,) = json.loads(answered)["predictions"]
    found = {(entity["label"], entity["text"]) for entity in prediction["entities"]}
    assert found >= {("NAME", "Maria Lopez"), ("EMAIL", "maria.lopez@example.org"), ("PHONE", "020 7946 0018")}, found
    pages = list((tmp_path / "my-project" / "outputs").glob("*/report/index.html"))
    assert len(pages) == 1
    asked = block("Using the model", "python").replace("///demo/", "///my-project/")
    (tmp_path / "ask.py").write_text(asked)
    code, printed = run_script("python ask.py", tmp_path)
    assert code == 0, printed
    assert "Maria Lopez" in printed


def test_commands_of_the_readme(tmp_path: Path) -> None:
    """The list of commands and the lines of Python, on a project of the template that is done soonest."""
    lines = [line for line in block("Your own project", "sh").splitlines() if not line.startswith(RUN_ELSEWHERE)]
    assert len(lines) > 10
    quick = "\n".join(lines).replace("init my-project ", "init my-project --template tabular ")
    find = 'RUN=$(assay status --config-dir my-project/config --json | python -c "import json, sys; '
    find += "print(json.load(sys.stdin)['trial_run_ids'][0])\")"
    commands = quick.replace("assay report", f"{find}\nassay report").replace("resume-ner@", "tabular@")
    commands = re.sub(r"(diff my-project/config|reproduce) RUN", r'\1 "$RUN"', commands)
    (tmp_path / "search.py").write_text(block("Your own project", "python"))
    code, printed = run_script(f"set -e\n{commands}\ncd ..\npython search.py", tmp_path)
    assert code == 0, printed
    assert "classifier__C" in printed
