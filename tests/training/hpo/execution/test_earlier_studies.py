"""Studies that begin with the trials of an earlier one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import MakeProject, calls

from infrastructure.errors import ExecutionError, NotComparableError, RunNotFoundError
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.progress import Progress
from training.hpo.execution.results import StudyResult
from training.hpo.execution.status import study_status


class Notes(Progress):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def message(self, text: str) -> None:
        self.told.append(text)


LEARNS = ["hpo.sampler.type=tpe", "hpo.sampler.n_startup_trials=3", "hpo.max_trials=2"]


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return a project whose first study draws five trials at random."""
    return make_project(hpo={"max_trials": 5})


def own(study: StudyResult) -> list[float]:
    """Return what the study's own trials tried, in their order."""
    return [float(str(trial.params["x"])) for trial in study.trials if not trial.imported_from]


def test_the_sampler_learns_from_earlier_trials(config_dir: Path) -> None:
    """A study from another one proposes what its sampler has learnt there; alone it would have begun at random."""
    earlier = sweep(config_dir)
    count = len(calls(config_dir))
    warm = sweep(config_dir, LEARNS, import_from=f"study:{earlier.name}")
    taken, tried = warm.trials[:5], own(warm)
    assert [(trial.params, trial.value) for trial in taken] == [(t.params, t.value) for t in earlier.trials]
    assert [trial.imported_from for trial in taken] == [f"{earlier.name}/{number}" for number in range(5)]
    assert (len(tried), len(calls(config_dir)) - count) == (2, 4)
    assert not warm.best.imported_from
    assert refit(config_dir, LEARNS).trial_number == warm.best.number >= 5
    cold = sweep(config_dir, [*LEARNS, "hpo.seed=1"])
    assert warm.study_key_hash != cold.study_key_hash
    warm_too = sweep(config_dir, [*LEARNS, "hpo.seed=1"], import_from=f"study:{earlier.run_id}", force=True)
    assert own(warm_too) != own(cold)


def test_taken_in_once(config_dir: Path) -> None:
    """The same trials are taken in once, whichever way the study is named, and going on elsewhere keeps them."""
    earlier = sweep(config_dir)
    first = sweep(config_dir, LEARNS, import_from=f"study:{earlier.study_key_hash[:12]}")
    again = sweep(config_dir, LEARNS, import_from=f"study:{earlier.run_id}")
    assert again.trials == first.trials
    assert study_status(config_dir, LEARNS).trials == first.trials


def test_only_points_of_this_space_are_taken(config_dir: Path) -> None:
    """Trials outside the new bounds are left and told; when none is left it is an error, and no study is begun."""
    earlier = sweep(config_dir)
    values = sorted(float(str(trial.params["x"])) for trial in earlier.trials)
    told = Notes()
    bound = f"hpo.search_space.x.high={values[2] + 1e-6}"
    warm = sweep(config_dir, [*LEARNS, bound], import_from=f"study:{earlier.name}", progress=told)
    assert sorted(float(str(t.params["x"])) for t in warm.trials if t.imported_from) == values[:3]
    assert told.told[0].startswith(f"2 trials of {earlier.name} are not taken; the first: trial ")
    assert "is outside" in told.told[0]
    nothing = [*LEARNS, "hpo.search_space.x={type: int, low: 1, high: 9}"]
    with pytest.raises(
        ExecutionError, match=r"--from: no trial of .* can be taken; the first: trial 0: x: 0\.\d+ is out"
    ):
        sweep(config_dir, nothing, import_from=f"study:{earlier.name}")
    assert study_status(config_dir, nothing).run_id == ""


def test_constants_are_filled_in_and_choices_are_exact(make_project: MakeProject) -> None:
    """A constant that the earlier study didn't have is this study's; a choice counts by value and type."""
    space = {"x": {"type": "choice", "values": [1, 2, "2"]}}
    config_dir = make_project(hpo={"search_space": space, "sampler": {"type": "grid"}})
    (config_dir.parent / "objective.py").write_text("def train(params):\n    return {'loss': float(params['x'])}\n")
    earlier = sweep(config_dir, ["train.predict=null"])
    changed = [
        "train.predict=null",
        "hpo.search_space.x.values=[2, 3]",
        "hpo.search_space.k={type: constant, value: 7}",
    ]
    warm = sweep(config_dir, changed, import_from=f"study:{earlier.name}")
    assert [trial.params for trial in warm.trials if trial.imported_from] == [{"k": 7, "x": 2}]
    assert sorted(str(trial.params["x"]) for trial in warm.trials if not trial.imported_from) == ["2", "3"]


def test_another_objective_is_refused(config_dir: Path) -> None:
    """A study of another metric or direction, and the very same study, are refused with the reason."""
    earlier = sweep(config_dir)
    for override, reason in [
        ("hpo.objective.direction=maximize", r"hpo\.objective\.direction: minimize → maximize"),
        ("hpo.objective.metric=score", r"hpo\.objective\.metric: loss → score"),
    ]:
        with pytest.raises(NotComparableError, match=rf"isn't this study's objective: {reason}; name one"):
            sweep(config_dir, [override], import_from=f"study:{earlier.name}")
    with pytest.raises(NotComparableError, match="is this very study"):
        sweep(config_dir, import_from=f"study:{earlier.name}")
    with pytest.raises(RunNotFoundError):
        sweep(config_dir, import_from="study:nowhere")


def test_other_data_is_told(config_dir: Path) -> None:
    """Trials that were scored on other data or folds inform the sampler too, and what differs is told."""
    earlier = sweep(config_dir)
    (config_dir.parent / "data" / "test.jsonl").write_text('{"value": 5.0, "label": 0.0}')
    told = Notes()
    warm = sweep(config_dir, ["hpo.cv.folds=3"], import_from=f"study:{earlier.name}", progress=told)
    assert len([trial for trial in warm.trials if trial.imported_from]) == 5
    note = next(text for text in told.told if "inform the sampler alone" in text)
    assert "data.fingerprint: blake3:" in note
    assert "hpo.cv.folds: 2 → 3" in note


def test_trials_of_a_third_study_are_not_passed_on(config_dir: Path) -> None:
    """What an earlier study had taken in itself isn't taken from it again."""
    first = sweep(config_dir)
    second = sweep(config_dir, LEARNS, import_from=f"study:{first.name}")
    third = sweep(config_dir, [*LEARNS, "hpo.seed=9"], import_from=f"study:{second.name}")
    origins = {trial.imported_from.rpartition("/")[0] for trial in third.trials if trial.imported_from}
    assert origins == {second.name}
