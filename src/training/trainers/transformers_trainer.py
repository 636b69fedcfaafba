"""Fine-tunes a Hugging Face backbone to tag tokens or to label texts."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from pydantic import JsonValue, ValidationError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from infrastructure.config.schema import DataConfig
from infrastructure.config.schema.hpo import Objective
from infrastructure.config.schema.train import TransformersParams, TransformersTrain
from infrastructure.errors import ConfigError, DataError
from infrastructure.storage.files import write_json_atomic
from training.trainers.backbones import resolve_backbone
from training.trainers.base import FitRequest, FitResult, Report
from training.trainers.length_batches import LengthBatches
from training.trainers.transformers_checkpoints import CheckpointingTrainer
from training.trainers.transformers_heads import IGNORED, Feature, Head, TextHead, TokenHead, Window, balanced_weights

DESCRIPTION_FILE = "assay_model.json"
DROPOUT_SETTINGS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "classifier_dropout",
    "dropout",
    "attention_dropout",
    "seq_classif_dropout",
    "hidden_dropout",
    "embedding_dropout",
    "mlp_dropout",
)

_Loaded = TypeVar("_Loaded")


class TransformersTrainer:
    """Fine-tunes with Hugging Face's `Trainer`; evaluates and reports after each epoch if there are validation rows.

    With `early_stopping_patience` the weights of the best epoch are the ones evaluated and saved; without it, or
    without validation rows, those of the last epoch.
    """

    def fit(self, request: FitRequest, report: Report) -> FitResult:
        """Train, evaluate, and save model and tokenizer if the request asks for it.

        Raises ConfigError for hyperparameters or a backbone that can't be used, DataError for rows that can't.
        """
        config = request.config
        assert isinstance(config, TransformersTrain)
        params = parsed_params(request.params)
        use_cpu = config.device == "cpu" or not torch.accelerator.is_available()
        if params.precision == "fp16" and use_cpu:
            raise ConfigError(["train.yaml params.precision: fp16 needs a GPU; allowed without one: fp32, bf16"])
        if request.train is None:
            raise DataError("data.yaml path: trainer transformers needs rows to learn from; give the data's path")
        torch.set_num_threads(config.threads)
        with _quiet():
            set_seed(request.seed)
            backbone = _Backbone.find(config)
            tokenizer = backbone.tokenizer(params.max_length)
            head = _make_head(request.train, request.data, tokenizer, params.max_length)
            model = backbone.model(head, params.dropout)
            if model.config.pad_token_id is None:
                model.config.pad_token_id = tokenizer.pad_token_id
            evaluation = _Evaluation(head, tokenizer, params.per_device_eval_batch_size, request.metrics)
            watcher = _Watcher(evaluation, request.valid, request.objective, params.early_stopping_patience, report)
            _train(model, head, request, params, watcher)
            watcher.restore_best(model)
            if request.model_dir is not None:
                _save(model, tokenizer, request.data, params, request.model_dir)
            test = {} if request.test is None else evaluation.run(model, request.test)
        return FitResult(valid=watcher.metrics, test=test, device=_device_name(model.device))


def _device_name(device: torch.device) -> str:
    return f"cuda {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def parsed_params(params: Mapping[str, JsonValue]) -> TransformersParams:
    """Check hyperparameters; raise ConfigError with one line for each fault."""
    try:
        return TransformersParams.model_validate(dict(params))
    except ValidationError as error:
        raise ConfigError(
            [
                f"train.yaml params.{'.'.join(map(str, fault['loc']))}: {fault['msg']}, got {fault['input']!r:.60}"
                for fault in error.errors()
            ]
        ) from error


@dataclass(frozen=True)
class _Backbone:
    """A pretrained model that is on this machine or on the hub."""

    name: str
    options: Mapping[str, object]

    @classmethod
    def find(cls, config: TransformersTrain) -> _Backbone:
        """Find the folder, or take the name as one of the hub's."""
        name = resolve_backbone(config.backbone)
        if Path(name).is_dir():
            return cls(name, {"local_files_only": True, "trust_remote_code": False})
        return cls(name, {"revision": config.revision or "main", "trust_remote_code": False})

    def tokenizer(self, length: int) -> PreTrainedTokenizerBase:
        """Load the fast tokenizer, if the backbone can read `length` tokens."""
        tokenizer = self._load(AutoTokenizer.from_pretrained)
        config = self._load(AutoConfig.from_pretrained)
        if not tokenizer.is_fast:
            raise ConfigError([f"train.yaml backbone: {self.name} has no fast tokenizer; choose one that has"])
        limit = min(tokenizer.model_max_length, getattr(config, "max_position_embeddings", None) or math.inf)
        if length > limit:
            raise ConfigError([f"train.yaml params.max_length: {length}; {self.name} reads at most {limit} tokens"])
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def model(self, head: Head, dropout: float | None) -> PreTrainedModel:
        """Load the backbone in float32 below a new head."""
        numbers = range(len(head.names))
        config = self._load(
            AutoConfig.from_pretrained,
            num_labels=len(head.names),
            id2label=dict(zip(numbers, head.names, strict=True)),
            label2id=dict(zip(head.names, numbers, strict=True)),
        )
        if isinstance(head, TextHead):
            config.problem_type = "single_label_classification"
        if dropout is not None:
            _set_dropout(config, dropout, self.name)
        # A checkpoint that has a head for other labels gives its body only. Other formats of weights are pickles.
        options = {"dtype": torch.float32, "ignore_mismatched_sizes": True, "use_safetensors": True}
        return self._load(head.model_class.from_pretrained, config=config, **options)

    def _load(self, load: Callable[..., _Loaded], **options: object) -> _Loaded:
        try:
            return load(self.name, **self.options, **options)
        except (OSError, ValueError) as error:  # what transformers raises for a missing, broken or unknown backbone
            reason = str(error).strip().splitlines()[0]
            raise ConfigError([f"train.yaml backbone: {self.name} can't be loaded: {reason}"]) from error


def _set_dropout(config: PretrainedConfig, dropout: float, name: str) -> None:
    present = [setting for setting in DROPOUT_SETTINGS if hasattr(config, setting)]
    if not present:
        raise ConfigError([f"train.yaml params.dropout: {name} has no dropout to set; leave it out"])
    for setting in present:
        setattr(config, setting, dropout)


def _make_head(train: pd.DataFrame, data: DataConfig, tokenizer: PreTrainedTokenizerBase, length: int) -> Head:
    if data.task == "token_classification":
        return TokenHead(train, data, tokenizer, length)
    if data.task == "text_classification":
        return TextHead(train, data, tokenizer, length)
    raise ConfigError(
        [
            f"train.yaml trainer: transformers can't do task {data.task}; "
            "allowed: token_classification, text_classification"
        ]
    )


@dataclass(frozen=True)
class _Evaluation:
    """Runs a model over rows and computes metrics, texts of similar length together."""

    head: Head
    tokenizer: PreTrainedTokenizerBase
    batch_size: int
    metrics: Sequence[str]

    def run(self, model: PreTrainedModel, frame: pd.DataFrame, windows: list[Window] | None = None) -> dict[str, float]:
        """Evaluate on the rows; `windows` saves tokenizing them again."""
        windows = self.head.windows(frame) if windows is None else windows
        order = sorted(range(len(windows)), key=lambda index: len(windows[index].input_ids))
        outputs: list[np.ndarray] = [np.empty(0)] * len(windows)
        model.eval()
        with torch.inference_mode():
            for begin in range(0, len(order), self.batch_size):
                indices = order[begin : begin + self.batch_size]
                batch = [windows[index] for index in indices]
                inputs = self.tokenizer.pad([window.feature for window in batch], return_tensors="pt").to(model.device)
                logits = model(**inputs).logits.float()
                for index, output in zip(indices, self.head.outputs(logits, batch), strict=True):
                    outputs[index] = output
        return self.head.evaluate(frame, windows, outputs, self.metrics)


@dataclass
class _Watcher(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Evaluates after each epoch, reports, keeps the best weights in memory, and stops when patience is over.

    Without rows to evaluate on it does nothing.
    """

    evaluation: _Evaluation
    frame: pd.DataFrame | None
    objective: Objective
    patience: int | None
    report: Report
    metrics: dict[str, float] = field(default_factory=dict)
    _windows: list[Window] | None = None
    _epoch: int = 0
    _best_epoch: int = 0
    _best: dict[str, float] = field(default_factory=dict)
    _best_state: dict[str, torch.Tensor] = field(default_factory=dict)

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the signature is the framework's
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,
        model: PreTrainedModel,
        **_: object,
    ) -> TrainerControl:
        """Evaluate, report, and decide whether to go on."""
        if self.frame is None:
            return control
        if self._windows is None:
            self._windows = self.evaluation.head.windows(self.frame)
        self._epoch += 1
        self.metrics = self.evaluation.run(model, self.frame, self._windows)
        if self.patience is not None:
            if self._is_better():
                self._best_epoch, self._best = self._epoch, self.metrics
                self._best_state = {name: tensor.cpu().clone() for name, tensor in model.state_dict().items()}
            control.should_training_stop = self._epoch - self._best_epoch >= self.patience
        self.report(self._epoch, self.metrics)
        return control

    def saved(self) -> tuple[dict[str, JsonValue], dict[str, torch.Tensor]]:
        """Return what has been seen so far."""
        state: dict[str, JsonValue] = {
            "epoch": self._epoch,
            "metrics": dict(self.metrics),
            "best_epoch": self._best_epoch,
            "best": dict(self._best),
        }
        return state, self._best_state

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up what had been seen."""
        self._epoch, self.metrics = state["epoch"], state["metrics"]
        self._best_epoch, self._best, self._best_state = state["best_epoch"], state["best"], dict(tensors)

    def restore_best(self, model: PreTrainedModel) -> None:
        """Give the model the weights of the best epoch, if they were kept."""
        if self._best_state:
            model.load_state_dict(self._best_state)
            self.metrics = self._best

    def _is_better(self) -> bool:
        value = self.metrics[self.objective.metric]
        if not self._best or math.isnan(value):
            return not math.isnan(value)
        best = self._best[self.objective.metric]
        return value > best if self.objective.direction == "maximize" else value < best


class _LengthBatchedTrainer(CheckpointingTrainer):
    """A `Trainer` whose batches are of similar length, mixed more than by its own `group_by_length`.

    That one sorts a quarter of the texts at a time, the longest first, and pads more.
    """

    def _get_train_sampler(self, train_dataset: Sequence[Feature] | None = None) -> LengthBatches:  # noqa: ARG002
        lengths = [len(feature["input_ids"]) for feature in self.train_dataset]
        return LengthBatches(lengths, self.args.per_device_train_batch_size)


def _train(
    model: PreTrainedModel, head: Head, request: FitRequest, params: TransformersParams, watcher: _Watcher
) -> None:
    assert isinstance(request.config, TransformersTrain)
    assert request.train is not None
    features = head.training_features(request.train)
    if not features:
        raise DataError("the training texts have no tokens at all; at least one is needed to learn from")
    trainer = _LengthBatchedTrainer(
        request.checkpoints,
        watcher,
        model=model,
        args=_arguments(request, params),
        train_dataset=features,
        data_collator=head.collator(),
        compute_loss_func=_weighted_loss(features, len(head.names), params) if params.class_weights else None,
        callbacks=[watcher],
    )
    if params.class_weights:
        trainer.loss_is_scaled_for_ga = False
    trainer.remove_callback(PrinterCallback)
    trainer.train_on()


def _arguments(request: FitRequest, params: TransformersParams) -> TrainingArguments:
    assert isinstance(request.config, TransformersTrain)
    use_cpu = request.config.device == "cpu" or not torch.accelerator.is_available()
    arguments = TrainingArguments(
        output_dir=str(request.output_dir),
        seed=request.seed,
        learning_rate=params.learning_rate,
        num_train_epochs=params.num_train_epochs,
        per_device_train_batch_size=params.per_device_train_batch_size,
        gradient_accumulation_steps=params.gradient_accumulation_steps,
        weight_decay=params.weight_decay,
        warmup_steps=min(params.warmup_ratio, math.nextafter(1.0, 0.0)),  # below 1 it is a share of all steps
        lr_scheduler_type=params.lr_scheduler_type,
        optim=params.optim,
        max_grad_norm=params.max_grad_norm,
        label_smoothing_factor=params.label_smoothing_factor,
        fp16=params.precision == "fp16",
        bf16=params.precision == "bf16",
        use_cpu=use_cpu,
        dataloader_pin_memory=not use_cpu,
        remove_unused_columns=False,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    # By itself it would use all GPUs, each with a batch of its own: another result than on one.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _weighted_loss(
    features: Sequence[Feature], classes: int, params: TransformersParams
) -> Callable[..., torch.Tensor]:
    """Return a cross entropy with balanced class weights, averaged over a batch."""
    weights = balanced_weights(features, classes)

    def loss(outputs: Mapping[str, torch.Tensor], labels: torch.Tensor, **_: object) -> torch.Tensor:
        logits = outputs["logits"]
        return torch.nn.functional.cross_entropy(
            logits.reshape(-1, classes).float(),
            labels.reshape(-1),
            weight=weights.to(logits.device),
            ignore_index=IGNORED,
            label_smoothing=params.label_smoothing_factor,
        )

    return loss


def _save(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    data: DataConfig,
    params: TransformersParams,
    folder: Path,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    labels: list[JsonValue] = [model.config.id2label[index] for index in range(model.config.num_labels)]
    write_json_atomic(
        folder / DESCRIPTION_FILE,
        {"trainer": "transformers", "task": data.task, "labels": labels, "max_length": params.max_length},
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing bars and the notice that the head is new, which it always is here."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
