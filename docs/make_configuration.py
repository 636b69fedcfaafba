"""Writes docs/configuration.md from the configuration models: `make docs`."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infrastructure.config.schema import (
    DataConfig,
    ExecutorConfig,
    HpoConfig,
    MlflowConfig,
    NamingConfig,
    PathsConfig,
    TrainConfig,
)
from infrastructure.config.schema.base import is_identity

TARGET = Path(__file__).with_name("configuration.md")
FILES = {
    "data.yaml": DataConfig,
    "hpo.yaml": HpoConfig,
    "train.yaml": TrainConfig,
    "mlflow.yaml": MlflowConfig,
    "executor.yaml": ExecutorConfig,
    "naming.yaml": NamingConfig,
    "paths.yaml": PathsConfig,
}
STUDY_FILES = ("data.yaml", "hpo.yaml", "train.yaml")
"""The files that a study's key is computed from."""
HEAD = """# Configuration

Written from the models in `src/infrastructure/config/schema/` by `make docs`.

A setting marked *identity* belongs to the key of a study: change it, and it is another study. The others may change
between a stop and a resume. Any setting can be overridden on the command line as `section.key=value`, the section being
the file's name without `.yaml`; `${env:NAME}` and `${env:NAME:default}` in a value are taken from the environment.
A text under the name of a credential, such as `api_token`, is never identity: see [SECURITY.md](../SECURITY.md).
"""


def text() -> str:
    """Return the whole page."""
    parts = [HEAD]
    for file, annotation in FILES.items():
        parts.append(f"\n## {file}\n")
        seen: set[type[BaseModel]] = set()
        for model in _models(annotation):
            parts += _section(model, seen, counts=file in STUDY_FILES)
    return "".join(parts)


def _section(model: type[BaseModel], seen: set[type[BaseModel]], *, counts: bool = True) -> Iterator[str]:
    """Describe a model, then those that its fields hold; nothing in it `counts` if what holds it is no identity."""
    if model in seen:
        return
    seen.add(model)
    yield f"\n### {_title(model)}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n"
    yield "| setting | values | default | |\n|---|---|---|---|\n"
    for name, field in model.model_fields.items():
        mark = "identity" if counts and is_identity(field) else ""
        yield f"| `{name}` | {_values(field.annotation)} | {_default(field)} | {mark} |\n"
    for field in model.model_fields.values():
        for inner in _models(field.annotation):
            yield from _section(inner, seen, counts=counts and is_identity(field))


def _title(model: type[BaseModel]) -> str:
    for name in ("type", "trainer"):
        field = model.model_fields.get(name)
        if field is not None:
            return f"`{name}: {' | '.join(map(str, get_args(field.annotation)))}`"
    return model.__name__


def _models(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in get_args(annotation) for model in _models(part)]


def _values(annotation: object) -> str:
    if get_origin(annotation) is Annotated:
        return _values(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    given = [part for part in get_args(annotation) if part is not types.NoneType]
    is_union = get_origin(annotation) in (Union, types.UnionType)
    if is_union and len(given) == 1:
        return _values(given[0])
    if get_origin(annotation) is tuple:
        return "a list of sections, see below" if _models(given[0]) else f"a list of {_values(given[0])}"
    if _models(annotation):
        return "a section of its own, see below"
    if is_union:
        return " or ".join(map(_values, given))
    if get_origin(annotation) is dict:
        return "a mapping"
    names = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    return names.get(getattr(annotation, "__name__", ""), "any value")


def _default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "needed"
    if isinstance(default, BaseModel):
        return ""
    return "" if default in (None, (), {}) else f"`{default}`"


if __name__ == "__main__":
    TARGET.write_text(text())
