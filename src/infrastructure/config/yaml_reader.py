"""The only YAML reader: bounded, without YAML's traps, and with the line of every key.

The scalars are those of YAML 1.2's core schema (`no` is a string, `1e-5` a number). What people read in two ways is
refused rather than guessed: duplicate keys, `010`, anchors, merge keys, several documents. Parsing goes by the
events of PyYAML's pure Python parser, and stops at the first one beyond a limit; its composer recurses and libyaml's
crashes on deep nesting, so neither is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import yaml
from pydantic import JsonValue

from infrastructure.config.yaml_scalars import (
    FORBIDDEN,
    check_characters,
    describe_character,
    resolve_scalar,
    shorten,
)
from infrastructure.errors import ConfigError

KeyPath = tuple[str | int, ...]

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 64
MAX_NODES: Final = 20_000
MAX_PROBLEMS: Final = 50

_CORE: Final = "tag:yaml.org,2002:"
_SCALAR_TYPES: Final[dict[str, tuple[type, ...]]] = {
    f"{_CORE}int": (int,),
    f"{_CORE}float": (int, float),
    f"{_CORE}bool": (bool,),
    f"{_CORE}null": (type(None),),
}


@dataclass(frozen=True)
class Document:
    """What a YAML file says: its values, and the line on which each key or list item stands, counted from 1."""

    path: Path
    values: dict[str, JsonValue]
    lines: Mapping[KeyPath, int]

    def line(self, key_path: KeyPath) -> int:
        """Return the line of a key, or of the nearest section around it that the file has."""
        while key_path and key_path not in self.lines:
            key_path = key_path[:-1]
        return self.lines.get(key_path, 1)


def display_path(path: Path) -> str:
    """Return a path as messages show it: relative to the working directory where it lies below it."""
    here = Path.cwd()
    absolute = here / path
    return str(absolute.relative_to(here)) if absolute.is_relative_to(here) else str(path)


def key_name(key_path: KeyPath) -> str:
    """Return a key path as it is written in messages and overrides, such as `search_space.x.values.0`."""
    return ".".join(shorten(" ".join(str(key).split())) for key in key_path)


def read_yaml(path: Path) -> Document:
    """Read a YAML file whose root is a mapping; an empty file is an empty mapping.

    Raises ConfigError, with a line `file:line key: what is wrong; what is allowed` for each fault.
    """
    name = display_path(path)
    reader = _Reader(name)
    values = reader.read(_read_text(path, name))
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise ConfigError([f"{name}:{reader.lines[()]}: the file holds no mapping; write lines of `key: value`"])
    return Document(path, values, reader.lines)


def read_value(text: str, source: str) -> JsonValue:
    """Read one value as it is written after `key:` on a line: a plain word, a quoted text, `[…]` or `{…}`.

    `source` says in messages where the value comes from. Raises ConfigError.
    """
    stripped = text.strip()
    if stripped[:1] in {'"', "'", "[", "{"}:
        return _Reader(source, has_lines=False).read(stripped)
    try:
        check_characters(text)
        return resolve_scalar(stripped)
    except ValueError as error:
        raise ConfigError([f"{source}: {error}"]) from error


def _read_text(path: Path, name: str) -> str:
    if not path.is_file():
        raise ConfigError([f"{name}: no such file; create it, or run `assay init` for a project that has it"])
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{name}: can't be read ({error.strerror}); check its permissions"]) from error
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{name}: the file is too large; allowed: {MAX_BYTES:,} bytes"])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = content[error.start]
        raise ConfigError([f"{name}:{line}: the byte {byte:#04x} is not UTF-8; save the file as UTF-8"]) from error


class _Reader:
    """Builds the value of one text from its parse events, and notes lines and faults on the way."""

    def __init__(self, name: str, *, has_lines: bool = True) -> None:
        self.lines: dict[KeyPath, int] = {}
        self._name = name
        self._has_lines = has_lines
        self._problems: list[str] = []
        self._nodes = 0
        self._line = 1
        self._events: Iterator[yaml.Event] = iter(())

    def read(self, text: str) -> JsonValue:
        """Return the value of the only document in the text, None for an empty one; raise ConfigError."""
        if found := FORBIDDEN.search(text):
            self._line = text.count("\n", 0, found.start()) + 1
            self._stop(f"{describe_character(found.group())} is not allowed in a configuration")
        self._events = yaml.parse(text, Loader=yaml.SafeLoader)
        value: JsonValue = None
        documents = 0
        while not isinstance(event := self._next(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._stop("a second document begins here; allowed: one")
                value = self._value(self._next(), ())
        if self._problems:
            raise ConfigError(self._problems)
        return value

    def _add(self, line: int, path: KeyPath, message: str) -> None:
        place = f"{self._name}:{line}" if self._has_lines else self._name
        self._problems.append(f"{place} {key_name(path)}: {message}" if path else f"{place}: {message}")
        if len(self._problems) == MAX_PROBLEMS:
            self._stop("too many faults; correct those above first")

    def _stop(self, message: str, path: KeyPath = ()) -> NoReturn:
        """Raise ConfigError with this fault, after which reading on makes no sense, and those before it."""
        place = f"{self._name}:{self._line}" if self._has_lines else self._name
        raise ConfigError([*self._problems, f"{place} {key_name(path)}: {message}" if path else f"{place}: {message}"])

    def _next(self) -> yaml.Event:
        try:
            event = next(self._events)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._line = mark.line + 1 if mark else self._line
            what = ", ".join(part for part in (error.context, error.problem) if part)
            self._stop(f"this is not YAML ({what}); check quotes, brackets and indentation")
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: an escape beyond Unicode
            self._stop(f"this is not YAML ({' '.join(str(error).split())})")
        if event.start_mark is not None:
            self._line = event.start_mark.line + 1
        return event

    def _value(self, event: yaml.Event, path: KeyPath) -> JsonValue:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(f"the text has too many values; allowed: {MAX_NODES:,}", path)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            self._stop("anchors and aliases (& and *) are not allowed; write the value out, or in quotes", path)
        self.lines.setdefault(path, self._line)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path)
        if len(path) >= MAX_DEPTH:
            self._stop(f"the text is nested too deep; allowed: {MAX_DEPTH} levels")
        if isinstance(event, yaml.SequenceStartEvent):
            self._check_tag(event.tag, "seq", path)
            return self._sequence(path)
        assert isinstance(event, yaml.MappingStartEvent)
        self._check_tag(event.tag, "map", path)
        return self._mapping(path)

    def _check_tag(self, tag: str | None, allowed: str, path: KeyPath) -> None:
        if tag is not None and tag != _CORE + allowed:
            self._add(self._line, path, f"the tag {shorten(tag)!r} is not allowed here; remove it")

    def _sequence(self, path: KeyPath) -> list[JsonValue]:
        items: list[JsonValue] = []
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            items.append(self._value(event, (*path, len(items))))
        return items

    def _mapping(self, path: KeyPath) -> dict[str, JsonValue]:
        values: dict[str, JsonValue] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key = self._key(event, path)
            key_path = (*path, key)
            line = self._line
            if key in values:
                first = self.lines[key_path]
                self._add(line, key_path, f"the key is here and on line {first}; keep one of them")
            self.lines.setdefault(key_path, line)
            values[key] = self._value(self._next(), key_path)
        return values

    def _key(self, event: yaml.Event, path: KeyPath) -> str:
        self._nodes += 1
        if not isinstance(event, yaml.ScalarEvent):
            self._stop("a key is a list, a mapping or an alias; allowed: a text", path)
        if event.anchor is not None:
            self._stop("anchors and aliases (& and *) are not allowed; write the value out, or in quotes", path)
        if event.value == "<<" and event.implicit[0]:
            self._add(self._line, path, "the merge key << is not allowed; write the keys out")
            return event.value
        line, key_path = self._line, (*path, event.value)
        known = len(self._problems)
        value = self._scalar(event, key_path)
        if not isinstance(value, str) and len(self._problems) == known:
            self._add(line, key_path, f"the key is not a text; write '{shorten(event.value)}'")
        return event.value

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath) -> str | int | float | bool | None:
        text = event.value
        plain_implicit, quoted_implicit = event.implicit
        try:
            check_characters(text)  # again: escapes in double quotes can bring them in
            if quoted_implicit or event.tag == f"{_CORE}str":
                return text
            value = resolve_scalar(text)
        except ValueError as error:
            self._add(self._line, path, str(error))
            return None
        if plain_implicit:
            return value
        types = _SCALAR_TYPES.get(event.tag or "")
        if types is None:
            self._check_tag(event.tag, "str", path)
        elif type(value) not in types:
            self._add(self._line, path, f"{shorten(text)!r} is not of the type of its tag {event.tag!r}; remove it")
        return value
