"""Every code example of the spec, run as it is written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infrastructure.errors import MlflowNotConfiguredError, ProjectNotFoundError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import runs
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import REPOSITORY, MakeProject
from tests.test_conventions import spelled_by_hand

SPEC = REPOSITORY / "docs" / "mlflow-setup-layering.md"
BLOCKS = [
    re.sub(r"(?m)^ {3}", "", block) if block.startswith("   ") else block
    for block in re.findall(r"```python\n(.*?)```", SPEC.read_text(), flags=re.DOTALL)
]

DATA = {"task": "custom", "content_hash": "0123456789abcdef"}
HPO = {
    "objective": {"metric": "loss", "direction": "minimize"},
    "search_space": {"x": {"type": "uniform", "low": 0.0, "high": 1.0}},
}
TRAIN = {"epochs": 3}

# What the spec abbreviates with dots, written out.
CALL = "(backbone, study_name, output_dir, run_id, should_resume, checkpoint_enabled, data_config, hpo_config, \
train_config, config_dir=config_dir)"


@pytest.fixture
def names(make_project: MakeProject) -> dict[str, object]:
    """Return the names that the examples take for granted."""
    config_dir = make_project()
    return {
        "config_dir": config_dir,
        "output_dir": config_dir.parent / "outputs",
        "backbone": "bert",
        "study_name": "study",
        "run_id": "20261122",
        "should_resume": True,
        "checkpoint_enabled": True,
        "data_config": DATA,
        "hpo_config": HPO,
        "train_config": TRAIN,
        "study_key_hash": None,
        "provided_hash": None,
        "parent_run_id": None,
    }


def written_out(block: str) -> str:
    """Replace the spec's dots by arguments."""
    return block.replace("experiment_name=...", "experiment_name='written-out'").replace("(...)", CALL)


def example(number: int) -> str:
    """Return an example of the spec by its place in it, from 0."""
    return written_out(BLOCKS[number])


def test_copy_is_the_users_own_text() -> None:
    """The spec in docs/ is word for word what the user asked for."""
    original = REPOSITORY.parent / "shared" / "spec" / SPEC.name
    if not original.exists():
        pytest.skip("the user's own file is not on this machine")
    assert SPEC.read_text() == original.read_text()


def test_all_examples_are_here() -> None:
    """Each example of the spec is run by one of the tests below."""
    assert len(BLOCKS) == 10


def test_infrastructure_setup(names: dict[str, object]) -> None:
    """Layer 1: setup_mlflow() first."""
    exec(example(0), names)
    assert current_session().experiment_name == "my-experiment"


def test_layer_2_usage(names: dict[str, object]) -> None:
    """Layer 2: setup, then the HPO run's context and name."""
    exec(example(1), names)
    context, name = names["hpo_context"], names["run_name"]
    assert len(context.study_key_hash) == 64  # type: ignore[attr-defined]
    assert name == f"local_bert_hpo_study-{context.study_key_hash[:8]}"  # type: ignore[attr-defined]
    assert current_session().client.search_runs([current_session().experiment_id]) == []


def test_layer_3_steps(names: dict[str, object]) -> None:
    """Layer 3: its two steps one after the other, with the dots written out."""
    exec(example(2), names)
    assert current_session().experiment_name == "written-out"
    exec(example(3), names)
    assert "hpo_study-" in str(names["run_name"])


def test_path_resolution(names: dict[str, object]) -> None:
    """Pattern 1, correct: the config_dir that was given is kept."""
    exec(example(4), names)
    assert names["root_dir"] == Path(str(names["config_dir"])).parent


def test_path_resolution_by_hand(names: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pattern 1, incorrect: inferring by hand fails and says what to call."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ProjectNotFoundError, match=r"call resolve_project_paths_with_fallback"):
        exec(example(5), {**names, "config_dir": None})


def test_hash_retrieval(names: dict[str, object]) -> None:
    """Pattern 2, correct: the hash is computed, or taken from the run's tag once there is one."""
    setup_mlflow("e", str(names["config_dir"]))
    exec(example(6), names)
    computed = names["study_key_hash"]
    run_id = runs.create_run("e", "study", {tags.STUDY_KEY: "0" * 64}, None).info.run_id
    tagged = {**names, "parent_run_id": run_id}
    exec(example(6), tagged)
    assert len(str(computed)) == 64
    assert tagged["study_key_hash"] == "0" * 64


def test_hash_retrieval_by_hand(names: dict[str, object]) -> None:
    """Pattern 2, incorrect: in Assay's code the check refuses it and says what to call; elsewhere it misses a study."""
    assert spelled_by_hand(example(7)) == [
        "line 3: tag key 'code.study_key_hash' is spelled by hand; "
        "call infrastructure.tracking.mlflow.hash_utils.get_or_compute_study_key_hash()"
    ]
    setup_mlflow("e", str(names["config_dir"]))
    run_id = runs.create_run("e", "old study", {"code.grouping.study_key_hash": "0" * 64}, None).info.run_id
    manual = {**names, "client": current_session().client, "run_id": run_id}
    exec(example(7), manual)
    assert manual["study_key_hash"] is None
    utility = {**names, "parent_run_id": run_id}
    exec(example(6), utility)
    assert utility["study_key_hash"] == "0" * 64


def test_mlflow_setup(names: dict[str, object]) -> None:
    """Pattern 3, correct: setup first, then the domain's function."""
    exec(example(8), names)
    assert "hpo_study-" in str(names["run_name"])


def test_mlflow_setup_skipped(names: dict[str, object]) -> None:
    """Pattern 3, incorrect: without setup the domain layer says which call is missing."""
    with pytest.raises(MlflowNotConfiguredError, match=r"call infrastructure\.tracking\.mlflow\.setup\.setup_mlflow"):
        exec(example(9), names)
