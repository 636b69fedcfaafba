"""The documents and what they speak of."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import tomllib

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


def test_every_block_is_run() -> None:
    """Each block of commands or code is of a page whose blocks a test runs, or is named here with its test."""
    by_page = {
        "docs/mlflow-setup-layering.md": "tests/test_spec_examples.py",
        "docs/tutorial.md": "tests/test_guides.py",
        **{f"docs/guides/{page.name}": "tests/test_guides.py" for page in REPOSITORY.glob("docs/guides/*.md")},
    }
    by_start = {  # the README is put together of pieces, of which not all end by themselves
        "make demo": "test_make_has_what_is_named",
        "assay init my-project                          #": "test_from_nothing_to_a_served_answer",
        "assay init my-project                                  #": "test_commands_of_the_readme",
        "from training.hpo.execution.local.sweep import sweep": "test_commands_of_the_readme",
        "import mlflow": "test_from_nothing_to_a_served_answer",
        "pip install .  ": "test_what_can_be_installed",
        "make check": "test_make_has_what_is_named",
    }
    tests = "".join(path.read_text() for path in REPOSITORY.glob("tests/test_*.py"))
    for page in [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")]:
        name = str(page.relative_to(REPOSITORY))
        for kind, text in re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            if name in by_page:
                continue
            names = [test for start, test in by_start.items() if text.startswith(start)]
            assert len(names) == 1, f"no test runs this {kind} block of {name}: {text[:60]}"
            assert f"def {names[0]}(" in tests


def test_make_has_what_is_named() -> None:
    """Every target that a block of the documents names is one of the Makefile, which CI and `make bench` go through."""
    makefile = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)", "".join(page.read_text() for page in REPOSITORY.glob("*.md")), re.MULTILINE)
    assert len(targets) > 6
    assert [target for target in targets if not re.search(rf"^{target}:", makefile, re.MULTILINE)] == []


def test_what_can_be_installed() -> None:
    """Every extra that the README installs is one of the package."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = re.findall(r"'\.\[(\w+)\]'", (REPOSITORY / "README.md").read_text())
    assert named
    assert set(named) <= set(extras)


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
