"""The error tree."""

from __future__ import annotations

import errno
import inspect
import os

import pytest

from infrastructure import errors


def test_docstring_draws_every_error() -> None:
    """Every error class stands in the tree that the module's docstring draws."""
    classes = [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(classes) > 10
    assert [name for name in classes if name not in (errors.__doc__ or "")] == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_known_whoever_says_it(code: int) -> None:
    """A full disk is told from other faults, by the system's number, or by its words where a library has only those."""
    assert errors.has_no_room(OSError(code, "no"))
    assert errors.has_no_room(RuntimeError(f"I/O error: {os.strerror(code)} (os error {code})"))
    wrapped = RuntimeError("saving failed")
    wrapped.__cause__ = OSError(code, "no")
    assert errors.has_no_room(wrapped)
    assert not errors.has_no_room(OSError(errno.ENOENT, "no"))


def test_an_error_that_is_its_own_cause_has_an_end() -> None:
    """`raise error from error` is looked through once."""
    error = ValueError("no")
    error.__cause__ = error
    assert not errors.has_no_room(error)
