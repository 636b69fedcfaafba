"""What a training is executed with: the project's commit and changes, Python, packages, machine.

It is kept beside the keys and is no part of them: the same study may go on with other software.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from blake3 import blake3

from infrastructure.naming import tags
from infrastructure.naming.keys import canonical_json
from infrastructure.paths.code import python_files

UNKNOWN: Final = "unknown"


@dataclass(frozen=True)
class ExecFingerprint:
    """The environment of a training as canonical JSON, and the commit that it is of, empty outside git."""

    document: str
    git_commit: str
    git_dirty: bool

    @property
    def key_hash(self) -> str:
        """The SHA-256 of the document, in 64 hex digits."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    @property
    def tags(self) -> dict[str, str]:
        """The tags that a run of this environment carries."""
        found = {tags.EXEC_FINGERPRINT: self.key_hash}
        if self.git_commit:
            found |= {tags.GIT_COMMIT: self.git_commit, tags.GIT_DIRTY: str(self.git_dirty).lower()}
        return found


def exec_fingerprint(root_dir: Path) -> ExecFingerprint:
    """Return the environment as it is now.

    Uncommitted changes of tracked files count by their SHA-256. The project's own Python files, which trainings import,
    count by their content whether git tracks them or not.
    """
    commit = (_git(root_dir, "rev-parse", "HEAD") or b"").decode().strip()
    changes = _git(root_dir, "diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD") if commit else b""
    diff = UNKNOWN if changes is None else hashlib.sha256(changes).hexdigest() if changes else ""
    document = {
        "git": {"commit": commit, "diff": diff},
        "code": _project_code(root_dir),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "packages": _packages(),
    }
    return ExecFingerprint(canonical_json(document).decode(), commit, bool(diff))


def knows_commit(root_dir: Path, commit: str) -> bool | None:
    """Tell whether the repository that a project lies in has a commit; None outside git."""
    if not _git(root_dir, "rev-parse", "--git-dir"):
        return None
    return bool(_git(root_dir, "rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"))


@functools.cache
def _packages() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name:  # pip leaves folders behind that are none
            found.setdefault(name.lower(), distribution.version)  # the first on the path is the one that is imported
    return found


def _project_code(root_dir: Path) -> str:
    """Return the BLAKE3 over the project's own Python files."""
    whole = blake3()
    for file in sorted(python_files(root_dir)):
        name = os.fsencode(file.relative_to(root_dir).as_posix())
        content = file.read_bytes()
        whole.update(len(name).to_bytes(8, "big") + name + len(content).to_bytes(8, "big") + content)
    return whole.hexdigest()


def machine() -> str:
    """Return what kind of machine this is: system, processor, and how many of them."""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} CPUs"


@functools.cache
def _processor() -> str:
    """Return the processor's name; which instructions it has decides the last bits of a result."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _git(root_dir: Path, *arguments: str) -> bytes | None:
    """Return what git prints, or None if it fails or takes more than 10 s."""
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            ["git", "-C", str(root_dir), *arguments],  # noqa: S607  the user's own git
            capture_output=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
