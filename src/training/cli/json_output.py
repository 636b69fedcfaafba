"""Answers for programs: JSON, whatever the layers below returned."""

from __future__ import annotations

import json
from typing import Final

import click
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

OPTUNAS_OWN: Final = frozenset({"sampler_state", "study_state", "pruner_state"})


def print_json(answer: object) -> None:
    """Print an answer as JSON, without what only Optuna understands; NaN and infinities are texts."""
    document = to_jsonable_python(answer, inf_nan_mode="strings")
    click.echo(json.dumps(_without_optunas_own(document), indent=2, ensure_ascii=False))


def _without_optunas_own(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {name: _without_optunas_own(item) for name, item in value.items() if name not in OPTUNAS_OWN}
    return [_without_optunas_own(item) for item in value] if isinstance(value, list) else value
