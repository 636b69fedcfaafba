"""A fine-tuning that is cut short and gone on with, beside the same one left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from tests.training.trainers.conftest import MakeRequest
from tests.training.trainers.test_transformers_trainer import reviews, train_of

from training.execution.checkpoints import TaskCheckpoints
from training.trainers.base import FitResult
from training.trainers.registry import load_trainer

Curve = dict[int, Mapping[str, float]]


class CutShort(TaskCheckpoints):
    """Checkpoints after each step, of a process that ends after `left` of them."""

    def __init__(self, folder: Path, left: int) -> None:
        super().__init__(folder, "key", 0.0)
        self.left = left
        self.names: set[str] = set()

    def save(self, write: Callable[[Path], object]) -> None:
        """Save, and end the process if it is time."""

        def noted(folder: Path) -> None:
            write(folder)
            self.names |= {path.name for path in folder.iterdir()}

        super().save(noted)
        self.left -= 1
        if self.left == 0:
            raise SystemExit(143)


def flip_a_bit(path: Path) -> None:
    """Damage a file in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optim": "adafactor"},
        {"optim": "sgd", "lr_scheduler_type": "cosine", "warmup_ratio": 0.3},
        {"gradient_accumulation_steps": 2, "class_weights": "balanced"},
        {"early_stopping_patience": 1, "precision": "bf16"},
    ],
)
def test_going_on_changes_nothing(
    make_request: MakeRequest, tiny: str, tmp_path: Path, change: dict[str, object]
) -> None:
    """Cut short within an epoch, between two, again, and from the checkpoint before a damaged one: as in one go."""

    def fit(checkpoints: TaskCheckpoints, curve: Curve) -> FitResult:
        request = make_request(
            task="text_classification",
            train=train_of(tiny),
            frames={"train": reviews(44), "valid": reviews(12), "test": reviews(8)},
            metric="log_loss",
            direction="minimize",
            params={"num_train_epochs": 4, "learning_rate": 1e-3, "per_device_train_batch_size": 8, **change},
            checkpoints=checkpoints,
            model_dir=tmp_path / "model",
        )
        return load_trainer("transformers").fit(request, curve.__setitem__)

    alone: Curve = {}
    with TaskCheckpoints(tmp_path / "alone", "key", 600.0) as checkpoints:
        expected = fit(checkpoints, alone)
    weights = (tmp_path / "model" / "model.safetensors").read_bytes()
    curve: Curve = {}
    names: set[str] = set()
    for left in (2, 1, 3, 1):
        with CutShort(tmp_path / "cut", left) as cut, pytest.raises(SystemExit):
            fit(cut, curve)
        names |= cut.names
    newest = max((tmp_path / "cut").glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
    flip_a_bit(newest / "tensors.safetensors")  # it goes on from the one before
    with TaskCheckpoints(tmp_path / "cut", "key", 600.0) as checkpoints:
        assert fit(checkpoints, curve) == expected
    assert curve == alone
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == weights
    assert names == {"tensors.safetensors", "state.json", "trainer_state.json"}
