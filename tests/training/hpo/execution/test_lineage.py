"""Where a model comes from, link by link, and every link that doesn't hold."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import RunNotFoundError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.session import current_session
from training.hpo.execution.explain import trace
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.results import ModelResult

LINKS = ["model version", "refit", "trial", "study", "data", "commit"]


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return a project in git whose study has a champion."""
    config_dir = make_project(hpo={"max_trials": 2})
    git = ["git", "-C", str(config_dir.parent), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "config", "objective.py"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    sweep(config_dir)
    refit(config_dir)
    return config_dir


def champion(config_dir: Path) -> ModelResult:
    """Return the champion, which the store has."""
    return refit(config_dir)


def broken(config_dir: Path, reference: str = "models:/quadratic@champion") -> dict[str, str]:
    """Return the problems of the links that don't hold."""
    return {link.what: "; ".join(link.problems) for link in trace(reference, config_dir) if link.problems}


def test_whole_chain_holds(config_dir: Path) -> None:
    """From the version to the commit every link holds; a run by its id or name, and a fold, have their own chains."""
    links = trace("models:/quadratic/1", config_dir)
    assert [link.what for link in links] == LINKS
    assert [link.problems for link in links] == [()] * len(LINKS)
    commit = subprocess.run(
        ["git", "-C", str(config_dir.parent), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert links[-1].shown == commit
    assert [link.what for link in trace(champion(config_dir).run_name, config_dir)] == LINKS[1:]
    (fold, *_) = queries.find_runs({tags.STAGE: tags.STAGE_FOLD})
    assert [link.what for link in trace(fold.run_id, config_dir)] == ["fold", *LINKS[2:]]
    assert broken(config_dir, fold.run_id) == {}


def test_every_altered_link_is_noticed(config_dir: Path) -> None:
    """What somebody changed in the store is told at the link where it doesn't hold any more."""
    client = current_session().client
    model = champion(config_dir)
    trial_id = queries.get_run(model.run_id).tags[tags.REFIT_OF_TRIAL]
    (study,) = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
    alterations = [
        (
            model.run_id,
            tags.REFIT_PROTOCOL,
            json.dumps({"stage": "hpo_refit", "params": {"x": 1}}),
            "refit",
            "refit_key",
        ),
        (model.run_id, tags.TRIAL_KEY, "0" * 64, "refit", "code.trial_key_hash is 000"),
        (model.run_id, tags.DONE, "false", "refit", "it isn't done"),
        (trial_id, tags.TRIAL_KEY, "0" * 64, "trial", "code.trial_key_hash is 000"),
        (study.run_id, tags.STUDY_KEY, "0" * 64, "study", "code.study_key_hash is 000"),
        (study.run_id, tags.DATA_FINGERPRINT, "0" * 64, "study", "code.fingerprint.data is 000"),
        (model.run_id, tags.GIT_COMMIT, "0" * 40, "commit", "no such commit"),
    ]
    for run_id, key, value, what, problem in alterations:
        before = queries.get_run(run_id).tags[key]
        client.set_tag(run_id, key, value)
        assert problem in broken(config_dir)[what], key
        client.set_tag(run_id, key, before)
    assert broken(config_dir) == {}
    record = tags.join_long(tags.TRIAL_RECORD, queries.get_run(trial_id).tags)
    assert record is not None
    changed = json.loads(record)
    changed["params"]["x"] += 1e-12
    client.set_tag(trial_id, tags.TRIAL_RECORD, json.dumps(changed))
    assert "x is " in broken(config_dir)["trial"]
    changed = json.loads(record)
    changed["value"] = 0.0
    client.set_tag(trial_id, tags.TRIAL_RECORD, json.dumps(changed))
    assert "its folds' mean" in broken(config_dir)["trial"]


def test_changed_and_absent_data_are_told_apart(config_dir: Path) -> None:
    """Data that isn't what the study saw breaks the chain; data that isn't here can't be compared, and is told so."""
    test = config_dir.parent / "data" / "test.jsonl"
    test.write_text('{"value": 5.0, "label": 0.0}')
    assert broken(config_dir)["data"].startswith("data.fingerprint: blake3:")
    shutil.rmtree(test.parent)
    links = {link.what: link for link in trace("models:/quadratic@champion", config_dir)}
    assert links["data"].problems == ()
    assert "no data at" in links["data"].unchecked


def test_lost_runs_and_unknown_models(config_dir: Path) -> None:
    """A trial that was deleted for good ends the chain there; a model that never was is an error."""
    (trial_id,) = {queries.get_run(champion(config_dir).run_id).tags[tags.REFIT_OF_TRIAL]}
    client = current_session().client
    client.set_tag(champion(config_dir).run_id, tags.REFIT_OF_TRIAL, "0" * 32)
    links = trace("models:/quadratic@champion", config_dir)
    assert [link.what for link in links] == ["model version", "lost"]
    assert "no run '000" in links[-1].problems[0]
    assert trial_id != "0" * 32
    for reference in ("models:/quadratic@nobody", "models:/quadratic/9", "models:/other/1"):
        with pytest.raises(RunNotFoundError, match="allowed: models:/NAME@ALIAS"):
            trace(reference, config_dir)


def test_altered_and_lost_models(config_dir: Path) -> None:
    """A model's files are compared with those that were trained; lost ones are told too."""
    (kept,) = (config_dir.parent / "mlartifacts").rglob("artifacts/model/artifacts/model/x.json")
    before = kept.read_text()
    kept.write_text("0.5")
    assert "code.fingerprint.model is " in broken(config_dir)["refit"]
    kept.write_text(before)
    assert broken(config_dir) == {}
    shutil.rmtree(config_dir.parent / "mlartifacts")
    assert "by its files it is None" in broken(config_dir)["refit"]


def test_deleted_runs_are_broken_links(config_dir: Path) -> None:
    """Runs in MLflow's bin are there to be read, but not for long."""
    client = current_session().client
    (study,) = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
    trial_id = queries.get_run(champion(config_dir).run_id).tags[tags.REFIT_OF_TRIAL]
    for run_id in (study.run_id, trial_id):
        client.delete_run(run_id)
    assert broken(config_dir) == {"trial": "its run was deleted", "study": "its run was deleted"}


def test_a_folds_metrics_are_its_trials(config_dir: Path) -> None:
    """A fold whose record was changed isn't the one that its trial was judged by."""
    (fold, *_) = queries.find_runs({tags.STAGE: tags.STAGE_FOLD})
    record = json.loads(fold.tags[tags.FOLD_RECORD])
    record["metrics"]["loss"] = 0.0
    current_session().client.set_tag(fold.run_id, tags.FOLD_RECORD, json.dumps(record))
    assert "aren't those that its trial was judged by" in broken(config_dir, fold.run_id)["fold"]


def test_damaged_documents_are_told(config_dir: Path) -> None:
    """What can't be read ends the chain with one line, and so does a version that no run made."""
    client = current_session().client
    model = champion(config_dir)
    protocol = queries.get_run(model.run_id).tags[tags.REFIT_PROTOCOL]
    client.set_tag(model.run_id, tags.REFIT_PROTOCOL, "{")
    assert "keeps a damaged protocol" in broken(config_dir)["lost"]
    client.set_tag(model.run_id, tags.REFIT_PROTOCOL, protocol)
    trial_id = queries.get_run(model.run_id).tags[tags.REFIT_OF_TRIAL]
    client.set_tag(trial_id, tags.TRIAL_RECORD, "{}")
    assert "keeps a damaged record" in broken(config_dir)["lost"]
    source = queries.get_run(model.run_id).artifact_uri + "/model"
    client.create_model_version("quadratic", source=source)
    assert broken(config_dir, "models:/quadratic/2") == {"model version": "it names no run that made it"}


def test_a_refit_outside_git_has_no_commit(config_dir: Path) -> None:
    """The commit of the study isn't taken for that of a refit which was made without git."""
    shutil.move(config_dir.parent / ".git", config_dir.parent / "gone")
    refit(config_dir, force=True)
    commit = trace("models:/quadratic@champion", config_dir)[-1]
    assert (commit.shown, commit.unchecked) == ("none", "the project was not in git")


def test_large_numbers_keep_their_key(make_project: MakeProject) -> None:
    """A float that RFC 8785 writes as a whole number beyond 2^53 is read back as the float that it was."""
    config_dir = make_project(hpo={"max_trials": 1}, params={"scale": 1e16})
    name = sweep(config_dir).name
    assert broken(config_dir, name) == {}
