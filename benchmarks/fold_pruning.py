"""What it gains to end a cross-validation early: two models, twelve data sets, ten folds, random search and TPE.

The setting is that of Bergman, Purucker and Hutter 2024, "Don't Waste Your Time: Early Stopping Cross-Validation", with
smaller networks and forests: an unpruned search of so many trials sets the time budget and its best mean score; each
rule gets the same budget. Asked is when it has a trial with all its folds that is as good, and what its best is at the
end. Time is the sum of the seconds that the folds' fits took, measured once for each configuration and fold, so that
all searches pay the same for the same. The searches are Assay's own, with its samplers and pruners; nothing is tracked.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from statistics import fmean, pstdev
from typing import Any, Final

import numpy as np
import optuna
from sklearn import datasets
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from common import Goal, Timing, show, write_results
from infrastructure.config.schema import HpoConfig
from training.hpo.records import FoldRecord
from training.hpo.study import OptunaStudy

FOLDS: Final = 10
RULES: Final = ("aggressive", "forgiving", "wilcoxon")
SAMPLERS: Final = ("random", "tpe")
SPACES: Final = {
    "mlp": {
        "hidden_layer_sizes": {"type": "int", "low": 4, "high": 64},
        "activation": {"type": "choice", "values": ["relu", "tanh", "logistic"]},
        "learning_rate_init": {"type": "loguniform", "low": 1e-5, "high": 1e-1},
        "alpha": {"type": "loguniform", "low": 1e-7, "high": 1e-1},
        "batch_size": {"type": "choice", "values": [16, 32, 64, 128]},
    },
    "random forest": {
        "n_estimators": {"type": "int", "low": 4, "high": 48},
        "criterion": {"type": "choice", "values": ["gini", "entropy"]},
        "max_features": {"type": "uniform", "low": 0.05, "high": 1.0},
        "min_samples_split": {"type": "int", "low": 2, "high": 20},
        "min_samples_leaf": {"type": "int", "low": 1, "high": 20},
        "bootstrap": {"type": "choice", "values": [True, False]},
    },
}
EPOCHS: Final = 30


def make(model: str, params: dict[str, Any]) -> Any:  # noqa: ANN401  a scikit-learn estimator
    """Return an estimator."""
    if model == "mlp":
        return make_pipeline(StandardScaler(), MLPClassifier(max_iter=EPOCHS, random_state=0, **params))
    return RandomForestClassifier(random_state=0, **params)


def made(seed: int, **settings: Any) -> tuple[np.ndarray, np.ndarray]:  # noqa: ANN401  scikit-learn's settings
    """Return a data set that scikit-learn makes."""
    made_rows: tuple[np.ndarray, np.ndarray] = datasets.make_classification(
        n_samples=500, random_state=seed, **settings
    )
    return made_rows


def above_median(loaded: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return a regression's data with the question whether the target is above its median."""
    rows, target = loaded
    return rows, (target > np.median(target)).astype(int)


def first(count: int, loaded: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return so many rows of a data set."""
    rows, target = loaded
    return rows[:count], target[:count]


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and classes of a data set."""
    loaders: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
        "iris": lambda: datasets.load_iris(return_X_y=True),
        "wine": lambda: datasets.load_wine(return_X_y=True),
        "breast cancer": lambda: datasets.load_breast_cancer(return_X_y=True),
        "digits": lambda: first(600, datasets.load_digits(return_X_y=True)),
        "diabetes": lambda: above_median(datasets.load_diabetes(return_X_y=True)),
        "moons": lambda: datasets.make_moons(500, noise=0.4, random_state=1),
        "circles": lambda: datasets.make_circles(500, noise=0.2, factor=0.6, random_state=1),
        "quantiles": lambda: datasets.make_gaussian_quantiles(n_samples=500, n_features=6, n_classes=3, random_state=1),
        "hastie": lambda: datasets.make_hastie_10_2(500, random_state=1),
        "friedman": lambda: above_median(datasets.make_friedman1(500, noise=2, random_state=1)),
        "few informative": lambda: made(1, n_features=30, n_informative=4, flip_y=0.1),
        "three classes": lambda: made(2, n_features=15, n_informative=6, n_classes=3, flip_y=0.05),
    }
    return loaders[name]()


DATA_SETS: Final = (
    *("iris", "wine", "breast cancer", "digits", "diabetes", "moons", "circles", "quantiles", "hastie", "friedman"),
    *("few informative", "three classes"),
)


class Fits:
    """Fits configurations on the folds of a data set, each once: its score (ROC AUC) and the seconds it took."""

    def __init__(self, name: str, model: str) -> None:
        self.model = model
        self._rows, self._classes = load(name)
        folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
        self._folds = list(folds.split(self._rows, self._classes))
        self._known: dict[tuple[str, int], tuple[float, float]] = {}

    def fit(self, params: dict[str, Any], fold_idx: int) -> tuple[float, float]:
        """Return the score and the seconds of one fit."""
        key = (json.dumps(params, sort_keys=True), fold_idx)
        if key not in self._known:
            train, valid = self._folds[fold_idx]
            started = time.perf_counter()
            model = make(self.model, params).fit(self._rows[train], self._classes[train])
            proposed = model.predict_proba(self._rows[valid])
            scores = proposed[:, 1] if proposed.shape[1] == 2 else proposed
            score = float(roc_auc_score(self._classes[valid], scores, multi_class="ovr"))
            self._known[key] = (score, time.perf_counter() - started)
        return self._known[key]


@dataclass
class Search:
    """The trials that got all their folds: the time at which each was complete, and its mean score."""

    complete: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best(self) -> float:
        """The best mean score."""
        return max((score for _, score in self.complete), default=-math.inf)

    def reached(self, score: float) -> float | None:
        """Return the time at which a trial was at least as good, or None."""
        return next((at for at, found in self.complete if found >= score), None)


def search(fits: Fits, sampler: str, rule: str, seed: int, trials: int, budget: float) -> Search:
    """Search with a rule until the budget of seconds or the number of trials is used up."""
    config = HpoConfig.model_validate(
        {
            "study_name": "folds",
            "objective": {"metric": "roc_auc", "direction": "maximize"},
            "search_space": SPACES[fits.model],
            "sampler": {"type": sampler},
            "fold_pruner": {"type": rule},
            "cv": {"type": "stratified", "folds": FOLDS},
            "seed": seed,
        }
    )
    study, done = OptunaStudy(config, f"{seed:064}", FOLDS), Search()
    for _ in range(trials):
        asked = study.ask()
        assert asked is not None
        folds: dict[int, FoldRecord] = {}
        for fold_idx in study.fold_order:
            score, seconds = fits.fit(dict(asked.params), fold_idx)
            done.seconds += seconds
            if done.seconds > budget:
                return done
            folds[fold_idx] = FoldRecord(metrics={"roc_auc": score})
            hopeless = study.should_stop_trial(asked.number, fold_idx, score)
            if hopeless and fold_idx != study.fold_order[-1]:
                break
        value = study.mean_value(folds)
        is_complete = len(folds) == FOLDS
        state = "complete" if is_complete else "pruned"
        study.tell(asked.model_copy(update={"state": state, "value": value, "folds": folds}))
        if is_complete:
            done.complete.append((done.seconds, value))
    return done


@dataclass(frozen=True)
class Outcome:
    """One rule on one data set with one seed: seconds to the unpruned best, its own regret in standard deviations."""

    data_set: str
    sampler: str
    rule: str
    unpruned: float
    pruned: float
    regret: float


def compare(name: str, model: str, seeds: int, trials: int) -> list[Outcome]:
    """Search one data set in all ways."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    fits = Fits(name, model)
    return [
        outcome
        for seed in range(seeds)
        for sampler in SAMPLERS
        for outcome in _rules(fits, name, sampler, seed, trials)
    ]


def _rules(fits: Fits, name: str, sampler: str, seed: int, trials: int) -> Iterator[Outcome]:
    alone = search(fits, sampler, "none", seed, trials, math.inf)
    spread = pstdev(score for _, score in alone.complete)
    reached = alone.reached(alone.best)
    assert reached is not None
    for rule in RULES:
        pruned = search(fits, sampler, rule, seed, FOLDS * trials, alone.seconds)
        when = pruned.reached(alone.best)
        yield Outcome(
            name,
            sampler,
            rule,
            reached,
            alone.seconds if when is None else when,
            (alone.best - pruned.best) / spread if spread else 0.0,
        )


def report(model: str, found: list[Outcome], names: Sequence[str]) -> tuple[dict[str, list[Timing]], list[Goal]]:
    """Return timings and goals of one model."""
    tables: dict[str, list[Timing]] = {}
    goals: list[Goal] = []
    for sampler in SAMPLERS:
        of_rule = {rule: [o for o in found if (o.sampler, o.rule) == (sampler, rule)] for rule in RULES}
        title = f"{model}, {sampler}: seconds of fitting to the best score of the unpruned search"
        tables[title] = [Timing("none", [o.unpruned for o in of_rule[RULES[0]]])]
        tables[title] += [Timing(rule, [o.pruned for o in outcomes]) for rule, outcomes in of_rule.items()]
        for rule, outcomes in of_rule.items():
            faster = []
            for name in names:
                mine = [o for o in outcomes if o.data_set == name]
                faster.append(sum(o.unpruned for o in mine) / sum(o.pruned for o in mine))
            label = f"{model}, {sampler}, {rule}"
            goals += [
                Goal(f"{label}: times faster, mean over data sets", fmean(faster), at_least=3),
                Goal(f"{label}: share of data sets that gain", fmean(f > 1 for f in faster), at_least=0.94),
                Goal(f"{label}: regret in standard deviations", fmean(o.regret for o in outcomes), at_most=0.1),
            ]
    return tables, goals


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--data-sets", nargs="*", default=DATA_SETS)
    parser.add_argument("--models", nargs="*", default=list(SPACES))
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
    tables: dict[str, list[Timing]] = {}
    goals: list[Goal] = []
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for model in given.models:
            searched = pool.map(partial(compare, model=model, seeds=given.seeds, trials=given.trials), given.data_sets)
            found = [outcome for of_data_set in searched for outcome in of_data_set]
            of_model, its_goals = report(model, found, given.data_sets)
            tables.update(of_model)
            goals += its_goals
    for title, timings in tables.items():
        show(title, timings)
    write_results("fold_pruning", tables, goals)


if __name__ == "__main__":
    main()
