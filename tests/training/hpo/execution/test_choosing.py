"""The trial that is refitted where speed counts beside the objective."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

import pytest
from tests.conftest import MakeProject

from infrastructure.errors import ConfigError, ExecutionError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.session import current_session
from training.execution.latency import WARM_UP
from training.execution.local.train import train
from training.hpo.execution.best import best
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.progress import Progress
from training.hpo.execution.results import ModelResult
from training.hpo.tracking import latencies

CALLS = 4
FUNCTION = textwrap.dedent(
    '''
    """A function whose best model is slow, with one that is almost as good and fast; both note each call."""
    import time
    from pathlib import Path

    ACCURACY = {"slow": 0.900, "fast": 0.896, "poor": 0.5}
    HERE = Path(__file__).parent

    def note(what):
        with open(HERE / "notes.txt", "a") as notes:
            notes.write(what + "\\n")

    def train(params, train, model_dir):
        if model_dir is not None:
            note("trained " + params["kind"])
            (model_dir / "kind.txt").write_text(params["kind"])
        return {"accuracy": ACCURACY[params["kind"]]}

    def predict(model_dir, frame):
        if (HERE / "broken").exists():
            raise RuntimeError("it gave up")
        kind = (Path(model_dir) / "kind.txt").read_text()
        note(f"asked {kind} {len(frame)}")
        time.sleep(0.05 if kind == "slow" else 0)
        return list(frame["value"])
    '''
)


class Notes(Progress):
    """Keeps what was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def message(self, text: str) -> None:
        self.told.append(text)


@pytest.fixture
def config_dir(make_project: MakeProject) -> Path:
    """Return a project whose study is swept, with a selection by latency."""
    config_dir = make_project(
        hpo={
            "objective": {"metric": "accuracy", "direction": "maximize"},
            "search_space": {"kind": {"type": "choice", "values": ["poor", "fast", "slow"]}},
            "sampler": {"type": "grid"},
            "selection": {"accuracy_threshold": 0.005, "latency": {"batch_size": 2, "calls": CALLS}},
        }
    )
    (config_dir.parent / "objective.py").write_text(FUNCTION)
    sweep(config_dir)
    return config_dir


def notes(config_dir: Path, beginning: str) -> list[str]:
    """Return what the function noted that begins so, and forget it."""
    path = config_dir.parent / "notes.txt"
    found = [line for line in path.read_text().splitlines() if line.startswith(beginning)] if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def kind_of(config_dir: Path, model: ModelResult) -> object:
    """Return which kind of model a refit has."""
    return queries.get_run(queries.get_run(model.run_id).tags[tags.REFIT_OF_TRIAL]).params["kind"]


def test_the_fast_one_is_chosen_and_becomes_champion(config_dir: Path) -> None:
    """Both candidates are refitted and measured; the fast one is registered, and its run and `best` say why."""
    told = Notes()
    model = refit(config_dir, progress=told)
    assert kind_of(config_dir, model) == "fast"
    reason = told.told[-1].removeprefix("chosen: ")
    assert "it is 0.444 % worse than the best, trial" in reason
    run = queries.get_run(model.run_id)
    assert run.tags[tags.SELECTION] == reason
    champion = current_session().client.get_model_version_by_alias("quadratic", "champion")
    assert champion.run_id == model.run_id
    assert len(current_session().client.search_model_versions("name = 'quadratic'")) == 1
    choice = best(config_dir=config_dir).choice
    assert choice is not None
    assert choice.reason == reason
    measured = {str(row.trial.params["kind"]): row.seconds for row in choice.candidates}
    assert sorted(measured) == ["fast", "slow"]
    assert measured["fast"] == run.metrics["latency"]
    assert (measured["slow"] or 0) >= 0.05 / 2  # two examples a call
    assert train(config_dir).trial_number == model.trial_number


def test_nothing_is_measured_twice(config_dir: Path) -> None:
    """A second refit trains and measures nothing; with force both are done again, and the choice stays."""
    first = refit(config_dir)
    asked = notes(config_dir, "asked fast 2")
    assert len(asked) == WARM_UP + CALLS
    again = refit(config_dir)
    assert (again.run_id, again.reused) == (first.run_id, True)
    assert notes(config_dir, "") == []
    forced = refit(config_dir, force=True)
    assert forced.run_id != first.run_id
    assert kind_of(config_dir, forced) == "fast"
    assert sorted(notes(config_dir, "trained")) == ["trained fast", "trained slow"]


def test_other_conditions_are_measured_anew(config_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another machine, or asked in other batches, refits are found and measured again."""
    refit(config_dir)
    notes(config_dir, "")
    monkeypatch.setattr(latencies, "machine", lambda: "another machine")
    choice = best(config_dir=config_dir).choice
    assert choice is not None
    assert choice.chosen is None
    shutil.rmtree(config_dir.parent / "outputs")  # another machine hasn't got the models either
    assert kind_of(config_dir, refit(config_dir)) == "fast"
    assert notes(config_dir, "trained") == []
    refit(config_dir, ["hpo.selection.latency.batch_size=3"])
    assert len(notes(config_dir, "asked slow 3")) == WARM_UP + CALLS


def test_a_gain_that_nobody_reaches(config_dir: Path) -> None:
    """When no candidate is faster by enough, or none is near, it is the best that is refitted."""
    assert kind_of(config_dir, refit(config_dir, ["hpo.selection.min_gain=1e9"])) == "slow"
    notes(config_dir, "")
    assert kind_of(config_dir, refit(config_dir, ["hpo.selection.accuracy_threshold=0.001"])) == "slow"
    assert notes(config_dir, "") == []


def test_before_anything_is_measured(config_dir: Path) -> None:
    """Until candidates are measured nothing is chosen: the next step is named, and a trial that is named is taken."""
    choice = best(config_dir=config_dir).choice
    assert choice is not None
    assert choice.chosen is None
    with pytest.raises(ExecutionError, match=r"isn't measured on this machine yet: run `assay refit`"):
        train(config_dir)
    slow = next(row.trial for row in choice.candidates if row.trial.params["kind"] == "slow")
    assert kind_of(config_dir, refit(config_dir, trial=slow.number)) == "slow"
    notes(config_dir, "")
    assert kind_of(config_dir, refit(config_dir)) == "fast"
    assert notes(config_dir, "trained") == ["trained fast"]


def test_a_model_that_cannot_be_asked(config_dir: Path) -> None:
    """A failure while it is measured is told with its cause, and mended by the same command."""
    choice = best(config_dir=config_dir).choice
    assert choice is not None
    for row in choice.candidates:
        refit(config_dir, trial=row.trial.number)
    (config_dir.parent / "broken").touch()
    with pytest.raises(
        ExecutionError, match=r"the latency of trial \d can't be measured: RuntimeError: it gave up \(log"
    ):
        refit(config_dir)
    (config_dir.parent / "broken").unlink()
    assert kind_of(config_dir, refit(config_dir)) == "fast"


def test_what_a_selection_needs(make_project: MakeProject) -> None:
    """Without a predict function or data to ask about nothing could be measured, which is told before any work."""
    config_dir = make_project(hpo={"selection": {}}, predict=None)
    overrides = ["data.path=null", "data.content_hash=abcdefabcdef"]
    with pytest.raises(ConfigError) as caught:
        sweep(config_dir, overrides)
    assert [problem.partition("hpo.yaml ")[2] for problem in caught.value.problems] == [
        "selection: its candidates are measured by their predictions; name train.yaml predict",
        "selection: its candidates are measured on rows of the data; name data.yaml path",
    ]
