"""Key documents and their hashes: what makes two studies, trials, folds or refits the same (DESIGN §4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal, cast, get_args, get_origin

import rfc8785
from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from infrastructure.config.schema import DataConfig, HpoConfig, TrainConfig
from infrastructure.config.schema.base import is_identity
from infrastructure.errors import IdentityError
from infrastructure.naming.fingerprints import backbone_identity, fingerprint
from infrastructure.paths.utils import configured_path
from infrastructure.redaction import without_credentials

SCHEMA_V2: Final = 2
SCHEMA_V1: Final = 1
MAX_INT: Final = 2**53 - 1
"""The largest whole number that RFC 8785 takes as an integer."""

Config = Mapping[str, object] | BaseModel


@dataclass(frozen=True)
class StudyIdentity:
    """What a study is known by, computed once and carried from there on."""

    study_key_hash: str
    study_family_hash: str
    schema_version: int
    data_fingerprint: str
    eval_fingerprint: str
    document: str


def canonical_json(value: object) -> bytes:
    """Return the RFC 8785 form of a value. Raises IdentityError for NaN, infinities and integers beyond 2^53."""
    try:
        return rfc8785.dumps(cast("dict[str, str]", value))
    except rfc8785.CanonicalizationError as error:
        raise IdentityError(
            f"a key document holds JSON values only (no NaN, infinity or huge integer): {error}"
        ) from error


def parse_document(text: str) -> dict[str, JsonValue]:
    """Return the document of this canonical form, so that its own canonical form is the same again.

    Whole numbers from 2^53 on were floats: RFC 8785 writes 1e16 as 10000000000000000. Raises ValueError.
    """
    document: dict[str, JsonValue] = json.loads(text, parse_int=_number)
    return document


def _number(digits: str) -> float:
    return int(digits) if abs(int(digits)) <= MAX_INT else float(digits)


def hash_document(document: Mapping[str, object]) -> str:
    """Return the SHA-256 of a document's canonical form, in 64 hex digits."""
    return hashlib.sha256(canonical_json(document)).hexdigest()


def identity_document(model: object, config: Config) -> dict[str, object]:
    """Return the part of a configuration that is identity, as the fields of its model declare it.

    `model` is a configuration model or a discriminated union of them. A plain mapping may lack required fields and
    hold unknown ones; those count as identity, as they stand. Fields that are None count as absent.
    """
    values = _as_mapping(config)
    chosen = _union_member(model, values)
    if chosen is None:
        return {name: value for name, value in values.items() if value is not None}
    document: dict[str, object] = {}
    for name, field in chosen.model_fields.items():
        if not is_identity(field) or (name not in values and field.is_required()):
            continue
        raw = values[name] if name in values else field.get_default(call_default_factory=True)
        value = _identity_value(field.rebuild_annotation(), raw, name)
        if value is not None:
            document[name] = value
    extras = {name: value for name, value in values.items() if name not in chosen.model_fields and value is not None}
    return {**document, **extras}


def _as_mapping(config: Config) -> Mapping[str, object]:
    return config.model_dump() if isinstance(config, BaseModel) else config


def _union_member(annotation: object, values: Mapping[str, object]) -> type[BaseModel] | None:
    """Return the model that describes `values`: the annotation itself, or the member of a union that its type names."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, BaseModel) else None
    for member in get_args(annotation):
        if not (isinstance(member, type) and issubclass(member, BaseModel)):
            continue
        for name, field in member.model_fields.items():
            is_discriminator = name in ("type", "trainer") and get_origin(field.annotation) is Literal
            if is_discriminator and values.get(name, field.default) in get_args(field.annotation):
                return member
    return None


def _identity_value(annotation: object, raw: object, name: str) -> object:
    if isinstance(raw, (Mapping, BaseModel)):
        values = _as_mapping(raw)
        if _union_member(annotation, values) is not None:
            return identity_document(annotation, values)
        item = _mapping_item(annotation)
        if item is not None:
            return {key: _identity_value(item, value, f"{name}.{key}") for key, value in values.items()}
        return dict(values)
    adapter: TypeAdapter[object] = TypeAdapter(cast("type[object]", annotation))
    try:
        return adapter.dump_python(adapter.validate_python(raw), mode="json")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise IdentityError(f"{name} can't be part of a study's identity as {raw!r}: {problem}") from error


def _mapping_item(annotation: object) -> object | None:
    """Return what a `dict[str, X]` holds, if X is described by models."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is not dict:
        return None
    item: object = get_args(annotation)[1]
    return item if get_origin(item) is Annotated else None


def study_identity(
    data_config: Config, hpo_config: Config, train_config: Config | None, backbone: str, root_dir: Path
) -> StudyIdentity:
    """Compute a study's identity from its configurations; v2 with `train_config`, v1 without.

    Credentials count for nothing: the document holds `***` in their place. Raises IdentityError if the data, the folds
    or the backbone can't be read.
    """
    data_print = _data_fingerprint(_as_mapping(data_config), root_dir)
    data = identity_document(DataConfig, data_config)
    hpo = identity_document(HpoConfig, hpo_config)
    folds_print = _folds_fingerprint(_as_mapping(hpo_config), root_dir)
    document: dict[str, object] = {
        "key_schema_version": SCHEMA_V1 if train_config is None else SCHEMA_V2,
        "data": {**data, "fingerprint": data_print},
        "hpo": {**hpo, "folds_fingerprint": folds_print} if folds_print else hpo,
    }
    if train_config is not None:
        train = identity_document(TrainConfig, train_config)
        document["train"] = {name: value for name, value in train.items() if name != "backbone"}
    document["backbone"] = backbone_identity(backbone, root_dir)
    return identity_of(without_credentials(document))


def identity_of(document: Mapping[str, object]) -> StudyIdentity:
    """Return the identity of the study whose key document this is."""
    hpo = cast("Mapping[str, object]", document["hpo"])
    evaluation = {name: hpo[name] for name in ("cv", "objective", "further_objectives") if name in hpo}
    return StudyIdentity(
        study_key_hash=hash_document(document),
        study_family_hash=hash_document({name: value for name, value in document.items() if name != "backbone"}),
        schema_version=cast("int", document["key_schema_version"]),
        data_fingerprint=hash_document({"data": document["data"]}),
        eval_fingerprint=hash_document({**evaluation, "folds_fingerprint": hpo.get("folds_fingerprint", "")}),
        document=canonical_json(document).decode(),
    )


def _data_fingerprint(data: Mapping[str, object], root_dir: Path) -> str:
    if content_hash := data.get("content_hash"):
        return f"content_hash:{content_hash}"
    path = data.get("path")
    return "" if path is None else f"blake3:{fingerprint(configured_path(root_dir, str(path), 'data.yaml path'))}"


def _folds_fingerprint(hpo: Mapping[str, object], root_dir: Path) -> str:
    cv = hpo.get("cv")
    folds_file = _as_mapping(cast("Config", cv)).get("folds_file") if isinstance(cv, (Mapping, BaseModel)) else None
    if folds_file is None:
        return ""
    return f"blake3:{fingerprint(configured_path(root_dir, str(folds_file), 'hpo.yaml cv.folds_file'))}"


def trial_key_hash(study_key_hash: str, hyperparameters: Mapping[str, JsonValue]) -> str:
    """Return the key of a trial: its study and its hyperparameters, exact to the last bit."""
    return hash_document({"study_key_hash": study_key_hash, "hyperparameters": dict(hyperparameters)})


def fold_key_hash(trial_key: str, fold_idx: int) -> str:
    """Return the key of one fold of a trial."""
    return hash_document({"trial_key_hash": trial_key, "fold_idx": fold_idx})


def refit_key_hash(trial_key: str, protocol: Mapping[str, JsonValue]) -> str:
    """Return the key of a refit or final training of a trial under a protocol (its stage and what it changes)."""
    return hash_document({"trial_key_hash": trial_key, "protocol": dict(protocol)})
