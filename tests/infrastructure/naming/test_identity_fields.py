"""Every field of every configuration model: identity fields change the key, the others don't.

The models are walked, so a new field or model without an example here fails the test.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter

from infrastructure.config.schema import DataConfig, HpoConfig, TrainConfig, data, hpo, search_space, train
from infrastructure.config.schema.base import is_identity
from infrastructure.naming.keys import SCHEMA_V2, hash_document, identity_document

CHOICE: dict[str, object] = {"type": "choice", "values": ["a", "b"]}
EXAMPLES: dict[type[BaseModel], dict[str, object]] = {
    DataConfig: {"task": "classification", "path": "data"},
    data.MaxSamples: {},
    HpoConfig: {
        "study_name": "s",
        "objective": {"metric": "accuracy", "direction": "maximize"},
        "search_space": {"x": CHOICE},
    },
    hpo.Objective: {"metric": "accuracy", "direction": "maximize"},
    hpo.Sampler: {"type": "random"},
    hpo.LearningSampler: {"type": "tpe"},
    hpo.NoPruner: {"type": "none"},
    hpo.MedianPruner: {"type": "median"},
    hpo.PercentilePruner: {"type": "percentile"},
    hpo.HyperbandPruner: {"type": "hyperband", "max_resource": 9},
    hpo.SuccessiveHalvingPruner: {"type": "successive_halving"},
    hpo.BanditPruner: {"type": "bandit", "slack_factor": 0.1},
    hpo.FoldPruner: {"type": "aggressive"},
    hpo.WilcoxonFoldPruner: {"type": "wilcoxon"},
    hpo.Holdout: {"type": "holdout"},
    hpo.KFold: {"type": "kfold"},
    hpo.GroupedKFold: {"type": "grouped", "group_column": "g"},
    hpo.RepeatedKFold: {"type": "repeated"},
    hpo.FoldsFile: {"type": "file", "folds_file": "folds.json"},
    search_space.Choice: CHOICE,
    search_space.Constant: {"type": "constant", "value": 1},
    search_space.Uniform: {"type": "uniform", "low": 0.0, "high": 9.0},
    search_space.LogUniform: {"type": "loguniform", "low": 0.1, "high": 9.0},
    search_space.Stepped: {"type": "stepped", "low": 0.0, "high": 9.0, "step": 1.0},
    search_space.Int: {"type": "int", "low": 0, "high": 9},
    search_space.IntLog: {"type": "int-log", "low": 1, "high": 9},
    train.TransformersTrain: {"trainer": "transformers", "backbone": "bert"},
    train.TransformersParams: {},
    train.SklearnTrain: {"trainer": "sklearn", "backbone": "sklearn.svm.SVC"},
    train.FunctionTrain: {"trainer": "function", "backbone": "module:function"},
}
# Fields whose other value can't be told from their type: another one that is allowed.
OTHERS: dict[tuple[type[BaseModel], str], object] = {
    (DataConfig, "content_hash"): "0123456789",
    (HpoConfig, "objective"): {"metric": "accuracy", "direction": "minimize"},
    (HpoConfig, "search_space"): {"x": CHOICE, "y": CHOICE},
    (HpoConfig, "sampler"): {"type": "random"},
    (HpoConfig, "pruner"): {"type": "median"},
    (HpoConfig, "fold_pruner"): {"type": "forgiving"},
    (HpoConfig, "cv"): {"type": "kfold"},
    (DataConfig, "max_samples"): {"train": 7},
    (search_space.Choice, "values"): ["b", "a"],
    (search_space.Constant, "value"): 2,
    (train.TransformersTrain, "params"): {"learning_rate": 0.1},
    (train.FunctionTrain, "backbone"): "module:another",
    (train.FunctionTrain, "predict"): "module:predict",
    (hpo.BanditPruner, "slack_amount"): 0.5,
    **{
        (model, "final"): {"register_model": True}
        for model in (train.TransformersTrain, train.SklearnTrain, train.FunctionTrain)
    },
}
OUTSIDE_IDENTITY = {
    (DataConfig, "path"),
    (DataConfig, "content_hash"),
    (HpoConfig, "study_name"),
    (HpoConfig, "max_trials"),
    (HpoConfig, "timeout"),
    (HpoConfig, "workers"),
    (hpo.FoldsFile, "folds_file"),
    (train.TransformersTrain, "device"),
    (train.SklearnTrain, "trusted_types"),
    (train.FunctionTrain, "predict"),
    *((model, name) for model in list(EXAMPLES)[-4:] for name in ("metrics", "threads", "final")),
} - {(train.TransformersParams, name) for name in ("metrics", "threads", "final")}


def reachable(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield every model that a configuration may hold."""
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation
            for field in annotation.model_fields.values():
                yield from reachable(field.annotation)
        return
    for part in get_args(annotation):
        yield from reachable(part)


MODELS = sorted(
    {model for root in (DataConfig, HpoConfig, TrainConfig) for model in reachable(root)} - {train.FinalTraining},
    key=lambda model: model.__name__,
)
# A discriminator with one value changes only together with its model: by the field that holds the model.
FIELDS = [
    (model, name)
    for model in MODELS
    for name, field in model.model_fields.items()
    if not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1)
]


def other_value(model: type[BaseModel], name: str, values: Mapping[str, object]) -> object:
    """Return a value of a field that differs from the one it has."""
    if (model, name) in OTHERS:
        return OTHERS[model, name]
    field = model.model_fields[name]
    now = values.get(name, field.get_default(call_default_factory=True))
    return next(value for value in _candidates(field.annotation) if value != now)


def _candidates(annotation: object) -> list[object]:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return [value for part in get_args(annotation) for value in _candidates(part)]
    if get_origin(annotation) is tuple:
        return [("x",)]
    if get_origin(annotation) is dict:
        return [{"x": "a"}]
    return {str: ["other", "module:other"], int: [8, 3], float: [0.5, 0.25], bool: [True, False]}.get(annotation, [])  # type: ignore[call-overload, no-any-return]


def test_every_model_has_an_example() -> None:
    """No model that a configuration may hold is left out."""
    assert set(MODELS) == set(EXAMPLES)


def test_what_is_no_identity_is_known() -> None:
    """The fields that don't count are these and no others; a new one has to be thought about here."""
    assert {(model, name) for model, name in FIELDS if not is_identity(model.model_fields[name])} == OUTSIDE_IDENTITY


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=[f"{model.__name__}.{name}" for model, name in FIELDS])
def test_each_field(model: type[BaseModel], name: str) -> None:
    """Changing one field changes the key if it is identity, and leaves it if it isn't."""
    values = EXAMPLES[model]
    changed = {**values, name: other_value(model, name, values)}
    if (model, name) == (hpo.BanditPruner, "slack_amount"):
        changed.pop("slack_factor")
    before, after = (hash_document(identity_document(model, each)) for each in (values, changed))
    assert (before != after) is ((model, name) not in OUTSIDE_IDENTITY)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_mapping_and_model_have_one_key(model: type[BaseModel]) -> None:
    """A plain mapping, the same with its keys in another order, and the validated model are the same."""
    values = EXAMPLES[model]
    validated = TypeAdapter(model).validate_python(values)
    backwards = dict(reversed(list(values.items())))
    keys = {hash_document(identity_document(model, each)) for each in (values, backwards, validated)}
    assert len(keys) == 1


GOLDEN = {2: "c876cce193f898d9ce4dc705e329c27565e4eb018a4671775d8e15e08aa13e13"}
"""By schema version: the hash of the identity of every example above, defaults included."""


def test_what_keys_are_computed_from_is_frozen() -> None:
    """A field that is added, dropped, or given another default changes keys, and so needs a new schema version."""
    documents = {model.__name__: identity_document(model, EXAMPLES[model]) for model in MODELS}
    assert hash_document(documents) == GOLDEN[SCHEMA_V2], "old studies would not be found: this is a new schema version"
