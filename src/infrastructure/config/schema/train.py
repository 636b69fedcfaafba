"""`train.yaml`: the trainer, the backbone and every fixed training setting."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from infrastructure.config.schema.base import NOT_IDENTITY, ConfigModel
from infrastructure.config.schema.names import PathText, RecordedName


class FinalTraining(ConfigModel):
    """How the final training differs from the refit.

    It also learns from the validation split unless `include_validation` is off, its `params` go over the best
    trial's, and its model is registered only with `register_model`.
    """

    include_validation: bool = True
    params: dict[RecordedName, JsonValue] = Field(default_factory=dict)
    register_model: bool = False


class _Train(ConfigModel):
    """What every trainer is given.

    `metrics` are computed beside the objective. `threads` is the number of threads of one fold. A training whose
    process dies is begun again, `max_retries` times, from its newest checkpoint if it has one: trainers that can go on
    in the middle save one every `checkpoint_interval` seconds, and when they are interrupted.
    """

    metrics: Annotated[tuple[RecordedName, ...], NOT_IDENTITY, Field(strict=False)] = ()
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: Annotated[int, NOT_IDENTITY] = Field(default=1, ge=1)
    max_retries: Annotated[int, NOT_IDENTITY] = Field(default=2, ge=0)
    checkpoint_interval: Annotated[float, NOT_IDENTITY] = Field(default=600.0, ge=0)
    final: Annotated[FinalTraining, NOT_IDENTITY] = FinalTraining()


class TransformersParams(ConfigModel):
    """Hyperparameters of the trainer `transformers`, by the names of Hugging Face's `TrainingArguments`.

    `max_length` is in tokens. `class_weights: balanced` weighs each class by the inverse of its share.
    `early_stopping_patience` is in epochs without a better objective.
    """

    learning_rate: float = Field(default=5e-5, gt=0)
    num_train_epochs: int = Field(default=3, ge=1)
    per_device_train_batch_size: int = Field(default=16, ge=1)
    per_device_eval_batch_size: int = Field(default=64, ge=1)
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_ratio: float = Field(default=0.0, ge=0, le=1)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup", "polynomial"] = "linear"
    optim: Literal["adamw_torch", "adamw_torch_fused", "adafactor", "sgd"] = "adamw_torch_fused"
    max_grad_norm: float = Field(default=1.0, gt=0)
    label_smoothing_factor: float = Field(default=0.0, ge=0, lt=1)
    dropout: float | None = Field(default=None, ge=0, lt=1)
    max_length: int = Field(default=128, ge=8)
    class_weights: Literal["balanced"] | None = None
    early_stopping_patience: int | None = Field(default=None, ge=1)
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"


class TransformersTrain(_Train):
    """`train.yaml` for a Hugging Face backbone.

    `backbone` is a hub name, a folder, or `package:NAME/folder` for one that an installed Python package carries.
    """

    trainer: Literal["transformers"]
    backbone: PathText
    revision: str | None = None
    device: Annotated[Literal["auto", "cpu"], NOT_IDENTITY] = "auto"
    params: TransformersParams = TransformersParams()


class SklearnTrain(_Train):
    """`train.yaml` for scikit-learn.

    `backbone` is the import path of an estimator class, or of a callable that returns a pipeline. `params` go to
    `set_params`, so `step__name` reaches into a pipeline. `trusted_types` are what skops may load beside its own.
    """

    trainer: Literal["sklearn"]
    backbone: str = Field(pattern=r"^[A-Za-z_][\w.]*[.:][A-Za-z_]\w*$")
    trusted_types: Annotated[tuple[str, ...], NOT_IDENTITY, Field(strict=False)] = ()
    params: dict[str, JsonValue] = Field(default_factory=dict)


class FunctionTrain(_Train):
    """`train.yaml` for a training function of the user's own, `backbone: module:callable`.

    `predict: module:callable` makes the refitted model servable.
    """

    trainer: Literal["function"]
    backbone: str = Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
    predict: Annotated[str | None, NOT_IDENTITY, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] = None
    params: dict[str, JsonValue] = Field(default_factory=dict)


TrainConfig = Annotated[TransformersTrain | SklearnTrain | FunctionTrain, Field(discriminator="trainer")]
