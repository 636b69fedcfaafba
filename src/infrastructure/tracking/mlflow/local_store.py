"""A tracking store in a SQLite file: made whole or not at all, for its owner alone, and never over another file."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import mlflow
from alembic.script import ScriptDirectory
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy.orm import Session

from infrastructure.errors import StoreDamagedError, StoreVersionError
from infrastructure.storage.files import make_private

SCHEME: Final = "sqlite:///"
MAGIC: Final = b"SQLite format 3\x00"
PAGE_SIZE, PAGE_COUNT, VERSION, COUNTED_AT = slice(16, 18), slice(28, 32), slice(24, 28), slice(92, 96)
"""Fields of the header. Source: https://www.sqlite.org/fileformat2.html §1.3."""


ADVICE: Final = "restore it from a backup, or move it away to begin a new store"
CHECKED_WHOLE: Final = 64_000_000
"""Bytes of a store up to which all its pages are looked at before it is used; as many take a quarter of a second."""


def store_file(tracking_uri: str) -> Path | None:
    """Return the file of a local store, or None for a store of another kind."""
    return Path(tracking_uri.removeprefix(SCHEME)).absolute() if tracking_uri.startswith(SCHEME) else None


def prepare(file: Path, artifacts: Path) -> None:
    """See that there is a store which can be used; make it, with its artifact folder, where there is none.

    The file gets mode 0600 and the folder 0700. Raises StoreDamagedError for a file that isn't a whole SQLite database,
    and StoreVersionError for one that isn't of this MLflow, and leaves it as it is.
    """
    make_private(artifacts)
    # Two first users of an empty store would race the creation of its schema.
    with FileLock(file.with_name(f".{file.name}.lock"), mode=0o600):
        if file.exists():
            _check(file)
        else:
            _create(file)


def _create(file: Path) -> None:
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    os.close(os.open(new, os.O_CREAT | os.O_WRONLY, 0o600))
    MlflowClient(f"{SCHEME}{new}").search_experiments()
    with closing(sqlite3.connect(new)) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    new.replace(file)


def _check(file: Path) -> None:
    size = file.stat().st_size
    with file.open("rb") as store:
        header = store.read(100)
    if not header.startswith(MAGIC) or len(header) < COUNTED_AT.stop:
        raise StoreDamagedError(f"{file} is no SQLite database ({size} bytes), so it isn't touched; {ADVICE}")
    page_size = int.from_bytes(header[PAGE_SIZE], "big")
    expected = int.from_bytes(header[PAGE_COUNT], "big") * (65536 if page_size == 1 else page_size)
    # With a journal beside it, or written by very old versions, the header doesn't say how large the file is.
    is_counted = header[VERSION] == header[COUNTED_AT] and not any(
        file.with_name(file.name + ending).exists() for ending in ("-wal", "-journal")
    )
    if is_counted and size < expected:
        raise StoreDamagedError(f"{file} was cut to {size} of {expected} bytes, so it isn't touched; {ADVICE}")
    _check_content(file, size)


def _check_content(file: Path, size: int) -> None:
    """Look into a store without writing to it; one that is locked, or has to be rolled back, is left to MLflow."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=0)) as store:
            found = store.execute("PRAGMA quick_check(1)").fetchone()[0] if size <= CHECKED_WHOLE else "ok"
            tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            has_version = "alembic_version" in tables
            row = store.execute("SELECT version_num FROM alembic_version").fetchone() if has_version else None
    except sqlite3.OperationalError:
        return
    except sqlite3.DatabaseError as error:
        found, tables, row = str(error), set(), None
    if found != "ok":
        raise StoreDamagedError(f"{file} is damaged ({found}), so it isn't touched; {ADVICE}")
    if tables:
        _check_version(file, row[0] if row else "")


def _check_version(file: Path, version: str) -> None:
    """Raise StoreVersionError for tables of another version of MLflow, or of somebody else, which it would change."""
    scripts = ScriptDirectory.from_config(_get_alembic_config(""))
    if version == scripts.get_current_head():
        return
    if not version:
        raise StoreVersionError(
            f"{file} is a database of something else, so it isn't touched; give another tracking_uri"
        )
    if version in {script.revision for script in scripts.walk_revisions()}:
        step = f"copy it, then bring it up to date with `mlflow db upgrade {SCHEME}{file}`"
    else:
        step = f"use the MLflow that wrote it, or a newer one than {mlflow.__version__}"
    raise StoreVersionError(f"{file} is of another version of MLflow ({version}), so it isn't touched; {step}")


class SharedSessions:
    """Gives MLflow's store its database sessions; inside `transaction` those of a thread are part of one transaction.

    MLflow commits several times in one call. Here each of its sessions joins a transaction that was begun outside,
    and what it commits is a savepoint. Source: SQLAlchemy's manual, "Joining a Session into an External Transaction".
    """

    def __init__(self, store: SqlAlchemyStore) -> None:
        self._make = store.ManagedSessionMaker
        self._engine = store.engine
        self._of_thread = threading.local()

    @contextmanager
    def __call__(self, *, read_only: bool = True) -> Iterator[Session]:
        """Yield a session that is committed at the end, as MLflow's own maker of sessions does."""
        connection = getattr(self._of_thread, "connection", None)
        if connection is None:
            with self._make(read_only=read_only) as session:
                yield session
        else:
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                yield session
                session.commit()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all that this thread does to the store one transaction."""
        with self._engine.connect() as connection:
            for setting in ("foreign_keys = ON", "busy_timeout = 20000", "case_sensitive_like = true"):  # as MLflow's
                connection.exec_driver_sql(f"PRAGMA {setting}")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            self._of_thread.connection = connection
            try:
                yield
            finally:
                del self._of_thread.connection
            connection.commit()


def shared_sessions(client: MlflowClient) -> SharedSessions:
    """Return what gives the store of a client its sessions, from now on."""
    store = client._tracking_client.store
    if not isinstance(store.ManagedSessionMaker, SharedSessions):
        store.ManagedSessionMaker = SharedSessions(store)
    sessions: SharedSessions = store.ManagedSessionMaker
    return sessions
