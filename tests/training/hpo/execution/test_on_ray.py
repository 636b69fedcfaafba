"""The same study on a Ray cluster of two nodes as on this machine, whatever becomes of the nodes."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from tests.conftest import MakeProject, calls, unsent_folds
from tests.ray_cluster import two_nodes
from tests.training.hpo.execution.test_sweep import start_sweep, wait_for_calls

from infrastructure.errors import MissingExtraError
from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.queries import RunRecord
from training.hpo.execution.local.refit import refit
from training.hpo.execution.local.sweep import sweep
from training.hpo.execution.results import StudyResult

SEARCHED = {
    "x": {"type": "uniform", "low": 0.0, "high": 1.0},
    "mode": {"type": "choice", "values": ["plain", "also plain", "nan", "raise"]},
}
OF_A_RUN = (tags.WRITER, tags.PARENT_RUN, "mlflow.source.name", "mlflow.note.content", tags.FAILURE)
"""Tags that name a run, a command or a file."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Yield a cluster of two nodes with one processor each."""
    with two_nodes() as nodes:
        yield nodes


def project_for(make_project: MakeProject, pause: float = 0.0, **hpo: object) -> Path:
    """Make a project whose function notes its calls in the project, and prints on which node it is, after a pause."""
    config_dir = make_project(hpo=hpo)
    function = config_dir.parent / "objective.py"
    noted = repr(str(config_dir.parent / "calls.jsonl"))
    text = function.read_text().replace('Path(__file__).parent / "calls.jsonl"', noted)
    begin = (
        f'    import time; time.sleep({pause}); print("node", os.environ.get("RAY_RAYLET_PID"), flush=True)\n    loss ='
    )
    function.write_text(text.replace("    loss =", begin, 1))
    return config_dir


def on_ray(cluster: Any, *more: str) -> list[str]:
    """Return the overrides that put a project's work on the cluster, two folds at a time."""
    return ["executor.type=ray", f"executor.ray_address={cluster.address}", "hpo.workers=2", *more]


def nodes_of(config_dir: Path) -> set[str]:
    """Return the nodes that the logs of a project's folds tell of."""
    logs = config_dir.parent.glob("outputs*/*/trial-*/fold-*/worker.log")
    return {line for log in logs for line in log.read_text().splitlines() if line.startswith("node")}


def tree(result: StudyResult) -> list[Any]:
    """Return what a study's runs hold, each below its parent, but for ids and times."""
    found = {run.run_id: run for run in queries.find_runs({tags.STUDY_KEY: result.study_key_hash})}

    def described(run: RunRecord) -> list[Any]:
        metrics = {name: value for name, value in run.metrics.items() if name != "seconds"}
        kept = {key: value for key, value in run.tags.items() if key not in OF_A_RUN and "record" not in key}
        children = [child for child in found.values() if child.tags.get(tags.PARENT_RUN) == run.run_id]
        below = sorted((described(child) for child in children), key=str)
        return [run.name, run.status, run.is_done, run.params, metrics, kept, below]

    return described(found[result.run_id])


def test_run_tree_is_the_local_one(make_project: MakeProject, cluster: Any, tmp_path: Path) -> None:
    """A study gives the same runs as here, its folds done on both nodes; its refit is a model that answers."""
    config_dir = project_for(make_project, pause=1.0, max_trials=6)
    expected = tree(sweep(config_dir, ["hpo.workers=2"]))
    assert nodes_of(config_dir) == {"node None"}
    other = on_ray(cluster, "paths.output_dir=outputs-ray", f"mlflow.tracking_uri=sqlite:///{tmp_path}/ray.db")
    result = sweep(config_dir, other)
    assert tree(result) == expected
    assert len(nodes_of(config_dir) - {"node None"}) == 2
    champion = refit(config_dir, other)
    answers = mlflow.pyfunc.load_model(champion.model_uri).predict([{"value": 2.0}])
    assert list(answers["prediction"]) == [2 * float(str(result.best.params["x"]))]


def test_trials_that_fail_and_are_pruned(make_project: MakeProject, cluster: Any, tmp_path: Path) -> None:
    """What comes of trials that raise, return NaN, or are stopped after a step is the same as here."""
    median = {"type": "median", "n_startup_trials": 1}
    config_dir = project_for(make_project, search_space=SEARCHED, max_trials=10, pruner=median)
    here = sweep(config_dir)
    expected = tree(here)
    assert {trial.state for trial in here.trials} == {"complete", "pruned", "failed"}
    other = ["paths.output_dir=outputs-ray", f"mlflow.tracking_uri=sqlite:///{tmp_path}/ray.db"]
    assert tree(sweep(config_dir, on_ray(cluster, *other, "hpo.workers=1"))) == expected


def test_node_that_is_lost(make_project: MakeProject, cluster: Any) -> None:
    """A sweep goes on when a node goes in the middle: its folds are done again elsewhere, and none twice."""
    config_dir = project_for(make_project, pause=0.5, max_trials=10)
    node = cluster.add_node(num_cpus=1, resources={"elsewhere": 1})

    def lose() -> None:
        wait_for_calls(config_dir, 6)
        cluster.remove_node(node, allow_graceful=False)

    losing = threading.Thread(target=lose)
    losing.start()
    result = sweep(config_dir, [*on_ray(cluster), "hpo.workers=3"])
    losing.join()
    assert [trial.state for trial in result.trials] == ["complete"] * 10
    runs = queries.find_runs({tags.STUDY_KEY: result.study_key_hash, tags.STAGE: tags.STAGE_FOLD})
    assert Counter(run.tags[tags.FOLD_KEY] for run in runs) == Counter({run.tags[tags.FOLD_KEY]: 1 for run in runs})
    assert all(run.is_done for run in runs)
    assert len(runs) == 20
    assert len(calls(config_dir)) <= 22  # those that the node had begun


def test_driver_that_is_killed(make_project: MakeProject, cluster: Any) -> None:
    """A driver that is killed leaves nothing at work, and the next one goes on where it was."""
    config_dir = project_for(make_project, pause=0.5, max_trials=8)
    (config_dir / "executor.yaml").write_text(json.dumps({"type": "ray", "ray_address": cluster.address}))
    process = start_sweep(config_dir, 8)
    wait_for_calls(config_dir, 6)
    process.kill()
    process.wait()
    unsent = unsent_folds(config_dir)
    begun = len(calls(config_dir))
    time.sleep(6)
    assert len(calls(config_dir)) <= begun + 1
    result = sweep(config_dir, ["hpo.max_trials=8"])
    assert [trial.state for trial in result.trials] == ["complete"] * 8
    assert 16 <= len(calls(config_dir)) <= 18
    assert unsent <= 16
    runs = queries.find_runs({tags.STUDY_KEY: result.study_key_hash})
    assert {(run.status, run.is_done) for run in runs} == {("FINISHED", True)}


def test_ray_is_an_extra(make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, one line says how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'assay\[ray\]'"):
        sweep(make_project(), ["executor.type=ray"])
