"""What all configuration models share: closed, frozen, strict, with identity declared on the fields."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class _NotIdentity:
    """Marks a field that changes how work is done, but not what a score means."""

    def __repr__(self) -> str:
        return "NOT_IDENTITY"


NOT_IDENTITY: Final = _NotIdentity()


class ConfigModel(BaseModel):
    """A closed, frozen section of a configuration.

    Every field belongs to the identity of a study unless it is annotated with `NOT_IDENTITY`, so a new field
    can't be forgotten.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def is_identity(field: FieldInfo) -> bool:
    """Tell whether a field of a configuration model is part of a study's identity."""
    return not any(isinstance(mark, _NotIdentity) for mark in field.metadata)
