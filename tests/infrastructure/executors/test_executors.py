"""The contract of executors, kept by each of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from infrastructure.executors.base import Executor, OnReport, OnRetry, Task, TaskOutcome
from infrastructure.executors.inline import InlineExecutor
from infrastructure.executors.local import LocalExecutor

WORK = "tests.infrastructure.executors.tasks:work"


def never(task_id: str, step: int, metrics: object) -> bool:
    """Stop nothing."""
    return False


def unheard(task_id: str, cause: str) -> None:
    """Take no notice of a task that is begun again."""


def drain(executor: Executor) -> dict[str, TaskOutcome]:
    """Wait until nothing runs, and return the outcomes by task."""
    outcomes: dict[str, TaskOutcome] = {}
    while executor.running:
        for outcome in executor.wait():
            assert outcome.task_id not in outcomes
            outcomes[outcome.task_id] = outcome
    return outcomes


@pytest.fixture
def small_cgroup() -> Iterator[Path]:
    """Yield a control group of 64 MB; only root on Linux can make one."""
    root = Path("/sys/fs/cgroup")
    group = root / ("memory" if (root / "memory").is_dir() else "") / f"assay-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if (root / "memory").is_dir() else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(64 << 20))
    except OSError as error:
        pytest.skip(f"no control group with a limit of memory can be made here: {error}")
    yield group
    group.rmdir()


class ExecutorContract(ABC):
    """What every executor does; a subclass makes one."""

    @abstractmethod
    def make(self, on_report: OnReport, on_retry: OnRetry = unheard) -> Executor:
        """Return an executor."""

    def task(self, tmp_path: Path, task_id: str = "a", **payload: object) -> Task:
        """Return a task with a folder of its own."""
        return Task(task_id, WORK, payload, tmp_path / f"folder-{task_id}")  # type: ignore[arg-type]

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

    def test_too_little_memory_is_told_as_such(self, tmp_path: Path) -> None:
        """A task that asks for more memory than there is has failed of that, and isn't tried again."""
        with self.make(never) as executor:
            executor.submit(replace(self.task(tmp_path, hog=True), max_retries=2))
            assert drain(executor)["a"] == TaskOutcome("a", "failed", "out of memory: MemoryError")

    def test_sys_exit_is_a_failure(self, tmp_path: Path) -> None:
        """A task that ends its process by itself has failed, and isn't tried again."""
        with self.make(never) as executor:
            executor.submit(replace(self.task(tmp_path, exit="3"), max_retries=2))
            assert drain(executor)["a"] == TaskOutcome("a", "failed", "the task called sys.exit('3')")

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

    def make(self, on_report: OnReport, on_retry: OnRetry = unheard) -> Executor:
        return InlineExecutor(on_report, on_retry)


class TestLocalExecutor(ExecutorContract):
    """Real processes."""

    def make(self, on_report: OnReport, on_retry: OnRetry = unheard) -> Executor:
        environment = {**os.environ, "COLOUR": "blue", "PYTHONPATH": os.pathsep.join(sys.path)}
        return LocalExecutor(2, on_report, on_retry, environment, ("json",))

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

    def test_each_preload_has_a_parent(self, tmp_path: Path) -> None:
        """A study finds what it preloads, also after one in the same process that preloaded something else."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        for index, preload in enumerate((["wave"], ["this"], ["wave"])):
            with LocalExecutor(1, never, unheard, environment, preload) as executor:
                executor.submit(self.task(tmp_path, str(index), modules="wave this"))
                drain(executor)
        logs = [self.task(tmp_path, str(index)).log_path.read_text().splitlines()[-1] for index in range(3)]
        assert logs == ["['wave']", "['this']", "['wave']"]

    def test_dead_process_is_told_with_its_cause(self, tmp_path: Path) -> None:
        """A task whose process is killed has died of SIGKILL, and the executor goes on."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, kill=True))
            outcome = drain(executor)["a"]
            assert outcome.state == "died"
            assert "SIGKILL" in outcome.message
            executor.submit(self.task(tmp_path, "b"))
            assert drain(executor)["b"].state == "done"

    @pytest.mark.parametrize(("dies", "state"), [(2, "done"), (3, "died")])
    def test_task_that_dies_is_begun_again(self, tmp_path: Path, dies: int, state: str) -> None:
        """A task is begun again as often as it may be; each death is told with its cause, the last one as outcome."""
        told: list[tuple[str, str]] = []
        lives = tmp_path / "lives"
        with self.make(never, lambda *death: told.append(death)) as executor:
            executor.submit(replace(self.task(tmp_path, dies=f"{dies} {lives}"), max_retries=2))
            outcome = drain(executor)["a"]
        assert outcome.state == state
        assert outcome.message == ("" if state == "done" else "the process was ended by SIGSEGV (3 attempts)")
        assert told == [("a", "the process was ended by SIGSEGV")] * 2
        assert lives.read_text() == "xxx"

    @pytest.mark.parametrize("ending", ["kill", "raise", "cancel"])
    def test_children_that_outlive_a_task(self, tmp_path: Path, ending: str) -> None:
        """A task that forked a child is told of when it ends, however long the child lives."""
        with self.make(never) as executor:
            last = "sleep" if ending == "cancel" else ending
            executor.submit(self.task(tmp_path, "a", **{"fork": str(tmp_path / "pid"), last: "60"}))
            while not (tmp_path / "pid").exists():
                time.sleep(0.05)
            if ending == "cancel":
                executor.cancel("a")
            begun = time.monotonic()
            assert drain(executor)["a"].state == {"kill": "died", "raise": "failed", "cancel": "stopped"}[ending]
            assert time.monotonic() - begun < 20
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    def test_a_thread_that_is_left_behind(self, tmp_path: Path) -> None:
        """A task that returned is done, though a thread of its own would keep the process for a minute."""
        with self.make(never) as executor:
            begun = time.monotonic()
            executor.submit(self.task(tmp_path, thread=60))
            assert drain(executor)["a"].state == "done"
            assert time.monotonic() - begun < 30

    @pytest.mark.parametrize(
        ("first", "takes_another"),
        [({}, True), ({"steps": 2}, True), ({"thread": 60}, False), ({"fork": "child"}, False), ({"raise": ""}, False)],
    )
    def test_process_that_takes_another_task(
        self, tmp_path: Path, first: dict[str, object], takes_another: bool
    ) -> None:
        """A process takes another task after one that returned or was stopped, unless that left something behind."""
        if "fork" in first:
            first = {"fork": str(tmp_path / "child")}
        with self.make(lambda task_id, step, metrics: step == 2) as executor:
            for task_id, payload in (("a", first), ("b", {})):
                executor.submit(self.task(tmp_path, task_id, pid=str(tmp_path / task_id), **payload))
                drain(executor)
        pids = [(tmp_path / task_id).read_text() for task_id in ("a", "b")]
        assert (pids[0] == pids[1]) is takes_another
        assert not Path("/proc", pids[1]).exists()
        if "fork" in first:
            os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)

    def test_task_finds_its_process_in_order(self, tmp_path: Path) -> None:
        """What an earlier task did to folder, import path and environment is undone; its log isn't written to."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, "a", order=str(tmp_path / "before"), print="a", disorder=""))
            drain(executor)
            executor.submit(self.task(tmp_path, "b", order=str(tmp_path / "after"), print="b"))
            drain(executor)
        before, after = ((tmp_path / name).read_text() for name in ("before", "after"))
        assert before == after
        assert [self.task(tmp_path, name).log_path.read_text() for name in ("a", "b")] == ["a\n", "b\n"]

    def test_idle_process_that_is_killed(self, tmp_path: Path) -> None:
        """A task isn't lost to a process that died while it had nothing to do."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, "a", pid=str(tmp_path / "pid")))
            drain(executor)
            process = Path("/proc", (tmp_path / "pid").read_text())
            os.kill(int(process.name), signal.SIGKILL)
            while process.exists():
                time.sleep(0.05)
            executor.submit(self.task(tmp_path, "b"))
            assert drain(executor)["b"].state == "done"

    def test_system_without_memory_is_told_as_such(self, tmp_path: Path, small_cgroup: Path) -> None:
        """A process that Linux killed because memory was short is told as that, not as a SIGKILL from nowhere."""
        with self.make(never) as executor:
            executor.submit(self.task(tmp_path, cgroup=str(small_cgroup)))
            outcome = drain(executor)["a"]
        assert outcome.state == "died"
        assert outcome.message.startswith("the system was out of memory and killed the process; let it need less")

    def test_close_lets_tasks_save(self, tmp_path: Path) -> None:
        """A task that is told to end saves what it has, its report answered or not; one that doesn't listen ends."""
        asked: list[int] = []

        def interrupted(task_id: str, step: int, metrics: object) -> bool:
            asked.append(step)
            if step == 3:
                raise KeyboardInterrupt
            return False

        executor = self.make(interrupted)
        executor.submit(self.task(tmp_path, "a", save=str(tmp_path / "saved")))
        executor.submit(self.task(tmp_path, "b", sleep=60))
        with pytest.raises(KeyboardInterrupt):
            executor.wait()
        executor.close()
        assert (tmp_path / "saved").read_text() == "saved"
        assert executor.running == 0

    @pytest.mark.parametrize("saves", [True, False])
    def test_task_ends_with_its_driver(self, tmp_path: Path, saves: bool) -> None:
        """When the driver is killed its tasks don't run on: one that can saves what it has, another ends at once."""
        payload = {"save": str(tmp_path / "saved")} if saves else {"file": str(tmp_path / "begun"), "sleep": 60}
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent(
                f"""
                import os
                from pathlib import Path
                from infrastructure.executors.base import Task
                from infrastructure.executors.local import LocalExecutor
                with LocalExecutor(1, lambda *_: False, lambda *_: None, dict(os.environ)) as executor:
                    executor.submit(Task("a", "{WORK}", {payload!r}, Path("{tmp_path}/folder")))
                    print(*(running.worker.process.pid for running in executor._running.values()), flush=True)
                    executor.wait()
                """
            )
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE) as driver:
            assert driver.stdout is not None
            worker = Path("/proc", driver.stdout.readline().decode().strip())
            while saves and not (tmp_path / "saved.begun").exists():
                time.sleep(0.05)
            assert worker.exists()
            driver.kill()
        deadline = time.monotonic() + 20
        while worker.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (tmp_path / "saved").exists() == saves

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
                with LocalExecutor(1, lambda *_: False, lambda *_: None, dict(os.environ)) as executor:
                    executor.submit(Task("a", "{WORK}", {{}}, Path("{tmp_path}/folder")))
                    print(executor.wait()[0].state)
                """
            )
        )
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.stdout.split() == ["once", "done"], done.stderr
