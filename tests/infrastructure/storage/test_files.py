"""Files that are whole or absent."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from infrastructure.storage.files import write_bytes_atomic, write_json_atomic


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
def test_failed_write_leaves_the_old_file(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails or is interrupted before its rename leaves what was there, and nothing else."""
    path = tmp_path / "deep" / "file.json"
    write_json_atomic(path, {"a": 1})

    def interrupted(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(type(error)):
        write_bytes_atomic(path, b"half")
    assert json.loads(path.read_bytes()) == {"a": 1}
    assert list(path.parent.iterdir()) == [path]


def test_nan_is_refused(tmp_path: Path) -> None:
    """JSON has no NaN, and no file appears."""
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomic(tmp_path / "x.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_temporary_files_of_the_dead_are_removed(tmp_path: Path) -> None:
    """What a killed writer left is removed by the next one; what a living one is writing, here or elsewhere, isn't."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    host = socket.gethostname()
    of_dead = tmp_path / f".x.json.{host}-{gone.pid}.tmp"
    others = [tmp_path / f".x.json.{host}-{os.getppid()}.tmp", tmp_path / f".x.json.elsewhere-{gone.pid}.tmp"]
    for path in (of_dead, *others):
        path.write_bytes(b"half")
    write_json_atomic(tmp_path / "x.json", 1)
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "x.json"])
