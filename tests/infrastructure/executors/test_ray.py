"""The Ray executor, on two nodes of one machine."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
from tests.infrastructure.executors.test_executors import ExecutorContract, drain, never, unheard
from tests.ray_cluster import two_nodes

from infrastructure.errors import ExecutionError
from infrastructure.executors.base import Executor, OnReport, OnRetry
from infrastructure.executors.ray import RayExecutor, Resources, connect
from infrastructure.executors.ray_node import versions_here

ONE_CPU = Resources(1, 0, {})


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Yield the address of a cluster of two nodes with one processor each, `here` and `there`."""
    with two_nodes() as nodes:
        yield nodes.address


class TestRayExecutor(ExecutorContract):
    """Processes on the nodes of a cluster."""

    @pytest.fixture(autouse=True)
    def _cluster(self, cluster: str, tmp_path: Path) -> None:
        self.address = cluster
        self.inputs = tmp_path / "inputs"
        self.inputs.mkdir()

    def make(self, on_report: OnReport, on_retry: OnRetry = unheard, resources: Resources = ONE_CPU) -> RayExecutor:
        return RayExecutor(2, on_report, on_retry, self.address, resources, lambda: [self.inputs], ("json",))

    def on(self, node: str) -> Executor:
        """Return an executor whose tasks run on one of the nodes."""
        return self.make(never, resources=Resources(1, 0, {node: 0.1}))

    def test_both_nodes_work_at_the_same_time(self, tmp_path: Path) -> None:
        """Two sleeping tasks take the time of one."""
        for node in ("here", "there"):  # Ray has a process on each then
            with self.on(node) as executor:
                executor.submit(self.task(tmp_path))
                drain(executor)
        with self.make(never) as executor:
            started = time.monotonic()
            for task_id in ("a", "b"):
                executor.submit(self.task(tmp_path, task_id, sleep=6))
            drain(executor)
            assert time.monotonic() - started < 11.5

    def test_files_go_there_and_come_back(self, tmp_path: Path) -> None:
        """A task finds what it reads and what its folder held; what its folder holds then is there afterwards."""
        (self.inputs / "data").mkdir()
        (self.inputs / "data" / "one.txt").write_text("one")
        task = self.task(tmp_path, read=str(self.inputs / "data" / "one.txt"))
        task.folder.mkdir()
        (task.folder / "before").write_text("before")
        task = replace(task, payload={**task.payload, "file": str(task.folder / "sub" / "out")})
        with self.on("there") as executor:
            executor.submit(task)
            assert drain(executor)["a"].state == "done"
        assert (task.folder / "sub" / "out").exists()
        assert (task.folder / "before").read_text() == "before"
        place, content = task.log_path.read_text().split()
        assert content == "one"
        assert not Path(place).is_relative_to(tmp_path)
        assert Path(place).is_relative_to("/tmp")

    def test_inputs_in_one_another(self, tmp_path: Path) -> None:
        """A file that is named beside the folder which it lies in is there once."""
        (self.inputs / "code.txt").write_text("code")
        task = self.task(tmp_path, read=str(self.inputs / "code.txt"))
        reads = [self.inputs, self.inputs / "code.txt"]
        with RayExecutor(1, never, unheard, self.address, ONE_CPU, lambda: reads) as executor:
            executor.submit(task)
            assert drain(executor)["a"].state == "done"
        assert task.log_path.read_text().split()[-1] == "code"

    def test_renewed_inputs(self, tmp_path: Path) -> None:
        """What has changed is read after `renew`, not before."""
        file = self.inputs / "code.txt"
        file.write_text("old")
        said = []
        with self.on("there") as executor:
            for task_id in ("a", "b", "c"):
                if task_id == "b":
                    file.write_text("newer")
                if task_id == "c":
                    executor.renew()
                task = self.task(tmp_path, task_id, read=str(file))
                executor.submit(task)
                drain(executor)
                said.append(task.log_path.read_text().split()[-1])
        assert said == ["old", "old", "newer"]

    def test_task_that_dies_is_begun_again(self, tmp_path: Path) -> None:
        """A task whose process dies is begun again by us, as often as it may be, and never by Ray."""
        told: list[tuple[str, str]] = []
        lives = tmp_path / "lives"
        with self.make(never, lambda *death: told.append(death)) as executor:
            executor.submit(replace(self.task(tmp_path, dies=f"2 {lives}"), max_retries=2))
            assert drain(executor)["a"].state == "done"
        assert told == [("a", "the process was ended by SIGSEGV")] * 2
        assert lives.read_text() == "xxx"

    @pytest.mark.parametrize("retries", [0, 1])
    def test_ray_process_that_is_killed(self, tmp_path: Path, retries: int) -> None:
        """A task whose Ray worker is killed has died; what it wrote counts only if another attempt is made."""
        told: list[str] = []
        pid = tmp_path / "pid"
        with self.make(never, lambda _, cause: told.append(cause)) as executor:
            executor.submit(replace(self.task(tmp_path, once=f"{pid} {retries}"), max_retries=retries))
            threading.Thread(target=_kill_parent, args=(pid,)).start()
            outcome = drain(executor)["a"]
        assert outcome.state == ("done" if retries else "died")
        assert (told or [outcome.message])[0] == "its node or process was lost: WorkerCrashedError"

    def test_close_lets_tasks_save(self, tmp_path: Path) -> None:
        """A task that is told to end saves what it has in its folder, which comes home; one that can't ends."""

        def interrupted(task_id: str, step: int, metrics: object) -> bool:
            if step == 3:
                raise KeyboardInterrupt
            return False

        executor = self.make(interrupted)
        task = self.task(tmp_path, "a", save=str(tmp_path / "folder-a" / "saved"))
        executor.submit(task)
        executor.submit(self.task(tmp_path, "b", sleep=60))
        with pytest.raises(KeyboardInterrupt):
            executor.wait()
        executor.close()
        assert (task.folder / "saved").read_text() == "saved"
        assert executor.running == 0

    def test_worker_does_not_know_the_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What points to a tracking store doesn't reach a task."""
        task = self.task(tmp_path, environment="MLFLOW_TRACKING_URI AZUREML_RUN_ID PATH")
        with self.make(never) as executor:
            executor.submit(task)
            drain(executor)
        assert task.log_path.read_text().split() == ["PATH"]

    def test_other_versions(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A node with another version of a package fails a task, and says which."""
        here = {**versions_here(), "numpy": "1.0"}
        monkeypatch.setattr("infrastructure.executors.ray.versions_here", lambda: here)
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path))
            outcome = drain(executor)["a"]
        assert outcome.state == "failed"
        assert " for 1.0 of the driver, so its scores wouldn't be comparable" in outcome.message

    def test_inputs_that_find_no_room(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Data that is too large for the object store is told in one line."""

        def full(_: object) -> None:
            raise ray.exceptions.ObjectStoreFullError("no room for 9 GB")

        monkeypatch.setattr("ray.put", full)
        with pytest.raises(ExecutionError, match=r"^what trainings read can't be put .*no room for 9 GB"):
            self.make(never)

    def test_room_that_no_node_has(self, caplog: pytest.LogCaptureFixture) -> None:
        """Tasks that need more than any node has wait for one, which is said."""
        self.make(never, resources=Resources(1, 0, {"moonlight": 2})).close()
        assert "no node of the Ray cluster has CPU 1, moonlight 2; tasks wait until one joins" in caplog.text


def _kill_parent(pid: Path) -> None:
    """Kill the Ray process that a task says it has."""
    while not pid.exists():
        time.sleep(0.05)
    os.kill(int(pid.read_text()), 9)


def test_no_cluster_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that doesn't answer is told in one line."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ExecutionError, match=r"^no Ray cluster at 127\.0\.0\.1:1: .*refused.*ray start --head"):
        connect("127.0.0.1:1")
