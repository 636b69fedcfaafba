"""What a training is executed with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from infrastructure.naming import tags
from infrastructure.naming.exec_fingerprint import exec_fingerprint


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder."""
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_commit_and_changes_count(tmp_path: Path) -> None:
    """A commit, a change of a tracked file and another change are four environments; the change undone is the same."""
    code = tmp_path / "code.py"
    code.write_text("a = 1")
    outside = exec_fingerprint(tmp_path)
    assert (outside.git_commit, tags.GIT_COMMIT in outside.tags) == ("", False)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    clean = exec_fingerprint(tmp_path)
    assert clean.tags[tags.GIT_COMMIT] == git(tmp_path, "rev-parse", "HEAD")
    assert clean.tags[tags.GIT_DIRTY] == "false"
    hashes = {outside.key_hash, clean.key_hash}
    for text in ("a = 2", "a = 3"):
        code.write_text(text)
        changed = exec_fingerprint(tmp_path)
        assert changed.tags[tags.GIT_DIRTY] == "true"
        hashes.add(changed.key_hash)
    assert len(hashes) == 4
    code.write_text("a = 1")
    assert exec_fingerprint(tmp_path) == clean


def test_software_and_machine_are_told(tmp_path: Path) -> None:
    """The document holds the versions of Python and of every package, and what machine it is."""
    document = json.loads(exec_fingerprint(tmp_path).document)
    assert document["packages"]["optuna"] == version("optuna")
    assert len(document["packages"]) > 50
    assert document["python"] == ".".join(map(str, sys.version_info[:3]))
    assert document["platform"]


def test_the_projects_code_counts_without_git(tmp_path: Path) -> None:
    """The project's modules and packages count, whatever git knows of them; its outputs and scripts below don't."""
    hashes = [exec_fingerprint(tmp_path).key_hash]
    for name in ("objective.py", "package/__init__.py", "package/part.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a = 1")
        hashes.append(exec_fingerprint(tmp_path).key_hash)
        (tmp_path / name).write_text("a = 2")
        hashes.append(exec_fingerprint(tmp_path).key_hash)
    assert len(set(hashes)) == 7
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "copy.py").write_text("a = 1")
    assert exec_fingerprint(tmp_path).key_hash == hashes[-1]


def test_what_git_does_not_tell_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that takes too long doesn't make a changed project a clean one."""
    (tmp_path / "code.txt").write_text("a")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    run = subprocess.run

    def slow(command: list[str], **options: object) -> object:
        if "diff" in command:
            raise subprocess.TimeoutExpired(command, 10)
        return run(command, **options)  # type: ignore[call-overload]  # as it was called

    monkeypatch.setattr(subprocess, "run", slow)
    found = exec_fingerprint(tmp_path)
    assert (json.loads(found.document)["git"]["diff"], found.tags[tags.GIT_DIRTY]) == ("unknown", "true")


def test_broken_packages_are_passed_over(tmp_path: Path) -> None:
    """A folder that pip left behind without a name is no package."""
    (tmp_path / "leftover-1.0.dist-info").mkdir()
    code = (
        "from pathlib import Path; from infrastructure.naming.exec_fingerprint import exec_fingerprint as f; "
        "print(len(f(Path('.')).document))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
