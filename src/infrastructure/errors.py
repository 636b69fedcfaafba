"""Every error that Assay raises on purpose.

AssayError
├── ConfigError                     a configuration has faults; all of them, one a line
├── ProjectNotFoundError            no config folder where one was looked for
├── DataError                       a data file can't be used; names the row
├── IdentityError                   a key hash can't be had from what was given
├── MissingExtraError               an optional package isn't installed
├── NotComparableError              results that mean different things were to be compared
├── UnsafePathError                 a file or folder of ours leads elsewhere
├── OutputError                     a file of ours can't be written: no room, or not allowed
├── ExecutionError                  the work itself failed
├── StudyHeldError                  another process works on the study
└── TrackingError                   the tracking store refused or can't be used
    ├── MlflowNotConfiguredError    layer 2 was called before `setup_mlflow()`
    ├── StoreSwitchError            another store was asked for under a live run
    ├── RunNotFoundError            no run of that id, key or name
    ├── StoreDamagedError           the file of a local store isn't whole
    ├── StoreVersionError           a local store is of another version of MLflow, or of something else
    └── StoreUnreachableError       the store doesn't answer

A message is one line for the person who reads it: the rule, the value, what is allowed, the next step.
`exit_code` is what the command line ends with.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import ClassVar, Final

from infrastructure.redaction import redacted

LONGEST: Final = 800
"""Characters of a problem that are shown."""


class AssayError(Exception):
    """Base of all errors that Assay raises on purpose; no message holds a credential."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class ConfigError(AssayError):
    """A configuration has faults; `problems` holds all of them, each as `file:line key: what; what is allowed`."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(printable(problem) for problem in problems)
        Exception.__init__(self, "\n".join(self.problems))


class ProjectNotFoundError(AssayError):
    """No config folder was found where one was looked for."""

    exit_code = 2


class DataError(AssayError):
    """A data file can't be used as configured."""

    exit_code = 2


class IdentityError(AssayError):
    """A key hash can't be given, read or computed from the inputs."""

    exit_code = 2


class MissingExtraError(AssayError):
    """An optional package isn't installed."""

    exit_code = 2

    def __init__(self, feature: str, extra: str, package: str) -> None:
        super().__init__(
            f"{feature} needs the package {package!r}, which is not installed: pip install 'assay[{extra}]'"
        )


class NotComparableError(AssayError):
    """Studies whose data or evaluation differ were to be compared."""

    exit_code = 2


class UnsafePathError(AssayError):
    """A file or folder that is to be written or deleted is a link that leads elsewhere, or no file or folder."""

    exit_code = 2


class OutputError(AssayError):
    """A file of ours can't be written: the disk is full, or the folder may not be written to.

    Nothing that was acknowledged is lost; once there is room, the same command goes on.
    """


class ExecutionError(AssayError):
    """The work itself failed: every trial, a refit, or a final training."""


class StudyHeldError(AssayError):
    """Another process works on the study; one driver at a time owns it."""


class TrackingError(AssayError):
    """The tracking store refused, or can't be used."""


class MlflowNotConfiguredError(TrackingError):
    """A run was asked for before the tracking store was chosen."""

    exit_code = 2

    def __init__(self) -> None:
        super().__init__(
            "MLflow is not configured: call infrastructure.tracking.mlflow.setup.setup_mlflow() first, "
            "once in each process that creates runs"
        )


class StoreSwitchError(TrackingError):
    """Another tracking store was asked for while a run is live in the present one."""

    exit_code = 2


class RunNotFoundError(TrackingError):
    """No run of that id, key or name in the tracking store."""

    exit_code = 2


class StoreDamagedError(TrackingError):
    """The file of a local tracking store isn't a whole database; it isn't touched."""


class StoreVersionError(TrackingError):
    """The file of a local tracking store is of another version of MLflow, or of something else; it isn't touched."""

    exit_code = 2


class StoreUnreachableError(TrackingError):
    """The tracking store doesn't answer."""

    exit_code = 75


NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS})
"""What the system answers when a disk is full, a quota or the largest size of a file reached, or a disk read-only."""


def has_no_room(error: BaseException | None) -> bool:
    """Tell whether an error comes of a disk that takes no more, which is no fault of the work and passes."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            return True
        if any(os.strerror(code) in str(error) for code in NO_ROOM):  # of a library in another language: safetensors
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def printable(text: str) -> str:
    """Return a text in one line, without what would steer a terminal; of a very long one, its beginning and end."""
    shown = redacted(text)
    plain = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in shown)
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST // 2]} … {plain[-LONGEST // 2 :]}"


def one_line(error: BaseException) -> str:
    """Return an error as one line: its type and the first line of its message, without credentials."""
    lines = redacted(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
