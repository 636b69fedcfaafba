"""The checkpoints of one training: when one is due, and what of the training besides the trainer's own goes with it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Self

from pydantic import BaseModel, ConfigDict

from infrastructure.executors.base import ENDED
from infrastructure.storage.checkpoints import CheckpointFolder


class Done(BaseModel):
    """How far a training has come: its metrics after each step, and the seconds that it took."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")

    curve: dict[int, dict[str, float]] = {}
    seconds: float = 0.0


class TaskCheckpoints:
    """A training's checkpoints (`training.trainers.base.Checkpoints`), used as a context while it runs.

    `done` is how far it had come when the newest one was saved, and is kept up to date by the training. While a trainer
    that called `restore` runs, SIGTERM makes a checkpoint due instead of ending the process.
    """

    def __init__(self, folder: Path, key_hash: str, interval: float) -> None:
        self._folder = CheckpointFolder(folder, key_hash)
        self._interval = interval
        self._is_to_end = False
        self._saved = self._begun = time.monotonic()
        self._restored: Path | None = None
        self.done = Done()

    def __enter__(self) -> Self:
        self._folder.__enter__()
        if (newest := self._folder.newest()) is not None:
            self._restored = newest.folder
            self.done = Done.model_validate_json(newest.notes)
            self._begun -= self.done.seconds
        return self

    def __exit__(self, *_: object) -> None:
        if signal.getsignal(signal.SIGTERM) == self._end:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._folder.__exit__()

    def restore(self) -> Path | None:
        """Return the folder of the checkpoint that the training goes on from, and heed SIGTERM from now on."""
        is_default = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # elsewhere it is the driver's to handle
        if is_default and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._end)
        return self._restored

    def _end(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002  the handler's signature
        self._is_to_end = True

    @property
    def seconds(self) -> float:
        """How long the training has taken, what was done before it was cut short included."""
        return time.monotonic() - self._begun

    @property
    def is_due(self) -> bool:
        """Whether the interval is over, or the process is to end."""
        return self._is_to_end or time.monotonic() - self._saved >= self._interval

    def save(self, write: Callable[[Path], object]) -> None:
        """Save a checkpoint; raises SystemExit when the process is to end."""
        self.done.seconds = self.seconds
        self._folder.save(write, self.done.model_dump_json())
        self._saved = time.monotonic()
        if self._is_to_end:
            raise SystemExit(ENDED)

    def delete(self) -> None:
        """Delete the checkpoints of a training that is done."""
        self._folder.delete()
