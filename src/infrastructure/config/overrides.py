"""Overrides from the command line: `section.key.sub=value` goes over what the files say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import JsonValue

from infrastructure.config.problems import describe_value, nearest
from infrastructure.config.yaml_reader import MAX_DEPTH, KeyPath, key_name, read_value
from infrastructure.config.yaml_scalars import FORBIDDEN, check_characters, shorten
from infrastructure.errors import ConfigError
from infrastructure.redaction import REDACTED, is_credential_name


@dataclass(frozen=True)
class Override:
    """One override: the text it was given as, the section and keys it names, and its value."""

    text: str
    section: str
    keys: tuple[str, ...]
    value: JsonValue

    @property
    def label(self) -> str:
        """What messages call it, such as `override hpo.max_trials=40`."""
        return _label(self.text)


def parse_override(text: str, sections: Iterable[str]) -> Override:
    """Read an override; raise ConfigError if it isn't `section.key=value`, or its section isn't one of those given.

    The value is read as it would be after a `key:` in a file; a list or a mapping is written in `[…]` or `{…}`.
    """
    label = _label(text)
    target, equals, written = text.partition("=")
    section, *keys = target.strip().split(".")
    try:
        check_characters(text)
        if not equals or not keys or not all(keys):
            raise ValueError("an override names a key and its value; write it as section.key=value")
        if section not in (names := list(sections)):
            raise ValueError(f"unknown section {shorten(section)!r}; {nearest(section, names)}")
        if len(keys) > MAX_DEPTH:
            raise ValueError(f"the key is nested too deep; allowed: {MAX_DEPTH} levels")
    except ValueError as error:
        raise ConfigError([f"{label}: {error}"]) from error
    return Override(text, section, tuple(keys), read_value(written, label))


def apply_override(values: dict[str, JsonValue], override: Override) -> KeyPath:
    """Set the override's value in place, making the sections on its way, and return where it went.

    Raises ConfigError if a key on the way holds a single value, or a list hasn't got the index.
    """
    path: list[str | int] = []
    holder: JsonValue = values
    for position, key in enumerate(override.keys):
        is_last = position == len(override.keys) - 1
        if isinstance(holder, list):
            index = _index(key, holder, override, tuple(path))
            path.append(index)
            if is_last:
                holder[index] = override.value
            holder = holder[index]
        elif isinstance(holder, dict):
            path.append(key)
            if is_last:
                holder[key] = override.value
            elif holder.get(key) is None:
                holder[key] = {}
            holder = holder[key]
        else:
            raise ConfigError(
                [f"{override.label}: {key_name(tuple(path))} holds {describe_value(holder)}, which has no keys; set it"]
            )
    return tuple(path)


def _index(key: str, items: list[JsonValue], override: Override, path: KeyPath) -> int:
    if not (key.isascii() and key.isdigit()) or len(key) > 6 or int(key) >= len(items):
        allowed = f"0 to {len(items) - 1}" if items else "none, as it is empty"
        raise ConfigError(
            [f"{override.label}: {key_name(path)} is a list without an item {shorten(key)!r}; allowed: {allowed}"]
        )
    return int(key)


def _label(text: str) -> str:
    target, equals, written = text.partition("=")
    shown = f"{target}{equals}{REDACTED}" if written and is_credential_name(target) else text
    return f"override {shorten(' '.join(FORBIDDEN.sub('?', shown).split()), 100)}"
