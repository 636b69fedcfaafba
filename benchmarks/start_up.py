"""How long commands take that do nothing, or little: each in a process of its own, in turns with its peer."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import optuna

from common import Goal, Timing, alternate, dvc_version, show, write_project, write_results
from resume import fill
from training.hpo.execution.project import open_project
from training.hpo.tracking.study_runs import StudyRuns

READ = """
import sys
from mlflow import MlflowClient
assert len(MlflowClient(sys.argv[1]).search_runs(["1"], max_results=1000)) > 100
"""
"""The least that any command does which shows a study: what it costs is in MLflow."""
BIN = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    """Run a command and return what it prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def finished_study(root: Path, trials: int) -> Path:
    """Write a project with a study that is done, and return its config folder."""
    config_dir = write_project(root, trials)
    project = open_project(config_dir)
    records = fill(project, trials)
    with StudyRuns.open(project.context, project.run_name, project.paths.folder) as runs:
        runs.complete_study(records[0], trials, is_done=True)
    return config_dir


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dvc", type=Path, required=True, help="the peer, in a virtual environment of its own")
    parser.add_argument("--repetitions", type=int, default=11)
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for _ in range(2):  # bytecode is written, pages are in memory
        run(BIN / "assay", "--help")
        run(given.dvc, "--help")
    help_of = alternate(
        given.repetitions,
        dvc_help=lambda: run(given.dvc, "--help"),
        assay_help=lambda: run(BIN / "assay", "--help"),
        bare_python=lambda: run(sys.executable, "-c", "pass"),
    )
    with tempfile.TemporaryDirectory() as folder:
        small = finished_study(Path(folder, "small"), 100)
        large = finished_study(Path(folder, "large"), given.trials)
        assert "100" in run(BIN / "assay", "status", "--config-dir", small)
        status = alternate(
            given.repetitions,
            import_mlflow=lambda: run(sys.executable, "-c", "import mlflow"),
            assay_status=lambda: run(BIN / "assay", "status", "--config-dir", small),
            mlflow_s_client_reads_the_runs=lambda: run(
                sys.executable, "-c", READ, f"sqlite:///{small.parent}/mlflow.db"
            ),
        )
        again: list[Timing] = alternate(
            5, assay_sweep_with_nothing_to_do=lambda: run(BIN / "assay", "sweep", "--config-dir", large)
        )
    tables = {
        "help": help_of,
        "status of a study of 100 trials": status,
        f"a finished study of {given.trials} trials again": again,
    }
    for title, timings in tables.items():
        show(title, timings)
    goals = [
        Goal("`assay --help`: × `dvc --help`", help_of[1].typical / help_of[0].typical, at_most=0.5),
        Goal("`assay status`: × `import mlflow`", status[1].typical / status[0].typical, at_most=1.2),
        Goal("a finished study again, in seconds", again[0].typical, at_most=5),
    ]
    write_results("start_up", tables, goals, {"dvc": dvc_version(given.dvc)})


if __name__ == "__main__":
    main()
