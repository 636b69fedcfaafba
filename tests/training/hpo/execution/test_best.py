"""The best across studies that may be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import ConfigError, ExecutionError, NotComparableError
from training.hpo.execution.best import best
from training.hpo.execution.local.sweep import sweep


def second_backbone(config_dir: Path) -> str:
    """Give the project another training function, which is worse by one; return the override that chooses it."""
    function = config_dir.parent / "objective.py"
    (config_dir.parent / "worse.py").write_text(function.read_text().replace("* 1e-6", "* 1e-6 + 1"))
    return "train.backbone=worse:train"


def test_family_is_ranked(make_project: MakeProject) -> None:
    """Studies of two backbones are ranked; a study of other folds is none of them, and the reason is told."""
    config_dir = make_project()
    override = second_backbone(config_dir)
    worse = sweep(config_dir, [override])
    good = sweep(config_dir)
    folds = sweep(config_dir, ["hpo.cv.folds=3"])
    found = best(config_dir=config_dir)
    assert [study.run_id for study in found.studies] == [good.run_id, worse.run_id]
    assert [study.trial for study in found.studies] == [good.best, worse.best]
    assert [study.backbone for study in found.studies] == ["objective:train", "worse:train"]
    assert [(other.run_id, other.reason) for other in found.mismatched] == [(folds.run_id, "hpo.cv.folds: 2 → 3")]
    assert best([worse.name, good.study_key_hash[:12]], config_dir) == replace(found, mismatched=())


def test_no_lucky_trial_makes_a_champion(make_project: MakeProject) -> None:
    """The median of the best trials decides, not the best one; a study with fewer doesn't compete and is told."""
    config_dir = make_project()
    (config_dir.parent / "objective.py").write_text(
        "LOSSES = {'a': [0.1, 0.8, 0.9], 'b': [0.3, 0.4, 0.5]}\n"
        "def train(params):\n"
        "    return {'loss': LOSSES[params['of']][params['n']]}\n"
    )
    grid = ["hpo.sampler.type=grid", "train.predict=null"]
    space = "hpo.search_space={{n: {{type: int, low: 0, high: 2}}, of: {{type: constant, value: {}}}}}"
    lucky, steady = (sweep(config_dir, [*grid, space.format(of)]) for of in "ab")
    few = sweep(config_dir, [*grid, space.format("b"), "hpo.seed=7", "hpo.max_trials=2"])
    found = best([lucky.name, steady.name, few.name], config_dir)
    assert [(study.run_id, study.score, study.complete_count) for study in found.studies] == [
        (steady.run_id, 0.4, 3),
        (lucky.run_id, 0.8, 3),
        (few.run_id, None, 2),
    ]
    assert found.champion == found.studies[0]
    by_best = best([lucky.name, steady.name], config_dir, top=1)
    assert [(study.run_id, study.score) for study in by_best.studies] == [(lucky.run_id, 0.1), (steady.run_id, 0.3)]
    assert best([few.name], config_dir).champion is None
    with pytest.raises(ConfigError, match="--top 0: must be at least 1"):
        best([few.name], config_dir, top=0)


def test_another_direction_is_not_compared(make_project: MakeProject) -> None:
    """Without names every study of the experiment is looked at, and those that mean something else are named."""
    config_dir = make_project(hpo={"max_trials": 3})
    study = sweep(config_dir)
    other_space = sweep(config_dir, ["hpo.search_space.x.high=0.5"])
    upwards = sweep(config_dir, ["hpo.objective.direction=maximize"])
    found = best(config_dir=config_dir)
    assert {ranked.run_id for ranked in found.studies} == {study.run_id, other_space.run_id}
    reasons = [(other.study_name, other.reason) for other in found.mismatched]
    assert reasons == [(upwards.name, "hpo.objective.direction: minimize → maximize")]
    set_cv_folds(config_dir, 4)
    with pytest.raises(ExecutionError, match=r"\(3 others aren't comparable\): run `assay sweep` first"):
        best(config_dir=config_dir)


def set_cv_folds(config_dir: Path, folds: int) -> None:
    """Change the project's cross-validation."""
    path = config_dir / "hpo.yaml"
    path.write_text(path.read_text().replace('"folds": 2', f'"folds": {folds}'))


def test_a_study_that_was_started_over_counts_once(make_project: MakeProject) -> None:
    """Of a study's variants the newest is ranked."""
    config_dir = make_project(hpo={"max_trials": 1})
    sweep(config_dir)
    again = sweep(config_dir, force=True)
    assert [study.run_id for study in best(config_dir=config_dir).studies] == [again.run_id]


def test_what_means_something_else_is_not_compared(make_project: MakeProject) -> None:
    """Studies of other folds, another metric or other data are refused, with the reason."""
    config_dir = make_project(hpo={"max_trials": 1})
    study = sweep(config_dir)
    other_folds = sweep(config_dir, ["hpo.cv.folds=3"])
    with pytest.raises(NotComparableError, match=r"aren't comparable: hpo\.cv\.folds: 2 → 3; compare studies with"):
        best([study.run_id, other_folds.run_id], config_dir)
    (config_dir.parent / "data" / "test.jsonl").write_text('{"value": 5.0, "label": 0.0}')
    other_data = sweep(config_dir)
    with pytest.raises(NotComparableError, match=r"data\.fingerprint: blake3:"):
        best([study.run_id, other_data.run_id], config_dir)


def test_other_searches_may_be_compared(make_project: MakeProject) -> None:
    """Studies that search differently on the same data, folds and metric are comparable, though not of one family."""
    config_dir = make_project()
    studies = [sweep(config_dir, [f"hpo.seed={seed}"]) for seed in (1, 2)]
    found = best([study.name for study in studies], config_dir)
    values = [study.trial.value for study in found.studies if study.trial is not None]
    assert values == sorted(study.best.value or 0.0 for study in studies)


def test_nothing_to_rank(make_project: MakeProject) -> None:
    """Without a study there is nothing to rank, and the next step is named."""
    with pytest.raises(ExecutionError, match="run `assay sweep` first"):
        best(config_dir=make_project())
