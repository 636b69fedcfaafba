"""How long Azure is waited for; its own clients try for minutes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from infrastructure.errors import TrackingError, one_line

LONGEST: Final = 30.0
"""Seconds that a workspace, or a credential for it, is waited for."""


def asked(what: str, ask: Callable[[], Any]) -> Any:  # noqa: ANN401  whatever is asked for
    """Return what `ask` brings; raise TrackingError with its reason, or after `LONGEST` seconds without an answer."""
    brought: list[Any] = []
    errors: list[Exception] = []

    def attempt() -> None:
        try:
            brought.append(ask())
        except Exception as error:  # noqa: BLE001  a thread's boundary, and Azure's errors may be of any package
            errors.append(error)

    thread = threading.Thread(target=attempt, name="azure", daemon=True)  # a call that hangs can't be ended
    thread.start()
    thread.join(LONGEST)
    if errors:
        raise TrackingError(f"{what} can't be had: {one_line(errors[0])}") from errors[0]
    if not brought:
        raise TrackingError(f"{what} can't be had: no answer within {LONGEST:g} s")
    return brought[0]
