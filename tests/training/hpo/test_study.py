"""The sampler's and pruners' view of a study, rebuilt from records."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from pydantic import JsonValue

from infrastructure.config.schema import HpoConfig
from infrastructure.config.schema.hpo import Objective
from training.hpo.records import FoldRecord, TrialRecord, TrialState, best_record
from training.hpo.study import OptunaStudy, fold_order

SPACE: dict[str, JsonValue] = {
    "x": {"type": "uniform", "low": -1.0, "high": 1.0},
    "lr": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
    "n": {"type": "int", "low": 1, "high": 9},
}
MIXED: dict[str, JsonValue] = {
    **SPACE,
    "optimizer": {"type": "choice", "values": ["sgd", "adam"]},
    "momentum": {"type": "uniform", "low": 0.0, "high": 0.9, "when": {"optimizer": "sgd"}},
    "k": {"type": "int-log", "low": 1, "high": 100},
    "fixed": {"type": "constant", "value": 5},
}
GRID: dict[str, JsonValue] = {
    "a": {"type": "choice", "values": ["p", "q"]},
    "b": {"type": "stepped", "low": 0.0, "high": 1.0, "step": 0.5},
    "c": {"type": "int", "low": 0, "high": 1},
}
FOLDS = 2


def config(space: dict[str, JsonValue], **changes: object) -> HpoConfig:
    """Return the configuration of a study."""
    values = {
        "study_name": "s",
        "objective": {"metric": "loss", "direction": "minimize"},
        "search_space": space,
        "seed": 3,
        **changes,
    }
    return HpoConfig.model_validate(values)


def loss(params: dict[str, JsonValue], fold_idx: int) -> float:
    """Return an objective that tells configurations apart."""
    return sum((hash_free(str(value)) % 97) / 97 for value in params.values()) + fold_idx * 0.01


def hash_free(text: str) -> int:
    """Return a number that depends on a text alone, in every process."""
    return sum(ord(letter) * (index + 1) for index, letter in enumerate(text))


def play(study: OptunaStudy, record: TrialRecord) -> TrialRecord:
    """Run a trial's folds, each of three epochs, as the driver would."""
    folds: dict[int, FoldRecord] = {}
    for fold_idx in study.fold_order:
        final = loss(record.params, fold_idx)
        curve: dict[int, float] = {}
        for step in (1, 2, 3):
            curve[step] = final + 1 / step
            stop = study.should_stop_fold(record.number, fold_idx, step, curve[step])
            state = study.pruner_state(record.number, fold_idx)
            folds[fold_idx] = FoldRecord(curve=dict(curve), pruner_state=state)
            if stop:
                return study.tell(record.model_copy(update={"state": "pruned", "folds": folds}))
        folds[fold_idx] = folds[fold_idx].model_copy(update={"metrics": {"loss": final}})
        if study.should_stop_trial(record.number, fold_idx, final) and fold_idx != study.fold_order[-1]:
            return study.tell(record.model_copy(update={"state": "pruned", "folds": folds}))
    return study.tell(record.model_copy(update={"state": "complete", "value": study.mean_value(folds), "folds": folds}))


def run(hpo: HpoConfig, trials: int, rebuild_at: Callable[[int], bool]) -> list[TrialRecord]:
    """Run trials, rebuilding the study from its records, gone through JSON, wherever it is asked for."""
    study = OptunaStudy(hpo, "key", FOLDS)
    records: list[TrialRecord] = []
    for number in range(trials):
        if rebuild_at(number):
            study = OptunaStudy(hpo, "key", FOLDS)
            study.restore([TrialRecord.model_validate_json(record.model_dump_json()) for record in records])
        asked = study.ask()
        if asked is None:
            break
        records.append(play(study, asked))
    return records


SAMPLERS: list[tuple[dict[str, object], dict[str, JsonValue], int]] = [
    ({"type": "random"}, MIXED, 14),
    ({"type": "tpe", "n_startup_trials": 4}, MIXED, 14),
    ({"type": "gp", "n_startup_trials": 4}, SPACE, 9),
    ({"type": "cmaes", "n_startup_trials": 2}, SPACE, 16),
    ({"type": "qmc"}, SPACE, 14),
    ({"type": "grid"}, GRID, 12),
]


@pytest.mark.parametrize(("sampler", "space", "trials"), SAMPLERS, ids=[str(s[0]["type"]) for s in SAMPLERS])
def test_rebuilt_study_proposes_the_same(sampler: dict[str, object], space: dict[str, JsonValue], trials: int) -> None:
    """A study that is rebuilt before every trial, or before some, proposes what an uninterrupted one does."""
    hpo = config(space, sampler=sampler)
    uninterrupted = run(hpo, trials, lambda number: False)
    assert len({record.trial_key_hash for record in uninterrupted}) > trials // 2
    assert run(hpo, trials, lambda number: True) == uninterrupted
    assert run(hpo, trials, lambda number: number in {3, 7, 8}) == uninterrupted


PRUNERS = [
    {"type": "median", "n_startup_trials": 2},
    {"type": "percentile", "percentile": 40.0, "n_startup_trials": 2},
    {"type": "hyperband", "max_resource": 3},
    {"type": "successive_halving", "reduction_factor": 2},
    {"type": "bandit", "slack_amount": 0.3},
    {"type": "bandit", "slack_factor": 0.2},
]


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: str(pruner["type"]))
def test_rebuilt_pruner_decides_the_same(pruner: dict[str, object]) -> None:
    """What is pruned doesn't depend on where the study was rebuilt; something is pruned, and not everything."""
    hpo = config(SPACE, sampler={"type": "random"}, pruner=pruner)
    uninterrupted = run(hpo, 20, lambda number: False)
    assert {record.state for record in uninterrupted} == {"complete", "pruned"}
    assert run(hpo, 20, lambda number: True) == uninterrupted


@pytest.mark.parametrize("kind", ["aggressive", "forgiving", "wilcoxon"])
def test_rebuilt_fold_pruner_decides_the_same(kind: str) -> None:
    """The same across folds."""
    hpo = config(SPACE, sampler={"type": "random"}, fold_pruner={"type": kind})
    uninterrupted = run(hpo, 20, lambda number: False)
    if kind != "wilcoxon":  # two folds are too few for the test to be sure of anything
        assert "pruned" in {record.state for record in uninterrupted}
    assert run(hpo, 20, lambda number: True) == uninterrupted


def test_both_pruners_are_on_unless_said_otherwise() -> None:
    """A study that says nothing of pruning stops folds by their epochs, and trials by their folds."""
    records = run(config(SPACE, sampler={"type": "random"}), 40, lambda number: False)
    pruned = [record for record in records if record.state == "pruned"]
    assert {len(next(reversed(record.folds.values())).curve) for record in pruned} == {3}  # none in its warm-up
    assert any(fold.metrics for record in pruned for fold in record.folds.values())
    by_epoch = config(SPACE, sampler={"type": "random"}, fold_pruner={"type": "none"})
    assert any(record.state == "pruned" for record in run(by_epoch, 40, lambda number: False))


def test_folds_come_in_an_order_of_the_studys_own() -> None:
    """Each study has its folds in another order, all of them, the same at every start and for some of them alone."""
    orders = [fold_order(key, range(10)) for key in ("one", "two", "three")]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert fold_order("one", range(10)) == orders[0]
    assert fold_order("one", [2, 7, 5]) == [fold for fold in orders[0] if fold in {2, 7, 5}]


def test_grid_is_walked_once() -> None:
    """A grid of twelve points gives twelve different trials and then none."""
    records = run(config(GRID, sampler={"type": "grid"}), 40, lambda number: number % 5 == 0)
    assert len(records) == len({record.trial_key_hash for record in records}) == 12


def test_running_points_are_given_out_too() -> None:
    """While all points of a grid are at work, none is proposed a second time."""
    study = OptunaStudy(config(GRID, sampler={"type": "grid"}), "key", FOLDS)
    asked = [study.ask() for _ in range(15)]
    assert [record is None for record in asked] == [False] * 12 + [True] * 3


def test_given_hyperparameters_are_a_trial() -> None:
    """Hyperparameters that are given become the next trial, and the sampler goes on after it."""
    study = OptunaStudy(config(SPACE), "key", FOLDS)
    given: dict[str, JsonValue] = {"x": 0.1, "lr": 0.01, "n": 3}
    record = study.ask(given)
    assert record is not None
    assert (record.number, record.params) == (0, given)
    play(study, record)
    following = study.ask()
    assert following is not None
    assert following.number == 1


def test_conditions_are_kept() -> None:
    """A conditional hyperparameter is there exactly when its choice is; a constant always is."""
    records = run(config(MIXED, sampler={"type": "random"}), 20, lambda number: False)
    assert {("momentum" in r.params) == (r.params["optimizer"] == "sgd") for r in records} == {True}
    assert {r.params["fixed"] for r in records} == {5}
    assert len({r.params["optimizer"] for r in records}) == 2


def test_order_of_writing_does_not_matter() -> None:
    """A search space that is written in another order gives the same proposals."""
    reversed_space = dict(reversed(list(MIXED.items())))
    one, two = (run(config(space), 8, lambda number: False) for space in (MIXED, reversed_space))
    assert [record.params for record in one] == [record.params for record in two]


def test_best_is_by_direction_and_then_by_number() -> None:
    """The best complete trial wins, of equals the first; pruned and failed ones never do."""
    values: list[tuple[TrialState, float | None]] = [
        ("complete", 0.5),
        ("pruned", 9.0),
        ("complete", 0.7),
        ("complete", 0.7),
        ("failed", None),
    ]
    records = [
        TrialRecord(number=number, trial_key_hash="", params={}, state=state, value=value)
        for number, (state, value) in enumerate(values)
    ]
    up, down = ([Objective(metric="m", direction=direction)] for direction in ("maximize", "minimize"))
    best = {"maximize": best_record(records, up), "minimize": best_record(records, down)}
    assert (best["maximize"].number, best["minimize"].number) == (2, 0)  # type: ignore[union-attr]
    assert best_record(records[1:2], up) is None
    for order in itertools.islice(itertools.permutations(records), 20):
        assert best_record(order, up) == records[2]
