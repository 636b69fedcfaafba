"""What a training leaves behind on disk before anybody is told."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from infrastructure.storage.files import write_bytes_atomic


class TrainingResult(BaseModel):
    """Metrics of a finished training; `key_hash` says of which, `curve` holds the metrics after each step.

    `device` names what it ran on. A metric may be NaN or infinite here; whoever reads it decides what that means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    key_hash: str
    valid: dict[str, float] = {}
    test: dict[str, float] = {}
    curve: dict[int, dict[str, float]] = {}
    seconds: float = 0.0
    device: str = "cpu"

    def write(self, path: Path) -> None:
        """Write the result, whole or not at all."""
        write_bytes_atomic(path, self.model_dump_json().encode())


def read_result(path: Path, key_hash: str) -> TrainingResult | None:
    """Return the result at `path` if it is there, whole, and of this key; None otherwise."""
    try:
        result = TrainingResult.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return result if result.key_hash == key_hash else None
