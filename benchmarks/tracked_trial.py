"""What it costs to track one trial: a nested run with 4 params, 5 metric steps, 10 tags and its status.

Every arm asks the same random sampler for the same trials and writes the same runs, in a process of its own, in turns;
the sampler's own time, measured in the same process without tracking, is taken off. Afterwards the store is read: an
arm whose runs aren't the same as all others' fails. With `--server sqlite` the store is `mlflow server` on loopback, as
it starts by default; with `--server postgres` it is that of `make server`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

import mlflow
import optuna
import requests
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.optuna.storage import MlflowStorage
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_integration import MLflowCallback
from server.postgres import Postgres
from server.start import COMMAND, DATABASE, HOST, address, await_answer, end, environment

from common import Goal, Timing, show, write_results
from infrastructure.tracking.mlflow.outbox import Outbox
from infrastructure.tracking.mlflow.runs import MetricPoint, RunContent
from infrastructure.tracking.mlflow.setup import setup_mlflow

EXPERIMENT: Final = "tracked"
STEPS: Final = 5
TAGS: Final = {f"tag{index}": "a value of twenty let" for index in range(10)}
PATIENCE: Final = 600.0
Params = dict[str, float | int | str]


def propose(trial: optuna.Trial) -> Params:
    """Return what the sampler proposes."""
    return {
        "x": trial.suggest_float("x", 0, 1),
        "rate": trial.suggest_float("rate", 1e-5, 1e-1, log=True),
        "depth": trial.suggest_int("depth", 1, 12),
        "kind": trial.suggest_categorical("kind", ["a", "b", "c"]),
    }


def losses(params: Params) -> list[float]:
    """Return the metric's steps of a trial that nobody trains."""
    return [float(params["x"]) + 1 / step for step in range(1, STEPS + 1)]


def sampler() -> optuna.samplers.BaseSampler:
    """Return the sampler of every arm."""
    return optuna.samplers.RandomSampler(seed=1)


class Assay:
    """Assay's outbox: durable on disk before the next proposal, sent behind it."""

    def __init__(self, uri: str, folder: Path, parent: str) -> None:
        setup_mlflow(EXPERIMENT, config_dir=folder, tracking_uri=uri)
        self.study = optuna.create_study(sampler=sampler())
        self._parent = parent
        self._outbox = Outbox(folder / "assay", parent)

    def trial(self, number: int) -> None:
        """Do one trial."""
        trial = self.study.ask()
        params = propose(trial)
        run = self._outbox.create(f"trial {number}", TAGS, self._parent)
        values = losses(params)
        points = [MetricPoint("loss", value, step) for step, value in enumerate(values, 1)]
        content = RunContent({name: str(value) for name, value in params.items()}, points)
        self._outbox.end(run, content, "FINISHED", done=True)
        self._outbox.sync()
        self.study.tell(trial, values[-1])

    def drain(self) -> None:
        """Wait until all is sent."""
        self._outbox.drain(PATIENCE)

    def close(self) -> None:
        """Leave the study."""
        self._outbox.close(PATIENCE)


class ClientBatch:
    """Optuna with a storage of its own, and MLflow's client in three calls: create, one batch, status."""

    def __init__(self, uri: str, folder: Path, parent: str, storage: Any) -> None:  # noqa: ANN401  what Optuna takes
        self._client = MlflowClient(uri)
        self._experiment = self._client.get_run(parent).info.experiment_id
        self.study = optuna.create_study(sampler=sampler(), storage=storage(folder))
        self._tags = {**TAGS, "mlflow.parentRunId": parent}

    def trial(self, number: int) -> None:
        """Do one trial."""
        trial = self.study.ask()
        params = propose(trial)
        now = time.time_ns() // 1_000_000
        run_id = self._client.create_run(self._experiment, now, self._tags, f"trial {number}").info.run_id
        values = losses(params)
        self._client.log_batch(
            run_id,
            metrics=[Metric("loss", value, now, step) for step, value in enumerate(values, 1)],
            params=[Param(name, str(value)) for name, value in params.items()],
        )
        self._client.set_terminated(run_id, "FINISHED")
        self.study.tell(trial, values[-1])

    def drain(self) -> None:
        """Do nothing: all is sent."""

    def close(self) -> None:
        """Do nothing."""


class SingleCalls:
    """Optuna in memory, and a nested `mlflow.start_run` with a call for each thing."""

    def __init__(self, uri: str, folder: Path, parent: str) -> None:  # noqa: ARG002  as all arms are made
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        mlflow.start_run(parent)
        self.study = optuna.create_study(sampler=sampler())

    def trial(self, number: int) -> None:
        """Do one trial."""
        trial = self.study.ask()
        params = propose(trial)
        with mlflow.start_run(run_name=f"trial {number}", nested=True):
            for name, value in params.items():
                mlflow.log_param(name, value)
            for tag, text in TAGS.items():
                mlflow.set_tag(tag, text)
            values = losses(params)
            for step, loss in enumerate(values, 1):
                mlflow.log_metric("loss", loss, step)
        self.study.tell(trial, values[-1])

    def drain(self) -> None:
        """Do nothing: all is sent."""

    def close(self) -> None:
        """End the parent."""
        mlflow.end_run()


class Callback:
    """Optuna with MLflow's callback of optuna-integration, which makes each trial a nested run."""

    def __init__(self, uri: str, folder: Path, parent: str) -> None:  # noqa: ARG002  as all arms are made
        mlflow.set_tracking_uri(uri)
        mlflow.set_experiment(EXPERIMENT)
        mlflow.start_run(parent)
        self._callback = MLflowCallback(
            tracking_uri=uri, metric_name="final", create_experiment=False, mlflow_kwargs={"nested": True}
        )
        self._objective = self._callback.track_in_mlflow()(self._train)
        self.study = optuna.create_study(sampler=sampler())

    @staticmethod
    def _train(trial: optuna.Trial) -> float:
        values = losses(propose(trial))
        mlflow.set_tags(TAGS)
        for step, loss in enumerate(values, 1):
            mlflow.log_metric("loss", loss, step)
        return values[-1]

    def trial(self, number: int) -> None:  # noqa: ARG002  the study counts itself
        """Do one trial."""
        self.study.optimize(self._objective, n_trials=1, callbacks=[self._callback])

    def drain(self) -> None:
        """Do nothing: all is sent."""

    def close(self) -> None:
        """End the parent."""
        mlflow.end_run()


class OfMlflow:
    """Optuna with `mlflow.optuna.MlflowStorage`, which keeps the study in MLflow's runs."""

    def __init__(self, uri: str, folder: Path, parent: str) -> None:  # noqa: ARG002  as all arms are made
        experiment = MlflowClient(uri).get_run(parent).info.experiment_id
        mlflow.set_tracking_uri(uri)
        self._storage = MlflowStorage(experiment_id=experiment)
        self.study = optuna.create_study(sampler=sampler(), storage=self._storage, study_name="of mlflow")

    def trial(self, number: int) -> None:  # noqa: ARG002  the storage names its runs
        """Do one trial."""
        trial = self.study.ask()
        values = losses(propose(trial))
        for tag, text in TAGS.items():
            trial.set_user_attr(tag, text)
        for step, loss in enumerate(values, 1):
            trial.report(loss, step)
        self.study.tell(trial, values[-1])

    def drain(self) -> None:
        """Write what waits."""
        self._storage.flush_all_batches()

    def close(self) -> None:
        """Do nothing."""


Arm = Callable[[str, Path, str], Any]


def with_storage(storage: Callable[[Path], object]) -> Arm:
    """Return an arm that keeps Optuna's side in a storage."""
    return lambda uri, folder, parent: ClientBatch(uri, folder, parent, storage)


ARMS: Final[dict[str, Arm]] = {
    "Assay": Assay,
    "Optuna in a journal file, client batch": with_storage(
        lambda folder: JournalStorage(JournalFileBackend(f"{folder}/journal"))
    ),
    "Optuna on SQLite, client batch": with_storage(lambda folder: f"sqlite:///{folder}/optuna.db"),
    "Optuna in memory, client batch": with_storage(lambda _: None),
    "Optuna in memory, nested runs in single calls": SingleCalls,
    "Optuna with MLflow's callback": Callback,
    "Optuna on mlflow.optuna.MlflowStorage": OfMlflow,
}
OURS, BEST_PEER = list(ARMS)[:2]


def measure(name: str, trials: int, uri: str, folder: Path) -> dict[str, float]:
    """Do so many trials, and return seconds for each: until the next proposal, and with the last thing sent."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    parent = client.create_run(experiment.experiment_id, run_name="study").info.run_id
    own = sampling(trials)
    arm = ARMS[name](uri, folder, parent)
    arm.trial(-1)
    begun = time.perf_counter()
    for number in range(trials):
        arm.trial(number)
    seen = time.perf_counter() - begun
    arm.drain()
    arm.close()
    drained = time.perf_counter() - begun
    check(client, name, experiment.experiment_id, trials + 1)
    return {"seen": seen / trials - own, "drained": drained / trials - own}


def sampling(trials: int) -> float:
    """Return the seconds of a trial that the sampler and Optuna in memory take."""
    study = optuna.create_study(sampler=sampler())
    begun = time.perf_counter()
    for _ in range(trials):
        trial = study.ask()
        study.tell(trial, losses(propose(trial))[-1])
    return (time.perf_counter() - begun) / trials


def check(client: MlflowClient, name: str, experiment_id: str, trials: int) -> None:
    """Read the store, and see that every trial is there whole, and is the one that the sampler proposes."""
    study = optuna.create_study(sampler=sampler())
    expected = sorted(repr(sorted((k, str(v)) for k, v in propose(study.ask()).items())) for _ in range(trials))
    found = []
    of_optuna = ARMS[name] is OfMlflow
    query = "attributes.run_name != 'study' and attributes.run_name != 'of mlflow'"
    token: str | None = None
    while True:
        page = client.search_runs([experiment_id], query, max_results=1_000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    prefix, curve = ("user_", "intermediate_value") if of_optuna else ("", "loss")
    for run in found:
        assert run.info.status == "FINISHED", run.info
        assert "mlflow.parentRunId" in run.data.tags
        texts = {tag: json.loads(run.data.tags[prefix + tag]) if prefix else run.data.tags[tag] for tag in TAGS}
        assert texts == TAGS
    proposed = [repr(sorted(run.data.params.items())) for run in found]
    assert sorted(proposed) == expected, f"{name}: {len(proposed)} of {len(expected)} runs, or other params"
    for run in found[:: max(1, len(found) // 20)]:
        history = sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, curve))
        assert history == list(enumerate(losses({"x": float(run.data.params["x"])}), 1)), (name, history)


def count_requests(name: str, uri: str, folder: Path, trials: int = 20) -> float:
    """Return how many HTTP requests a trial takes."""
    sent = 0
    send = requests.Session.send

    def counted(session: requests.Session, request: requests.PreparedRequest, **keywords: Any) -> requests.Response:  # noqa: ANN401
        nonlocal sent
        sent += 1
        return send(session, request, **keywords)

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    arm = ARMS[name](uri, folder, client.create_run(experiment.experiment_id, run_name="study").info.run_id)
    arm.trial(-1)
    time.sleep(1)  # what the first one set off is over
    requests.Session.send = counted  # type: ignore[method-assign,assignment]
    for number in range(trials):
        arm.trial(number)
    arm.drain()
    requests.Session.send = send  # type: ignore[method-assign]
    arm.close()
    return sent / trials


@contextmanager
def served(folder: Path, kind: str) -> Iterator[str]:
    """Yield the address of `mlflow server`: as it starts by default without its jobs, or as `make server` starts it."""
    with ExitStack() as stack, socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        free.close()
        store_uri = f"sqlite:///{folder}/server.db"
        if kind == "postgres":
            folder.chmod(0o755)  # root lets somebody else run PostgreSQL
            postgres = stack.enter_context(Postgres(folder / "postgres"))
            postgres.create_database(DATABASE)
            store_uri = postgres.uri(DATABASE)
        settings = environment(store_uri, folder / "kept", port)
        if kind == "sqlite":
            del settings["MLFLOW_WORKERS"]
        process = subprocess.Popen(
            COMMAND, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        stack.callback(end, process)
        await_answer(process, port)
        yield address(port)


def in_process(name: str, trials: int, *, server: str = "", count: bool = False) -> dict[str, float]:
    """Measure an arm in a process of its own, on a store of its own."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        folder = Path(made)
        with served(folder, server) if server else nullcontext(f"sqlite:///{folder}/mlflow.db") as uri:
            MlflowClient(uri).create_experiment(EXPERIMENT)
            command = [sys.executable, __file__, "--arm", name, "--trials", str(trials), "--uri", uri]
            done = subprocess.run(
                [*command, "--folder", made, *(["--count"] if count else [])],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"},
            )
            if done.returncode:
                sys.exit(f"{name}: {done.stderr[-2_000:]}")
            measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
            return measured


def compare(arms: list[str], trials: int, repetitions: int, *, server: str = "") -> dict[str, list[Timing]]:
    """Measure arms in turns; return timings of what the driver sees, and of what includes all that is sent."""
    kinds = ("seen", "drained")
    timings = {kind: [Timing(name, []) for name in arms] for kind in kinds}
    for _ in range(repetitions):
        for index, name in enumerate(arms):
            measured = in_process(name, trials, server=server)
            for kind in kinds:
                timings[kind][index].seconds.append(measured[kind])
    return timings


def ratio(timings: list[Timing], name: str = OURS, peer: str = BEST_PEER) -> float:
    """Return one arm's median as a multiple of another's."""
    typical = {timing.name: timing.typical for timing in timings}
    return typical[name] / typical[peer]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="*", default=[200, 1000])
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--server", choices=["sqlite", "postgres"])
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.arm:
        if given.count:
            print(json.dumps({"requests": count_requests(given.arm, given.uri, given.folder)}))
        else:
            print(json.dumps(measure(given.arm, given.trials[0], given.uri, given.folder)))
    elif given.server:
        over_a_server(given.trials[0], given.repetitions, given.server)
    else:
        on_sqlite(given.trials, given.repetitions)


def on_sqlite(sizes: list[int], repetitions: int) -> None:
    """Measure all arms on a local store, and how our own cost grows."""
    tables: dict[str, list[Timing]] = {}
    goals: list[Goal] = []
    for index, trials in enumerate(sizes):
        arms = list(ARMS) if index == 0 else [OURS, BEST_PEER]
        timings = compare(arms, trials, repetitions)
        for kind, limit in (("seen", 0.1), ("drained", 0.6)):
            title = f"one of {trials} trials, {'until the next proposal' if kind == 'seen' else 'all sent'}"
            tables[title] = timings[kind]
            goals.append(Goal(f"{title}: × the best durable peer", ratio(timings[kind]), at_most=limit))
    few, many = Timing("100", []), Timing("1,000", [])
    for _ in range(repetitions):
        for timing, trials in ((few, 100), (many, 1_000)):
            timing.seconds.append(in_process(OURS, trials)["drained"])
    tables["one trial, all sent, in a study of 100 and of 1,000"] = [few, many]
    goals.append(Goal("a trial among 1,000: × one among 100", many.typical / few.typical, at_most=1.1))
    for title, timings_of in tables.items():
        show(title, timings_of)
    write_results("tracked_trial", tables, goals)


def over_a_server(trials: int, repetitions: int, server: str) -> None:
    """Measure Assay and MLflow's client over `mlflow server`, and count requests."""
    arms = [OURS, BEST_PEER]
    timings = compare(arms, trials, repetitions, server=server)
    asked = {name: in_process(name, trials, server=server, count=True)["requests"] for name in arms}
    where = "`mlflow server`" if server == "sqlite" else "`make server`, on PostgreSQL"
    title = f"one of {trials} trials over {where}, all sent"
    show(title, timings["drained"])
    print("  HTTP requests a trial:", asked)
    goals = [
        Goal(f"{title}: × client batch", ratio(timings["drained"]), at_most=0.7),
        Goal("HTTP requests a trial", asked[OURS], at_most=4),
    ]
    write_results(
        "tracked_trial_server" if server == "sqlite" else "tracked_trial_postgres", {title: timings["drained"]}, goals
    )


if __name__ == "__main__":
    main()
