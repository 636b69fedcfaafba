"""What differs between two key documents, field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

ABSENT: Final = "absent"
SHOWN: Final = 60
"""Characters of a value that are shown."""


@dataclass(frozen=True)
class Difference:
    """A field of a document, as `section.key`, and how it reads on either side, as JSON values or `absent`."""

    field: str
    old: JsonValue
    new: JsonValue

    def __str__(self) -> str:
        """Return `field: old → new`."""
        old, new = str(self.old), str(self.new)
        pairs = enumerate(zip(old, new, strict=False))
        first = next((index for index, (one, other) in pairs if one != other), min(len(old), len(new)))
        start = max(0, first - SHOWN // 3) if max(len(old), len(new)) > SHOWN else 0
        return f"{self.field}: {_cut(old, start)} → {_cut(new, start)}"


def differences(old: Mapping[str, JsonValue], new: Mapping[str, JsonValue], prefix: str = "") -> Iterator[Difference]:
    """Yield every field in which two documents differ, in alphabetical order; lists are compared whole."""
    for name in sorted({*old, *new}):
        before, after = old.get(name, ABSENT), new.get(name, ABSENT)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from differences(before, after, f"{prefix}{name}.")
        elif (name in old) is not (name in new) or _as_json(before) != _as_json(after):
            yield Difference(prefix + name, before, after)


def _as_json(value: JsonValue) -> str:
    """Return a value as JSON, in which 1, true and "1" differ as they do in a key."""
    return json.dumps(value, sort_keys=True)


def _cut(text: str, start: int) -> str:
    """Return a text from `start` on, and no more of it than is shown."""
    end = start + SHOWN
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"
