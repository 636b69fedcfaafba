"""What differs between two studies, trials or configurations, without asking anybody."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from infrastructure.config.loading import ProjectConfig, load_project_config
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.keys import study_identity


@dataclass(frozen=True)
class Description:
    """What a study or trial is: `identity` is its key document, `other` what doesn't count towards its key."""

    identity: Mapping[str, JsonValue]
    other: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Comparison:
    """The differences that make two things have different keys, and those that don't matter."""

    identity: tuple[Difference, ...]
    other: tuple[Difference, ...]


def compare_descriptions(before: Description, after: Description) -> Comparison:
    """Return what differs."""
    return Comparison(
        tuple(differences(before.identity, after.identity)), tuple(differences(before.other, after.other))
    )


def compare_configs(one: Path, two: Path) -> Comparison:
    """Compare the configurations in two config folders. Raises ConfigError."""
    before, after = (describe_config(load_project_config(folder)) for folder in (one, two))
    return compare_descriptions(before, after)


def describe_config(config: ProjectConfig) -> Description:
    """Return what the study of a project's configuration is."""
    identity = study_identity(config.data, config.hpo, config.train, config.train.backbone, config.root_dir)
    document: dict[str, JsonValue] = json.loads(identity.document)
    written: dict[str, JsonValue] = {
        section: model.model_dump(mode="json", exclude_none=True)
        for section, model in (("data", config.data), ("hpo", config.hpo), ("train", config.train))
    }
    return Description(document, _without(written, document))


def _without(written: Mapping[str, JsonValue], document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what is written and isn't part of the document."""
    rest: dict[str, JsonValue] = {}
    for name, value in written.items():
        known = document.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            if inner := _without(value, known):
                rest[name] = inner
        elif name not in document and name != "backbone":
            rest[name] = value
    return rest
