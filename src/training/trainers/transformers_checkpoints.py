"""Checkpoints of a fine-tuning: all tensors as safetensors, everything else as JSON, no pickle.

Hugging Face's `Trainer` decides when to save and how to go on, in the middle of an epoch too; what it would write with
`torch.save` is written here instead. A training that goes on gives the same result as one that was never cut short.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from pydantic import JsonValue
from safetensors.torch import load_file, save_file
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from training.trainers.base import Checkpoints

TENSORS: Final = "tensors.safetensors"
STATE: Final = "state.json"
TRAINER_STATE: Final = "trainer_state.json"
"""The file in which Hugging Face's `Trainer` looks for how far the training had come."""


class Companion(Protocol):
    """What goes with the checkpoints of a training besides the `Trainer`'s own state."""

    def saved(self) -> tuple[dict[str, JsonValue], dict[str, torch.Tensor]]:
        """Return its state as JSON and tensors."""

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up its state."""


class CheckpointingTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A `Trainer` that saves to `checkpoints` when one is due, and goes on from the restored one."""

    def __init__(self, checkpoints: Checkpoints, companion: Companion, **arguments: object) -> None:
        super().__init__(**arguments)
        self._checkpoints = checkpoints
        self._companion = companion
        self._order = _randomness()
        self._restored: _Restored | None = None
        self.add_callback(_SaveWhenDue(self))

    def train_on(self) -> None:
        """Train from the restored checkpoint, or from the beginning, to the end."""
        folder = self._checkpoints.restore()
        if folder is not None:
            self._restored = _Restored(json.loads((folder / STATE).read_text()), load_file(folder / TENSORS))
            self._companion.restore(self._restored.state["companion"], self._restored.below("companion."))
        self.train(resume_from_checkpoint=None if folder is None else str(folder))

    @property
    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._checkpoints.is_due

    def begin_epoch(self) -> None:
        """Note the randomness that the order of the epoch is drawn from; one that is gone on with has that of then."""
        if self._restored is not None:
            _set_randomness(self._restored.state["order"], self._restored.below("order."))
        self._order = _randomness()

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:  # noqa: ARG002  as the base class calls it
        self._checkpoints.save(self._write)

    def _write(self, folder: Path) -> None:
        optimizer = self.optimizer.state_dict()
        companion, companion_tensors = self._companion.saved()
        now, now_tensors = _randomness()
        order, order_tensors = (now, now_tensors) if is_between_epochs(self.state) else self._order
        tensors = {
            **_named("model.", self.model.state_dict()),
            **_named("optimizer.", _tensors_of(optimizer["state"])),
            **_named("companion.", companion_tensors),
            **_named("now.", now_tensors),
            **_named("order.", order_tensors),
        }
        state = {
            "optimizer": {"state": _values_of(optimizer["state"]), "param_groups": optimizer["param_groups"]},
            "scheduler": self.lr_scheduler.state_dict(),
            "scaler": _scaler_of(self),
            "companion": companion,
            "now": now,
            "order": order,
        }
        save_file(_apart(tensors), folder / TENSORS)
        (folder / STATE).write_text(json.dumps(state))
        self.state.save_to_json(str(folder / TRAINER_STATE))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: torch.nn.Module | None = None) -> None:  # noqa: ARG002
        assert self._restored is not None
        self.model.load_state_dict(self._restored.below("model."))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:  # noqa: ARG002
        if self._restored is None:
            return
        saved = self._restored.state["optimizer"]
        state: dict[int, dict[str, object]] = {int(index): dict(values) for index, values in saved["state"].items()}
        for name, tensor in self._restored.below("optimizer.").items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({"state": state, "param_groups": saved["param_groups"]})
        self.lr_scheduler.load_state_dict(self._restored.state["scheduler"])

    def _load_scaler(self, checkpoint: str | None) -> None:  # noqa: ARG002
        if self._restored is not None and self._restored.state["scaler"]:
            self.accelerator.scaler.load_state_dict(self._restored.state["scaler"])

    def _load_rng_state(self, checkpoint: str | None) -> None:  # noqa: ARG002
        """Go on with the randomness of then: the last that the base class asks of a checkpoint."""
        if self._restored is not None:
            _set_randomness(self._restored.state["now"], self._restored.below("now."))
            self._restored = None


@dataclass(frozen=True)
class _Restored:
    """A checkpoint that was read."""

    state: dict[str, Any]
    tensors: dict[str, torch.Tensor]

    def below(self, prefix: str) -> dict[str, torch.Tensor]:
        """Return the tensors whose names have this prefix, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def is_between_epochs(state: TrainerState) -> bool:
    """Tell whether the step that was done last is the last of its epoch."""
    return float(state.epoch).is_integer()


class _SaveWhenDue(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Lets the `Trainer` save after a step or an epoch when a checkpoint is due."""

    def __init__(self, trainer: CheckpointingTrainer) -> None:
        self._trainer = trainer

    def on_epoch_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002  # the signatures are the framework's
        state: TrainerState,  # noqa: ARG002
        control: TrainerControl,  # noqa: ARG002
        **_: object,
    ) -> None:
        """Note where the epoch's order comes from."""
        self._trainer.begin_epoch()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> TrainerControl:
        """Save between two steps of an epoch; after its last one it is evaluated first."""
        control.should_save = self._trainer.is_due and not is_between_epochs(state)
        return control

    def on_epoch_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> TrainerControl:
        """Save after an epoch, but not when it stops early: what goes on from there would not know."""
        stops_early = control.should_training_stop and state.global_step < state.max_steps
        control.should_save = self._trainer.is_due and not stops_early
        return control


def _named(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def _apart(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors in this machine's memory, no two in the same place, as safetensors wants it."""
    apart: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        apart[name] = plain.clone() if place in seen else plain
        seen.add(place)
    return apart


def _tensors_of(state: Mapping[int, Mapping[str, object]]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in _flat(state) if isinstance(value, torch.Tensor)}


def _values_of(state: Mapping[int, Mapping[str, object]]) -> dict[int, dict[str, object]]:
    """Return what of an optimizer's state isn't a tensor."""
    return {
        index: {key: value for key, value in values.items() if not isinstance(value, torch.Tensor)}
        for index, values in state.items()
    }


def _flat(state: Mapping[int, Mapping[str, object]]) -> Iterator[tuple[str, object]]:
    for index, values in state.items():
        for key, value in values.items():
            yield f"{index}.{key}", value


def _scaler_of(trainer: Trainer) -> dict[str, JsonValue]:
    scaler = getattr(trainer.accelerator, "scaler", None)
    return {} if scaler is None else dict(scaler.state_dict())


Randomness = tuple[dict[str, Any], dict[str, torch.Tensor]]


def _randomness() -> Randomness:
    """Return the state of every generator that a training draws from: Python's, NumPy's, PyTorch's."""
    version, python, gauss = random.getstate()
    numpy = np.random.get_state(legacy=False)
    assert isinstance(numpy, dict)
    numpy["state"] = {**numpy["state"], "key": numpy["state"]["key"].tolist()}
    state = {"python": [version, list(python), gauss], "numpy": numpy}
    tensors = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return state, tensors


def _set_randomness(state: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    version, python, gauss = state["python"]
    random.setstate((version, tuple(python), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(tensors["cpu"])
    if torch.cuda.is_available() and "cuda" in tensors:
        torch.cuda.set_rng_state(tensors["cuda"])
