"""Local stores that were cut or are something else, and who may read them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.errors import StoreDamagedError
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject
from training.hpo.execution.local.sweep import sweep


@pytest.mark.parametrize("kept", [0, 1, 99, 0.5, -4096])
def test_a_cut_store_is_told_and_untouched(make_project: MakeProject, kept: float) -> None:
    """A store that lost its end, or all of it, is an error; it is never made anew, and never written to."""
    config_dir = make_project()
    store = config_dir.parent / "mlflow.db"
    whole = store.read_bytes()
    size = int(len(whole) * kept) if isinstance(kept, float) else kept if kept >= 0 else len(whole) + kept
    store.write_bytes(whole[:size])
    for _ in range(2):
        with pytest.raises(
            StoreDamagedError, match=f"{store} (is no SQLite database|was cut to {size} of {len(whole)})"
        ):
            sweep(config_dir)
    assert store.read_bytes() == whole[:size]


def test_another_file_is_no_store(make_project: MakeProject) -> None:
    """A file that is something else isn't overwritten."""
    config_dir = make_project()
    store = config_dir.parent / "mlflow.db"
    store.write_text("notes of mine\n" * 50)
    with pytest.raises(StoreDamagedError, match="is no SQLite database"):
        setup_mlflow(config_dir=config_dir)
    assert store.read_text() == "notes of mine\n" * 50


def test_a_new_store_is_its_owners_alone(make_project: MakeProject, tmp_path: Path) -> None:
    """What a sweep writes can't be read by other users: 0600 for the store, 0700 for the folders."""
    config_dir = make_project(hpo={"max_trials": 1})
    (config_dir.parent / "mlflow.db").unlink()
    sweep(config_dir)
    root = config_dir.parent
    assert (root / "mlflow.db").stat().st_mode & 0o777 == 0o600
    for folder in ("mlartifacts", "outputs"):
        assert (root / folder).stat().st_mode & 0o777 == 0o700, folder
    assert not list(root.glob(".mlflow.db.new*"))
    assert tmp_path in root.parents


def test_many_first_users_make_one_store(make_project: MakeProject) -> None:
    """Processes that begin at the same time without a store all find one."""
    config_dir = make_project()
    (config_dir.parent / "mlflow.db").unlink()
    code = f"from infrastructure.tracking.mlflow.setup import setup_mlflow; setup_mlflow('first', {str(config_dir)!r})"
    users = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for user in users:
        _, stderr = user.communicate(timeout=120)
        assert user.returncode == 0, stderr
    shutil.rmtree(config_dir.parent / "mlartifacts")
