"""Local stores that were cut or are something else, and who may read them."""

from __future__ import annotations

import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from infrastructure.errors import StoreDamagedError, StoreVersionError, TrackingError
from infrastructure.tracking.mlflow import local_store
from infrastructure.tracking.mlflow.local_store import prepare
from infrastructure.tracking.mlflow.session import set_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject
from training.hpo.execution.local.sweep import sweep


@pytest.mark.parametrize("kept", [0, 1, 99, 0.5, -4096, -1])
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


def damage(store: Path, rng: random.Random) -> None:
    """Flip bytes of a store in the middle: of the header, of a page's own header, or any."""
    content = bytearray(store.read_bytes())
    pages = len(content) // 4096
    for _ in range(rng.choice((1, 3, 200))):
        at = rng.choice(
            (rng.randrange(16, 100), rng.randrange(pages) * 4096 + rng.randrange(12), rng.randrange(len(content)))
        )
        content[at] ^= rng.randrange(1, 256)
    store.write_bytes(content)


@pytest.mark.parametrize("beside", ["", "-wal"])
def test_flipped_bytes_are_told_or_harmless(empty_store: Path, tmp_path: Path, beside: str) -> None:
    """Of a store with flipped bytes it is said that it is damaged, and it isn't touched; or it can be used."""
    rng = random.Random(f"flips {beside}")
    told: list[TrackingError] = []
    for number in range(40):
        store = tmp_path / f"{number}.db"
        shutil.copy(empty_store, store)
        damage(store, rng)
        if beside:
            store.with_name(store.name + beside).write_bytes(rng.randbytes(600))
        before = store.read_bytes()
        try:
            prepare(store, tmp_path / "artifacts")
        except TrackingError as error:
            told.append(error)
        assert store.read_bytes() == before
    assert len(told) > 20
    assert all(isinstance(error, StoreDamagedError | StoreVersionError) for error in told)
    assert all(str(error).isprintable() and str(tmp_path) in str(error) for error in told)


def test_damage_beside_a_journal_is_told(empty_store: Path, tmp_path: Path) -> None:
    """A store with SQLite's journal beside it, which is SQLite's to roll back, is told when it turns out damaged."""
    for root in (1, 2, 40):
        store = tmp_path / f"{root}.db"
        content = bytearray(empty_store.read_bytes())
        content[(root - 1) * 4096 + 100 : root * 4096] = b"\xff" * (4096 - 100)
        store.write_bytes(content)
        store.with_name(store.name + "-journal").write_bytes(b"no journal")
        with suppress(StoreDamagedError):
            setup_mlflow("x", tracking_uri=f"sqlite:///{store}")
            assert root > 1


def test_a_store_damaged_behind_its_beginning_is_told(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage that only shows when the page is used ends the command at once, and nothing that waits is thrown away."""
    config_dir = make_project(hpo={"max_trials": 1})
    store = config_dir.parent / "mlflow.db"
    result = sweep(config_dir)
    set_session(None)
    with closing(sqlite3.connect(store)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        roots = [row[0] for row in opened.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = 'params'")]
    content = bytearray(store.read_bytes())
    for root in roots:
        content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    store.write_bytes(content)
    with pytest.raises(StoreDamagedError, match=f"{store} is damaged"):
        sweep(config_dir, ["hpo.max_trials=2"])
    assert store.read_bytes() == bytes(content)
    monkeypatch.setattr(local_store, "CHECKED_WHOLE", 0)
    with pytest.raises(StoreDamagedError, match=r"malformed.*restore it from a backup"):
        sweep(config_dir, ["hpo.max_trials=2"])
    folder = config_dir.parent / "outputs" / result.study_key_hash[:16]
    assert not list(folder.glob("refused-*"))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("UPDATE alembic_version SET version_num = 'ffffffffffff'", r"use the MLflow that wrote it, or a newer one"),
        ("UPDATE alembic_version SET version_num = '451aebb31d03'", r"`mlflow db upgrade sqlite:///.*mlflow\.db`"),
        ("DROP TABLE alembic_version", "is a database of something else"),
    ],
)
def test_a_store_of_another_version_is_told(make_project: MakeProject, statement: str, expected: str) -> None:
    """A store that another MLflow or program made isn't touched, and what to do is said."""
    config_dir = make_project()
    store = config_dir.parent / "mlflow.db"
    with closing(sqlite3.connect(store)) as opened:
        opened.execute(statement)
        opened.commit()
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = store.read_bytes()
    with pytest.raises(StoreVersionError, match=expected) as caught:
        sweep(config_dir)
    assert str(caught.value).isprintable()
    assert store.read_bytes() == before


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
