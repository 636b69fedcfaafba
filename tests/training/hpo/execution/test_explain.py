"""Why two things are not the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import ProjectNotFoundError, RunNotFoundError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from training.execution.local.train import train
from training.hpo.execution.best import best
from training.hpo.execution.explain import compare
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.progress import Progress


class Heard(Progress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        """Keep a line."""
        self.said.append(text)


def changed(config_dir: Path, section: str, **values: object) -> None:
    """Change settings of a project."""
    path = config_dir / f"{section}.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("section", "change", "field"),
    [
        ("hpo", {"seed": 4}, "hpo.seed: 0 → 4"),
        ("hpo", {"sampler": {"type": "qmc"}}, "hpo.sampler.type: random → qmc"),
        ("hpo", {"cv": {"type": "kfold", "folds": 3}}, "hpo.cv.folds: 2 → 3"),
        ("train", {"params": {"extra": 1}}, "train.params.extra: absent → 1"),
        ("train", {"backbone": "objective:other"}, "backbone: objective:train → objective:other"),
        ("data", {"label_column": "value"}, "data.label_column: label → value"),
    ],
)
def test_configurations(make_project: MakeProject, section: str, change: dict[str, object], field: str) -> None:
    """Two config folders differ in exactly the field that was changed."""
    one, two = make_project("one"), make_project("two")
    changed(two, section, **change)
    found = compare(str(one), str(two))
    assert [str(difference) for difference in found.identity] == [field]
    assert found.other == ()


def test_what_does_not_matter_is_apart(make_project: MakeProject) -> None:
    """A setting that isn't identity is told apart from those that are; changed data is told by its fingerprint."""
    one, two = make_project("one"), make_project("two")
    changed(two, "hpo", max_trials=9)
    assert [str(d) for d in compare(str(one), str(two)).other] == ["hpo.max_trials: 3 → 9"]
    (two.parent / "data" / "test.jsonl").write_text('{"value": 5.0, "label": 0.0}')
    assert [d.field for d in compare(str(one), str(two)).identity] == ["data.fingerprint"]


def test_runs(make_project: MakeProject) -> None:
    """Studies by name or key, trials by run id, and a config folder are compared with each other."""
    config_dir = make_project()
    first = sweep(config_dir)
    changed(config_dir, "hpo", seed=4)
    second = sweep(config_dir)
    expected = ["hpo.seed: 0 → 4"]
    for one, two in ((first.name, second.name), (first.study_key_hash[:12], str(config_dir))):
        found = compare(one, two, config_dir)
        assert ([str(d) for d in found.identity], found.other) == (expected, ())
    changed(config_dir, "hpo", seed=4, max_trials=9)
    found = compare(second.run_id, str(config_dir), config_dir)
    assert (found.identity, [str(d) for d in found.other]) == ((), ["hpo.max_trials: 3 → 9"])
    trials = queries.find_runs({tags.PARENT_RUN: first.run_id, tags.STAGE: tags.STAGE_TRIAL})
    (differing,) = compare(trials[0].run_id, trials[1].name, config_dir).identity
    assert differing.field == "hyperparameters.x"
    assert (differing.old, differing.new) == (first.trials[0].params["x"], first.trials[1].params["x"])
    with pytest.raises(RunNotFoundError, match="no run 'nothing' in sqlite"):
        compare("nothing", first.name, config_dir)


def test_new_study_says_what_made_it_new(make_project: MakeProject) -> None:
    """A sweep that begins another study beside a similar one says in one line which field made the difference."""
    config_dir = make_project(hpo={"max_trials": 1})
    heard = Heard()
    first = sweep(config_dir, progress=heard)
    sweep(config_dir, ["hpo.max_trials=2"], progress=heard)
    assert heard.said == []
    sweep(config_dir, ["hpo.seed=7"], progress=heard)
    assert heard.said == [f"a new study: it differs from {first.name} in hpo.seed: 0 → 7"]


def test_changed_data_is_named_file_by_file(make_project: MakeProject) -> None:
    """Data that changed makes another study, and the line that says so names the files."""
    config_dir = make_project(hpo={"max_trials": 1})
    heard = Heard()
    first = sweep(config_dir, progress=heard)
    data = config_dir.parent / "data"
    with (data / "train.jsonl").open("a") as file:
        file.write('\n{"value": 1.0, "label": 1.0}')
    (data / "test.jsonl").rename(data / "validation.jsonl")
    sweep(config_dir, progress=heard)
    (line,) = heard.said
    assert line.startswith(f"a new study: it differs from {first.name} in data.fingerprint: blake3:")
    assert line.endswith(" (changed: test.jsonl; train.jsonl; validation.jsonl)")


def test_folds_and_models_differ(make_project: MakeProject) -> None:
    """Two folds of a trial, a refit and a final training, and two final trainings are told apart by what they are."""
    config_dir = make_project(hpo={"max_trials": 1}, final={"params": {"x": 0.1}})
    sweep(config_dir)
    models = [refit(config_dir), train(config_dir), train(config_dir, ["train.final.params.x=0.2"])]

    def fields(one: str, two: str) -> list[str]:
        return [str(d) for d in compare(one, two, config_dir).identity]

    folds = sorted(queries.find_runs({tags.STAGE: tags.STAGE_FOLD}), key=lambda run: run.tags[tags.FOLD_INDEX])
    assert fields(folds[0].run_id, folds[1].run_id) == ["fold_idx: 0 → 1"]
    assert fields(models[0].run_id, models[1].run_id)[-1] == "protocol.stage: hpo_refit → final_training"
    assert fields(models[1].run_id, models[2].run_id) == ["protocol.params.x: 0.1 → 0.2"]
    if models[1].run_name == models[2].run_name:
        with pytest.raises(RunNotFoundError, match="is the name of 2 runs"):
            compare(models[1].run_name, models[0].run_id, config_dir)


def test_outside_a_project_nothing_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked where there is no project, it says so and leaves no store behind."""
    monkeypatch.chdir(tmp_path)
    for ask in (lambda: compare("abcdef1", "abcdef2"), lambda: best(["abcdef1"])):
        with pytest.raises(ProjectNotFoundError):
            ask()
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_goes_on_with_other_code_is_told(make_project: MakeProject) -> None:
    """The code of a training function is in no key; a study that goes on with another one says so."""
    config_dir = make_project(hpo={"max_trials": 1})
    heard = Heard()
    sweep(config_dir, progress=heard)
    with (config_dir.parent / "objective.py").open("a") as code:
        code.write("\n# changed\n")
    sweep(config_dir, ["hpo.max_trials=2"], progress=heard)
    (line,) = heard.said
    assert line.startswith("the study goes on with other code or software than it was begun with: code: ")
