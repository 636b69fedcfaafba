"""What a training is executed with."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

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
