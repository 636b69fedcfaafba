"""What differs between two studies, trials or configurations, without asking anybody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from infrastructure.config.loading import ProjectConfig, load_project_config
from infrastructure.naming.differences import Difference, differences
from infrastructure.naming.keys import parse_document, study_identity
from infrastructure.redaction import without_credentials


@dataclass(frozen=True)
class Description:
    """What a study, trial or training is.

    `identity` is what its key is made of, `other` what its configuration says beside that, and `execution` how it was
    carried out, which a configuration says nothing of.
    """

    identity: Mapping[str, JsonValue]
    other: Mapping[str, JsonValue]
    execution: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True)
class Comparison:
    """The differences that make two things have different keys, and those that don't matter."""

    identity: tuple[Difference, ...]
    other: tuple[Difference, ...]


def compare_descriptions(before: Description, after: Description) -> Comparison:
    """Return what differs."""
    other = list(differences(before.other, after.other))
    if before.execution is not None and after.execution is not None:
        other += differences(before.execution, after.execution)
    return Comparison(tuple(differences(before.identity, after.identity)), tuple(other))


def compare_configs(one: Path, two: Path) -> Comparison:
    """Compare the configurations in two config folders. Raises ConfigError."""
    before, after = (describe_config(load_project_config(folder)) for folder in (one, two))
    return compare_descriptions(before, after)


def describe_config(config: ProjectConfig) -> Description:
    """Return what the study of a project's configuration is."""
    identity = study_identity(config.data, config.hpo, config.train, config.train.backbone, config.root_dir)
    document = parse_document(identity.document)
    written: dict[str, JsonValue] = {
        section: model.model_dump(mode="json")
        for section, model in (("data", config.data), ("hpo", config.hpo), ("train", config.train))
    }
    return Description(document, not_identity(without_credentials(written), document))


def not_identity(written: Mapping[str, JsonValue], document: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return what a configuration says and isn't part of the key document; absent values say nothing."""
    rest: dict[str, JsonValue] = {}
    for name, value in written.items():
        known = document.get(name)
        if isinstance(value, dict) and isinstance(known, dict):
            if inner := not_identity(value, known):
                rest[name] = inner
        elif name not in document and name != "backbone" and value is not None:
            rest[name] = value
    return rest
