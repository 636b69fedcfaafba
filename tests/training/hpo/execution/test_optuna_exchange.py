"""Studies given to Optuna's own storages, and taken from them."""

from __future__ import annotations

import shutil
from pathlib import Path

import optuna
import pytest
from optuna.distributions import BaseDistribution
from tests.conftest import MakeProject, calls

from infrastructure.errors import ConfigError, ExecutionError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.optuna_exchange import write_optuna_study
from training.hpo.execution.status import study_status
from training.hpo.study import fold_order


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the address of an Optuna storage that isn't there yet."""
    return f"sqlite:///{tmp_path / 'optuna.db'}"


def others_study(url: str, values: list[float], name: str = "theirs", high: float = 1.0) -> optuna.Study:
    """Write a study that somebody else began, with a trial for each x, one that failed and one that was pruned."""
    study = optuna.create_study(storage=url, study_name=name, direction="minimize")
    distribution: dict[str, BaseDistribution] = {"x": optuna.distributions.FloatDistribution(0.0, high)}
    for x in values:
        study.add_trial(optuna.create_trial(params={"x": x}, distributions=distribution, value=(x - 0.3) ** 2 - 5))
    for state in (optuna.trial.TrialState.FAIL, optuna.trial.TrialState.PRUNED):
        study.add_trial(optuna.create_trial(state=state, params={"x": 0.5}, distributions=distribution))
    return study


def test_exported_study_is_optunas(make_project: MakeProject, url: str) -> None:
    """The exported study has every trial with its parameters, value and folds, in the order of their numbers."""
    config_dir = make_project(hpo={"max_trials": 6, "fold_pruner": {"type": "aggressive"}})
    result = sweep(config_dir)
    name, count = write_optuna_study(url, config_dir)
    study = optuna.load_study(study_name=name, storage=url)
    assert (name, count, len(study.trials)) == (result.name, 6, 6)
    for trial, record in zip(study.trials, result.trials, strict=True):
        assert (trial.number, trial.params) == (record.number, record.params)
        assert trial.state.name == record.state.upper()
        assert trial.value == (record.value if record.state == "complete" else None)
        order = fold_order(result.study_key_hash, record.folds)
        assert trial.intermediate_values == {i: record.folds[fold].metrics["loss"] for i, fold in enumerate(order)}
    assert study.best_trial.number == result.best.number
    with pytest.raises(ExecutionError, match="has the study already"):
        write_optuna_study(url, config_dir)


def test_own_study_comes_back_as_it_was(make_project: MakeProject, url: str) -> None:
    """A study whose store was lost comes back from its export: same trials, nothing trained, and it goes on."""
    settings = {"max_trials": 4, "sampler": {"type": "qmc"}}
    whole = sweep(make_project("whole", settings), ["hpo.max_trials=6"])
    first = make_project("first", settings)
    exported = sweep(first)
    write_optuna_study(url, first)
    second = make_project("second", settings)
    restored = sweep(second, import_from=url)
    assert restored.study_key_hash == exported.study_key_hash
    assert restored.trials == exported.trials
    assert calls(second) == []
    resumed = sweep(second, ["hpo.max_trials=6"], import_from=url)
    assert [trial.params for trial in resumed.trials] == [trial.params for trial in whole.trials]
    assert len(calls(second)) == 4
    sweep(first, ["hpo.max_trials=5"])


def test_others_trials_inform_the_sampler_alone(make_project: MakeProject, url: str) -> None:
    """Trials that somebody else scored are neither counted, nor the best, nor an answer; the sampler learns of them."""
    others_study(url, [index / 40 for index in range(40)])
    settings = {"max_trials": 3, "sampler": {"type": "tpe", "n_startup_trials": 5}}
    alone = sweep(make_project("alone", settings))
    config_dir = make_project("informed", settings)
    informed = sweep(config_dir, import_from=url)
    own = [trial for trial in informed.trials if not trial.imported_from]
    assert [trial.number for trial in own] == [41, 42, 43]
    assert [trial.imported_from for trial in informed.trials[:2]] == ["theirs/0", "theirs/1"]
    assert len(calls(config_dir)) == 6
    assert informed.best in own
    assert sorted(informed.leaderboard(), key=lambda trial: trial.number) == own
    assert min(trial.value or 0.0 for trial in informed.trials) < -4
    distance = [abs(float(str(trial.params["x"])) - 0.3) for trial in own]
    without = [abs(float(str(trial.params["x"])) - 0.3) for trial in alone.trials]
    assert sum(distance) < sum(without)
    assert "3 of 3 trials (3 complete), beside 41 imported" in study_status(config_dir).summary


def test_importing_twice_is_importing_once(make_project: MakeProject, url: str) -> None:
    """A second import takes in what is new alone, and an import that was cut short is gone on with."""
    study = others_study(url, [0.1, 0.2])
    config_dir = make_project(hpo={"max_trials": 1})
    first = sweep(config_dir, import_from=url)
    assert [trial.state for trial in first.trials] == ["complete", "complete", "pruned", "complete"]
    assert sweep(config_dir, import_from=url).trials == first.trials
    client = current_session().client
    for run in queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})[1:3]:
        client.delete_tag(run.run_id, tags.DONE)
    assert sweep(config_dir).trials == first.trials
    study.add_trial(study.trials[0])
    assert len(sweep(config_dir, import_from=url).trials) == 5
    assert len(calls(config_dir)) == 2


def test_what_does_not_fit_is_refused(make_project: MakeProject, url: str, tmp_path: Path) -> None:
    """Parameters outside the search space are listed, all of them, and nothing is taken in."""
    study = others_study(url, [0.5, 1.5, 1.7], high=2.0)
    config_dir = make_project()
    with pytest.raises(ConfigError) as caught:
        sweep(config_dir, import_from=url)
    assert [problem.split(":")[1] for problem in caught.value.problems] == [
        " trial 1 of 'theirs'",
        " trial 2 of 'theirs'",
    ]
    assert queries.find_runs({tags.STAGE: tags.STAGE_TRIAL}) == []
    optuna.delete_study(study_name=study.study_name, storage=url)
    optuna.create_study(storage=url, study_name="up", direction="maximize")
    with pytest.raises(ConfigError, match="'up' is to maximize, this one to minimize"):
        sweep(config_dir, import_from=url)


def test_a_study_that_went_on_in_two_places(make_project: MakeProject, url: str) -> None:
    """Trials of the same study that differ under one number are refused; started over, they are taken in."""
    config_dir = make_project(hpo={"max_trials": 2})
    sweep(config_dir)
    write_optuna_study(url, config_dir)
    shutil.copytree(config_dir.parent, config_dir.parent.parent / "other")
    other = config_dir.parent.parent / "other" / "config"
    sweep(other, force=True)
    run = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})[3]
    record = run.tags[tags.TRIAL_RECORD].replace('"trial_key_hash":"', '"trial_key_hash":"0')
    current_session().client.set_tag(run.run_id, tags.TRIAL_RECORD, record)
    with pytest.raises(ExecutionError, match="trial 1 of the imported study is another one than here"):
        sweep(other, import_from=url)
    assert len(sweep(other, import_from=url, force=True).trials) == 2


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("sqlite:///{}/nothing.db", "the file doesn't exist"),
        ("nonsense", "can't be used: ArgumentError"),
        ("postgresql://me:secret@127.0.0.1:1/x", "can't be used"),
    ],
)
def test_storage_that_cannot_be_used(make_project: MakeProject, tmp_path: Path, address: str, message: str) -> None:
    """A storage that isn't there, or no storage at all, is told in one line without its password."""
    with pytest.raises((ConfigError, ExecutionError), match=message) as caught:
        sweep(make_project(), import_from=address.format(tmp_path))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_of_several_studies_is_named(make_project: MakeProject, url: str) -> None:
    """Of several studies the one of hpo.study_name is read; without one of that name they are listed."""
    others_study(url, [0.1], name="first")
    others_study(url, [0.2], name="second")
    config_dir = make_project(hpo={"max_trials": 1})
    with pytest.raises(ConfigError, match=r"has studies first, second; name one as hpo\.study_name"):
        sweep(config_dir, import_from=url)
    found = sweep(config_dir, ["hpo.study_name=second"], import_from=url)
    assert found.trials[0].imported_from == "second/0"


def test_a_failed_import_begins_nothing(make_project: MakeProject) -> None:
    """A study isn't started over when what was to be imported isn't there."""
    config_dir = make_project()
    sweep(config_dir)
    with pytest.raises(ConfigError, match="the file doesn't exist"):
        sweep(config_dir, force=True, import_from="sqlite:////nowhere/x.db")
    assert len(sweep(config_dir).trials) == 3
    assert len(calls(config_dir)) == 6


def test_storages_may_have_studies_of_one_name(make_project: MakeProject, tmp_path: Path) -> None:
    """Trials of another storage whose study has the same name are other trials."""
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("one", "two")]
    others_study(urls[0], [0.1, 0.2])
    others_study(urls[1], [0.6, 0.7])
    config_dir = make_project(hpo={"max_trials": 1})
    for url in urls:
        found = sweep(config_dir, import_from=url)
    values = [trial.params["x"] for trial in found.trials if trial.imported_from and trial.state == "complete"]
    assert values == [0.1, 0.2, 0.6, 0.7]


def test_what_was_added_to_an_export_is_taken_in(make_project: MakeProject, url: str) -> None:
    """Trials that somebody added to an exported study come in as others' trials, the exported ones as they were."""
    first = make_project("first")
    exported = sweep(first)
    name, _ = write_optuna_study(url, first)
    optuna.load_study(study_name=name, storage=url).add_trial(
        optuna.create_trial(
            params={"x": 0.4}, distributions={"x": optuna.distributions.FloatDistribution(0.0, 1.0)}, value=1.0
        )
    )
    others_study(url, [0.9], name="another")
    taken = sweep(make_project("second"), import_from=url)
    assert taken.trials[:3] == exported.trials
    assert taken.trials[3].imported_from == f"{name}/3"


def test_lost_trials_come_back(make_project: MakeProject, url: str) -> None:
    """A study with a lost trial can be exported and taken in; what was exported before fills the gap."""
    config_dir = make_project()
    whole = sweep(config_dir)
    write_optuna_study(url, config_dir)
    runs = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    current_session().client.delete_run(runs[1].run_id)
    gap = url.replace("optuna.db", "gap.db")
    assert write_optuna_study(gap, config_dir)[1] == 3
    elsewhere = sweep(make_project("elsewhere"), import_from=gap)
    assert [trial.state for trial in elsewhere.trials] == ["complete", "failed", "complete"]
    setup_mlflow("assay", config_dir)
    assert sweep(config_dir, import_from=url).trials == whole.trials


def test_a_cut_export_is_made_again(make_project: MakeProject, url: str) -> None:
    """An export that was cut short isn't taken in, and is made again."""
    config_dir = make_project()
    result = sweep(config_dir)
    name, _ = write_optuna_study(url, config_dir)
    storage = optuna.storages.RDBStorage(url)
    with storage.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM study_user_attributes WHERE key = 'assay:complete'")
    with pytest.raises(ConfigError, match="was exported in part; export it again"):
        sweep(make_project("second"), import_from=url)
    setup_mlflow("assay", config_dir)
    assert write_optuna_study(url, config_dir) == (name, len(result.trials))


def test_others_trials_are_no_peers_on_folds(make_project: MakeProject, url: str) -> None:
    """Trials that somebody else scored neither start up the epoch pruner, nor silence the one across folds."""
    others_study(url, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    hpo = {"max_trials": 5, "pruner": {"type": "median", "n_startup_trials": 5}}
    states = {trial.state for trial in sweep(make_project("epochs", hpo), import_from=url).trials[8:]}
    assert states == {"complete"}
    folds = {
        "max_trials": 8,
        "fold_pruner": {"type": "wilcoxon", "p_threshold": 0.9},
        "cv": {"type": "kfold", "folds": 6},
    }
    alone = sweep(make_project("alone", folds))
    assert "pruned" in {trial.state for trial in alone.trials}
    beside = sweep(make_project("beside", folds), import_from=url)
    assert "pruned" in {trial.state for trial in beside.trials if not trial.imported_from}


def test_imported_trials_do_not_say_they_were_done_here(make_project: MakeProject, url: str) -> None:
    """The run of somebody else's trial names neither this machine nor this project's data."""
    others_study(url, [0.1])
    sweep(make_project(hpo={"max_trials": 1}), import_from=url)
    (taken,) = [
        r for r in queries.find_runs({tags.STAGE: tags.STAGE_TRIAL}) if '"theirs/0"' in r.tags[tags.TRIAL_RECORD]
    ]
    assert not {tags.EXEC_FINGERPRINT, tags.DATA_FINGERPRINT, tags.EVAL_FINGERPRINT} & set(taken.tags)


@pytest.mark.parametrize("address", ["postgresql://u:secret@host:port/x", "postgresql:/me:secret@127.0.0.1/x"])
def test_unreadable_addresses_are_not_shown(make_project: MakeProject, address: str) -> None:
    """What is no address may hold a password anywhere, so it isn't repeated."""
    with pytest.raises((ConfigError, ExecutionError)) as caught:
        sweep(make_project(), import_from=address)
    assert "secret" not in str(caught.value)


def test_addresses_may_have_options(make_project: MakeProject, url: str) -> None:
    """The file of a SQLite address is found behind its options."""
    others_study(url, [0.1])
    found = sweep(make_project(hpo={"max_trials": 1}), import_from=f"{url}?timeout=20")
    assert found.trials[0].imported_from == "theirs/0"
