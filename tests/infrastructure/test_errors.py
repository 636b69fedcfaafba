"""The error tree."""

from __future__ import annotations

import inspect

from infrastructure import errors


def test_docstring_draws_every_error() -> None:
    """Every error class stands in the tree that the module's docstring draws."""
    classes = [name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)]
    assert len(classes) > 10
    assert [name for name in classes if name not in (errors.__doc__ or "")] == []
