"""Tasks that the executors' contract runs."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from infrastructure.executors.base import TaskReport


def work(payload: Mapping[str, JsonValue], report: TaskReport) -> None:
    """Do what the payload says, in its order: print, report, sleep, raise, die, fill the memory, save, write a file."""
    for name, value in payload.items():
        if name == "steps":
            for step in range(1, int(str(value)) + 1):
                report(step, {"value": step * 0.5})
        elif name == "save":
            save_when_told(Path(str(value)), report)
        elif name in ACTIONS:
            ACTIONS[name](str(value))


def fail(message: str) -> None:
    """Raise an error."""
    raise ValueError(message)


def fill_memory_of(cgroup: str) -> None:
    """Join a control group, and ask for more memory than it has."""
    Path(cgroup, "cgroup.procs").write_text(str(os.getpid()))
    bytearray(b"x") * (1 << 30)


def die_so_often(text: str) -> None:
    """Note in a file that the task was begun, and kill its process if that wasn't more than so many times."""
    count, _, lives = text.partition(" ")
    with Path(lives).open("a") as file:
        file.write("x")
    if Path(lives).stat().st_size <= int(count):
        os.kill(os.getpid(), signal.SIGSEGV)


def save_when_told(file: Path, report: TaskReport) -> None:
    """Report until SIGTERM comes, and write a file then."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda signum, _: told.append(signum))
    file.with_suffix(".begun").touch()
    step = 0
    while not told:
        step += 1
        report(step, {"value": 0.0})
        time.sleep(0.01)
    file.write_text("saved")
    raise SystemExit(143)


def read_file(file: str) -> None:
    """Print where a file is, and what is in it."""
    print(file, Path(file).read_text(), flush=True)


def write_file(file: str) -> None:
    """Write to a file what a variable of the environment says."""
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(os.environ.get("COLOUR", "none"))


def linger_once(text: str) -> None:
    """Write to a file which process runs this one's executor, and wait to be killed, unless the file is there."""
    pid, _, _ = text.partition(" ")
    if not Path(pid).exists():
        parent = Path("/proc", str(os.getppid()), "stat").read_text().rpartition(")")[2].split()[1]
        Path(f"{pid}.new").write_text(parent)
        Path(f"{pid}.new").rename(pid)
        time.sleep(60)


def fork(pid_file: str) -> None:
    """Leave a child behind that lives for a minute."""
    if (pid := os.fork()) == 0:
        time.sleep(60)
        os._exit(0)
    Path(f"{pid_file}.new").write_text(str(pid))
    Path(f"{pid_file}.new").rename(pid_file)


def make_disorder(_: str) -> None:
    """Change what belongs to the whole process."""
    os.chdir("/")
    sys.path.insert(0, "/nowhere")
    os.environ["COLOUR"] = "red"


ACTIONS: Final[Mapping[str, Callable[[str], object]]] = {
    "print": lambda text: print(text, flush=True),
    "sleep": lambda text: time.sleep(float(text)),
    "raise": fail,
    "exit": sys.exit,
    "fork": fork,
    "thread": lambda text: threading.Thread(target=time.sleep, args=(float(text),)).start(),
    "kill": lambda _: os.kill(os.getpid(), signal.SIGKILL),
    "dies": die_so_often,
    "hog": lambda _: bytearray(1 << 50),
    "cgroup": fill_memory_of,
    "modules": lambda names: print([name for name in names.split() if name in sys.modules], flush=True),
    "pid": lambda file: Path(file).write_text(str(os.getpid())),
    "disorder": make_disorder,
    "order": lambda file: Path(file).write_text(f"{Path.cwd()} {'/nowhere' in sys.path} {os.environ['COLOUR']}"),
    "file": write_file,
    "read": read_file,
    "once": linger_once,
    "environment": lambda names: print(*(name for name in names.split() if name in os.environ), flush=True),
}
