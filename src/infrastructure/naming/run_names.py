"""The names of runs: one pattern for each stage, never empty, never random."""

from __future__ import annotations

import re
from dataclasses import dataclass

from infrastructure.config.schema import NamingConfig
from infrastructure.naming import tags


@dataclass(frozen=True)
class RunLabels:
    """What a run's name may be made of."""

    backbone: str
    study_key_hash: str
    trial_number: int = 0
    trial_key_hash: str = ""
    fold_idx: int = 0


def run_name(naming: NamingConfig, stage: str, labels: RunLabels) -> str:
    """Return the name of a run of this stage, by its pattern in `naming.yaml`."""
    patterns = {
        tags.STAGE_SWEEP: naming.study,
        tags.STAGE_TRIAL: naming.trial,
        tags.STAGE_FOLD: naming.fold,
        tags.STAGE_REFIT: naming.refit,
        tags.STAGE_FINAL: naming.final,
    }
    return patterns[stage].format(
        env=slug(naming.env),
        project=slug(naming.project),
        backbone=slug(labels.backbone),
        study8=labels.study_key_hash[:8],
        trial=f"{labels.trial_number:04d}",
        trial8=labels.trial_key_hash[:8],
        fold=labels.fold_idx,
    )


def slug(text: str) -> str:
    """Return a text as one short word of letters, digits, dots, dashes and underscores; never empty."""
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", text.removeprefix("package:")).strip("-.")
    return word[:60] or "unnamed"
