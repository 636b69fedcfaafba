"""Every tag key that Assay writes on a run; no key is spelled anywhere else."""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Final

from infrastructure.redaction import redacted

STUDY_KEY: Final = "code.study_key_hash"
STUDY_KEY_LEGACY: Final = "code.grouping.study_key_hash"
STUDY_FAMILY: Final = "code.study_family_hash"
STUDY_KEY_SCHEMA: Final = "code.study.key_schema_version"
STUDY_KEY_DOCUMENT: Final = "code.study.key_document"
STUDY_NAME: Final = "code.study.name"
CONFIG: Final = "code.config"
VARIANT: Final = "code.variant"
TRIAL_KEY: Final = "code.trial_key_hash"
TRIAL_NUMBER: Final = "code.hpo.trial_number"
TRIAL_RECORD: Final = "code.hpo.trial_record"
FOLD_KEY: Final = "code.fold_key_hash"
FOLD_RECORD: Final = "code.hpo.fold_record"
FOLD_INDEX: Final = "code.hpo.fold_idx"
DATA_FINGERPRINT: Final = "code.fingerprint.data"
EVAL_FINGERPRINT: Final = "code.fingerprint.eval"
MODEL_ALIAS: Final = "code.alias"
"""Of a model's version in a registry without aliases: it has the one that follows."""
MODEL_FINGERPRINT: Final = "code.fingerprint.model"
EXEC_FINGERPRINT: Final = "code.fingerprint.exec"
DEVICE: Final = "code.device"
STAGE: Final = "code.stage"
BACKBONE: Final = "code.backbone"
PROJECT: Final = "code.project"
BEST_PARAMS: Final = "code.hpo.best_params"
DONE: Final = "code.done"
CHECKED_AT: Final = "code.checked_at"
"""Of an experiment: when it was last tried whether the store can be written to."""
WRITER: Final = "code.writer"
CLAIM: Final = "code.claim"
FAILURE: Final = "code.failure"
DEATHS: Final = "code.deaths"
REFIT_KEY: Final = "code.refit_key_hash"
REFIT_PROTOCOL: Final = "code.refit.protocol"
REFIT_OF_TRIAL: Final = "code.refit.of_trial_run_id"
SELECTION: Final = "code.selection"
"""Of a refit: why its trial was chosen."""
LATENCY: Final = "code.latency"
"""Of a refit: a measurement of its model's latency; the key goes on with what it was measured with."""
LINEAGE_STUDY_RUN: Final = "code.lineage.study_run_id"
GIT_COMMIT: Final = "code.git.commit"
GIT_DIRTY: Final = "code.git.dirty"
PARENT_RUN: Final = "mlflow.parentRunId"
NOTE: Final = "mlflow.note.content"
"""What MLflow's UI shows as a run's description."""

STAGE_SWEEP: Final = "hpo_sweep"
STAGE_TRIAL: Final = "hpo_trial"
STAGE_FOLD: Final = "hpo_fold"
STAGE_REFIT: Final = "hpo_refit"
STAGE_FINAL: Final = "final_training"

CHUNK: Final = 1_000
"""Characters of a long value in one tag; MLflow cuts tags at 8,000, silently, and Azure ML refuses more than these."""


PLAIN: Final = 8_000
"""Characters up to which a text is kept as it is; a longer one is compressed, since Azure ML gives a run 50 tags."""
DEFLATED: Final = "z"
MANY: Final = 80
"""Parts of one text from which on they may be written in several calls, between which a kill may fall."""


def split_long(key: str, text: str) -> dict[str, str]:
    """Return tags that hold a text of any length: `key`, `key.1`, `key.2`, … and then a count of the parts.

    Credentials are taken out of the whole text, since one may lie across two parts. The parts of a very long text have
    names of their content, so that those of another one aren't overwritten before the count, which comes last, names
    the new ones.
    """
    text, form = redacted(text), ""
    if len(text) > PLAIN:
        text, form = base64.b64encode(zlib.compress(text.encode("utf-8", "surrogatepass"), 9)).decode(), DEFLATED
    parts = [text[start : start + CHUNK] for start in range(0, len(text), CHUNK)] or [""]
    version = f".{hashlib.sha256(text.encode()).hexdigest()[:8]}" if len(parts) > MANY else ""
    return {
        **{_part(key, version, index): part for index, part in enumerate(parts)},
        f"{key}.parts": f"{len(parts)}{form}{version}",
    }


def _part(key: str, version: str, index: int) -> str:
    return f"{key}{version}" if index == 0 else f"{key}{version}.{index}"


def join_long(key: str, tags: dict[str, str]) -> str | None:
    """Return the text that `split_long` divided, or None if it isn't there whole."""
    count, dot, version = tags.get(f"{key}.parts", "0").partition(".")
    names = [_part(key, dot + version, index) for index in range(int(count.removesuffix(DEFLATED)))]
    if not names or any(name not in tags for name in names):
        return None
    text = "".join(tags[name] for name in names)
    if count.endswith(DEFLATED):
        text = zlib.decompress(base64.b64decode(text)).decode("utf-8", "surrogatepass")
    return text
