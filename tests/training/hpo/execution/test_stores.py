"""The contract of tracking stores: a study leaves the same in each of them, and goes on from each of them."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isnan, nan
from pathlib import Path

import pytest
from tests.conftest import MakeProject, project_maker
from tests.faults.drivers import Drivers, driving, kill_of, make_study, units_of
from tests.faults.invariant import violations
from tests.faults.launcher import Attempt, Ending
from tests.faults.observation import Observation
from tests.faults.servers import Database, running, running_on

from infrastructure.naming import tags
from infrastructure.tracking.mlflow import queries, runs
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent
from infrastructure.tracking.mlflow.session import current_session
from infrastructure.tracking.mlflow.setup import setup_mlflow

FEW = {"x": {"type": "choice", "values": [0.1, 0.2, 0.3, 0.4, 0.45, 0.6]}}
"""A space so small that trials come again; those above 0.5 fail."""
HOSTILE = {
    'RuntimeError("too large")': 'RuntimeError("too \\0 large" + "!" * 9_000)',
    '"test_loss":': '"up": float("inf"), "down": -float("inf"), "none": float("nan"), "test_loss":',
}
"""What a training function may say that not every database takes, and what it says otherwise."""


@dataclass(frozen=True)
class Store:
    """A tracking store: what `mlflow.yaml` says of it, and the environment that it takes."""

    mlflow: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class Study:
    """A study in a store; its experiment and its model have a name that no other test uses."""

    def __init__(
        self, make_project: MakeProject, drivers: Drivers, store: Store, name: str, hpo: Mapping[str, object]
    ) -> None:
        self._drivers = drivers
        self._name = name
        self._environment = dict(store.environment)
        self.config_dir = make_study(make_project, "there" if store.mlflow else "local", **hpo)
        function = self.config_dir.parent / "objective.py"
        for plain, hostile in HOSTILE.items():
            function.write_text(function.read_text().replace(plain, hostile))
        settings = {**store.mlflow, "experiment_name": name, "registered_model_name": name}
        (self.config_dir / "mlflow.yaml").write_text(json.dumps(settings))

    def drive(self, deadly: int = 0) -> Ending:
        """Sweep and refit in a process of its own, which dies before a boundary unless that is 0."""
        attempt = Attempt(config_dir=str(self.config_dir), deadly=deadly, environment=self._environment)
        return self._drivers.drive(attempt)

    def done(self) -> Observation:
        """Do what is left of it, and return what there is of it in the store and in the output folder."""
        ending = self.drive()
        assert ending.code == 0, ending.at
        seen = self._drivers.look(self.config_dir, self._environment)
        own = [version for version in seen.versions if self._name in version.split()[:2]]
        return seen.of_any_store().model_copy(update={"versions": own})


@pytest.fixture(scope="module")
def make_study_project(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> MakeProject:
    """Return what makes projects that last as long as the drivers."""
    return project_maker(tmp_path_factory.mktemp("stores"), empty_store)


@pytest.fixture(scope="module")
def drivers(make_study_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drivers]:
    """Yield what starts drivers."""
    with driving(make_study_project, tmp_path_factory.mktemp("log") / "drivers.log") as started:
        yield started


class StoreContract(ABC):
    """What every tracking store does; a subclass has a fixture with one that has nothing in it."""

    longest_tag = 8_000
    """How many characters of a tag the store keeps."""

    @pytest.fixture(scope="class")
    @classmethod
    @abstractmethod
    def store(cls) -> Store | Iterator[Store]:
        """Return or yield the store."""

    @pytest.fixture
    def config_dir(self, store: Store, make_project: MakeProject, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Return a project that tracks in the store, and let this process have its environment."""
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        config_dir = make_project()
        (config_dir / "mlflow.yaml").write_text(json.dumps(store.mlflow))
        return config_dir

    def test_a_study_leaves_the_same_as_in_a_local_store(
        self, store: Store, make_project: MakeProject, drivers: Drivers
    ) -> None:
        """Names, tags, params, metrics and their steps, states, artifacts, model and alias are as in a local store.

        Of trials that complete, fail, are pruned and are answered, with texts and numbers that databases differ in.
        """
        hpo = {"search_space": FEW, "max_trials": 8}
        here, alone = (Study(make_project, drivers, kind, "leaves", hpo) for kind in (store, Store()))
        seen, expected = here.done(), alone.done()
        assert {trial.state for trial in expected.trials} == {"complete", "failed", "pruned"}
        assert any(trial.answered_by is not None for trial in expected.trials)
        assert (found := violations(seen, expected, [], {})) == [], "\n".join(found)

    @pytest.mark.parametrize("folder", ["kept", "lost"])
    def test_a_killed_driver_goes_on(
        self, store: Store, make_project: MakeProject, drivers: Drivers, folder: str
    ) -> None:
        """A driver that is killed three times goes on from the store: as if left alone, and nothing is done twice."""
        here, alone = (Study(make_project, drivers, kind, folder, {"max_trials": 5}) for kind in (store, Store()))
        expected = alone.done()
        kills = []
        for deadly in (150, 100, 100):
            assert here.drive(deadly).code == -signal.SIGKILL
            kills.append(kill_of(here.config_dir))
            if folder == "lost":
                shutil.rmtree(here.config_dir.parent / "outputs")
                kills = [kill.without_files() for kill in kills]
        seen = here.done()
        found = violations(seen, expected, kills, units_of(expected), folder_kept=folder == "kept")
        assert found == [], "\n".join(found)

    def test_texts_and_numbers_come_back(self, config_dir: Path) -> None:
        """Long texts are cut where MLflow says, NUL is written as it is escaped, numbers keep what they can."""
        setup_mlflow("texts", config_dir)
        run_id = runs.create_run("texts", "run", {}, None).info.run_id
        texts = {"long": "y" * 9_000, "nul": "a\0b", "unicode": "é 😀 \u2028 \ud7ff", "empty": ""}
        numbers = {"up": inf, "down": -inf, "none": nan, "exact": 0.1 + 0.2, "tiny": 5e-324, "large": 1e308}
        points = [MetricPoint(name, value) for name, value in numbers.items()]
        runs.complete_run(run_id, RunContent(texts, points, texts))
        record = queries.get_run(run_id)
        kept = {name: record.tags[name] for name in texts}
        assert kept == {**texts, "long": "y" * self.longest_tag, "nul": "a\\x00b"}
        assert record.params == {**texts, "long": "y" * 6_000, "nul": "a\\x00b"}
        assert isnan(record.metrics.pop("none"))
        assert record.metrics == {
            **{name: value for name, value in numbers.items() if name != "none"},
            "up": sys.float_info.max,
            "down": -sys.float_info.max,
        }

    def test_a_search_finds_what_is_the_same_and_nothing_else(self, config_dir: Path) -> None:
        """Case, blanks, wildcards and accents count, in tags and in names."""
        setup_mlflow("search", config_dir)
        names = ["Run", "run", "run ", "r_n", "r%", "rün", "it's", "run's \"own", "😀"]
        made = {name: runs.create_run("search", name, {"t": name}, None).info.run_id for name in names}
        for name in filter(queries.can_be_searched, names):
            assert [run.run_id for run in queries.find_runs({"t": name})] == [made[name]], name
            assert [run.run_id for run in queries.find_by_name(name)] == [made[name]], name

    def test_runs_come_in_the_order_of_their_beginning(self, config_dir: Path) -> None:
        """The oldest run comes first, page after page."""
        setup_mlflow("order", config_dir)
        client = current_session().client
        made = [
            client.create_run(current_session().experiment_id, f"run {at}", {tags.WRITER: str(at)}, at).info.run_id
            for at in (3_000, 1_000, 2_000, 5_000, 4_000)
        ]
        found = [run.run_id for run in queries.search("")]
        assert found == [made[index] for index in (1, 2, 0, 4, 3)]


class TestLocalStore(StoreContract):
    """A SQLite file."""

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Store:
        """Return a file of its own, beside no project."""
        file = tmp_path_factory.mktemp("local") / "mlflow.db"
        shutil.copy(empty_store, file)
        return Store({"tracking_uri": f"sqlite:///{file}"})


class TestServerOnSqlite(StoreContract):
    """`mlflow server` on a SQLite file."""

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Store]:
        """Yield a server."""
        with running(tmp_path_factory.mktemp("server"), empty_store) as server:
            yield Store({"tracking_uri": server.address})


class TestServerOnPostgres(StoreContract):
    """`mlflow server` on PostgreSQL."""

    @pytest.fixture(scope="class")
    @classmethod
    def store(cls, tmp_path_factory: pytest.TempPathFactory, database: Database) -> Iterator[Store]:
        """Yield a server."""
        with running_on(database.new_store(), tmp_path_factory.mktemp("server")) as server:
            yield Store({"tracking_uri": server.address})
