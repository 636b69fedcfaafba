"""What differs between two key documents, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """A field of a document, as `section.key`, and how it reads on either side, as JSON values or `absent`."""

    field: str
    old: JsonValue
    new: JsonValue

    def __str__(self) -> str:
        """Return `field: old → new`."""
        return f"{self.field}: {_short(self.old)} → {_short(self.new)}"


def differences(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue], prefix: str = "") -> Iterator[Difference]:
    """Yield every field in which two documents differ, in alphabetical order; lists are compared whole."""
    for name in sorted({*old, *new}):
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{name}.")
        elif type(before) is not type(after) or before != after:
            yield Difference(prefix + name, before, after)


def _short(value: JsonValue) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
