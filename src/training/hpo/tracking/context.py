"""What a study carries from its start on: identity, names and places, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infrastructure.config.schema import NamingConfig
from infrastructure.naming.keys import StudyIdentity


@dataclass(frozen=True)
class HpoContext:
    """What a study is and where it belongs.

    `run_id` names this invocation, for people; it is no MLflow run id. With `should_resume` off, a study of the same
    key is not looked for. With `checkpoint_enabled` off, finished folds that lie in `output_dir` are not used.
    `variant` counts how often the study was begun: 1, and one more each time that it was started over. `configs` are
    the whole configurations as JSON, by section; what is done with them can be done again from the store alone.
    """

    backbone: str
    study_name: str
    identity: StudyIdentity
    naming: NamingConfig
    root_dir: Path
    config_dir: Path
    output_dir: Path
    run_id: str
    should_resume: bool
    checkpoint_enabled: bool
    variant: int = 1
    configs: str = "{}"

    @property
    def study_key_hash(self) -> str:
        """The key hash of the study."""
        return self.identity.study_key_hash
