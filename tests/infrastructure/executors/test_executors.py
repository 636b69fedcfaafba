"""The contract of executors, kept by each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from abc import ABC, abstractmethod
from pathlib import Path

import pytest

from infrastructure.executors.base import Executor, OnReport, Task, TaskOutcome
from infrastructure.executors.inline import InlineExecutor
from infrastructure.executors.local import LocalExecutor

WORK = "tests.infrastructure.executors.tasks:work"


def never(task_id: str, step: int, metrics: object) -> bool:
    """Stop nothing."""
    return False


def drain(executor: Executor) -> dict[str, TaskOutcome]:
    """Wait until nothing runs, and return the outcomes by task."""
    outcomes: dict[str, TaskOutcome] = {}
    while executor.running:
        for outcome in executor.wait():
            assert outcome.task_id not in outcomes
            outcomes[outcome.task_id] = outcome
    return outcomes


class ExecutorContract(ABC):
    """What every executor does; a subclass makes one."""

    @abstractmethod
    def make(self, on_report: OnReport) -> Executor:
        """Return an executor."""

    def task(self, tmp_path: Path, task_id: str = "a", **payload: object) -> Task:
        """Return a task with a log of its own."""
        return Task(task_id, WORK, payload, tmp_path / f"{task_id}.log")  # type: ignore[arg-type]

    def test_task_is_done(self, tmp_path: Path) -> None:
        """A task that returns is done, and what it wrote is there."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, file=str(tmp_path / "out")))
            assert executor.running == 1
            assert drain(executor) == {"a": TaskOutcome("a", "done")}
        assert (tmp_path / "out").exists()

    def test_error_is_one_line(self, tmp_path: Path) -> None:
        """A task that raises has failed, with the error in one line."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, **{"raise": "no luck\nand more"}))
            assert drain(executor)["a"] == TaskOutcome("a", "failed", "ValueError: no luck")

    def test_report_decides(self, tmp_path: Path) -> None:
        """Every report is heard before the task goes on, and a task that is told to stop has stopped there."""
        heard: list[tuple[str, int, object]] = []

        def stop_at_two(task_id: str, step: int, metrics: object) -> bool:
            heard.append((task_id, step, metrics))
            return step == 2

        with self.make(stop_at_two) as executor:
            executor.submit(self.task(tmp_path, steps=5, file=str(tmp_path / "out")))
            assert drain(executor)["a"].state == "stopped"
        assert heard == [("a", 1, {"value": 0.5}), ("a", 2, {"value": 1.0})]
        assert not (tmp_path / "out").exists()

    def test_waiting_for_nothing(self) -> None:
        """With nothing submitted, wait returns at once."""
        with self.make(never) as executor:
            assert executor.wait() == []

    def test_cancelled_task_does_not_finish(self, tmp_path: Path) -> None:
        """A task that is cancelled is returned as stopped and leaves nothing; cancelling an unknown one is harmless."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, sleep=60, file=str(tmp_path / "out")))
            executor.cancel("a")
            executor.cancel("b")
            assert drain(executor)["a"].state == "stopped"
        assert not (tmp_path / "out").exists()


class TestInlineExecutor(ExecutorContract):
    """The plainest executor."""

    def make(self, on_report: OnReport) -> Executor:
        return InlineExecutor(on_report)


class TestLocalExecutor(ExecutorContract):
    """Real processes."""

    def make(self, on_report: OnReport) -> Executor:
        environment = {**os.environ, "COLOUR": "blue", "PYTHONPATH": os.pathsep.join(sys.path)}
        return LocalExecutor(2, on_report, environment)

    def test_tasks_run_at_the_same_time(self, tmp_path: Path) -> None:
        """Two sleeping tasks take the time of one."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, "warm"))
            drain(executor)
            started = time.monotonic()
            for task_id in ("a", "b"):
                executor.submit(self.task(tmp_path, task_id, sleep=2))
            drain(executor)
            assert time.monotonic() - started < 3.9

    def test_dead_process_is_told_with_its_cause(self, tmp_path: Path) -> None:
        """A task whose process is killed has died of SIGKILL, and the executor goes on."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, kill=True))
            outcome = drain(executor)["a"]
            assert outcome.state == "died"
            assert "SIGKILL" in outcome.message
            executor.submit(self.task(tmp_path, "b"))
            assert drain(executor)["b"].state == "done"

    def test_environment_is_the_given_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task sees the executor's environment and nothing that was set elsewhere."""
        monkeypatch.setenv("COLOUR", "red")
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, file=str(tmp_path / "out")))
            drain(executor)
        assert (tmp_path / "out").read_text() == "blue"

    def test_close_ends_what_runs(self, tmp_path: Path) -> None:
        """Leaving the executor kills its tasks."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, sleep=60, file=str(tmp_path / "out")))
        assert executor.running == 0
        assert not (tmp_path / "out").exists()

    def test_script_without_main_guard(self, tmp_path: Path) -> None:
        """A plain script may run tasks: it is not run again in the child."""
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent(
                f"""
                import os
                from pathlib import Path
                from infrastructure.executors.base import Task
                from infrastructure.executors.local import LocalExecutor
                print("once")
                with LocalExecutor(1, lambda *_: False, dict(os.environ)) as executor:
                    executor.submit(Task("a", "{WORK}", {{}}, Path("{tmp_path}/log")))
                    print(executor.wait()[0].state)
                """
            )
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout.split() == ["once", "done"], done.stderr
