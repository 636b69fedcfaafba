"""The documents and what they speak of."""

from __future__ import annotations

import importlib.util
import re
import subprocess

import pytest

from tests.conftest import REPOSITORY
from training.cli.main import COMMANDS


@pytest.mark.parametrize("page", ["configuration", "commands"])
def test_reference_is_current(page: str) -> None:
    """The references are what `make docs` writes: from the models, and from the commands with all their options."""
    spec = importlib.util.spec_from_file_location(f"make_{page}", REPOSITORY / "docs" / f"make_{page}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.text(), "run `make docs`"


def test_every_command_is_in_the_readme() -> None:
    """The README names each command, so that nobody has to guess that there is one."""
    readme = (REPOSITORY / "README.md").read_text()
    assert [name for name in COMMANDS if f"assay {name}" not in readme] == []


def test_links_lead_somewhere() -> None:
    """Every relative link in the documents leads to a file."""
    for page in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_no_path_of_a_machine_is_committed() -> None:
    """Nothing that is committed names a folder of somebody's machine or a registry's address."""
    files = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    bad = re.compile(r"/root/|/home/[a-z]+/|/opt/(wheels|pypi)|(files|upload)\.pythonhosted|pypi\.org/simple")
    checked = 0
    for name in files:
        path = REPOSITORY / name
        if path.suffix in {".csv", ".png"} or path.name == "test_docs.py" or not path.is_file():
            continue
        assert not bad.search(path.read_text()), name
        checked += 1
    assert checked > 100


def test_every_fault_is_proven() -> None:
    """Each row of docs/reliability.md names a test that there is."""
    page = (REPOSITORY / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(?:\w+::)?(\w+)`", page)
    assert len(named) > 10
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
    assert len(rows) == len(named)
    for file, name in named:
        assert re.search(rf"^ *def {name}\(", (REPOSITORY / file).read_text(), re.MULTILINE), f"{file}::{name}"
