"""Thirty credentials, wherever people put them, and a search for each in every byte that a study leaves behind.

They are new in every run; `SECRETS=seed` makes those of an earlier one again.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import sqlite3
import string
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import JsonValue

from infrastructure.config.loading import load_project_config
from infrastructure.errors import ConfigError, ExecutionError
from infrastructure.executors.base import Task
from infrastructure.executors.local import LocalExecutor
from infrastructure.naming import tags
from infrastructure.redaction import remember_credentials
from infrastructure.tracking.mlflow import queries
from infrastructure.tracking.mlflow.hash_utils import compute_study_key_hash_v2
from infrastructure.tracking.mlflow.operations import Operation
from infrastructure.tracking.mlflow.servers import server_environment, ui_command
from infrastructure.tracking.mlflow.setup import setup_mlflow
from tests.conftest import MakeProject, calls
from training.execution.local.train import train
from training.hpo.comparison import describe_config
from training.hpo.execution.explain import trace
from training.hpo.execution.local.reproduce import reproduce
from training.hpo.execution.local.sweep import sweep

SEED = os.environ.get("SECRETS") or str(random.SystemRandom().getrandbits(32))
LETTERS = string.ascii_letters + string.digits

# Does with its credentials what people do: prints them, hands them to other programs, has them in errors and code.
OBJECTIVE = textwrap.dedent(
    """
    import base64, hashlib, json, logging, os, subprocess, sys, urllib.parse, warnings
    from pathlib import Path

    HERE = Path(__file__).parent

    def train(params, train, valid, seed, report, model_dir):
        from helper import broken
        digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()
        with open(HERE / "digests.txt", "a") as seen:
            seen.write(digest + "\\n")
        vault = json.loads((HERE / "vault.json").read_text())
        values = [value for name, value in os.environ.items() if name.startswith("PLANTED_")]
        names = [name for name in os.environ if name.startswith("PLANTED_")]
        print("params", params, flush=True)
        print("vault", vault, *values)
        print(urllib.parse.quote(json.dumps(params), safe=""), base64.b64encode(json.dumps(params).encode()))
        for value in values:
            print("quoted", urllib.parse.quote(value, safe=""))
        logging.error("settings %s", params)
        warnings.warn(params["data_url"])
        subprocess.run(["sh", "-c", "printenv " + " ".join(names) + "; cat vault.json >&2"], cwd=HERE)
        if params["mode"] == "crash":
            os.kill(os.getpid(), 9)
        if params["mode"] == "raise":
            try:
                broken()
            except ValueError as error:
                message = f"no login with {params['api_token']} at {vault['url']}, {vault}, {params}, {values}"
                raise RuntimeError(message) from error
        report(1, {"loss": 0.5})
        if model_dir is not None:
            (model_dir / "x.json").write_text("1.0")
        return {"loss": 0.5, "test_loss": 0.25}

    def predict(model_dir, frame):
        return list(frame["value"])
    """
)
# Calls the command line several times in one process: a start costs seconds.
LAUNCHER = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    from training.cli import main

    commands, store_is_away = json.loads(sys.argv[1]), sys.argv[2] == "away"
    if store_is_away:
        from infrastructure.errors import StoreUnreachableError
        from infrastructure.tracking.mlflow.sending import Sender

        def lose(*_, **__):
            raise StoreUnreachableError("nobody there")

        Sender.send = lose
    for command in commands:
        study = next(Path("outputs").glob("[0-9a-f]" * 16), Path("none")).name
        sys.argv = ["assay", *(word.replace("STUDY", study) for word in command)]
        try:
            main.main()
        except SystemExit as end:
            print("ended", command[0], end.code, flush=True)
    """
)
# The planted bug: every process of the study that begins finds redaction taken out.
WITHOUT_REDACTION = textwrap.dedent(
    """
    import infrastructure.redaction as redaction

    redaction.redacted = lambda text: text
    redaction.redacted_fields = redaction.without_credentials = dict
    redaction.redact_file = redaction.redact_output = lambda *_: None
    """
)


@dataclass
class Plants:
    """The credentials of one project, by what each is called here, and where they are."""

    rng: random.Random
    values: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    vault: dict[str, str] = field(default_factory=dict)

    def new(self, name: str, shape: str = "{}", length: int = 24) -> str:
        """Make a credential up; `shape` says what stands around what is searched for."""
        value = "".join(self.rng.choices(LETTERS, k=length - 1)) + str(self.rng.randrange(10))
        self.values[name] = value
        return shape.format(value)

    def odd(self, name: str) -> str:
        """Make one up with characters that are written otherwise in JSON, addresses and code."""
        self.values[name] = value = f'{self.new(name, length=8)}/+ "é\\{self.new(name, length=8)}'
        return value


def plant(config_dir: Path, plants: Plants) -> list[str]:
    """Put 30 credentials into a project and an environment; return the overrides that hold some of them."""
    root = config_dir.parent
    plants.environment = {
        "PLANTED_HF_TOKEN": plants.new("HF_TOKEN"),
        "PLANTED_AWS_SECRET_ACCESS_KEY": plants.new("AWS_SECRET_ACCESS_KEY", length=40),
        "PLANTED_AZURE_CLIENT_SECRET": plants.odd("AZURE_CLIENT_SECRET"),
        "MLFLOW_TRACKING_PASSWORD": plants.new("MLFLOW_TRACKING_PASSWORD"),
        "PLANTED_DATABASE_URL": plants.new("DATABASE_URL", "postgresql://me:{}@host/db"),
        "PLANTED_CONNECTION": plants.new("CONNECTION", "AccountName=n;AccountKey={}==;EndpointSuffix=c"),
        "PLANTED_PRIVATE_KEY": plants.new("line of a key", "-----BEGIN NOTHING KNOWN-----\n{}\n-----END-----", 64),
        "PLANTED_PGPASSWORD": plants.new("PGPASSWORD", length=9),
        "WHATEVER": plants.new("value of ${env:…}"),
    }
    plants.environment["PLANTED_TRACKING_TOKEN"] = plants.environment["MLFLOW_TRACKING_PASSWORD"]
    plants.vault = {
        "url": plants.new("address in an error", "https://svc:{}@internal/x"),
        "header": plants.new("bearer", "Authorization: Bearer {}"),
        "signed": plants.new("signature", "https://blob/x?sv=1&sig={}&se=2"),
        "pair": plants.new("pair", "login failed: api_key={}"),
        "aws": "AKIA" + plants.new("Amazon's shape", length=16).upper(),
        "github": plants.new("GitHub's shape", "ghp_{}", 36),
        "jwt": plants.new("web token", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.{}"),
        "pem": plants.new("PEM", "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", 64),
    }
    plants.values["Amazon's shape"] = plants.vault["aws"].removeprefix("AKIA")
    params = {
        "api_token": plants.new("api_token"),
        "database": {"host": "db", "password": plants.odd("nested password")},
        "credentials": {"pin": plants.new("in credentials", length=10)},
        "api_keys": [plants.new("first of a list"), plants.new("second of a list")],
        "data_url": plants.new("user of an address", "https://me:{}@") + plants.new("its signature", "host/x?sig={}"),
        "connectionString": plants.new("connection string", "Endpoint=sb://x;SharedAccessKey={}="),
        "hub_token": "${env:WHATEVER}",
    }
    final = {"params": {"upload_token": plants.new("final training's token")}}
    settings = {"trainer": "function", "backbone": "objective:train", "predict": "objective:predict"}
    (config_dir / "train.yaml").write_text(json.dumps({**settings, "params": params, "final": final}))
    (root / "vault.json").write_text(json.dumps(plants.vault))
    (root / "objective.py").write_text(OBJECTIVE)
    source = plants.new("line of code", 'raise ValueError("no access")  # password = "{}"')
    (root / "helper.py").write_text(f"def broken():\n    {source}\n")
    return [
        f"train.params.override_secret={plants.new('override')}",
        f"train.final.params.password={plants.new('override of the final training')}",
    ]


def assay(config_dir: Path, plants: Plants, commands: list[list[str]], *, away: bool, redacts: bool = True) -> str:
    """Run commands in a process with the planted environment; return all that it printed."""
    root = config_dir.parent
    search_path = [str(root / "site")] if not redacts else []
    if not redacts:
        (root / "site").mkdir()
        (root / "site" / "sitecustomize.py").write_text(WITHOUT_REDACTION)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, json.dumps(commands), "away" if away else "there"],
        cwd=root,
        env={**kept, **plants.environment, "PYTHONPATH": ":".join(search_path), "PYTHONUTF8": "1", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout + done.stderr


def spellings(value: str) -> Iterator[bytes]:
    """Yield a value as it may be written: plain, in JSON, quoted for an address, and in base64 at each place."""
    for text in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value)[1:-1]}:
        yield text.encode()
    yield quote(value).encode()
    yield quote(value, safe="").encode()
    for before in range(3):
        raw = b"\0" * before + value.encode()
        yield base64.b64encode(raw)[(0, 2, 3)[before] : len(raw) * 4 // 3]


def leftovers(root: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file that the study wrote, and the content of every database as text: it may lie across pages."""
    own = {root / name for name in ("vault.json", "objective.py", "helper.py")}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path in own or path.parent.name in ("config", "other", "__pycache__", "site"):
            continue
        yield str(path.relative_to(root)), path.read_bytes()
        if path.suffix == ".db":
            with closing(sqlite3.connect(path)) as store:
                yield f"{path.name} as text", "\n".join(store.iterdump()).encode()


def found_in(root: Path, printed: str, plants: Plants) -> dict[str, set[str]]:
    """Return where each of the planted credentials was found."""
    found: dict[str, set[str]] = {}
    places = [("printed", printed.encode()), *leftovers(root)]
    for name, value in plants.values.items():
        forms = set(spellings(value))
        for place, content in places:
            if any(form in content for form in forms):
                found.setdefault(name, set()).add(place)
    return found


@pytest.fixture
def planted(make_project: MakeProject) -> tuple[Path, Plants, list[str]]:
    """Return a project with 30 credentials, of whose three trials two fail, and the overrides that hold some."""
    modes = {"type": "choice", "values": ["fine", "raise", "crash"]}
    hpo = {"search_space": {"mode": modes}, "sampler": {"type": "grid"}, "max_trials": 3}
    config_dir = make_project(hpo=hpo)
    plants = Plants(random.Random(SEED))
    overrides = plant(config_dir, plants)
    return config_dir, plants, overrides


BAD_ADDRESS = "mlflow.tracking_uri=http://svc:{}@127.0.0.1:9"


def test_thirty_credentials_leave_no_trace(planted: tuple[Path, Plants, list[str]]) -> None:
    """A sweep with failing trials, refit, final training, and the commands that tell of them: none is anywhere."""
    config_dir, plants, overrides = planted
    root = config_dir.parent
    other = root / "other"
    other.mkdir()
    for file in config_dir.iterdir():
        (other / file.name).write_text(file.read_text().replace(plants.values["api_token"], "rotated-since-then"))
    told = ["models:/quadratic@champion"]
    commands = [
        ["run", *overrides],
        ["status"],
        ["diff", "config", "other"],
        ["diff", "STUDY", "other"],
        ["lineage", *told],
        ["export", "--optuna", f"sqlite:///{root}/optuna.db", *overrides],
    ]
    printed = assay(config_dir, plants, commands, away=False)
    assert len(plants.values) == 29, "and the tracking server's below"
    assert found_in(root, printed, plants) == {}, f"SECRETS={SEED}"
    ended = [line.split()[1:] for line in printed.splitlines() if line.startswith("ended")]
    assert ended == [
        ["run", "0"], ["status", "0"], ["diff", "0"], ["diff", "0"], ["lineage", "0"], ["export", "0"]
    ], printed  # fmt: skip
    assert "looks like a credential: it isn't kept with the runs and counts for no key" in printed
    assert printed.count("the same key") == 1
    # The function has had them, all of them, as they were written.
    params = json.loads((config_dir / "train.yaml").read_text())["params"]
    params |= {"hub_token": plants.values["value of ${env:…}"], "override_secret": plants.values["override"]}
    expected = {
        hashlib.sha256(json.dumps({**params, "mode": mode}, sort_keys=True).encode()).hexdigest()
        for mode in ("fine", "raise", "crash")
    }
    assert expected <= set((root / "digests.txt").read_text().split())
    logs = [path.read_text(errors="replace") for path in (root / "outputs").rglob("worker.log")]
    assert len(logs) >= 5
    assert all("***" in log for log in logs)
    assert any("no login with *** at https://***@internal/x" in log for log in logs)
    assert any('raise ValueError("no access")  # password = "***"' in log for log in logs)


def sweep_without_store(planted: tuple[Path, Plants, list[str]], *, redacts: bool) -> dict[str, set[str]]:
    """Sweep while nothing can be sent, ask a server that isn't there, and return what is found where."""
    config_dir, plants, overrides = planted
    (config_dir / "mlflow.yaml").write_text('{"store_timeout": 1}')
    commands = [["sweep", *overrides], ["status", BAD_ADDRESS.format(plants.new("tracking server's password"))]]
    printed = assay(config_dir, plants, commands, away=True, redacts=redacts)
    assert len(plants.values) == 30
    ended = [line.split()[1:] for line in printed.splitlines() if line.startswith("ended")]
    assert ended == [["sweep", "75"], ["status", "75"]], printed
    assert len(list((config_dir.parent / "outputs").glob("*/outbox-*.jsonl"))) == 1
    return found_in(config_dir.parent, printed, plants)


def test_what_waits_on_disk_holds_none(planted: tuple[Path, Plants, list[str]]) -> None:
    """With the store away all lies in the journal, which is clean too, and so is what is said of the store."""
    assert sweep_without_store(planted, redacts=True) == {}, f"SECRETS={SEED}"


def test_without_redaction_each_is_found(planted: tuple[Path, Plants, list[str]]) -> None:
    """The planted bug: with redaction taken out, the same search finds all thirty."""
    found = sweep_without_store(planted, redacts=False)
    assert sorted(found) == sorted(planted[1].values)
    places = set().union(*found.values())
    assert {"printed", "mlflow.db"} <= places
    assert {name.rpartition("/")[2].partition("-")[0] for name in places} >= {"worker.log", "outbox"}


def test_a_credential_counts_for_no_key(make_project: MakeProject, caplog: pytest.LogCaptureFixture) -> None:
    """A rotated password makes no other study; runs hold `***`, lineage holds, and the user is told once."""
    config_dir = make_project(hpo={"max_trials": 1}, params={"vendor_password": "old-word-1", "gain": 2})
    with caplog.at_level("INFO"):
        result = sweep(config_dir)
        again = sweep(config_dir, ["train.params.vendor_password=new-word-2"])
    told = (
        "train.yaml params.vendor_password looks like a credential: it isn't kept with the runs and counts for no key"
    )
    assert caplog.messages.count(told) == 1
    assert again.study_key_hash == result.study_key_hash
    assert [call["vendor_password"] for call in calls(config_dir)] == ["old-word-1", "old-word-1"]
    (study,) = queries.find_runs({tags.STAGE: tags.STAGE_SWEEP})
    (trial,) = queries.find_runs({tags.STAGE: tags.STAGE_TRIAL})
    for key in (tags.CONFIG, tags.STUDY_KEY_DOCUMENT):
        document = json.loads(tags.join_long(key, study.tags) or "{}")
        assert document["train"]["params"] == {"vendor_password": "***", "gain": 2}
    assert [link.problems for link in trace(trial.run_id, config_dir)] == [()] * 4
    configs = load_project_config(config_dir)
    data, hpo, trainer = (part.model_dump(mode="json") for part in (configs.data, configs.hpo, configs.train))
    assert compute_study_key_hash_v2(data, hpo, trainer, "objective:train", config_dir) == result.study_key_hash
    assert describe_config(load_project_config(config_dir, ["train.params.gain=3"])) != describe_config(configs)


def test_a_reproduction_takes_credentials_from_the_project(make_project: MakeProject) -> None:
    """No run keeps them, so doing a training again takes them from the present configuration, or says which lacks."""
    given: dict[str, object] = {"params": {"vendor_password": "word-of-mine-1"}}
    config_dir = make_project(hpo={"max_trials": 1}, **given, final={"params": {"x": 0.31, "upload_token": "tok-2"}})
    sweep(config_dir)
    model = train(config_dir)
    assert train(config_dir, ["train.final.params.upload_token=tok-3"]).reused
    assert reproduce(model.run_id, config_dir).metrics[0].is_identical
    first, again = calls(config_dir)[-2:]
    assert first == again
    assert (again["vendor_password"], again["upload_token"]) == ("word-of-mine-1", "tok-2")
    settings = {"trainer": "function", "backbone": "objective:train", "predict": "objective:predict"}
    (config_dir / "train.yaml").write_text(json.dumps({**settings, **given}))
    with pytest.raises(
        ExecutionError, match=r"train\.yaml final\.params\.upload_token is a credential, which no run keeps, and "
    ):
        reproduce(model.run_id, config_dir)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.params.header=Bearer ${env:X_TOKEN}", "the environment variable X_TOKEN has the name of a credential"),
        ("hpo.search_space.api_token={type: choice, values: [abcde, b]}", "api_token: looks like a credential"),
        ("hpo.search_space.y={type: constant, value: 'https://u:abcde@h'}", "y: looks like a credential"),
        ("nothing.api_token=my abcde", "override nothing.api_token=***: unknown section"),
        ("hpo.max_trials=https://u:abcde@h", "override hpo.max_trials=https://***@h: got 'https://***@h'"),
    ],
)
def test_refusals_show_no_credential(make_project: MakeProject, override: str, message: str) -> None:
    """Where a credential can't stand is said in one line, without it; a number of such a name is a hyperparameter."""
    config_dir = make_project()
    with pytest.raises(ConfigError) as caught:
        load_project_config(config_dir, [override], {"X_TOKEN": "abcde"})
    (problem,) = caught.value.problems
    assert message in problem
    assert "abcde" not in problem
    load_project_config(config_dir, ["hpo.search_space.token={type: int, low: 1, high: 3}"])
    load_project_config(config_dir, ["train.params.hub_token=${env:X_TOKEN}"], {"X_TOKEN": "abcde"})


def test_what_is_refused_may_be_a_credential_elsewhere(make_project: MakeProject) -> None:
    """A value that stands under the name of a credential isn't repeated where another key has it by mistake."""
    with pytest.raises(ConfigError, match=r"override train\.seed=\*\*\*: got '\*\*\*'"):
        load_project_config(make_project(), ["train.params.api_token=word-of-mine-9", "train.seed=word-of-mine-9"])


def test_no_operation_holds_one() -> None:
    """What goes to the journal is clean by itself, wherever it comes from."""
    remember_credentials({"api_token": "word-of-mine-1"})
    texts = {"a": "word-of-mine-1", "password": "weak"}
    fields = {"kind": "write", "run": "r", "time": 1, "name": "of word-of-mine-1", "text": "word-of-mine-1"}
    line = Operation.model_validate({**fields, "tags": texts, "params": texts}).model_dump_json()
    assert "word-of" not in line
    assert "weak" not in line
    assert line.count("***") == 6


def test_a_log_is_clean_while_its_worker_runs(tmp_path: Path) -> None:
    """What a training prints is clean as it comes, so that a driver that is killed leaves none behind."""
    payload: dict[str, JsonValue] = {"api_token": "word-of-mine-1", "print": "it is word-of-mine-1", "steps": 1}
    task = Task("a", "tests.infrastructure.executors.tasks:work", payload, tmp_path)
    during: list[str] = []

    def read(*_: object) -> bool:
        during.append(task.log_path.read_text())
        return False

    with LocalExecutor(1, read, lambda *_: None, dict(os.environ)) as executor:
        executor.submit(task)
        executor.wait()
    assert during == ["it is ***\n"]


def test_an_unforeseen_error_is_clean() -> None:
    """A traceback of the command line itself shows no credential either."""
    code = (
        "import os; from training.cli import main; main.cli.main = lambda **_: {}[os.environ['MY_TOKEN']]; main.main()"
    )
    environment = {**os.environ, "MY_TOKEN": "word-of-mine-1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "KeyError: '***'" in done.stderr


def test_the_ui_gets_its_store_unseen(make_project: MakeProject) -> None:
    """The command that serves the UI, which other users can read, names no store, and binds 127.0.0.1."""
    uri = setup_mlflow(config_dir=make_project())
    assert uri not in " ".join(ui_command(5000))
    assert "--host 127.0.0.1" in " ".join(ui_command(5000))
    assert server_environment()["MLFLOW_BACKEND_STORE_URI"] == uri
