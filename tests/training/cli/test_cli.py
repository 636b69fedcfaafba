"""The command line, in processes of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY, MakeProject

from training.cli.main import COMMANDS, cli


def assay(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command with a store of the project's own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "training.cli.main", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env={**environment, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_whole_way(make_project: MakeProject) -> None:
    """`assay run` sweeps, refits and trains; a second time it trains nothing; status tells the same."""
    config_dir = make_project()
    first = assay("run", cwd=config_dir.parent)
    assert first.returncode == 0, first.stderr
    assert "3 of 3 trials" not in first.stdout
    assert re.search(
        r"champion: models:/quadratic/1 \(quadratic version 1\), trial \d: test loss 0\.\d{4}", first.stdout
    )
    assert re.search(r"final model: runs:/\w{32}/model", first.stdout)
    assert re.search(r"look at everything: \S+ ui", first.stdout)
    calls = (config_dir.parent / "calls.jsonl").read_text()
    second = assay("run", "--config-dir", str(config_dir))
    assert second.returncode == 0, second.stderr
    assert "3 of 3 trials done" in second.stdout
    assert second.stdout.count("found in the tracking store") == 2
    assert (config_dir.parent / "calls.jsonl").read_text() == calls
    status = assay("status", "--config-dir", str(config_dir))
    assert "3 of 3 trials (3 complete)" in status.stdout


def test_plain_lines_when_piped(make_project: MakeProject) -> None:
    """Without a terminal the output is plain lines: no escape sequences, no bars."""
    done = assay("sweep", "--config-dir", str(make_project()), "--max-trials", "1")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert re.search(r"trial 0 fold 1: 0\.\d+ in \d+\.\d s", done.stdout)
    assert done.stderr.splitlines() == [line for line in done.stderr.splitlines() if line.startswith("MLflow: ")]


def test_steps_by_themselves(make_project: MakeProject) -> None:
    """cv, refit of a chosen trial, and train work by themselves; a missing trial is told with those there are."""
    config = ("--config-dir", str(make_project()))
    early = assay("refit", *config)
    assert early.returncode == 1
    assert "run `assay sweep` first" in early.stderr
    assert assay("cv", *config, "-p", "x=0.25").returncode == 0
    refit = assay("refit", *config, "--trial", "0")
    assert "trial 0: test loss" in refit.stdout, refit.stderr
    missing = assay("train", *config, "--trial", "7")
    assert (missing.returncode, missing.stderr.splitlines()[-1].endswith("complete ones: [0]")) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "hpo.max_trails=3"], "did you mean"),
        (["sweep", "hpo.objective.direction=up"], "maximize"),
        (["sweep", "--max-trials", "0"], "hpo.max_trials"),
        (["cv", "-p", "x"], "is no NAME=VALUE"),
        (["cv", "-p", "y=1"], "not in the search space; it has x"),
        (["sweeep"], "No such command 'sweeep'"),
        (["sweep", "--config-dir", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_is_one_line(make_project: MakeProject, arguments: list[str], message: str) -> None:
    """Wrong input ends with 2 and says what is wrong; no traceback, and no run exists."""
    config_dir = make_project()
    done = assay(*arguments, cwd=config_dir.parent)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (config_dir.parent / "outputs").exists()


def test_all_faults_at_once(make_project: MakeProject) -> None:
    """Every fault of every file stands on a line of its own, with file and line."""
    config_dir = make_project()
    (config_dir / "hpo.yaml").write_text("study_name: s\nobjective:\n  metric: loss\n  direction: up\nmax_trials: 0\n")
    (config_dir / "train.yaml").write_text("trainer: function\nbackbone: nocolon\n")
    done = assay("validate", "--config-dir", str(config_dir))
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    for place in ("hpo.yaml:4 objective.direction", "hpo.yaml:5 max_trials", "search_space", "train.yaml:2 backbone"):
        assert sum(place in line for line in lines) == 1, (place, lines)
    assert all(line.startswith("error: ") for line in lines)


def test_help_imports_nothing_heavy() -> None:
    """Help is there without MLflow, Optuna, pandas or torch being imported."""
    code = (
        "import sys; from click.testing import CliRunner; from training.cli.main import cli; "
        "r = CliRunner().invoke(cli, ['--help']); assert r.exit_code == 0, r; "
        "r = CliRunner().invoke(cli, ['sweep', '--help']); assert '--max-trials' in r.output; "
        "print({'mlflow', 'optuna', 'torch', 'pandas', 'numpy', 'pydantic', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("words", "completed"),
    [("assay sw", "sweep"), ("assay run --dry", "--dry-run"), ("assay init --template t", "tabular")],
)
def test_shells_complete(words: str, completed: str) -> None:
    """The shell is told the commands, options and values that begin with what was typed."""
    program = Path(sys.executable).with_name("assay")
    asked = {"_ASSAY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run([program], env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert f"plain,{completed}" in done.stdout.splitlines()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_shown_whole(name: str) -> None:
    """Nothing in a command's help is taken for a credential."""
    shown = assay(name, "--help")
    assert shown.returncode == 0
    assert "***" not in shown.stdout


@pytest.mark.parametrize(
    ("option", "names"),
    [
        ("--json", {"status", "best", "diff", "lineage", "reproduce", "doctor"}),
        ("--quiet", {"run", "sweep", "cv", "refit", "train", "reproduce"}),
        ("--dry-run", {"run", "submit", "sweep"}),
    ],
)
def test_options_of_many_commands(option: str, names: set[str]) -> None:
    """What reports speaks JSON too, what trains can be quiet, and what is long can be asked for its plan."""
    commands = {name: cli.get_command(None, name) for name in COMMANDS}  # type: ignore[arg-type]  # as above
    found = {name for name, command in commands.items() if command and any(option in p.opts for p in command.params)}
    assert found == names


def test_every_command_is_documented() -> None:
    """Every command stands in the README and has a help text that begins as its line in the list."""
    readme = (REPOSITORY / "README.md").read_text()
    for name in COMMANDS:
        assert re.search(rf"assay {name}\b|`{name}`", readme), name
        command = cli.get_command(None, name)  # type: ignore[arg-type]  # the context is not used
        assert command is not None
        assert command.help


def test_ui_serves_the_projects_store(make_project: MakeProject) -> None:
    """`assay ui` serves MLflow's UI on loopback and says the page of the experiment."""
    config_dir = make_project()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    command = [sys.executable, "-m", "training.cli.main", "ui", "--config-dir", str(config_dir), "--port", str(port)]
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    try:
        assert server.stdout is not None
        page = server.stdout.readline().removeprefix("MLflow UI: ").strip()
        assert page.startswith(f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning")
        deadline = time.monotonic() + 120
        while True:
            assert time.monotonic() < deadline
            assert server.poll() is None
            try:
                with urllib.request.urlopen(page, timeout=5) as answer:
                    assert "MLflow" in answer.read().decode()
                    break
            except OSError:
                time.sleep(0.3)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_terminal_gets_a_live_display(make_project: MakeProject) -> None:
    """On a terminal there are bars for the study and its folds, and the lines above them."""
    config_dir = make_project(hpo={"max_trials": 2})
    driver, terminal = pty.openpty()
    command = [sys.executable, "-m", "training.cli.main", "sweep", "--config-dir", str(config_dir)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    process = subprocess.Popen(command, env={**environment, "TERM": "xterm"}, stdout=terminal, stderr=terminal)
    os.close(terminal)
    shown = b""
    while True:
        try:
            shown += os.read(driver, 65536)
        except OSError:  # Linux's end of file on a terminal
            break
    assert process.wait() == 0
    assert b"\x1b[" in shown
    assert b"1/2" in shown
    assert b"trial 1 fold 1" in shown


def test_a_study_is_explained(make_project: MakeProject) -> None:
    """best, lineage, reproduce and diff answer from the store; a broken link and a difference end with 1."""
    config_dir = make_project()
    config = ("--config-dir", str(config_dir))
    assert assay("run", *config).returncode == 0
    best = assay("best", *config)
    assert (best.returncode, best.stdout.count("\n  local_"), best.stdout.count("champion: local_")) == (0, 1, 1), (
        best.stdout + best.stderr
    )
    lineage = assay("lineage", "models:/quadratic@champion", *config)
    assert lineage.returncode == 0, lineage.stderr
    whole = [line.split(": ")[0].split() for line in lineage.stdout.splitlines()]
    assert [words[0] for words in whole] == ["ok"] * 5 + ["?"], lineage.stdout  # the project is not in git
    run_id = re.search(r"runs:/(\w{32})/model", assay("run", *config).stdout)
    assert run_id is not None
    again = assay("reproduce", run_id[1], *config)
    assert again.returncode == 0, again.stderr
    assert "metrics are identical" in again.stdout
    told = json.loads(assay("reproduce", run_id[1], "--json", *config).stdout)
    assert all(pair["recorded"] == pair["reproduced"] for pair in told["metrics"])
    (config_dir.parent / "objective.py").write_text(
        (config_dir.parent / "objective.py").read_text().replace("loss * 2", "loss * 3")
    )
    changed = assay("reproduce", run_id[1], "--tolerance", "0", *config)
    assert (changed.returncode, "Traceback" in changed.stderr) == (1, False)
    assert changed.stderr.splitlines()[-1].endswith("not reproduced within 0: test_loss"), changed.stderr
    (config_dir.parent / "data" / "train.jsonl").write_text('{"value": 1.0, "label": 1.0}\n')
    broken = assay("lineage", "models:/quadratic@champion", *config)
    assert (broken.returncode, "Traceback" in broken.stderr) == (1, False)
    assert broken.stderr.splitlines()[-1].startswith("error: the lineage of models:/quadratic@champion doesn't hold")


def test_a_study_goes_to_optuna_and_back(make_project: MakeProject) -> None:
    """A study that was exported is taken in by another project; --force begins a variant; unknown storages are told."""
    there = make_project("there")
    assert assay("sweep", "--config-dir", str(there)).returncode == 0
    url = f"sqlite:///{there.parent / 'optuna.db'}"
    exported = assay("export", "--optuna", url, "--config-dir", str(there))
    assert (exported.returncode, exported.stdout[:16]) == (0, "3 trials written"), exported.stderr
    here = make_project("here")
    taken = assay("sweep", "--config-dir", str(here), "--import", url)
    assert taken.returncode == 0, taken.stderr
    assert not (here.parent / "calls.jsonl").exists()
    forced = assay("sweep", "--config-dir", str(here), "--force", "--max-trials", "1")
    assert forced.returncode == 0, forced.stderr
    assert len((here.parent / "calls.jsonl").read_text().splitlines()) == 2
    absent = assay("sweep", "--config-dir", str(here), "--import", "sqlite:///nowhere.db")
    assert (absent.returncode, "Traceback" in absent.stderr) == (2, False), absent.stderr


def test_nothing_waits(make_project: MakeProject) -> None:
    """`assay sync` says when there is nothing to send, and a store that is away ends a command with 75 in one line."""
    config = ("--config-dir", str(make_project()))
    sent = assay("sync", *config)
    assert (sent.returncode, sent.stdout) == (0, "nothing waits\n"), sent.stderr
    away = assay("status", *config, "mlflow.tracking_uri=http://127.0.0.1:9")
    assert (away.returncode, "Traceback" in away.stderr) == (75, False)
    assert away.stderr.startswith("error: the tracking store http://127.0.0.1:9 ")


def test_json_for_programs(make_project: MakeProject) -> None:
    """The commands that report say the same as JSON; a study that isn't begun has no trials."""
    config_dir = make_project(hpo={"max_trials": 2})
    config = ("--config-dir", str(config_dir), "--json")
    before = json.loads(assay("status", *config).stdout)
    assert (before["run_id"], before["trials"], before["best_trial"]) == ("", [], None)
    assert assay("sweep", "--config-dir", str(config_dir)).returncode == 0
    status = json.loads(assay("status", *config).stdout)
    values = [trial["value"] for trial in status["trials"]]
    assert status["best_trial"] == values.index(min(values))
    assert set(status["trials"][0]["folds"]) == {"0", "1"}
    assert "sampler_state" not in status["trials"][0]
    ranking = json.loads(assay("best", *config).stdout)
    assert ranking["studies"][0]["trial"]["value"] == min(values)
    links = json.loads(assay("lineage", status["run_id"], *config).stdout)
    assert all(not link["problems"] for link in links)
    found = json.loads(assay("diff", str(config_dir), status["run_id"], *config).stdout)
    assert found["identity"] == []
    states = {finding["what"]: finding["state"] for finding in json.loads(assay("doctor", *config).stdout)}
    assert states["tracking store"] == states["configuration"] == states["data"] == "ok"


def test_doctor_names_what_to_mend(make_project: MakeProject, tmp_path: Path) -> None:
    """What is wrong is told with its mend, all of it at once, and the command fails; outside a project it doesn't."""
    config_dir = make_project()
    sound = assay("doctor", "--config-dir", str(config_dir))
    assert sound.returncode == 0, sound.stdout + sound.stderr
    (config_dir / "mlflow.yaml").write_text(json.dumps({"tracking_uri": "http://127.0.0.1:9", "store_timeout": 1}))
    (config_dir.parent / "data" / "train.jsonl").unlink()
    done = assay("doctor", "--config-dir", str(config_dir))
    assert done.returncode == 1
    assert re.search(r"^fail  data: .*no train file.*\n      → mend the file", done.stdout, re.MULTILINE)
    assert re.search(r"^fail  tracking store: .*127\.0\.0\.1:9.*\n      → start the server", done.stdout, re.MULTILINE)
    assert done.stderr.splitlines()[-1] == "error: to be mended first: data, tracking store"
    outside = assay("doctor", cwd=tmp_path)
    assert outside.returncode == 0
    assert "warn  project:" in outside.stdout


def test_served_champion_answers(make_project: MakeProject) -> None:
    """`assay serve` says how the champion is asked, and what it says is answered; a model that isn't there is told."""
    config_dir = make_project()
    none = assay("serve", "--config-dir", str(config_dir))
    assert (none.returncode, "Traceback" in none.stderr) == (2, False)
    assert "no model 'models:/quadratic@champion'" in none.stderr
    assert assay("run", "--config-dir", str(config_dir)).returncode == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "training.cli.main", "serve", "--config-dir", str(config_dir), "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        question = re.search(r"-d '(.*)' http", server.stdout.readline())
        assert question is not None
        answer = ask(port, question.group(1).encode())
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    assert len(answer["predictions"]) == 1


def ask(port: int, body: bytes) -> dict[str, list[object]]:
    """Ask a server that is starting, until it answers."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", data=body, headers=headers)
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                answer: dict[str, list[object]] = json.load(response)
                return answer
        except urllib.error.URLError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_dry_run_and_quiet(make_project: MakeProject) -> None:
    """A dry run says what would be done and how long it takes, and does nothing; a quiet one shows what came of it."""
    config_dir = make_project(hpo={"max_trials": 3})
    config = ("--config-dir", str(config_dir))
    first = assay("sweep", *config, "--dry-run")
    assert first.stdout.splitlines()[1:] == ["3 would be run, of up to 2 fold(s) each, one after another"]
    assert not (config_dir.parent / "outputs").exists()
    quiet = assay("sweep", *config, "--quiet", "--max-trials", "2")
    assert quiet.returncode == 0
    assert "trial 0 fold" not in quiet.stdout
    assert "minimize" in quiet.stdout
    calls = (config_dir.parent / "calls.jsonl").read_text()
    lines = assay("sweep", *config, "--dry-run", "--workers", "2").stdout.splitlines()
    assert ": 2 trials are in the tracking store" in lines[0]
    assert lines[1] == "1 would be run, of up to 2 fold(s) each, 2 at a time"
    assert re.fullmatch(r"about \d+ s if they are like those that are there", lines[2])
    whole = assay("run", *config, "--dry-run").stdout.splitlines()
    assert whole[2] == "then refit and final training of the best"
    assert re.fullmatch(r"about \d+ s if they are like those that are there", whole[3])
    assert (config_dir.parent / "calls.jsonl").read_text() == calls
    assert assay("run", *config, "--quiet").returncode == 0
    done = assay("run", *config, "--dry-run").stdout.splitlines()
    assert done[1:] == [
        "0 would be run, of up to 2 fold(s) each, one after another",
        "refit and final training are there",
    ]
