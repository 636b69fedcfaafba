"""Every field of every configuration model, with an example of the model and another value for the field.

The models are walked, so a new field or model without an example here fails the tests.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from infrastructure.config.schema import DataConfig, HpoConfig, TrainConfig, data, hpo, search_space, train

Values = dict[str, object]

CHOICE: Values = {"type": "choice", "values": ["a", "b"]}
EXAMPLES: dict[type[BaseModel], Values] = {
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
    (DataConfig, "task"): "regression",
    (DataConfig, "path"): "elsewhere",
    (DataConfig, "content_hash"): "0123456789",
    (HpoConfig, "objective"): {"metric": "accuracy", "direction": "minimize"},
    (HpoConfig, "further_objectives"): [{"metric": "f1_macro", "direction": "maximize"}],
    (HpoConfig, "search_space"): {"x": CHOICE, "y": CHOICE},
    (HpoConfig, "sampler"): {"type": "random"},
    (HpoConfig, "pruner"): {"type": "none"},
    (HpoConfig, "fold_pruner"): {"type": "none"},
    (HpoConfig, "cv"): {"type": "kfold"},
    (HpoConfig, "selection"): {"accuracy_threshold": 0.5},
    (DataConfig, "max_samples"): {"train": 7},
    (search_space.Choice, "values"): ["b", "a"],
    (search_space.Constant, "value"): 2,
    (train.TransformersTrain, "params"): {"learning_rate": 0.1},
    (train.SklearnTrain, "backbone"): "sklearn.svm.LinearSVC",
    (train.FunctionTrain, "backbone"): "module:another",
    (train.FunctionTrain, "predict"): "module:predict",
    (hpo.BanditPruner, "slack_amount"): 0.5,
    **{
        (model, "final"): {"register_model": True}
        for model in (train.TransformersTrain, train.SklearnTrain, train.FunctionTrain)
    },
}
# Fields that can't stand beside the rest of the model's example: another example.
BASES: dict[tuple[type[BaseModel], str], Values] = {
    (HpoConfig, "further_objectives"): {
        "study_name": "s",
        "objective": {"metric": "accuracy", "direction": "maximize"},
        "search_space": {"x": CHOICE},
        "pruner": {"type": "none"},
        "fold_pruner": {"type": "none"},
    },
    (DataConfig, "content_hash"): {"task": "custom", "content_hash": "fedcba9876"},
    **{
        (DataConfig, name): {"task": "custom", "path": "data", "tokens_column": "tokens", "tags_column": "tags"}
        for name in ("tokens_column", "tags_column")
    },
}
OUTSIDE_IDENTITY = {
    (DataConfig, "path"),
    (DataConfig, "content_hash"),
    (HpoConfig, "study_name"),
    (HpoConfig, "max_trials"),
    (HpoConfig, "timeout"),
    (HpoConfig, "workers"),
    (HpoConfig, "selection"),
    (hpo.FoldsFile, "folds_file"),
    (train.TransformersTrain, "device"),
    (train.SklearnTrain, "trusted_types"),
    (train.FunctionTrain, "predict"),
    *(
        (model, name)
        for model in (train.TransformersTrain, train.SklearnTrain, train.FunctionTrain)
        for name in ("metrics", "threads", "max_retries", "checkpoint_interval", "final")
    ),
}


@dataclass(frozen=True)
class Place:
    """Where a model stands in a configuration: the section, and from there on each holding model and its field."""

    section: str
    steps: tuple[tuple[type[BaseModel], str], ...] = ()

    @property
    def field(self) -> str:
        """The model's place as messages name it."""
        names = [f"{name}.{PARAMETER}" if name == "search_space" else name for _, name in self.steps]
        return ".".join([self.section, *names])


PARAMETER = "p"


def _reachable(annotation: object, place: Place) -> Iterator[tuple[type[BaseModel], Place]]:
    """Yield every model that a configuration may hold, and where."""
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation, place
            for name, field in annotation.model_fields.items():
                yield from _reachable(field.annotation, Place(place.section, (*place.steps, (annotation, name))))
        return
    if get_origin(annotation) is not tuple:  # what is listed is a model that stands elsewhere too
        for part in get_args(annotation):
            yield from _reachable(part, place)


PLACES: dict[type[BaseModel], Place] = {
    model: place
    for section, root in (("data", DataConfig), ("hpo", HpoConfig), ("train", TrainConfig))
    for model, place in _reachable(root, Place(section))
    if model not in (train.FinalTraining, hpo.Selection, hpo.Latency)
}
MODELS = sorted(PLACES, key=lambda model: model.__name__)
# A discriminator with one value changes only together with its model: by the field that holds the model.
FIELDS = [
    (model, name)
    for model in MODELS
    for name, field in model.model_fields.items()
    if not (get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1)
]
FIELD_NAMES = [f"{model.__name__}.{name}" for model, name in FIELDS]


def before_and_after(model: type[BaseModel], name: str) -> tuple[Values, Values]:
    """Return an example of a model, and the same with another value of one field."""
    before = BASES.get((model, name), EXAMPLES[model])
    after = {**before, name: _other_value(model, name, before)}
    if (model, name) == (hpo.BanditPruner, "slack_amount"):
        after.pop("slack_factor")
    return before, after


def in_a_project(model: type[BaseModel], values: Values) -> dict[str, Values]:
    """Return the three sections of a whole configuration that holds a model with these values."""
    place = PLACES[model]
    for holder, name in reversed(place.steps):
        held: object = {"x": CHOICE, PARAMETER: values} if name == "search_space" else values
        values = {**EXAMPLES[holder], name: held}
    sections = {"data": EXAMPLES[DataConfig], "hpo": EXAMPLES[HpoConfig], "train": EXAMPLES[train.SklearnTrain]}
    return {**sections, place.section: values}


def _other_value(model: type[BaseModel], name: str, values: Values) -> object:
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
