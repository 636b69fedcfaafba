"""Optuna's and Plotly's figures of a study, made from its records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import fmean, variance
from typing import Final

import optuna
from optuna import visualization
from plotly import graph_objects
from scipy.stats import t as students_t

from infrastructure.config.schema import HpoConfig
from infrastructure.config.schema.hpo import Objective
from training.hpo.records import TrialRecord, ranked_records
from training.hpo.study import frozen_trial

TOP: Final = 10
"""How many of the best trials are shown with their folds."""
CONFIDENCE: Final = 0.95
GREY: Final = "#767676"
"""As readable on white as on black."""
FAINT: Final = "rgba(118,118,118,0.25)"
ENOUGH_FOLDS: Final = 3
"""With fewer, the interval of a mean is wider than anything that is drawn beside it."""
COLOURS: Final[Mapping[str, str]] = {
    "complete": "#2a78b5",
    "pruned": "#e08a1e",
    "failed": "#c0392b",
    "running": "#767676",
}


def study_figures(
    records: Sequence[TrialRecord], config: HpoConfig, study_key_hash: str
) -> dict[str, graph_objects.Figure]:
    """Return the figures that these trials allow, by title."""
    own = [record for record in records if not record.imported_from]
    figures = _optunas_own(own, config, study_key_hash)
    if best := top_trials(own, config.objective.direction):
        figures["Folds of the best trials"] = _folds(best, config.objective.metric)
    figures["Seconds of each trial"] = _seconds(own)
    for figure in figures.values():
        figure.update_layout(
            title=None,
            template="none",
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            font_color=GREY,
            modebar={"bgcolor": "rgba(0,0,0,0)", "color": GREY, "activecolor": GREY},
            margin={"l": 60, "r": 20, "t": 20, "b": 50},
        )
        figure.update_xaxes(gridcolor=FAINT, zerolinecolor=FAINT, linecolor=GREY)
        figure.update_yaxes(gridcolor=FAINT, zerolinecolor=FAINT, linecolor=GREY, automargin=True)
    return figures


def _optunas_own(
    records: Sequence[TrialRecord], config: HpoConfig, study_key_hash: str
) -> dict[str, graph_objects.Figure]:
    name = config.objective.metric
    study = _study(records, config, study_key_hash, config.objectives[:1])
    plots: dict[str, Callable[[], graph_objects.Figure]] = {
        "Optimization history": lambda: visualization.plot_optimization_history(study, target_name=name),
        "Hyperparameter importances": lambda: visualization.plot_param_importances(study, target_name=name),
        "Parallel coordinates": lambda: visualization.plot_parallel_coordinate(study, target_name=name),
        "Slices": lambda: visualization.plot_slice(study, target_name=name),
    }
    if len(config.objectives) in (2, 3):  # what can be drawn
        names = [objective.metric for objective in config.objectives]
        whole = _study(records, config, study_key_hash, config.objectives)
        plots["Pareto front"] = lambda: visualization.plot_pareto_front(whole, target_names=names)
    complete = [record for record in records if record.state == "complete"]
    if not complete:
        return {}
    if len({record.trial_key_hash for record in complete}) < 2:  # nothing to compare
        return {"Optimization history": plots["Optimization history"]()}
    if len({record.value for record in complete}) < 2:  # nothing that could be important
        del plots["Hyperparameter importances"]
    return {title: plot() for title, plot in plots.items()}


def _study(
    records: Sequence[TrialRecord], config: HpoConfig, study_key_hash: str, objectives: Sequence[Objective]
) -> optuna.Study:
    """Return Optuna's study of the trials that ended, by their values for these objectives."""
    study = optuna.create_study(directions=[objective.direction for objective in objectives])
    ended = (record for record in records if record.state != "running")
    study.add_trials(frozen_trial(record, config, study_key_hash, objectives) for record in ended)
    return study


def top_trials(records: Sequence[TrialRecord], direction: str) -> list[TrialRecord]:
    """Return the best complete trials, each configuration once, the best first."""
    return [record for record in ranked_records(records, direction) if record.answered_by is None][:TOP]


def confidence(values: Sequence[float]) -> float | None:
    """Return half the width of the 95 % confidence interval of a mean over folds, or None for fewer than two.

    The folds' training rows overlap, which the corrected variance takes into account. Source: Nadeau and Bengio 2003,
    "Inference for the Generalization Error".
    """
    count = len(values)
    if count < 2:
        return None
    corrected = variance(values) * (1 / count + 1 / (count - 1))
    return float(students_t.ppf((1 + CONFIDENCE) / 2, count - 1)) * sqrt(corrected)


def _folds(best: Sequence[TrialRecord], metric: str) -> graph_objects.Figure:
    figure = graph_objects.Figure()
    for record in best:
        values = [fold.metrics[metric] for _, fold in sorted(record.folds.items()) if metric in fold.metrics]
        half = confidence(values)
        figure.add_box(y=values, name=f"trial {record.number}", boxpoints="all", showlegend=False)
        figure.add_scatter(
            x=[f"trial {record.number}"],
            y=[fmean(values)],
            error_y=None if half is None or len(values) < ENOUGH_FOLDS else {"array": [half]},
            mode="markers",
            marker={"symbol": "diamond", "color": GREY},
            showlegend=False,
        )
    return figure.update_yaxes(title=metric)


def _seconds(records: Sequence[TrialRecord]) -> graph_objects.Figure:
    figure = graph_objects.Figure()
    for state, colour in COLOURS.items():
        mine = [record for record in records if record.state == state]
        if mine:
            figure.add_bar(
                x=[record.number for record in mine],
                y=[record.training_seconds for record in mine],
                name=state,
                marker_color=colour,
            )
    return figure.update_xaxes(title="trial").update_yaxes(title="seconds of training")
