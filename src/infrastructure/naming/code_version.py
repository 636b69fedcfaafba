"""Which commit of the user's project a run was made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from infrastructure.naming import tags


def code_version_tags(root_dir: Path) -> dict[str, str]:
    """Return the tags for the commit of the project and whether it had uncommitted changes; none outside git."""
    commit = _git(root_dir, "rev-parse", "HEAD")
    if not commit:
        return {}
    dirty = bool(_git(root_dir, "status", "--porcelain", "--untracked-files=no"))
    return {tags.GIT_COMMIT: commit, tags.GIT_DIRTY: str(dirty).lower()}


def _git(root_dir: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  fixed arguments
            ["git", "-C", str(root_dir), *arguments],  # noqa: S607  the user's own git
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
