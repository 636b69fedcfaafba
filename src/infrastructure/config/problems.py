"""Turns the errors of the configuration models into messages about the keys that the user wrote."""

from __future__ import annotations

import difflib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from infrastructure.config.yaml_reader import KeyPath
from infrastructure.config.yaml_scalars import shorten

_ALLOWED: Final[Mapping[str, str]] = {
    "bool_type": "true or false",
    "dict_type": "a mapping of keys to values",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "model_attributes_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "string_type": "a text (put it in quotes)",
    "tuple_type": "a list",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
    "string_pattern_mismatch": "a text that matches {pattern}",
    "string_too_long": "a text of at most {max_length} characters",
    "string_too_short": "a text of at least {min_length} characters",
    "too_short": "at least {min_length} entries",
}
_ONE_OF_SEVERAL: Final = "a text, a number, true, false or null"
_KEY_ITSELF: Final = "[key]"
"""What pydantic puts behind a key that is wrong itself, whatever its value."""


@dataclass(frozen=True)
class Problem:
    """One fault: the key that it is about and what to tell of it."""

    path: KeyPath
    message: str


@dataclass(frozen=True)
class _Place:
    """Where an error's location leads in the user's terms: the key, and the keys allowed beside it."""

    path: KeyPath
    siblings: tuple[str, ...] = ()
    among_types: bool = False
    annotation: object = None
    discriminator: str | None = None


def join_or(names: Iterable[str]) -> str:
    """Return names as a choice in quotes, such as `'a', 'b' or 'c'`."""
    quoted = [repr(name) for name in names]
    return " or ".join(filter(None, (", ".join(quoted[:-1]), *quoted[-1:])))


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return `did you mean 'x'?` for the allowed name that is most like a wrong one, or all allowed names."""
    names = sorted(allowed)
    close = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"allowed: {join_or(names)}"


def describe_value(value: JsonValue) -> str:
    """Return a value as messages show it, cut short; sections and lists are only named."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(shorten(value)) if isinstance(value, str) else repr(value)


def explain(
    annotation: object, values: JsonValue, errors: Iterable[ErrorDetails], hide: Callable[[str, KeyPath], str]
) -> list[Problem]:
    """Return a problem for each key that pydantic has errors about, in the order of the errors.

    `annotation` is the type of the whole file, `values` what was written, references not yet followed. `hide` takes
    what must not be shown out of a message of a validator about a key.
    """
    problems: dict[KeyPath, Problem] = {}
    for error in errors:
        place = _locate(annotation, error["loc"])
        problem = _explain_one(error, place, values)
        if error["type"] == "value_error":
            problem = Problem(problem.path, hide(problem.message, problem.path))
        problems.setdefault(problem.path, problem)
    return list(problems.values())


def _explain_one(error: ErrorDetails, place: _Place, values: JsonValue) -> Problem:
    kind, context, path = error["type"], error.get("ctx", {}), place.path
    if kind == "missing":
        return Problem(path, "the key is missing; add it")
    if kind == "extra_forbidden":
        return Problem(path, f"unknown key; {nearest(str(path[-1]), place.siblings)}")
    if place.discriminator is not None and kind in {"union_tag_not_found", "union_tag_invalid"}:
        path = (*path, place.discriminator)
        tags = _variants(place.annotation, place.discriminator)
        if kind == "union_tag_not_found":
            return Problem(path, f"the key is missing; allowed: {join_or(tags)}")
        return Problem(path, f"got {describe_value(value_at(values, path))}; {_choose(context.get('tag', ''), tags)}")
    if kind == "value_error":
        return Problem(path, str(context.get("error", error["msg"])))
    allowed = _ONE_OF_SEVERAL if place.among_types else _ALLOWED.get(kind, error["msg"]).format_map(context)
    return Problem(path, f"got {describe_value(value_at(values, path))}; allowed: {allowed}")


def _choose(name: object, allowed: Iterable[str]) -> str:
    names = list(allowed)
    close = difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed: {join_or(names)}"


def value_at(values: JsonValue, path: KeyPath) -> JsonValue:
    """Return the value at a key path, or None where there is none."""
    for key in path:
        if isinstance(values, dict) and isinstance(key, str):
            values = values.get(key)
        elif isinstance(values, list) and isinstance(key, int) and key < len(values):
            values = values[key]
        else:
            return None
    return values


def _locate(annotation: object, location: tuple[int | str, ...]) -> _Place:
    """Follow an error's location through the types, leaving out what isn't a key: the tags of unions."""
    path: list[int | str] = []
    siblings: tuple[str, ...] = ()
    for part in location[:-1] if location[-1:] == (_KEY_ITSELF,) else location:
        annotation, discriminator = _unwrap(annotation)
        if discriminator is not None:
            annotation = _variants(annotation, discriminator).get(str(part))
            continue
        if _is_union(annotation):
            return _Place(tuple(path), siblings, among_types=True)
        path.append(part)
        siblings = ()
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            siblings = tuple(annotation.model_fields)
            annotation = _field_type(annotation, str(part))
        else:
            arguments = get_args(annotation)
            annotation = (arguments[-1] if get_origin(annotation) is dict else arguments[0]) if arguments else None
    annotation, discriminator = _unwrap(annotation)
    return _Place(tuple(path), siblings, annotation=annotation, discriminator=discriminator)


def _field_type(model: type[BaseModel], name: str) -> object:
    field = model.model_fields.get(name)
    return None if field is None else Annotated[field.annotation, field]


def _is_union(annotation: object) -> bool:
    return get_origin(annotation) in {Union, types.UnionType}


def _unwrap(annotation: object) -> tuple[object, str | None]:
    """Return a type without its marks and without `| None`, and the key that tells its variants apart."""
    discriminator: str | None = None
    while True:
        arguments = get_args(annotation)
        if get_origin(annotation) is Annotated:
            annotation = arguments[0]
            for mark in arguments[1:]:
                if isinstance(mark, FieldInfo) and isinstance(mark.discriminator, str):
                    discriminator = mark.discriminator
        elif _is_union(annotation) and len(rest := [item for item in arguments if item is not type(None)]) == 1:
            annotation = rest[0]
        else:
            return annotation, discriminator


def _variants(annotation: object, discriminator: str) -> dict[str, object]:
    """Return the models of a union by the tags that choose them."""
    return {
        str(tag): model
        for model in get_args(annotation)
        if isinstance(model, type) and issubclass(model, BaseModel)
        for tag in get_args(model.model_fields[discriminator].annotation)
    }
